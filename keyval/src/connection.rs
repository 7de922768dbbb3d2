//! Whether a store is connected, as its users can follow it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{self, Stream, StreamExt};
use metrics::SharedString;
use tokio::sync::watch;
use tokio::time::Instant;

const RECONNECTS: &str = "keyval_connection_reconnects_total";

/// Whether a store is connected.
///
/// Connected says that the endpoint in use answers. Whether the cluster behind it has a leader,
/// the operations tell, and [`status`](crate::Maintenance::status).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No endpoint has answered yet.
    #[non_exhaustive]
    Connecting {
        /// Since when.
        since: Instant,
        /// What each endpoint failed of last; empty before the first failure.
        causes: Vec<EndpointFailure>,
    },
    /// The endpoint answers.
    #[non_exhaustive]
    Connected {
        /// The endpoint in use; the store itself, where there is no other word for it.
        endpoint: Arc<str>,
        /// How many outages there have been since the store was opened: by it one sees also those
        /// that were too short to be seen. The loss of an endpoint is one, also where another took
        /// its place at once; the change to another while both are there is none.
        outages: u64,
    },
    /// The connection ended, or the endpoint does not answer, and no other has answered yet.
    #[non_exhaustive]
    Disconnected {
        /// Since when.
        since: Instant,
        /// What each endpoint failed of last; empty for one that was not asked since.
        causes: Vec<EndpointFailure>,
        /// How many outages there have been, this one included.
        outages: u64,
    },
    /// The store was closed, or its last handle was dropped: nothing follows.
    Closed,
}

/// Why an endpoint is of no use now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointFailure {
    /// The endpoint.
    pub endpoint: Arc<str>,
    /// What it failed of last.
    pub cause: Arc<str>,
}

impl EndpointFailure {
    /// The failure of this endpoint.
    pub fn new(endpoint: impl Into<Arc<str>>, cause: impl Into<Arc<str>>) -> Self {
        Self {
            endpoint: endpoint.into(),
            cause: cause.into(),
        }
    }
}

impl fmt::Display for EndpointFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.cause)
    }
}

impl ConnectionState {
    /// Whether the store is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// What the endpoints failed of last, while there is no connection.
    #[must_use]
    pub fn causes(&self) -> &[EndpointFailure] {
        match self {
            Self::Connecting { causes, .. } | Self::Disconnected { causes, .. } => causes,
            Self::Connected { .. } | Self::Closed => &[],
        }
    }
}

/// For a line of a log: `connected to 127.0.0.1:2379`.
impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting { .. } => f.write_str("not connected yet")?,
            Self::Connected { endpoint, .. } => write!(f, "connected to {endpoint}")?,
            Self::Disconnected { .. } => f.write_str("disconnected")?,
            Self::Closed => f.write_str("closed")?,
        }
        for (at, failure) in self.causes().iter().enumerate() {
            write!(f, "{}{failure}", if at == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

/// The state of a store's connection: as it is now, and, as a stream, from now on.
///
/// The stream begins with the present state and ends behind [`ConnectionState::Closed`]. A slow
/// reader gets the newest state only; the count of outages tells it what it has missed. Holding
/// it does not keep the store open.
///
/// # Examples
/// ```
/// use futures::StreamExt;
/// use keyval::{ConnectionReporter, ConnectionState};
///
/// # tokio_test::block_on(async {
/// let backend = ConnectionReporter::connected_to("10.0.0.5:2379");
/// let mut connection = backend.subscribe();
/// assert!(connection.state().is_connected());
/// backend.disconnected(Vec::new());
/// backend.connected("10.0.0.5:2379");
/// // The outage was too short to be seen, but not to be counted.
/// let Some(ConnectionState::Connected { outages, .. }) = connection.next().await else {
///     panic!("it is connected again");
/// };
/// assert_eq!(outages, 1);
/// # });
/// ```
#[must_use = "it does nothing by itself"]
pub struct Connection {
    now: watch::Receiver<ConnectionState>,
    /// Shared between threads as a handle is, so that futures that hold it can be sent.
    states: Pin<Box<dyn Stream<Item = ConnectionState> + Send + Sync>>,
}

impl Connection {
    fn new(now: watch::Receiver<ConnectionState>) -> Self {
        let mut receiver = now.clone();
        receiver.mark_changed();
        let states = stream::unfold(Some(receiver), |receiver| async {
            let mut receiver = receiver?;
            receiver.changed().await.ok()?;
            let state = receiver.borrow_and_update().clone();
            let more = state != ConnectionState::Closed;
            Some((state, more.then_some(receiver)))
        });
        Self {
            now,
            states: Box::pin(states.fuse()),
        }
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.now.borrow().clone()
    }

    /// Waits until the state is as wanted, which may be now, and returns it; `None` if it will
    /// never be, as the store was closed.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait_for(
        &self,
        mut wanted: impl FnMut(&ConnectionState) -> bool,
    ) -> Option<ConnectionState> {
        let mut now = self.now.clone();
        let ended = |state: &ConnectionState| *state == ConnectionState::Closed;
        let state = now
            .wait_for(|state| wanted(state) || ended(state))
            .await
            .ok()?
            .clone();
        (!ended(&state) || wanted(&state)).then_some(state)
    }
}

impl Clone for Connection {
    /// Begins with the present state, whatever the other has read.
    fn clone(&self) -> Self {
        Self::new(self.now.clone())
    }
}

impl Stream for Connection {
    type Item = ConnectionState;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnectionState>> {
        self.states.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection")
            .field(&*self.now.borrow())
            .finish()
    }
}

/// Where a backend tells the state of its connection.
///
/// Each connection that comes back after an outage counts in the metric
/// `keyval_connection_reconnects_total`, by its endpoint.
///
/// Telling waits for nobody. After [`closed`](Self::closed) nothing more is told.
#[derive(Debug)]
pub struct ConnectionReporter {
    state: watch::Sender<ConnectionState>,
}

impl ConnectionReporter {
    /// No endpoint has answered yet.
    #[must_use]
    pub fn connecting() -> Self {
        let (since, causes) = (Instant::now(), Vec::new());
        Self {
            state: watch::Sender::new(ConnectionState::Connecting { since, causes }),
        }
    }

    /// Connected to this endpoint from the beginning.
    #[must_use]
    pub fn connected_to(endpoint: impl Into<Arc<str>>) -> Self {
        let (endpoint, outages) = (endpoint.into(), 0);
        Self {
            state: watch::Sender::new(ConnectionState::Connected { endpoint, outages }),
        }
    }

    /// The state, now and from now on.
    pub fn subscribe(&self) -> Connection {
        Connection::new(self.state.subscribe())
    }

    /// Tells that the connection is there.
    pub fn connected(&self, endpoint: impl Into<Arc<str>>) {
        self.state.send_if_modified(|state| {
            let outages = match state {
                ConnectionState::Connecting { .. } => 0,
                ConnectionState::Disconnected { outages, .. } => *outages,
                ConnectionState::Connected { .. } | ConnectionState::Closed => return false,
            };
            let endpoint = endpoint.into();
            if outages > 0 {
                count_reconnect(&endpoint);
            }
            *state = ConnectionState::Connected { endpoint, outages };
            true
        });
    }

    /// Tells that another endpoint is used from now on although none was lost. Says nothing where
    /// there is no connection.
    pub fn moved(&self, to: impl Into<Arc<str>>) {
        self.state.send_if_modified(|state| match state {
            ConnectionState::Connected { endpoint, .. } => {
                *endpoint = to.into();
                true
            }
            _ => false,
        });
    }

    /// Tells that there is none, or that the causes have changed.
    pub fn disconnected(&self, causes: Vec<EndpointFailure>) {
        self.state.send_if_modified(|state| match state {
            ConnectionState::Connected { outages, .. } => {
                *state = ConnectionState::Disconnected {
                    since: Instant::now(),
                    causes,
                    outages: *outages + 1,
                };
                true
            }
            ConnectionState::Connecting { causes: known, .. }
            | ConnectionState::Disconnected { causes: known, .. }
                if *known != causes =>
            {
                *known = causes;
                true
            }
            _ => false,
        });
    }

    /// Tells what another one tells, as it is.
    pub fn relay(&self, told: ConnectionState) {
        self.state.send_if_modified(|state| {
            let news = *state != ConnectionState::Closed && *state != told;
            if news {
                *state = told;
            }
            news
        });
    }

    /// Tells that nothing follows.
    pub fn closed(&self) {
        self.relay(ConnectionState::Closed);
    }
}

fn count_reconnect(endpoint: &Arc<str>) {
    metrics::describe_counter!(RECONNECTS, "Connections that came back after an outage.");
    metrics::counter!(RECONNECTS, "endpoint" => SharedString::from(Arc::clone(endpoint)))
        .increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_before_the_first_connection_are_no_outages() {
        let reporter = ConnectionReporter::connecting();
        let connection = reporter.subscribe();
        reporter.disconnected(vec![EndpointFailure::new("a:1", "refused")]);
        let state = connection.state();
        assert!(matches!(state, ConnectionState::Connecting { .. }));
        assert_eq!(state.to_string(), "not connected yet: a:1: refused");
        reporter.connected("a:1");
        assert_eq!(connection.state().to_string(), "connected to a:1");
        let connected = ConnectionState::Connected {
            endpoint: "a:1".into(),
            outages: 0,
        };
        assert_eq!(connection.state(), connected);
    }

    #[test]
    fn the_change_to_another_endpoint_is_no_outage_where_none_was_lost() {
        let reporter = ConnectionReporter::connecting();
        let connection = reporter.subscribe();
        reporter.moved("a:1");
        assert!(!connection.state().is_connected());
        reporter.connected("a:1");
        reporter.moved("b:1");
        let connected = ConnectionState::Connected {
            endpoint: "b:1".into(),
            outages: 0,
        };
        assert_eq!(connection.state(), connected);
        reporter.closed();
        reporter.moved("c:1");
        assert_eq!(connection.state(), ConnectionState::Closed);
    }

    #[tokio::test]
    async fn a_closed_connection_has_no_more_to_say() {
        let reporter = ConnectionReporter::connected_to("a:1");
        let mut connection = reporter.subscribe();
        let never = reporter.subscribe();
        reporter.closed();
        reporter.disconnected(Vec::new());
        reporter.connected("a:1");
        assert_eq!(connection.next().await, Some(ConnectionState::Closed));
        assert_eq!(connection.next().await, None);
        assert_eq!(connection.next().await, None);
        assert_eq!(never.wait_for(ConnectionState::is_connected).await, None);
    }
}
