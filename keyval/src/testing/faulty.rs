//! A store that fails on command.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::entry::Entry;
use crate::error::{Error, Outcome, Result};
use crate::key::Key;
use crate::lease::{LeaseGrant, LeaseStatus, Leases};
use crate::lease_id::LeaseId;
use crate::options::{DeleteOptions, GetOptions, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, Listing, PutReply, TxnReply};
use crate::revision::Revision;
use crate::store::{Maintenance, StoreStatus};
use crate::testing::control::FaultControl;
use crate::testing::held::Write;
use crate::testing::operation::Operation;
use crate::txn::Txn;
use crate::watcher::{ChangeStream, Watcher};

/// A store that fails, hangs, slows down or falls silent when its [`FaultControl`] says so.
///
/// It invents nothing, and reorders nothing but the writes that it was told to hold: what it lets
/// through is what the inner store said.
/// Clones share their faults. While it is cut off or hung, it can still be closed.
///
/// # Examples
/// ```
/// use keyval::testing::Faulty;
/// use keyval::{BrokerExt, Error, Memory};
///
/// # tokio_test::block_on(async {
/// let store = Faulty::new(Memory::new());
/// store.control().cut();
/// assert!(matches!(store.get("key").await, Err(Error::Unavailable { .. })));
/// store.control().heal();
/// assert!(store.get("key").await?.is_none());
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Faulty<S> {
    inner: S,
    control: FaultControl,
}

impl<S> Faulty<S> {
    /// Wraps a store; until told otherwise, all is well.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            control: FaultControl::new(),
        }
    }

    /// The handle that commands the faults.
    #[must_use]
    pub fn control(&self) -> FaultControl {
        self.control.clone()
    }

    /// The store below, which no fault touches.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The store below.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Broker> Faulty<S> {
    /// Carries out every write that a fault has held, in the order in which they were sent and
    /// whatever faults there are, and returns how many there were. What the store answers, nobody
    /// waits for: a write that the store refuses by now counts, too.
    ///
    /// # Cancel safety
    /// If the future is dropped, those that were not carried out yet are lost.
    ///
    /// # Examples
    /// ```
    /// use keyval::testing::{Fault, Faulty};
    /// use keyval::{BrokerExt, Memory};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Faulty::new(Memory::new());
    /// store.control().fail_next(1, Fault::request_held());
    /// assert!(store.put("key", "early").await.unwrap_err().may_have_applied());
    /// store.put("key", "late").await?;
    ///
    /// assert_eq!(store.deliver_held().await, 1);
    /// assert_eq!(store.get("key").await?.unwrap().value, "early");
    /// # Ok::<_, keyval::Error>(()) }).unwrap();
    /// ```
    pub async fn deliver_held(&self) -> usize {
        let held = self.control.take_held();
        let count = held.len();
        for write in held {
            // As for a caller that is long gone.
            drop(write.deliver(&self.inner).await);
        }
        count
    }
}

impl<S: Maintenance> Faulty<S> {
    /// Compacts the store below to its present revision, whatever faults there are, and returns
    /// that revision.
    ///
    /// # Errors
    /// Those of the store below; [`Error::Backend`] if it does not tell its revision.
    ///
    /// # Cancel safety
    /// If the future is dropped, the compaction may take place all the same.
    pub async fn compact_now(&self) -> Result<Revision> {
        let present = self.inner.status().await?.revision.ok_or_else(|| {
            Error::backend("the store does not tell its revision", Outcome::NotApplied)
        })?;
        self.inner.compact(present).await?;
        Ok(present)
    }
}

impl<S: fmt::Display> fmt::Display for Faulty<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Broker> Broker for Faulty<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let call = self.inner.get_opts(key, options);
        self.control.call(Operation::Get, call).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let call = self.inner.list_opts(range, options);
        let (mut listing, cuts) = self
            .control
            .call(Operation::List, async {
                let cuts = self.control.cuts();
                Ok((call.await?, cuts))
            })
            .await?;
        listing.entries = Box::pin(self.control.list_stream(listing.entries, cuts));
        Ok(listing)
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        let write = Write::Put(key.clone(), value.clone(), options.clone());
        let call = self.inner.put_opts(key, value, options);
        self.control.write(write, call).await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        let write = Write::Delete(range.clone(), options);
        let call = self.inner.delete_opts(range, options);
        self.control.write(write, call).await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let write = Write::Commit(txn.clone());
        let call = self.inner.commit(txn);
        self.control.write(write, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Watcher> Watcher for Faulty<S> {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let call = self.inner.watch_opts(range, options);
        let (stream, cuts) = self
            .control
            .call(Operation::Watch, async {
                // Counted once the call has got through: a cut before it ended other watches.
                let cuts = self.control.cuts();
                Ok((call.await?, cuts))
            })
            .await?;
        let after = stream.after();
        Ok(ChangeStream::new(
            after,
            self.control.watch_stream(stream, cuts),
        ))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Leases> Leases for Faulty<S> {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        let call = self.inner.grant(ttl);
        self.control.call(Operation::Grant, call).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        let call = self.inner.keep_alive(lease);
        self.control.call(Operation::KeepAlive, call).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        let call = self.inner.revoke(lease);
        self.control.call(Operation::Revoke, call).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        let call = self.inner.time_to_live(lease);
        self.control.call(Operation::TimeToLive, call).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Maintenance> Maintenance for Faulty<S> {
    async fn status(&self) -> Result<StoreStatus> {
        let call = self.inner.status();
        self.control.call(Operation::Status, call).await
    }

    /// Tells of every cut; what hangs or falls silent, no connection tells.
    fn connection(&self) -> Option<Connection> {
        Some(self.control.connection())
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        let call = self.inner.compact(to);
        self.control.call(Operation::Compact, call).await
    }

    async fn close(&self) -> Result<()> {
        self.control.count(Operation::Close);
        self.control.closed();
        self.inner.close().await
    }
}
