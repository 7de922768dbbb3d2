//! A store handle that is older than its connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use keyval::{
    Broker, Capabilities, ChangeStream, DeleteOptions, DeleteReply, Entry, GetOptions, Key,
    KeyRange, LeaseGrant, LeaseId, LeaseStatus, Leases, ListOptions, Listing, PutOptions, PutReply,
    Result, Txn, TxnReply, WatchOptions, Watcher,
};

use super::link::{Link, WaitPolicy};

/// The store of a [`KvPlugin`](crate::KvPlugin), handed out before it is connected.
///
/// It is a store like any other: scope it, type it, follow it, give it to other plugins. Before the
/// connection an operation waits for it, as the [`WaitPolicy`] says, and fails with
/// [`Error::Unavailable`](keyval::Error::Unavailable) that names the plugin; after the plugin was
/// closed it fails with [`Error::Closed`](keyval::Error::Closed). Nobody can close or compact the
/// store through it. Clones share the connection.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Error, Memory, StoreExt};
/// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend, WaitPolicy};
///
/// # tokio_test::block_on(async {
/// let mut host = Host::new(ConfigDir::new("config"));
/// let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
/// let mine = store.with_wait(WaitPolicy::FailFast).prefixed("agents/1/");
/// // The host does not run yet.
/// let error = mine.get("name").await.unwrap_err();
/// assert!(matches!(error, Error::Unavailable { .. }));
/// assert!(error.to_string().contains("plugin store"));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct KvHandle {
    link: Arc<Link>,
    wait: WaitPolicy,
}

impl KvHandle {
    pub(crate) fn new(link: Arc<Link>, wait: WaitPolicy) -> Self {
        Self { link, wait }
    }

    /// The same store with another policy for operations before the connection.
    #[must_use]
    pub fn with_wait(&self, wait: WaitPolicy) -> Self {
        Self::new(Arc::clone(&self.link), wait)
    }

    /// Whether the store is connected and not closed.
    ///
    /// A store that is connected may still be out of reach: its operations tell.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.present().is_some()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Broker for KvHandle {
    /// Before the connection it is not known what the store lacks, so everything is promised; what
    /// the store cannot do it refuses itself.
    fn capabilities(&self) -> Capabilities {
        match self.link.connected() {
            Some(store) => store.capabilities(),
            None => Capabilities::all(),
        }
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        let store = self.link.store(self.wait).await?;
        store.get_opts(key, options).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let store = self.link.store(self.wait).await?;
        store.list_opts(range, options).await
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        let store = self.link.store(self.wait).await?;
        store.put_opts(key, value, options).await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        let store = self.link.store(self.wait).await?;
        store.delete_opts(range, options).await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let store = self.link.store(self.wait).await?;
        store.commit(txn).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Watcher for KvHandle {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let store = self.link.store(self.wait).await?;
        store.watch_opts(range, options).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Leases for KvHandle {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        let store = self.link.store(self.wait).await?;
        store.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        let store = self.link.store(self.wait).await?;
        store.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        let store = self.link.store(self.wait).await?;
        store.revoke(lease).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        let store = self.link.store(self.wait).await?;
        store.time_to_live(lease).await
    }
}

/// Shows the store below, or that it is not connected yet.
impl fmt::Display for KvHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.link.fmt(f)
    }
}
