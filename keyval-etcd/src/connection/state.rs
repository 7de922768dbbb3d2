//! Whether a store is connected, as its users can follow it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::watch;

/// Whether a store is connected.
///
/// Connected says that the endpoint in use answers. Whether the cluster behind it has a leader,
/// the operations tell, and [`status`](keyval::Maintenance::status).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The endpoint answers.
    #[non_exhaustive]
    Connected {
        /// The endpoint in use.
        endpoint: Arc<str>,
        /// How many outages there have been since the store was opened, the change to another
        /// endpoint included: by it one sees also those that were too short to be seen.
        outages: u64,
    },
    /// The connection ended, or the endpoint does not answer, and no other has answered yet.
    #[non_exhaustive]
    Disconnected {
        /// Since when.
        since: Instant,
        /// What each endpoint failed of last; empty for one that was not asked since.
        causes: Vec<EndpointFailure>,
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
    pub(crate) fn new(endpoint: Arc<str>, cause: Arc<str>) -> Self {
        Self { endpoint, cause }
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
}

/// For a line of a log: `connected to 127.0.0.1:2379`.
impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { endpoint, .. } => write!(f, "connected to {endpoint}"),
            Self::Disconnected { causes, .. } => {
                f.write_str("disconnected")?;
                for (at, failure) in causes.iter().enumerate() {
                    write!(f, "{}{failure}", if at == 0 { ": " } else { "; " })?;
                }
                Ok(())
            }
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// The state of a store's connection: as it is now, and, as a stream, from now on.
///
/// The stream begins with the present state and ends behind [`ConnectionState::Closed`]. A slow
/// reader gets the newest state only; the count of outages tells it what it has missed. Holding
/// it does not keep the store open.
///
/// # Examples
/// ```no_run
/// use futures::StreamExt;
/// use keyval_etcd::{EtcdConfig, EtcdStore};
///
/// # async fn run() -> keyval::Result<()> {
/// let store = EtcdStore::connect(&EtcdConfig::default()).await?;
/// let mut connection = store.connection();
/// assert!(connection.state().is_connected());
/// while let Some(state) = connection.next().await {
///     println!("etcd is {state}");
/// }
/// # Ok(()) }
/// ```
#[must_use = "it does nothing by itself"]
pub struct Connection {
    now: watch::Receiver<ConnectionState>,
    states: BoxStream<'static, ConnectionState>,
}

impl Connection {
    /// The state now.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.now.borrow().clone()
    }
}

impl Clone for Connection {
    /// Begins with the present state, whatever the other has read.
    fn clone(&self) -> Self {
        Self::new(self.now.clone())
    }
}

impl Connection {
    fn new(now: watch::Receiver<ConnectionState>) -> Self {
        let mut receiver = now.clone();
        receiver.mark_changed();
        let states = stream::unfold(receiver, |mut receiver| async {
            receiver.changed().await.ok()?;
            let state = receiver.borrow_and_update().clone();
            Some((state, receiver))
        });
        Self {
            now,
            states: states.boxed(),
        }
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

/// Where the state is told.
pub(crate) struct States {
    state: watch::Sender<ConnectionState>,
    outages: parking_lot::Mutex<u64>,
}

impl States {
    /// Connected to this endpoint.
    pub(crate) fn connected_to(endpoint: Arc<str>) -> Self {
        Self {
            state: watch::Sender::new(ConnectionState::Connected {
                endpoint,
                outages: 0,
            }),
            outages: parking_lot::Mutex::new(0),
        }
    }

    pub(crate) fn subscribe(&self) -> Connection {
        Connection::new(self.state.subscribe())
    }

    /// Tells that the connection is there.
    pub(crate) fn connected(&self, endpoint: &Arc<str>) {
        let outages = *self.outages.lock();
        self.state.send_if_modified(|state| {
            if !matches!(state, ConnectionState::Disconnected { .. }) {
                return false;
            }
            *state = ConnectionState::Connected {
                endpoint: endpoint.clone(),
                outages,
            };
            true
        });
    }

    /// Tells that there is none, or that the causes have changed.
    pub(crate) fn disconnected(&self, causes: Vec<EndpointFailure>) {
        self.state.send_if_modified(|state| match state {
            ConnectionState::Connected { .. } => {
                *self.outages.lock() += 1;
                *state = ConnectionState::Disconnected {
                    since: Instant::now(),
                    causes,
                };
                true
            }
            ConnectionState::Disconnected { causes: known, .. } if *known != causes => {
                *known = causes;
                true
            }
            ConnectionState::Disconnected { .. } | ConnectionState::Closed => false,
        });
    }

    /// Tells that nothing follows.
    pub(crate) fn closed(&self) {
        self.state.send_if_modified(|state| {
            let first = *state != ConnectionState::Closed;
            *state = ConnectionState::Closed;
            first
        });
    }
}
