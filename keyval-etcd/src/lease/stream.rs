//! The stream on which the leases of a store are renewed: one for each endpoint in use.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Channel;
use futures::stream::{self, Stream};
use http::uri::PathAndQuery;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::connection::Tasks;

/// How many requests may wait for the connection; who comes later waits to wait.
const WAITING: usize = 1024;
/// A stream without an answer for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

const PATH: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// etcd's `LeaseKeepAliveRequest`. The stub of etcd-client ties a stream to one lease.
#[derive(Clone, PartialEq, prost::Message)]
struct KeepAliveRequest {
    #[prost(int64, tag = "1")]
    id: i64,
}

/// etcd's `LeaseKeepAliveResponse`, but for its header.
#[derive(Clone, PartialEq, prost::Message)]
struct KeepAliveResponse {
    #[prost(int64, tag = "2")]
    id: i64,
    #[prost(int64, tag = "3")]
    ttl: i64,
}

/// The streams of one store, by endpoint. Each is opened when it is needed, read by a task, and closed
/// when it fails, when nobody has needed it for a while, or with the store.
pub(crate) struct Renewals {
    streams: Mutex<HashMap<Arc<str>, Arc<Renewing>>>,
    tasks: Tasks,
    closing: CancellationToken,
}

impl Renewals {
    /// No stream yet; their tasks will be tracked here, and end when this is cancelled.
    pub(crate) fn new(tasks: Tasks, closing: CancellationToken) -> Self {
        Self {
            streams: Mutex::default(),
            tasks,
            closing,
        }
    }

    /// Renews a lease by the stream of an endpoint; returns its TTL in seconds, zero if there is no such
    /// lease.
    ///
    /// # Errors
    /// That for which the stream could not be opened, or broke.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lease may be renewed all the same.
    pub(crate) async fn renew(
        &self,
        endpoint: &Arc<str>,
        channel: &Channel,
        lease: i64,
    ) -> Result<i64, etcd_client::Error> {
        loop {
            let stream = self.stream(endpoint, channel);
            // None if the stream ended for want of work just now, as it cannot have done twice.
            if let Some(answer) = stream.renew(lease).await {
                return answer.map_err(etcd_client::Error::GRpcStatus);
            }
        }
    }

    fn stream(&self, endpoint: &Arc<str>, channel: &Channel) -> Arc<Renewing> {
        let mut streams = self.streams.lock();
        if let Some(stream) = streams.get(endpoint)
            && stream.is_open()
        {
            return Arc::clone(stream);
        }
        // Here, so that endpoints that are gone for good are forgotten.
        streams.retain(|_, stream| stream.is_open());
        let (requests, waiting) = mpsc::channel(WAITING);
        let stream = Arc::new(Renewing {
            requests,
            state: Mutex::new(State::Open(HashMap::new())),
        });
        streams.insert(Arc::clone(endpoint), Arc::clone(&stream));
        let work = run(Arc::clone(&stream), channel.clone(), waiting);
        let closing = self.closing.clone();
        self.tasks
            .spawn(async move { closing.run_until_cancelled(work).await });
        stream
    }
}

/// One stream, as those see it who wait for its answers.
struct Renewing {
    requests: mpsc::Sender<i64>,
    state: Mutex<State>,
}

enum State {
    /// Who waits for the answer for which lease, in the order of the requests.
    Open(HashMap<i64, VecDeque<oneshot::Sender<Result<i64, Status>>>>),
    /// It was closed because nobody needed it.
    Idle,
    /// It failed, or was never opened, for this reason.
    Failed(Status),
}

impl Renewing {
    fn is_open(&self) -> bool {
        matches!(*self.state.lock(), State::Open(_))
    }

    /// Sends one request and waits for its answer; none if the stream is closed for want of work.
    async fn renew(&self, lease: i64) -> Option<Result<i64, Status>> {
        // The place in the queue first: who waits for an answer must have sent a request, or the next one
        // would wait in vain. A queue that is closed says nothing yet; the state knows more.
        let place = self.requests.reserve().await;
        let answer = match (&mut *self.state.lock(), place) {
            (State::Open(waiting), Ok(place)) => {
                let (answer, answered) = oneshot::channel();
                waiting.entry(lease).or_default().push_back(answer);
                place.send(lease);
                answered
            }
            (State::Open(_), Err(_)) => return Some(Err(broken())),
            (State::Idle, _) => return None,
            (State::Failed(status), _) => return Some(Err(status.clone())),
        };
        // The task that would have answered has ended with the store.
        Some(answer.await.unwrap_or_else(|_| Err(broken())))
    }

    /// Hands an answer to who has waited longest for this lease.
    fn answer(&self, response: &KeepAliveResponse) {
        let State::Open(waiting) = &mut *self.state.lock() else {
            return;
        };
        let Some(first) = waiting.get_mut(&response.id) else {
            return;
        };
        if let Some(answer) = first.pop_front() {
            // Whoever does not wait any more does not mind.
            let _ = answer.send(Ok(response.ttl));
        }
        if first.is_empty() {
            waiting.remove(&response.id);
        }
    }

    /// Closes the stream unless somebody waits for an answer; says whether it did.
    fn close_if_idle(&self) -> bool {
        let mut state = self.state.lock();
        let idle = matches!(&*state, State::Open(waiting) if waiting.is_empty());
        if idle {
            *state = State::Idle;
        }
        idle
    }

    /// Tells everybody who waits that there will be no answer.
    fn fail(&self, status: &Status) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Failed(status.clone()));
        if let State::Open(waiting) = before {
            for answer in waiting.into_values().flatten() {
                let _ = answer.send(Err(status.clone()));
            }
        }
    }
}

/// Opens the stream and reads it until it ends.
async fn run(stream: Arc<Renewing>, channel: Channel, requests: mpsc::Receiver<i64>) {
    if let Err(status) = read(&stream, channel, requests).await {
        tracing::debug!(%status, "the stream of renewals has ended");
        stream.fail(&status);
    }
}

async fn read(
    stream: &Renewing,
    channel: Channel,
    requests: mpsc::Receiver<i64>,
) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(Status::from_error)?;
    // etcd begins to answer with its first answer, not before.
    let opened = grpc.streaming(
        Request::new(body(requests)),
        PathAndQuery::from_static(PATH),
        ProstCodec::<KeepAliveRequest, KeepAliveResponse>::default(),
    );
    let mut answers = opened.await?.into_inner();
    loop {
        match timeout(IDLE, answers.message()).await {
            Ok(Ok(Some(response))) => stream.answer(&response),
            Ok(Ok(None)) => return Err(broken()),
            Ok(Err(status)) => return Err(status),
            Err(_) if stream.close_if_idle() => return Ok(()),
            Err(_) => return Err(broken()),
        }
    }
}

fn body(requests: mpsc::Receiver<i64>) -> impl Stream<Item = KeepAliveRequest> + Send {
    stream::unfold(requests, |mut requests| async move {
        let id = requests.recv().await?;
        Some((KeepAliveRequest { id }, requests))
    })
}

fn broken() -> Status {
    Status::unavailable("the stream of renewals has ended")
}
