//! A store that is given so much time and no more: a call that hangs is a promise not kept.

use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::entry::Entry;
use crate::error::Result;
use crate::key::Key;
use crate::lease::{LeaseGrant, LeaseStatus, Leases};
use crate::lease_id::LeaseId;
use crate::options::{DeleteOptions, GetOptions, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, Listing, PutReply, TxnReply};
use crate::revision::Revision;
use crate::store::{Maintenance, StoreStatus};
use crate::testing::conformance::log::Log;
use crate::txn::Txn;
use crate::watcher::{ChangeStream, Watcher};

/// Forwards every call, logs it, and panics if it does not return in time.
#[derive(Debug)]
pub(crate) struct Patient<S> {
    pub(crate) inner: S,
    pub(crate) patience: Duration,
    pub(crate) log: Arc<Log>,
}

/// Waits for a future so long and no longer.
///
/// # Panics
/// If it does not end in time, saying what was waited for.
pub(crate) async fn within<T>(
    patience: Duration,
    what: impl fmt::Display,
    future: impl Future<Output = T>,
) -> T {
    match tokio::time::timeout(patience, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not end within {patience:?}"),
    }
}

impl<S> Patient<S> {
    async fn call<T: Debug>(
        &self,
        what: String,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let answer = within(self.patience, &what, call).await;
        self.log.push(&what, &answer);
        answer
    }
}

impl<S: fmt::Display> fmt::Display for Patient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Broker> Broker for Patient<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let what = format!("get \"{key}\" {options:?}");
        self.call(what, self.inner.get_opts(key, options)).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let what = format!("list \"{range}\" {options:?}");
        let mut listing = self
            .call(what, self.inner.list_opts(range, options))
            .await?;
        let (patience, log) = (self.patience, Arc::clone(&self.log));
        listing.entries = stream::unfold(listing.entries, move |mut entries| {
            let log = Arc::clone(&log);
            async move {
                let item = within(patience, "the next entry of a list", entries.next()).await?;
                log.push("the list's next entry", &item);
                Some((item, entries))
            }
        })
        .boxed();
        Ok(listing)
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        let what = format!("put \"{key}\" of {} bytes {options:?}", value.len());
        self.call(what, self.inner.put_opts(key, value, options))
            .await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        let what = format!("delete \"{range}\" {options:?}");
        self.call(what, self.inner.delete_opts(range, options))
            .await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let what = format!(
            "commit of {} compares, {} or {} operations",
            txn.compares.len(),
            txn.then.len(),
            txn.otherwise.len()
        );
        self.call(what, self.inner.commit(txn)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Watcher> Watcher for Patient<S> {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let what = format!("watch \"{range}\" {options:?}");
        self.call(what, self.inner.watch_opts(range, options)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Leases> Leases for Patient<S> {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        let what = format!("grant {ttl:?}");
        self.call(what, self.inner.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        let what = format!("keep_alive {lease}");
        self.call(what, self.inner.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        let what = format!("revoke {lease}");
        self.call(what, self.inner.revoke(lease)).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        let what = format!("time_to_live {lease}");
        self.call(what, self.inner.time_to_live(lease)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Maintenance> Maintenance for Patient<S> {
    async fn status(&self) -> Result<StoreStatus> {
        self.call("status".to_owned(), self.inner.status()).await
    }

    fn connection(&self) -> Option<Connection> {
        self.inner.connection()
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        let what = format!("compact {to}");
        self.call(what, self.inner.compact(to)).await
    }

    async fn close(&self) -> Result<()> {
        self.call("close".to_owned(), self.inner.close()).await
    }
}
