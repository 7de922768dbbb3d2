//! Keeps the pings of a connection going while nothing is called on it.

use std::convert::Infallible;
use std::time::Duration;

use futures::stream;
use http::uri::PathAndQuery;
use tokio::time::sleep;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use tracing::debug;

use crate::connection::channel::Channel;

/// How long to wait where a server or a proxy ends the stream by itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Holds a watch stream open that never watches anything, opened anew wherever it ends.
///
/// Servers take pings only while a call is under way, and without pings nothing tells an idle
/// connection from one whose other end is gone. etcd keeps such a stream open without ever
/// answering on it.
///
/// # Cancel safety
/// Dropping the future ends the stream.
pub(crate) async fn carry(channel: Channel) -> Infallible {
    loop {
        let ended = hold_open(channel.clone()).await;
        debug!(?ended, "the stream that carries the pings ended");
        sleep(PAUSE).await;
    }
}

async fn hold_open(channel: Channel) -> Result<(), tonic::Status> {
    let mut client = Grpc::new(channel);
    let ready = client.ready().await;
    ready.map_err(tonic::Status::from_error)?;
    let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
    // Empty messages, of which there are none either.
    let codec = ProstCodec::<(), ()>::default();
    let requests = Request::new(stream::pending());
    let mut answers = client.streaming(requests, path, codec).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}
