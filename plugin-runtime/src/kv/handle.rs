//! A store handle that is older than its connection.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use keyval::recipes::Session;
use keyval::{
    BoxError, Broker, Capabilities, ChangeStream, Connection, DeleteOptions, DeleteReply, Entry,
    GetOptions, Key, KeyRange, LeaseGrant, LeaseId, LeaseStatus, Leases, ListOptions, Listing,
    Prefix, PutOptions, PutReply, Result, Txn, TxnReply, WatchOptions, Watcher,
};

use super::link::{Link, WaitPolicy};

/// The store of a [`KvPlugin`](crate::KvPlugin), handed out before it is connected.
///
/// It is a store like any other: scope it, type it, follow it, give it to other plugins. Before the
/// connection an operation waits for it, as the [`WaitPolicy`] says, and fails with
/// [`Error::Unavailable`](keyval::Error::Unavailable) that names the plugin; after the plugin was
/// closed, and if it is [disabled](Self::is_disabled), it fails with
/// [`Error::Closed`](keyval::Error::Closed). Nobody can close or compact the
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

    /// The same store with another policy for operations before the connection. A watch waits for as long
    /// as it takes also where operations wait up to a time.
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

    /// Whether the plugin is disabled, so that there will never be a store; see
    /// [`KvPlugin::disabled_unless_configured`](crate::KvPlugin::disabled_unless_configured).
    ///
    /// It is known once the plugin's `init` is over: plugins that were added behind it can ask in
    /// theirs.
    #[doc(alias = "Disabled")]
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.link.is_disabled()
    }

    /// The state of the connection, now and from now on: not connected yet, connected, disconnected
    /// with the cause and since when, closed.
    ///
    /// A backend that has a connection tells as it happens, and counts outages too short to be seen.
    /// Of one that has none, it is what the checks for the plugin's status find, every 5 s.
    ///
    /// # Examples
    /// ```
    /// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend};
    ///
    /// # tokio_test::block_on(async {
    /// let mut host = Host::new(ConfigDir::new("config"));
    /// let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    /// let connection = store.connection();
    /// assert_eq!(connection.state().to_string(), "not connected yet");
    /// host.run(async move {
    ///     let state = connection.wait_for(|state| state.is_connected()).await;
    ///     assert_eq!(state.expect("not closed yet").to_string(), "connected to memory");
    /// })
    /// .await?;
    /// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
    /// ```
    pub fn connection(&self) -> Connection {
        self.link.connection()
    }

    /// Does something at each connection: the first one and every one after an outage; at once, if
    /// the store is connected.
    ///
    /// What was asked for first is done first, and each is waited for, up to 30 s. A failure, a
    /// panic included, makes the plugin's state degraded, with the name and the cause, until the
    /// same succeeds at a later connection; it ends nothing else. If the connection is lost and
    /// back meanwhile, all of it is done once more. What is done holds until the plugin is closed;
    /// after that nothing is taken any more.
    ///
    /// # Examples
    /// ```
    /// use keyval::BrokerExt;
    /// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend};
    ///
    /// # tokio_test::block_on(async {
    /// let mut host = Host::new(ConfigDir::new("config"));
    /// let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    /// let (tell, told) = tokio::sync::watch::channel(false);
    /// store.on_connect("greet", {
    ///     let store = store.clone();
    ///     move || {
    ///         let (store, tell) = (store.clone(), tell.clone());
    ///         async move {
    ///             store.put("greeting", "hello").await?;
    ///             tell.send_replace(true);
    ///             Ok(())
    ///         }
    ///     }
    /// });
    /// let mut told = told;
    /// host.run(async move {
    ///     told.wait_for(|done| *done).await.expect("it is connected");
    /// })
    /// .await?;
    /// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
    /// ```
    #[doc(alias = "OnConnect")]
    pub fn on_connect<F>(
        &self,
        name: impl Into<Arc<str>>,
        hook: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = std::result::Result<(), BoxError>> + Send + 'static,
    {
        let hook = Arc::new(move || Box::pin(hook()) as _);
        self.link.hooks.add(name.into(), hook);
    }

    /// The session of this scope, for keys that live as long as the program and its connection, and
    /// for locks and elections; the whole store is the scope `""`.
    ///
    /// Whoever asks for the same scope gets the same session, opened for the first of them with the
    /// TTL of the settings (`session-ttl`; 5 s by default). After an outage that outlasts the TTL
    /// the session puts its keys again. It ends with the plugin, and its keys at once with it.
    ///
    /// # Errors
    /// Those of [`Session::open_opts`], and of any operation before the connection.
    ///
    /// # Cancel safety
    /// If the future is dropped, a lease may have been granted; it ends by itself.
    ///
    /// # Examples
    /// ```
    /// use keyval::recipes::Election;
    /// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend};
    ///
    /// # tokio_test::block_on(async {
    /// let mut host = Host::new(ConfigDir::new("config"));
    /// let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    /// let work = async move {
    ///     let session = store.session("agents/").await?;
    ///     session.put("1/address", "10.0.0.7").await?; // gone when this agent is
    ///     let leadership = Election::new(&session, "leader").campaign("1").await?;
    ///     leadership.resign().await
    /// };
    /// host.run(async { assert!(work.await.expect("the store works")) }).await?;
    /// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
    /// ```
    #[doc(alias("WithClientLifetimeTTL", "CampaignInElection"))]
    pub async fn session(&self, scope: impl Into<Prefix>) -> Result<Session> {
        self.link.session(scope.into(), self.wait).await
    }

    /// Whether plugins are to resync after each outage, as the settings say once they were read.
    pub(crate) fn resyncs_after_reconnect(&self) -> bool {
        let hosting = self.link.hosting();
        hosting.is_some_and(|hosting| hosting.resync_after_reconnect)
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
        let store = self.link.store(self.wait.of_watches()).await?;
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
