//! A few facts about a store that can be read without its lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::revision::Revision;

/// Copies of what the state of a store says, for those who need not lock it for that.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    closed: AtomicBool,
    compacted: AtomicU64,
    has_leases: AtomicBool,
}

impl Signs {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn compacted(&self) -> Revision {
        Revision::new(self.compacted.load(Ordering::Acquire))
    }

    pub(crate) fn set_compacted(&self, revision: Revision) {
        self.compacted.store(revision.get(), Ordering::Release);
    }

    pub(crate) fn has_leases(&self) -> bool {
        self.has_leases.load(Ordering::Acquire)
    }

    pub(crate) fn set_leases(&self, some: bool) {
        self.has_leases.store(some, Ordering::Release);
    }
}
