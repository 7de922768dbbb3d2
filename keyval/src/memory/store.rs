//! The in-memory store: the handle, and the operations of the contract.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::StreamExt;
use tokio::task::yield_now;

use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::{LeaseGrant, LeaseStatus, Leases};
use crate::lease_id::LeaseId;
use crate::memory::options::MemoryOptions;
use crate::memory::pace::pace;
use crate::memory::read::Frozen;
use crate::memory::reaper;
use crate::memory::shared::Shared;
use crate::memory::txn;
use crate::memory::watch::WatchStream;
use crate::options::{
    DeleteOptions, GetOptions, Lifetime, ListOptions, Projection, PutOptions, WatchOptions,
};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, Listing, PutReply, TxnReply};
use crate::revision::Revision;
use crate::store::{Maintenance, StoreStatus};
use crate::txn::{Op, Txn};
use crate::watcher::{ChangeStream, Watcher};

/// How many slots a compaction prunes before it lets others at the store.
const PRUNED_AT_ONCE: usize = 64;

#[doc = include_str!("memory.md")]
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

impl Memory {
    /// An empty store with the limits of etcd, which keeps all history until it is compacted.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(MemoryOptions::default())
    }

    /// An empty store with these limits and this retention.
    #[must_use]
    pub fn with_options(options: MemoryOptions) -> Self {
        Self {
            shared: Arc::new(Shared::new(options)),
        }
    }

    /// How many revisions are kept in memory at the moment, the present one included.
    ///
    /// # Errors
    /// [`Error::Closed`] if the store is closed.
    pub fn kept_revisions(&self) -> Result<usize> {
        self.shared.read(|state| Ok(state.history.len()))
    }

    /// Grants a lease under a number that the caller chose, as servers let their clients do: if the
    /// answer is lost, the grant can be asked for again.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a TTL below one second, and if there is such a lease already.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use keyval::{LeaseId, Leases, Memory};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// let lease = LeaseId::new(7).unwrap();
    /// assert_eq!(store.grant_as(lease, Duration::from_secs(60))?.id, lease);
    /// assert!(store.grant_as(lease, Duration::from_secs(60)).is_err());
    /// store.revoke(lease).await?;
    /// # Ok::<_, keyval::Error>(()) }).unwrap();
    /// ```
    pub fn grant_as(&self, lease: LeaseId, ttl: Duration) -> Result<LeaseGrant> {
        let ttl = self
            .shared
            .write(|state, _| txn::grant_as(state, lease, ttl))?;
        self.granted();
        Ok(LeaseGrant { id: lease, ttl })
    }

    fn check_size(&self, size: usize) -> Result<()> {
        let limit = self.shared.options.max_request_bytes;
        if size > limit {
            let limit = Some(limit);
            return Err(Error::TooLarge { size, limit });
        }
        Ok(())
    }

    /// Lets those who end leases know that there is one more.
    fn granted(&self) {
        reaper::ensure(&self.shared);
        self.shared.granted.notify_waiters();
    }

    async fn frozen(&self, range: &KeyRange, options: &ListOptions) -> Result<Frozen> {
        range.check()?;
        options.check()?;
        pace().await;
        Frozen::new(&self.shared, range, options)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Memory");
        let seen = self.shared.read(|state| {
            text.field("revision", &state.revision)
                .field("compacted", &state.compacted);
            Ok(())
        });
        if seen.is_err() {
            text.field("closed", &true);
        }
        text.field("options", &self.shared.options).finish()
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

#[async_trait]
impl Broker for Memory {
    fn capabilities(&self) -> Capabilities {
        self.shared.options.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        key.check()?;
        pace().await;
        self.shared.read(|state| {
            let slot = state.index.get(key.as_bytes());
            let Some(at) = options.at else {
                return Ok(slot.and_then(|slot| slot.latest()));
            };
            let at = state.readable(Some(at))?;
            Ok(slot.and_then(|slot| slot.at(at)))
        })
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let frozen = self.frozen(range, &options).await?;
        let revision = frozen.revision();
        if options.projection == Projection::Count {
            return Ok(Listing {
                revision,
                count: Some(frozen.count().await?),
                entries: futures::stream::empty().boxed(),
            });
        }
        Ok(Listing {
            revision,
            count: None,
            entries: frozen.entries(&options).boxed(),
        })
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        options.check(key, &value)?;
        self.check_size(key.len() + value.len())?;
        pace().await;
        let reply = self
            .shared
            .write(|state, after| txn::put(state, key, value, &options, after))?;
        if reply.lease.is_some() {
            self.granted();
        }
        Ok(reply)
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        range.check()?;
        self.check_size(range.size())?;
        pace().await;
        self.shared.write(|state, after| {
            let mut commit = state.begin();
            let (deleted, prev) = commit.delete(range, options.previous);
            Ok(DeleteReply {
                revision: commit.finish(after),
                deleted,
                prev,
            })
        })
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        txn.check(&self.capabilities())?;
        pace().await;
        let grants = txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .any(|op| matches!(op, Op::Put(_, _, options) if matches!(options.lifetime, Lifetime::Ttl(_))));
        let reply = self
            .shared
            .write(|state, after| txn::commit(state, txn, after))?;
        if grants {
            self.granted();
        }
        Ok(reply)
    }
}

#[async_trait]
impl Watcher for Memory {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        range.check()?;
        options.check()?;
        pace().await;
        let (after, stream) = WatchStream::open(&self.shared, range, &options)?;
        Ok(ChangeStream::new(after, stream))
    }
}

#[async_trait]
impl Leases for Memory {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        let (id, ttl) = self.shared.write(|state, _| txn::grant(state, ttl))?;
        self.granted();
        Ok(LeaseGrant { id, ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.shared.write(|state, _| state.leases.renew(lease))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.shared
            .write(|state, after| state.end_lease(lease, after))
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.shared.read(|state| state.leases.status(lease))
    }
}

#[async_trait]
impl Maintenance for Memory {
    async fn status(&self) -> Result<StoreStatus> {
        self.shared.read(|state| {
            let mut status = StoreStatus::new(concat!("memory ", env!("CARGO_PKG_VERSION")));
            status.revision = Some(state.revision);
            status.compacted = Some(state.compacted);
            status.size = Some(state.size);
            Ok(status)
        })
    }

    fn connection(&self) -> Option<Connection> {
        None
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.shared.write(|state, _| state.compact(to))?;
        // In small steps, so that no writer waits long; what a dropped future leaves, the next
        // writes free.
        while self
            .shared
            .write(|state, after| Ok(state.prune(PRUNED_AT_ONCE, after)))?
        {
            yield_now().await;
        }
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.shared.close();
        let reapers = std::mem::take(&mut *self.shared.reapers.lock());
        reaper::stop(reapers).await;
        Ok(())
    }
}
