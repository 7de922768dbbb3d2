//! The options of the in-memory store: its limits and how much history it keeps.

use std::time::Duration;

use crate::capability::Capabilities;

/// The limits of an in-memory store, and how much of its history it keeps; the defaults are etcd's.
///
/// # Examples
/// ```
/// use keyval::{Broker, Memory, MemoryOptions};
///
/// let options = MemoryOptions::default().with_max_txn_ops(16).with_retain_revisions(1000);
/// let store = Memory::with_options(options);
/// assert_eq!(store.capabilities().max_txn_ops, Some(16));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// The most operations in each list of a transaction; 128 by default.
    pub max_txn_ops: usize,
    /// The most bytes of keys and values in one write; 1,572,864 (1.5 MiB) by default.
    pub max_request_bytes: usize,
    /// The least TTL of a lease, to which a shorter one is raised; 2 s by default. Counted in whole
    /// seconds, rounded up.
    pub min_ttl: Duration,
    /// Keep at least this many revisions before the present one and compact away the rest, as
    /// writes go on; all until compacted by default.
    pub retain_revisions: Option<u64>,
    /// Keep the revisions of at least this long and compact away the rest, as writes go on; all
    /// until compacted by default. Where both retentions are set, a revision goes when both let it.
    pub retain_for: Option<Duration>,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_txn_ops: 128,
            max_request_bytes: 1_572_864,
            min_ttl: Duration::from_secs(2),
            retain_revisions: None,
            retain_for: None,
        }
    }
}

impl MemoryOptions {
    /// Sets the most operations in each list of a transaction.
    #[must_use]
    pub fn with_max_txn_ops(mut self, limit: usize) -> Self {
        self.max_txn_ops = limit;
        self
    }

    /// Sets the most bytes of keys and values in one write.
    #[must_use]
    pub fn with_max_request_bytes(mut self, limit: usize) -> Self {
        self.max_request_bytes = limit;
        self
    }

    /// Sets the least TTL of a lease.
    #[must_use]
    pub fn with_min_ttl(mut self, ttl: Duration) -> Self {
        self.min_ttl = ttl;
        self
    }

    /// Keeps at least this many revisions before the present one, and lets older ones go.
    #[must_use]
    pub fn with_retain_revisions(mut self, revisions: u64) -> Self {
        self.retain_revisions = Some(revisions);
        self
    }

    /// Keeps the revisions of at least this long, and lets older ones go.
    #[must_use]
    pub fn with_retain_for(mut self, age: Duration) -> Self {
        self.retain_for = Some(age);
        self
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::all()
            .with_max_txn_ops(Some(self.max_txn_ops))
            .with_max_request_bytes(Some(self.max_request_bytes))
            .with_min_ttl(Some(self.min_ttl));
        // Every read sees every write that ended before it; there is no copy that could lag.
        capabilities.serializable = false;
        capabilities
    }
}
