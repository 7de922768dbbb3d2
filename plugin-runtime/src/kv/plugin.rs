//! Any store as a plugin.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use keyval::{Connector, Hosting, Key};
use keyval_config::{ConfigDir, Origin, Section, Settings};

use super::backends::Backends;
use super::compact::auto_compact;
use super::handle::KvHandle;
use super::hooks::run_hooks;
use super::link::{Link, WaitPolicy};
use super::open::{Opened, Prepare, Prepared, by_connector};
use super::owner::KvOwner;
use super::upkeep::{Upkeep, connect, relay, report};
use crate::context::Context;
use crate::plugin::{Plugin, PluginResult};

/// The election of the one agent that compacts.
const COMPACTION_ELECTION: &str = "keyval/auto-compact";

/// A store as a plugin: reads its settings, connects, reports how the store is, closes it.
///
/// `C` is the [`Connector`] of a backend fixed at compile time, or [`Backends`], of which the YAML
/// file chooses one. The plugin's [`KvHandle`] can be given to others before anything is connected.
/// Every operation is traced and measured under the name of the backend; see
/// [`Observe`](keyval::Observe).
///
/// # How it reports the store
/// Whenever the connection changes, and every 5 s. Where the backend tells its
/// [connection](keyval::Maintenance::connection), and that is not connected, nothing more is asked; else the store's
/// [`status`](keyval::Maintenance::status) decides. The author of a backend says by it how the agent is:
///
/// | state of the plugin | when | agent ready |
/// |---|---|---|
/// | ok | the store answers, [`serves`](keyval::StoreStatus::serves), and tells no [`problems`](keyval::StoreStatus::problems) | yes |
/// | degraded | it serves, but tells problems, such as an alarm; or the upkeep of this plugin fails, as a hook or the compaction | yes |
/// | error | it is not connected, `status` fails or takes more than 3 s, or it answers and does not serve | no |
/// | init | under `allow-delayed-start`, until it is connected for the first time | no |
/// | disabled | [nothing configures it](Self::disabled_unless_configured) | yes |
///
/// A problem never makes the agent unready: a store that carries out neither reads nor writes has to say
/// `serves: false`.
///
/// # What the settings say to it
/// These are the keys of cn-infra's `etcd.conf`. For a backend without them, they stand beside the
/// choice of the backend ([`Backends`]), or the program sets them
/// ([`with_hosting`](Self::with_hosting)).
///
/// - `allow-delayed-start`: `init` does not wait for the store. Attempts to connect follow each
///   other, ever less often, down to one in each `reconnect-interval`; until one succeeds the
///   plugin is still [starting](crate::Reporter::starting), with the last cause, and operations
///   wait, or fail at once, as the [`WaitPolicy`] says. Settings that make no sense still end the
///   agent. Without this key, `init` fails if the first attempt does.
/// - `resync-after-reconnect`: a round of resync after each outage; see
///   [`ResyncPlugin`](crate::ResyncPlugin).
/// - `auto-compact`: gives up history that is older than this. Of all agents that have it on, one is
///   elected to do it, under the keys `keyval/auto-compact/` of the store. Only what it has itself
///   seen to be that old is given up, never the present revision, and up to a tenth more is kept.
///   It needs the right to compact: the elected agent that has not is degraded, and says so.
/// - `session-ttl`: for [`KvHandle::session`].
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
    section: Section,
    must_be_configured: bool,
    prepare: Arc<Prepare>,
    hosting: Box<dyn Fn(&mut Hosting) + Send>,
    election: Key,
    link: Arc<Link>,
    /// Whether its host has got to it.
    begun: bool,
    wait: WaitPolicy,
    backend: PhantomData<fn() -> C>,
}

impl<C: Connector> KvPlugin<C>
where
    C::Config: Settings,
{
    /// A store of this backend, with its settings in the file of this name: `etcd` reads
    /// `etcd.yaml` or `etcd.conf`, or what `ETCD_CONFIG` names.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        let name = name.into();
        let section = Section::of::<C::Config>(Arc::clone(&name));
        Self::new(name, section, Arc::new(by_connector::<C>))
    }
}

impl KvPlugin<Backends> {
    /// A store of the backend that the file of this name chooses; see [`Backends`].
    pub fn chosen(name: impl Into<Arc<str>>, backends: Backends) -> Self {
        let name = name.into();
        let section = Section::choice(Arc::clone(&name), backends.choice().clone());
        let prepare = move |config: &_, plugin: &_| backends.prepare(config, plugin);
        Self::new(name, section, Arc::new(prepare))
    }
}

impl<C> KvPlugin<C> {
    fn new(name: Arc<str>, section: Section, prepare: Arc<Prepare>) -> Self {
        Self {
            section,
            must_be_configured: false,
            link: Arc::new(Link::new(&name)),
            begun: false,
            name,
            prepare,
            hosting: Box::new(|_| {}),
            election: COMPACTION_ELECTION.into(),
            wait: WaitPolicy::default(),
            backend: PhantomData,
        }
    }

    /// Sets what operations do before the connection; they wait up to 5 s by default. A watch waits for as
    /// long as it takes, whatever the time here: only [`WaitPolicy::FailFast`] makes it fail at once.
    #[must_use]
    pub fn with_wait(mut self, wait: WaitPolicy) -> Self {
        self.wait = wait;
        self
    }

    /// Disables the plugin where nothing is said about it, neither by a file nor by a variable or a
    /// flag, instead of running it on defaults, as cn-infra does.
    ///
    /// Its state is then [`Disabled`](crate::State::Disabled), which does not concern the agent's, and
    /// every operation fails with [`Error::Closed`](keyval::Error::Closed), which says what to write. Plugins that can do
    /// without the store ask its handle: [`KvHandle::is_disabled`].
    ///
    /// # Examples
    /// ```
    /// use keyval::BrokerExt;
    /// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend, State};
    ///
    /// # tokio_test::block_on(async {
    /// let mut host = Host::new(ConfigDir::new("no-such-folder"));
    /// let plugin = KvPlugin::<MemoryBackend>::named("store").disabled_unless_configured();
    /// let store = host.add(plugin);
    /// let status = host.status();
    /// host.run(async move {
    ///     let agent = status.wait_for(|agent| agent.state() == State::Ok).await;
    ///     assert_eq!(agent.plugin("store").map(|store| store.state), Some(State::Disabled));
    ///     let error = store.get("name").await.unwrap_err();
    ///     assert!(error.to_string().contains("write no-such-folder/store.yaml to enable it"));
    /// })
    /// .await?;
    /// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn disabled_unless_configured(mut self) -> Self {
        self.section = self.section.clone().disabled_unless_configured();
        self.must_be_configured = true;
        self
    }

    /// Changes what the settings say to the host, once they are read. Called again, it changes what
    /// the calls before have made of it.
    ///
    /// # Examples
    /// ```
    /// use plugin_runtime::{KvPlugin, MemoryBackend};
    ///
    /// let plugin = KvPlugin::<MemoryBackend>::named("store")
    ///     .with_hosting(|hosting| hosting.resync_after_reconnect = true);
    /// # drop(plugin);
    /// ```
    #[must_use]
    pub fn with_hosting(mut self, change: impl Fn(&mut Hosting) + Send + 'static) -> Self {
        let before = std::mem::replace(&mut self.hosting, Box::new(|_| {}));
        self.hosting = Box::new(move |hosting| {
            before(hosting);
            change(hosting);
        });
        self
    }

    /// Sets the name of the election of the one agent that compacts, which is a prefix in the
    /// store; `keyval/auto-compact` by default. It has to be the same for all agents of a store,
    /// and one that they may write.
    #[must_use]
    pub fn with_compaction_election(mut self, name: impl Into<Key>) -> Self {
        self.election = name.into();
        self
    }

    /// The rights of the owner of the whole store, which the handle does not have.
    #[must_use]
    pub fn owner(&self) -> KvOwner {
        KvOwner::new(Arc::clone(&self.link), self.wait)
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

    fn sections(&self) -> Vec<Section> {
        vec![self.section.clone()]
    }

    fn describe(&self, config: &ConfigDir) -> Option<String> {
        let prepared = (self.prepare)(config, &self.name).ok()?;
        if self.is_disabled_by(&prepared) {
            return Some(format!("disabled: {}", config.unconfigured(&self.name)));
        }
        Some(format!("{}, settings: {}", prepared.about, prepared.origin))
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        self.begun = true;
        let prepared = self.prepare(cx);
        let prepared = prepared.inspect_err(|error| self.link.fail(&error.to_string()))?;
        if self.is_disabled_by(&prepared) {
            let cause = cx.config().unconfigured(&self.name);
            tracing::info!(plugin = cx.name(), %cause, "disabled");
            self.link.disable(&cause);
            cx.status().disabled(cause);
            return Ok(());
        }
        let (hosting, begun) = (prepared.hosting.clone(), Begun::new(cx, &self.link));
        if hosting.allow_delayed_start {
            cx.status().starting("not connected yet");
            begun.later(prepared);
        } else {
            let store = (prepared.connect)().await;
            let store = store.inspect_err(|error| self.link.fail(&error.to_string()))?;
            begun.with(store, &prepared.origin).await;
        }
        let link = Arc::clone(&self.link);
        cx.spawn("on_connect", async move |stop| {
            run_hooks(link, stop).await;
            Ok(())
        });
        if !hosting.auto_compact.is_zero() {
            // Who looks at the election sees which agent it is.
            let agent = cx
                .label()
                .map_or_else(|| Arc::clone(&self.name), |label| label.as_str().into());
            let link = Arc::clone(&self.link);
            let (election, keep) = (self.election.clone(), hosting.auto_compact);
            cx.spawn("auto-compact", async move |stop| {
                auto_compact(link, agent, election, keep, stop).await;
                Ok(())
            });
        }
        Ok(())
    }

    async fn close(&mut self) -> PluginResult {
        // From now on nobody begins anything; the sessions are ended by the store itself.
        self.link.close();
        let ended = self.link.end_sessions().await;
        if let Some(store) = self.link.connected() {
            store.close().await?;
        }
        Ok(ended?)
    }
}

impl<C> KvPlugin<C> {
    fn is_disabled_by(&self, prepared: &Prepared) -> bool {
        self.must_be_configured && prepared.origin == Origin::Defaults
    }

    /// Reads the settings, and refuses what makes no sense.
    fn prepare(&self, cx: &Context) -> Result<Prepared, keyval::BoxError> {
        let mut prepared = (self.prepare)(cx.config(), &self.name)?;
        (self.hosting)(&mut prepared.hosting);
        prepared.hosting.check()?;
        self.link.set_hosting(prepared.hosting.clone());
        Ok(prepared)
    }
}

/// A plugin on its way up.
#[derive(Clone)]
struct Begun {
    cx: Context,
    link: Arc<Link>,
}

impl Begun {
    fn new(cx: &Context, link: &Arc<Link>) -> Self {
        Self {
            cx: cx.clone(),
            link: Arc::clone(link),
        }
    }

    /// Connects in a task.
    fn later(self, prepared: Prepared) {
        let begun = self.clone();
        self.cx.spawn("connect", async move |stop| {
            let Prepared {
                hosting,
                origin,
                connect: attempt,
                ..
            } = prepared;
            let (cx, longest) = (&begun.cx, hosting.reconnect_interval);
            if let Some(store) = connect(cx, &begun.link, &*attempt, longest, &stop).await {
                begun.with(store, &origin).await;
            }
            Ok(())
        });
    }

    /// Goes on with a store that is connected.
    async fn with(&self, store: Opened, origin: &Origin) {
        let origin = origin.to_string();
        tracing::info!(plugin = self.cx.name(), %store, settings = origin, "connected");
        self.link.connect(&store);
        let (link, relayed) = (Arc::clone(&self.link), store.clone());
        self.cx.spawn("connection", async move |stop| {
            relay(link, relayed, stop).await;
            Ok(())
        });
        let upkeep = Upkeep {
            cx: self.cx.clone(),
            link: Arc::clone(&self.link),
            store,
            origin,
        };
        upkeep.check().await;
        self.cx.spawn("check", async move |stop| {
            report(upkeep, stop).await;
            Ok(())
        });
    }
}

/// A plugin that is gone will never connect.
impl<C> Drop for KvPlugin<C> {
    fn drop(&mut self) {
        if self.begun {
            self.link.close();
        } else {
            let why = "its plugin never came up; was it added to the host?";
            self.link.close_because(why);
        }
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
