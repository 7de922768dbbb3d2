//! What a store can do, asked before it is called.

use std::time::Duration;

/// What a store can do and where its limits lie.
///
/// A call that needs a missing capability fails with [`Error::NotSupported`], never in silence.
///
/// [`Error::NotSupported`]: crate::Error::NotSupported
///
/// # Examples
/// ```
/// use keyval::{Broker, Memory};
///
/// let capabilities = Memory::new().capabilities();
/// assert!(capabilities.history && capabilities.watch);
/// assert_eq!(capabilities.max_txn_ops, Some(128));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Reads at a past revision, until it is compacted.
    pub history: bool,
    /// Transactions.
    pub txn: bool,
    /// Watches.
    pub watch: bool,
    /// Watches that begin at a past revision.
    pub watch_from: bool,
    /// Progress that a watch asks for says how far the store has come. Where false, it is a sign
    /// of life alone: it repeats the revision delivered last.
    pub progress: bool,
    /// Entries as they stood before a put, a delete or a change.
    pub previous: bool,
    /// Leases and keys that live no longer than they.
    pub leases: bool,
    /// Reads that may lag behind for less cost; where false, such a read is simply linearizable.
    pub serializable: bool,
    /// Compaction of the history.
    pub compact: bool,
    /// The most operations in each list of a transaction; `None` is no limit.
    pub max_txn_ops: Option<usize>,
    /// The most bytes of keys and values in one write; `None` is no limit.
    pub max_request_bytes: Option<usize>,
    /// The least TTL of a lease, to which a shorter one is raised, where the store tells it.
    pub min_ttl: Option<Duration>,
}

impl Capabilities {
    /// Every capability, and no limit that is known beforehand.
    #[must_use]
    pub fn all() -> Self {
        Self {
            history: true,
            txn: true,
            watch: true,
            watch_from: true,
            progress: true,
            previous: true,
            leases: true,
            serializable: true,
            compact: true,
            max_txn_ops: None,
            max_request_bytes: None,
            min_ttl: None,
        }
    }

    /// The same with progress that says how far the store has come, or with a sign of life alone.
    #[must_use]
    pub fn with_progress(mut self, progress: bool) -> Self {
        self.progress = progress;
        self
    }

    /// The same with this limit of operations in a transaction.
    #[must_use]
    pub fn with_max_txn_ops(mut self, limit: Option<usize>) -> Self {
        self.max_txn_ops = limit;
        self
    }

    /// The same with this limit of bytes in a write.
    #[must_use]
    pub fn with_max_request_bytes(mut self, limit: Option<usize>) -> Self {
        self.max_request_bytes = limit;
        self
    }

    /// The same with this least TTL.
    #[must_use]
    pub fn with_min_ttl(mut self, ttl: Option<Duration>) -> Self {
        self.min_ttl = ttl;
        self
    }
}
