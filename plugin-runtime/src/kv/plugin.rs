//! Any store as a plugin.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use keyval::{Connector, Maintenance, ManagedStore};
use serde::de::DeserializeOwned;
use tokio::time::{MissedTickBehavior, interval_at, timeout};

use super::backends::Backends;
use super::handle::KvHandle;
use super::link::{Link, WaitPolicy};
use super::open::{Open, by_connector};
use crate::context::Context;
use crate::plugin::{Plugin, PluginResult};
use crate::status::Reporter;

/// How often the store is asked how it is, and how long it may take to answer.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_DEADLINE: Duration = Duration::from_secs(3);

/// A store as a plugin: reads its settings, connects, reports how the store is, closes it.
///
/// `C` is the [`Connector`] of a backend fixed at compile time, or [`Backends`], of which the YAML
/// file chooses one. The plugin's [`KvHandle`] can be given to others before anything is connected.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, StoreExt};
/// use plugin_runtime::{Backends, ConfigDir, Host, KvPlugin};
///
/// # tokio_test::block_on(async {
/// let mut host = Host::new(ConfigDir::new("config"));
/// let store = host.add(KvPlugin::chosen("store", Backends::new())); // reads store.yaml
/// let mine = store.prefixed("agents/1/");
/// let work = async move {
///     mine.put("name", "left").await?; // waits for the connection
///     println!("{:?}", mine.get("name").await?);
///     Ok::<_, keyval::Error>(())
/// };
/// host.run(async { work.await.expect("the store takes it") }).await?;
/// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
/// ```
#[doc(alias("etcd.Plugin", "NewPlugin"))]
pub struct KvPlugin<C> {
    name: Arc<str>,
    open: Arc<Open>,
    link: Arc<Link>,
    wait: WaitPolicy,
    backend: PhantomData<fn() -> C>,
}

impl<C: Connector> KvPlugin<C>
where
    C::Config: DeserializeOwned + Default,
{
    /// A store of this backend, with its settings in the file of this name: `etcd` reads
    /// `etcd.yaml` or `etcd.conf`, or what `ETCD_CONFIG` names.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self::new(name.into(), Arc::new(by_connector::<C>))
    }
}

impl KvPlugin<Backends> {
    /// A store of the backend that the file of this name chooses; see [`Backends`].
    pub fn chosen(name: impl Into<Arc<str>>, backends: Backends) -> Self {
        let backends = Arc::new(backends);
        let open: Arc<Open> = Arc::new(move |config, plugin| {
            let backends = Arc::clone(&backends);
            Box::pin(async move { backends.open(&config, &plugin).await })
        });
        Self::new(name.into(), open)
    }
}

impl<C> KvPlugin<C> {
    fn new(name: Arc<str>, open: Arc<Open>) -> Self {
        Self {
            link: Arc::new(Link::new(&name)),
            name,
            open,
            wait: WaitPolicy::default(),
            backend: PhantomData,
        }
    }

    /// Sets what operations do before the connection; they wait up to 5 s by default.
    #[must_use]
    pub fn with_wait(mut self, wait: WaitPolicy) -> Self {
        self.wait = wait;
        self
    }
}

impl<C: 'static> Plugin for KvPlugin<C> {
    type Handle = KvHandle;

    fn name(&self) -> &str {
        &self.name
    }

    fn handle(&self) -> KvHandle {
        KvHandle::new(Arc::clone(&self.link), self.wait)
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let opened = (self.open)(cx.config().clone(), Arc::clone(&self.name)).await;
        let opened = opened.inspect_err(|error| self.link.fail(&error.to_string()))?;
        tracing::info!(plugin = %self.name, store = %opened.store, settings = opened.origin, "connected");
        let store = Arc::clone(&opened.store);
        let settings = format!("settings: {}", opened.origin);
        self.link.connect(opened.store);
        check(&*store, cx.status(), &settings).await;
        let status = cx.status().clone();
        cx.spawn("check", async move |stop| {
            let first = tokio::time::Instant::now() + CHECK_EVERY;
            let mut ticks = interval_at(first, CHECK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let check = check(&*store, &status, &settings);
                stop.run_until_cancelled(check).await;
            }
            Ok(())
        });
        Ok(())
    }

    async fn close(&mut self) -> PluginResult {
        self.link.close();
        if let Some(store) = self.link.connected() {
            store.close().await?;
        }
        Ok(())
    }
}

/// A plugin that is gone will never connect.
impl<C> Drop for KvPlugin<C> {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl<C> fmt::Debug for KvPlugin<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvPlugin")
            .field("name", &self.name)
            .field("link", &self.link)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// Asks the store how it is and reports it.
async fn check(store: &dyn ManagedStore, status: &Reporter, settings: &str) {
    match timeout(CHECK_DEADLINE, store.status()).await {
        Ok(Ok(told)) if told.problems.is_empty() => {
            status.ok_with(format!("{}, {settings}", told.version));
        }
        Ok(Ok(told)) => status.degraded(told.problems.join("; ")),
        Ok(Err(error)) => status.error(error.to_string()),
        Err(_) => status.error(format!("no answer within {CHECK_DEADLINE:?}")),
    }
}
