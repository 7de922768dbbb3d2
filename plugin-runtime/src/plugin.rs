//! What a plugin is.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use keyval::BoxError;
use keyval_config::{ConfigDir, Section};

use crate::context::Context;
use crate::status::Criticality;

/// What the methods of a plugin return: any error will do; the host adds the plugin's name and the
/// stage.
pub type PluginResult = Result<(), BoxError>;

/// A part of an agent, with a life that its host runs.
///
/// The host calls `init` on every plugin in the order in which they were added, then `after_init`
/// in the same order, and at the end `close` in reverse. A plugin gets the handles of others in its
/// own constructor: [`Host::add`](crate::Host::add) returns them, so that what a plugin needs was
/// added before it.
///
/// Each stage has a deadline, and a panic in it is its failure. On a multi-threaded runtime each runs
/// on a thread of its own, so that one which blocks it holds nobody up. `close` is called on every plugin
/// whose `init` was called, also if that failed, so that it must cope with what `init` did not get
/// to. The tasks that a plugin spawned through its context have ended by then.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, KeyRange, Memory, StoreExt};
/// use plugin_runtime::{ConfigDir, Context, Host, KvHandle, KvPlugin, MemoryBackend, Plugin,
///     PluginResult, State};
///
/// /// Says that the agent is there.
/// struct Greeter {
///     store: KvHandle,
/// }
///
/// impl Plugin for Greeter {
///     type Handle = ();
///
///     fn name(&self) -> &str {
///         "greeter"
///     }
///
///     fn handle(&self) {}
///
///     async fn init(&mut self, _cx: &mut Context) -> PluginResult {
///         self.store.put("greeting", "hello").await?;
///         Ok(())
///     }
///
///     async fn close(&mut self) -> PluginResult {
///         self.store.delete("greeting").await?;
///         Ok(())
///     }
/// }
///
/// # tokio_test::block_on(async {
/// let mut host = Host::new(ConfigDir::new("config"));
/// let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
/// host.add(Greeter { store });
/// let status = host.status();
/// host.run(async move {
///     status.wait_for(|agent| agent.state() == State::Ok).await;
/// })
/// .await?;
/// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
/// ```
#[doc(alias("infra.Plugin", "PostInit"))]
pub trait Plugin: Send + 'static {
    /// What others use the plugin by; `()` if there is nothing to use.
    type Handle: Clone + Send + 'static;

    /// The name: of its configuration, in its status and in its errors. ASCII letters, digits, `-`
    /// and `_`; unique within a host.
    fn name(&self) -> &str;

    /// A handle; asked for once, when the plugin is added, long before `init`.
    fn handle(&self) -> Self::Handle;

    /// What configures the plugin, so that its host can check and show it without starting anything; by
    /// default nothing is known of it. Asked for once, when the plugin is added.
    fn sections(&self) -> Vec<Section> {
        Vec::new()
    }

    /// Whether the agent can do without the plugin; it cannot by default.
    ///
    /// That concerns the status only: a plugin that fails to come up ends the start either way.
    fn criticality(&self) -> Criticality {
        Criticality::Required
    }

    /// How long `init` and `after_init` may take, each, if not as long as the host lets all others.
    fn start_deadline(&self) -> Option<Duration> {
        None
    }

    /// How long the tasks of the plugin may take to end, and then its `close`, if not as long as the
    /// host lets all others.
    fn close_deadline(&self) -> Option<Duration> {
        None
    }

    /// What the agent's first log line says of the plugin, before it is brought up: which backend,
    /// at which endpoints, by which file. Without secrets, on one line; nothing by default.
    ///
    /// What is wrong with the configuration is for `init` to tell. One that panics or takes longer than the
    /// start deadline costs this text alone; but `init` has to wait until it is over.
    fn describe(&self, config: &ConfigDir) -> Option<String> {
        let _ = config;
        None
    }

    /// Brings the plugin up.
    ///
    /// # Errors
    /// Whatever makes it impossible: this plugin and those that are up are closed, and the host ends
    /// with it.
    ///
    /// # Cancel safety
    /// The future is dropped when the deadline passes, or the host is told to shut down meanwhile;
    /// then `close` is called.
    fn init(&mut self, cx: &mut Context) -> impl Future<Output = PluginResult> + Send;

    /// Begins work that needs every plugin up; does nothing by default.
    ///
    /// # Errors
    /// As for `init`.
    ///
    /// # Cancel safety
    /// As for `init`.
    fn after_init(&mut self, cx: &mut Context) -> impl Future<Output = PluginResult> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Ends the plugin, however far it has come; does nothing by default.
    ///
    /// # Errors
    /// Whatever could not be ended in order; the other plugins are closed all the same.
    ///
    /// # Cancel safety
    /// The future is dropped when the deadline passes.
    fn close(&mut self) -> impl Future<Output = PluginResult> + Send {
        async { Ok(()) }
    }
}

/// A plugin as its host keeps it: without its type.
#[async_trait]
pub(crate) trait ErasedPlugin: Send {
    fn describe(&self, config: &ConfigDir) -> Option<String>;
    async fn init(&mut self, cx: &mut Context) -> PluginResult;
    async fn after_init(&mut self, cx: &mut Context) -> PluginResult;
    async fn close(&mut self) -> PluginResult;
}

#[async_trait]
impl<P: Plugin> ErasedPlugin for P {
    fn describe(&self, config: &ConfigDir) -> Option<String> {
        Plugin::describe(self, config)
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        Plugin::init(self, cx).await
    }

    async fn after_init(&mut self, cx: &mut Context) -> PluginResult {
        Plugin::after_init(self, cx).await
    }

    async fn close(&mut self) -> PluginResult {
        Plugin::close(self).await
    }
}
