//! What is left of a lease, asked for in a way that takes an answer with any number of keys.

use etcd_client::Channel;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

const PATH: &str = "/etcdserverpb.Lease/LeaseTimeToLive";

/// etcd's `LeaseTimeToLiveRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct TimeToLiveRequest {
    #[prost(int64, tag = "1")]
    id: i64,
    #[prost(bool, tag = "2")]
    keys: bool,
}

/// etcd's `LeaseTimeToLiveResponse`, but for its header and the number of the lease.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TimeToLive {
    /// How many seconds are left.
    #[prost(int64, tag = "3")]
    pub(crate) ttl: i64,
    /// Of how many; zero or less if there is no such lease.
    #[prost(int64, tag = "4")]
    pub(crate) granted_ttl: i64,
    /// Its keys, if they were asked for.
    #[prost(bytes = "vec", repeated, tag = "5")]
    pub(crate) keys: Vec<Vec<u8>>,
}

/// Asks what is left of a lease. The lease client of etcd-client cannot be told to take more than 4 MiB,
/// which the keys of one lease can be.
pub(crate) async fn ask_time_to_live(
    channel: Channel,
    id: i64,
    keys: bool,
) -> Result<TimeToLive, etcd_client::Error> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    let ready = grpc.ready().await;
    ready.map_err(|failure| etcd_client::Error::GRpcStatus(Status::from_error(failure)))?;
    let answered = grpc.unary(
        Request::new(TimeToLiveRequest { id, keys }),
        PathAndQuery::from_static(PATH),
        ProstCodec::<TimeToLiveRequest, TimeToLive>::default(),
    );
    let answered = answered.await.map_err(etcd_client::Error::GRpcStatus)?;
    Ok(answered.into_inner())
}
