//! A store whose every operation has a deadline.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::time::Sleep;

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
use crate::txn::Txn;
use crate::watcher::{ChangeStream, Watcher};

/// Gives every operation of a store a deadline, so that none blocks for ever.
///
/// An operation that does not end in time is [`Error::Timeout`]: a write may have been applied, a
/// read has changed nothing. The deadline holds for opening a list or a watch and for each next
/// entry of a list, counted from when it is first waited for; a reader may take its time. An open
/// watch may be silent for as long as it likes.
///
/// Needs a tokio runtime with time enabled. It belongs inside of [`Retry`](crate::Retry), so that
/// each attempt has a deadline of its own.
///
/// # Cancel safety
/// At the deadline the operation's future is dropped, so the store's own cancel safety says what
/// may have happened. The timeout adds no state that could be lost.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::{BrokerExt, Memory, StoreExt};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new().timeout(Duration::from_secs(1));
/// store.put("name", "left").await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    after: Duration,
    inner: S,
}

impl<S> Timeout<S> {
    /// A deadline that suits most programs: 3 seconds.
    pub const DEFAULT: Duration = Duration::from_secs(3);

    /// The store, with this deadline for every operation. With a deadline of zero only what is
    /// ready at once succeeds.
    pub fn new(inner: S, after: Duration) -> Self {
        Self { after, inner }
    }

    /// The deadline.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The store below.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    async fn read<T>(
        &self,
        operation: &'static str,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.within(operation, Outcome::NotApplied, future).await
    }

    async fn write<T>(
        &self,
        operation: &'static str,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.within(operation, Outcome::Unknown, future).await
    }

    async fn within<T>(
        &self,
        operation: &'static str,
        outcome: Outcome,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let after = self.after;
        match tokio::time::timeout(after, future).await {
            Ok(result) => result,
            Err(_) => Err(Error::timeout(operation, after, outcome)),
        }
    }
}

impl<S: fmt::Display> fmt::Display for Timeout<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timeout({:?}, {})", self.after, self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Broker> Broker for Timeout<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.read("get", self.inner.get_opts(key, options)).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let listing = self
            .read("list", self.inner.list_opts(range, options))
            .await?;
        Ok(Listing {
            revision: listing.revision,
            count: listing.count,
            entries: Timed::new(listing.entries, self.after).boxed(),
        })
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        self.write("put", self.inner.put_opts(key, value, options))
            .await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        self.write("delete", self.inner.delete_opts(range, options))
            .await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let outcome = if txn.is_read_only() {
            Outcome::NotApplied
        } else {
            Outcome::Unknown
        };
        self.within("commit", outcome, self.inner.commit(txn)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Watcher> Watcher for Timeout<S> {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        self.read("watch", self.inner.watch_opts(range, options))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Leases> Leases for Timeout<S> {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        self.write("grant", self.inner.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.write("keep_alive", self.inner.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.write("revoke", self.inner.revoke(lease)).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.read("time_to_live", self.inner.time_to_live(lease))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Maintenance> Maintenance for Timeout<S> {
    async fn status(&self) -> Result<StoreStatus> {
        self.read("status", self.inner.status()).await
    }

    fn connection(&self) -> Option<Connection> {
        self.inner.connection()
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.write("compact", self.inner.compact(to)).await
    }

    async fn close(&self) -> Result<()> {
        self.write("close", self.inner.close()).await
    }
}

/// The entries of a list, each within the deadline from when it is first waited for.
struct Timed {
    entries: BoxStream<'static, Result<Entry>>,
    after: Duration,
    /// Runs while an entry is waited for; what is ready costs no timer.
    deadline: Option<Pin<Box<Sleep>>>,
    failed: bool,
}

impl Timed {
    fn new(entries: BoxStream<'static, Result<Entry>>, after: Duration) -> Self {
        Self {
            entries,
            after,
            deadline: None,
            failed: false,
        }
    }
}

impl Stream for Timed {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(item) = self.entries.poll_next_unpin(cx) {
            self.deadline = None;
            self.failed = matches!(item, Some(Err(_)));
            return Poll::Ready(item);
        }
        let after = self.after;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        std::task::ready!(deadline.as_mut().poll(cx));
        self.deadline = None;
        self.failed = true;
        // Ends the reading now, not when the caller lets go of the list.
        self.entries = futures::stream::empty().boxed();
        Poll::Ready(Some(Err(Error::timeout(
            "list",
            after,
            Outcome::NotApplied,
        ))))
    }
}
