//! What the host gives a plugin: its name, its configuration, its status, its tasks.

use std::future::Future;
use std::sync::Arc;

use keyval::BoxError;
use keyval_config::{ConfigDir, Loaded, Origin, Reload, Validate};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::{Cause, Failure, Stage};
use crate::label::AgentLabel;
use crate::reload::{Live, Reloads};
use crate::status::Reporter;
use crate::tasks::Tasks;

/// What the host gives a plugin at its start, and what belongs to it until its close.
///
/// A clone can be moved into a task of the plugin.
#[derive(Clone, Debug)]
pub struct Context {
    name: Arc<str>,
    agent: Arc<Agent>,
    reporter: Reporter,
    tasks: Tasks,
    fatal: mpsc::Sender<Failure>,
}

/// What all plugins of a host have in common.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) config: ConfigDir,
    pub(crate) label: Option<AgentLabel>,
    pub(crate) reloads: Reloads,
}

impl Context {
    pub(crate) fn new(
        name: Arc<str>,
        agent: Arc<Agent>,
        reporter: Reporter,
        tasks: Tasks,
        fatal: mpsc::Sender<Failure>,
    ) -> Self {
        Self {
            name,
            agent,
            reporter,
            tasks,
            fatal,
        }
    }

    /// The name of the plugin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The configuration of the whole agent.
    #[must_use]
    pub fn config(&self) -> &ConfigDir {
        &self.agent.config
    }

    /// The label of the agent, if its host was given one.
    #[must_use]
    pub fn label(&self) -> Option<&AgentLabel> {
        self.agent.label.as_ref()
    }

    /// The plugin's own configuration: what its file says, or its defaults if it has none.
    ///
    /// # Errors
    /// As [`ConfigDir::load`].
    pub fn load<T: DeserializeOwned + Default>(&self) -> keyval_config::Result<Loaded<T>> {
        self.agent.config.load(&self.name)
    }

    /// The plugin's own configuration, by the rules of its type; `None` where nothing is said about the
    /// plugin, neither by a file nor by a variable or a flag: then its state is `disabled`, with what
    /// enables it, and it has nothing more to do.
    ///
    /// What it tells of itself by [`sections`](crate::Plugin::sections) should be
    /// [`disabled_unless_configured`](keyval_config::Section::disabled_unless_configured).
    ///
    /// # Errors
    /// As [`ConfigDir::load_valid`].
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{Section, Validate, schemars};
    /// use plugin_runtime::{Context, Plugin, PluginResult};
    ///
    /// #[derive(Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Settings {
    ///     collector: String,
    /// }
    ///
    /// impl Validate for Settings {}
    ///
    /// struct Exporter;
    ///
    /// impl Plugin for Exporter {
    ///     type Handle = ();
    ///
    ///     fn name(&self) -> &str {
    ///         "exporter"
    ///     }
    ///
    ///     fn handle(&self) {}
    ///
    ///     fn sections(&self) -> Vec<Section> {
    ///         vec![Section::of::<Settings>("exporter").disabled_unless_configured()]
    ///     }
    ///
    ///     async fn init(&mut self, cx: &mut Context) -> PluginResult {
    ///         let Some(settings) = cx.load_if_configured::<Settings>()? else {
    ///             return Ok(()); // it is disabled, and its status says so
    ///         };
    ///         println!("exports to {}", settings.value.collector);
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn load_if_configured<T>(&self) -> keyval_config::Result<Option<Loaded<T>>>
    where
        T: DeserializeOwned + Default + Validate,
    {
        let loaded = self.agent.config.load_valid(&self.name)?;
        if loaded.origin != Origin::Defaults {
            return Ok(Some(loaded));
        }
        let cause = self.agent.config.unconfigured(&self.name);
        self.reporter.disabled(cause);
        Ok(None)
    }

    /// The plugin's own configuration by its rules, which may change while the agent runs.
    ///
    /// A [`Reloader`](crate::Reloader) reads it again, by the same layers, and a
    /// [`ReloadPlugin`](crate::ReloadPlugin) does so at SIGHUP. What is refused then, changes nothing.
    ///
    /// # Errors
    /// As [`ConfigDir::load_valid`].
    ///
    /// # Examples
    /// ```
    /// use plugin_runtime::{Context, Plugin, PluginResult, Reload};
    /// use keyval_config::Validate;
    ///
    /// #[derive(Default, PartialEq, serde::Deserialize)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Settings {
    ///     text: String,
    /// }
    ///
    /// impl Validate for Settings {}
    /// impl Reload for Settings {}
    ///
    /// struct Greeter;
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
    ///     async fn init(&mut self, cx: &mut Context) -> PluginResult {
    ///         let mut settings = cx.live::<Settings>()?;
    ///         println!("{}", settings.current().text);
    ///         cx.spawn("greet", async move |stop| {
    ///             while let Some(next) = stop.run_until_cancelled(settings.changed()).await {
    ///                 println!("{}", next.text);
    ///             }
    ///             Ok(())
    ///         });
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn live<T>(&self) -> keyval_config::Result<Live<T>>
    where
        T: DeserializeOwned + Default + Reload + PartialEq + Send + Sync + 'static,
    {
        let plugin = Arc::clone(&self.name);
        self.agent.reloads.add(plugin, &self.agent.config)
    }

    /// Where the plugin reports how it is.
    ///
    /// One that reports nothing is `init` until the `after_init` of every plugin is done, and then
    /// `ok`. One that needs longer to be up says so: [`starting`](Reporter::starting).
    #[must_use]
    pub fn status(&self) -> &Reporter {
        &self.reporter
    }

    /// Runs a task that belongs to the plugin.
    ///
    /// The task gets a token that is cancelled when the plugin is to close. It should end then; the
    /// host waits for it until the plugin's close deadline, and aborts it after that. One without
    /// anything to put in order can leave that to
    /// [`run_until_cancelled`](CancellationToken::run_until_cancelled). A task that returns an
    /// error or panics makes the plugin's state an error for good, and ends nothing else: see
    /// [`fatal`](Self::fatal) for that. Once the plugin is to close, a new task is dropped and not run.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use plugin_runtime::{Context, Plugin, PluginResult};
    ///
    /// struct Heartbeat;
    ///
    /// impl Plugin for Heartbeat {
    ///     type Handle = ();
    ///
    ///     fn name(&self) -> &str {
    ///         "heartbeat"
    ///     }
    ///
    ///     fn handle(&self) {}
    ///
    ///     async fn init(&mut self, cx: &mut Context) -> PluginResult {
    ///         let status = cx.status().clone();
    ///         cx.spawn("beat", async move |stop| {
    ///             let mut beat = tokio::time::interval(Duration::from_secs(1));
    ///             while stop.run_until_cancelled(beat.tick()).await.is_some() {
    ///                 status.ok_with("it beats");
    ///             }
    ///             Ok(())
    ///         });
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn spawn<F>(&self, name: &str, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let plugin = Arc::clone(&self.name);
        self.tasks.spawn(plugin, name, self.reporter.clone(), task);
    }

    /// Ends the whole agent in order, with this error: the plugin cannot go on, nor can the rest
    /// without it. The first such error is the one that [`Host::run`](crate::Host::run) returns.
    pub fn fatal(&self, error: impl Into<BoxError>) {
        let error = error.into();
        self.reporter.failed(error.to_string());
        let failure = Failure::new(&self.name, Stage::Run, Cause::Failed(error));
        if let Err(mpsc::error::TrySendError::Full(failure)) = self.fatal.try_send(failure) {
            tracing::error!(%failure, "another fatal error came first");
        }
    }
}
