//! The connections to the endpoints, and the one way in which every call is made.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{
    Channel, Client as Stub, ConnectOptions, KvClient, LeaseClient, MaintenanceClient, WatchClient,
};
use futures::stream::{FuturesUnordered, StreamExt};
use keyval::{Error, Outcome, Result};
use keyval_config::Environment;
use parking_lot::RwLock;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Endpoint;

use crate::config::EtcdConfig;
use crate::error::{self, Call};

/// The answer to a call of the stub.
pub(crate) type StubResult<T> = Result<T, etcd_client::Error>;

/// etcd drops clients that ping more often than every 5 s, or without a call under way.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(5);
/// What one unread watch may hold back in the transport.
const WATCH_STREAM_WINDOW: u32 = 1 << 20;
/// So large that unread watches never use up what they share: a thousand full ones.
const WATCH_CONNECTION_WINDOW: u32 = 1 << 30;

/// One endpoint with its two connections, each opened when it is first used.
#[derive(Clone)]
pub(crate) struct Node {
    /// The address, as errors show it.
    pub(crate) endpoint: Arc<str>,
    /// The connection of the calls.
    pub(crate) channel: Channel,
    pub(crate) kv: KvClient,
    pub(crate) lease: LeaseClient,
    pub(crate) maintenance: MaintenanceClient,
    /// On a connection of its own, and served only by a member that knows a leader.
    pub(crate) watch: WatchClient,
}

/// All that the clones of one store share.
pub(crate) struct Client {
    name: String,
    /// What the endpoint said that answered first.
    version: String,
    operation_timeout: Duration,
    /// None after closing, so that the connections end.
    nodes: RwLock<Option<Arc<[Node]>>>,
    /// The endpoint to ask first, which was the last to be reached.
    current: AtomicUsize,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Client {
    /// Connects to the first endpoint that answers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an endpoint that is none; [`Error::Unavailable`], with the cause of
    /// each, if none answers within the dial timeout.
    pub(crate) async fn connect(config: &EtcdConfig, environment: &Environment) -> Result<Self> {
        config.check()?;
        let mut nodes = Vec::new();
        let endpoints = config.resolve_endpoints(environment)?;
        for (at, endpoint) in endpoints.iter().enumerate() {
            let address = address(endpoint).map_err(|why| not_an_endpoint(at, why))?;
            nodes.push(node(at, address, config).await?);
        }
        let names: Vec<&str> = nodes.iter().map(|node| &*node.endpoint).collect();
        let name = format!("etcd({})", names.join(","));
        let (current, version) = first_to_answer(&nodes, config.dial_timeout, &name).await?;
        Ok(Self {
            name,
            version,
            operation_timeout: config.operation_timeout,
            nodes: RwLock::new(Some(nodes.into())),
            current: AtomicUsize::new(current),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// The store as it shows itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The version of the endpoint that answered first.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Cancelled when the store is closed.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// The tasks to be waited for when the store is closed.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// The error of whatever is asked of a closed store.
    pub(crate) fn closed(&self) -> Error {
        Error::Closed {
            store: self.name.clone(),
        }
    }

    /// Carries out a call within the operation timeout, at the endpoint used last; at the next
    /// ones only as long as the request certainly was not sent.
    pub(crate) async fn call<T, F>(
        &self,
        call: Call<'_>,
        send: impl Fn(&Node) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        let (_, reply) = self.call_node(call, send).await?;
        Ok(reply)
    }

    /// As [`call`](Self::call), and says which endpoint answered.
    pub(crate) async fn call_node<T, F>(
        &self,
        call: Call<'_>,
        send: impl Fn(&Node) -> F + Send + Sync,
    ) -> Result<(Node, T)>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        let nodes = self.nodes.read().clone().ok_or_else(|| self.closed())?;
        let deadline = Instant::now() + self.operation_timeout;
        let mut attempts = Vec::new();
        let first = self.current.load(Ordering::Relaxed);
        for step in 0..nodes.len() {
            let at = (first + step) % nodes.len();
            let node = &nodes[at];
            let sent = timeout_at(deadline, send(node));
            let Some(answered) = self.closing.run_until_cancelled(sent).await else {
                return Err(self.closed_under(&call));
            };
            match answered {
                Ok(Ok(reply)) => {
                    self.current.store(at, Ordering::Relaxed);
                    return Ok((node.clone(), reply));
                }
                Ok(Err(failure)) if error::never_sent(&failure) => {
                    attempts.push((node.endpoint.to_string(), failure));
                }
                Ok(Err(failure)) => return Err(error::of_call(&call, &node.endpoint, failure)),
                Err(_) => {
                    // A node that is silent is not asked first the next time.
                    self.current
                        .store((at + 1) % nodes.len(), Ordering::Relaxed);
                    return Err(Error::Timeout {
                        operation: call.operation,
                        after: self.operation_timeout,
                        outcome: call.unanswered(),
                    });
                }
            }
        }
        Err(error::unreachable(&call, &attempts))
    }

    /// Closes the connections and waits, at most for the operation timeout, for the tasks to end.
    ///
    /// # Errors
    /// [`Error::Timeout`] if a task does not end.
    pub(crate) async fn close(&self) -> Result<()> {
        self.closing.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(self.operation_timeout, self.tasks.wait()).await;
        drop(self.nodes.write().take());
        ended.map_err(|_| Error::Timeout {
            operation: "close",
            after: self.operation_timeout,
            outcome: Outcome::NotApplied,
        })
    }

    /// The error of a call that was under way when the store was closed. That it is closed says
    /// that nothing was applied, which cannot be said of a write that was sent.
    fn closed_under(&self, call: &Call<'_>) -> Error {
        if call.writes {
            Error::unavailable(
                format!("{} was closed while {call} was under way", self.name),
                Outcome::Unknown,
            )
        } else {
            self.closed()
        }
    }
}

async fn node(at: usize, address: &str, config: &EtcdConfig) -> Result<Node> {
    let transport = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| not_an_endpoint(at, "it is not a host and a port"))?
        .connect_timeout(config.dial_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .keep_alive_while_idle(false);
    let watches = transport
        .clone()
        .initial_stream_window_size(WATCH_STREAM_WINDOW)
        .initial_connection_window_size(WATCH_CONNECTION_WINDOW);
    let channel = Channel::Tonic(transport.connect_lazy());
    let calls = stub(channel.clone(), ConnectOptions::new()).await?;
    let watches = Channel::Tonic(watches.connect_lazy());
    let watches = stub(watches, ConnectOptions::new().with_require_leader(true)).await?;
    Ok(Node {
        endpoint: address.into(),
        channel,
        kv: calls.kv_client().max_decoding_message_size(usize::MAX),
        lease: calls.lease_client(),
        maintenance: calls.maintenance_client(),
        watch: watches.watch_client().max_decoding_message_size(usize::MAX),
    })
}

async fn stub(channel: Channel, options: ConnectOptions) -> Result<Stub> {
    // Without a user this asks nothing of the server.
    Stub::from_channel(channel, Some(options))
        .await
        .map_err(|failure| Error::backend(error::words(&failure), Outcome::NotApplied))
}

/// The host and the port of an endpoint, or why it is none.
fn address(endpoint: &str) -> Result<&str, &'static str> {
    let address = match endpoint.split_once("://") {
        Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some(("https", _)) => {
            return Err("it begins with https://, and TLS to etcd is not supported yet");
        }
        Some(_) => return Err("it begins with an unknown scheme"),
        None => endpoint,
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err("it has no port");
    };
    if host.is_empty() || host.contains(['@', '/', '?', '#', ' ']) {
        return Err("it is not just a host and a port");
    }
    if port.parse::<u16>().is_err() {
        return Err("its port is not a number up to 65535");
    }
    Ok(address)
}

/// Names an endpoint by its place: one that is refused may hold a password, so it is not shown.
fn not_an_endpoint(at: usize, why: &str) -> Error {
    Error::invalid(format!(
        "etcd endpoint number {}, of the configuration or of ETCD_ENDPOINTS, is of no use: {why}; \
         write host:port or http://host:port",
        at + 1
    ))
}

/// The index of the endpoint that says its status first, and its version.
async fn first_to_answer(nodes: &[Node], within: Duration, name: &str) -> Result<(usize, String)> {
    let deadline = Instant::now() + within;
    let mut asked: FuturesUnordered<_> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| async move {
            let mut maintenance = node.maintenance.clone();
            (at, timeout_at(deadline, maintenance.status()).await)
        })
        .collect();
    let mut causes = vec![String::new(); nodes.len()];
    while let Some((at, answered)) = asked.next().await {
        causes[at] = match answered {
            Ok(Ok(status)) => return Ok((at, status.0.version)),
            Ok(Err(failure)) => error::words(&failure),
            Err(_) => format!("no answer within {within:?}"),
        };
    }
    let told: Vec<String> = nodes
        .iter()
        .zip(&causes)
        .map(|(node, cause)| format!("{}: {cause}", node.endpoint))
        .collect();
    Err(Error::unavailable(
        format!("cannot connect to {name}: {}", told.join("; ")),
        Outcome::NotApplied,
    ))
}

#[cfg(test)]
mod tests {
    use super::{address, not_an_endpoint};

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (endpoint, expected) in [
            ("127.0.0.1:2379", "127.0.0.1:2379"),
            ("http://etcd-0.etcd:2379/", "etcd-0.etcd:2379"),
            ("http://[::1]:2379", "[::1]:2379"),
        ] {
            assert_eq!(address(endpoint).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_being_shown() {
        for endpoint in [
            "",
            "localhost",
            ":2379",
            "a:b",
            "a:70000",
            "https://a:1",
            "unix://a:1",
            "http://user:secret@a:1",
            "http://a:1/path",
            "a b:1",
        ] {
            let told = not_an_endpoint(1, address(endpoint).unwrap_err()).to_string();
            assert!(
                told.contains("number 2") && !told.contains("secret"),
                "{told}"
            );
        }
    }
}
