//! A whole store: what handles share, and what only its owner may do.

use async_trait::async_trait;

use crate::broker::Broker;
use crate::connection::Connection;
use crate::error::Result;
use crate::lease::Leases;
use crate::revision::Revision;
use crate::watcher::Watcher;

/// Everything that works within a scope: reads, writes, watches and leases.
///
/// Implemented for whatever implements its three parts; do not implement it yourself.
pub trait Store: Broker + Watcher + Leases {}

impl<S: Broker + Watcher + Leases + ?Sized> Store for S {}

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// The present revision, where the store tells it to this user.
    pub revision: Option<Revision>,
    /// The revision up to which the history is gone, where the store tells it.
    pub compacted: Option<Revision>,
    /// The size of the stored data in bytes, where the store tells it.
    pub size: Option<u64>,
    /// The name and the version of the store: `memory 0.1.0`, `etcd 3.5.16`.
    pub version: String,
    /// Whether anybody is there to carry out reads and writes; if not, `problems` says why, such as
    /// that there is no leader. An alarm, as of a store that is full, leaves this true.
    pub serves: bool,
    /// What is wrong although the store answers, in its words: no leader, an alarm. None is good.
    pub problems: Vec<String>,
}

impl StoreStatus {
    /// The status of a store of this version that serves, and of which nothing else is known.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            revision: None,
            compacted: None,
            size: None,
            version: version.into(),
            serves: true,
            problems: Vec::new(),
        }
    }
}

/// What only the owner of a whole store may do. No scoped handle has it.
#[async_trait]
pub trait Maintenance: Send + Sync + 'static {
    /// Asks the store how it is. Works under a user who may only read a prefix, and stores nothing.
    ///
    /// # Errors
    /// If the store does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    async fn status(&self) -> Result<StoreStatus>;

    /// Whether the store is connected, now and from now on; `None` if it has no connection to lose,
    /// or cannot tell. Then its operations and [`status`](Self::status) are all that tells.
    ///
    /// An outage is told as it happens, and counted however short it is.
    fn connection(&self) -> Option<Connection>;

    /// Gives up the history before this revision: reads and watches further back fail with
    /// [`Error::Compacted`](crate::Error::Compacted) from then on. The present state, and the state
    /// at this revision, stay readable.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted) if it was compacted before, and
    /// [`Error::FutureRevision`](crate::Error::FutureRevision) for a revision not yet reached.
    ///
    /// # Cancel safety
    /// If the future is dropped, the compaction may take place all the same.
    async fn compact(&self, to: Revision) -> Result<()>;

    /// Closes the connection of this handle and of all its clones: later operations fail with
    /// [`Error::Closed`](crate::Error::Closed), watches end with it, and no task is left behind. So
    /// do operations under way, but a write that may have been applied says that. Closing again is
    /// harmless. What is stored stays.
    ///
    /// # Errors
    /// If something could not be ended in order; it is abandoned then.
    ///
    /// # Cancel safety
    /// If the future is dropped, the store is closed, but its tasks may still be ending.
    async fn close(&self) -> Result<()>;
}

/// A whole store in the hands of its owner.
///
/// Implemented for whatever implements its parts; do not implement it yourself.
pub trait ManagedStore: Store + Maintenance {}

impl<S: Store + Maintenance + ?Sized> ManagedStore for S {}
