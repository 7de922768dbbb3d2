//! Runs plugins: up in order, down in reverse, whatever happens in between.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use keyval_config::{ConfigDir, Section, check_names};
use tokio::sync::mpsc;

use crate::about::BuildInfo;
use crate::contain::contain;
use crate::context::Agent;
use crate::error::{Error, Failure, Result, Stage};
use crate::label::AgentLabel;
use crate::member::Member;
use crate::plugin::Plugin;
use crate::reload::{Reloader, Reloads};
use crate::status::{Board, Gauges, Hysteresis, Phase, StatusHandle};

/// How long `init` and `after_init` may take, each.
const START_DEADLINE: Duration = Duration::from_secs(15);
/// How long the tasks of a plugin may take to end, and then its `close`.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Runs plugins: up in the order in which they were added, down in reverse.
///
/// A process can have several hosts. A host never ends the process.
///
/// # Examples
/// ```
/// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend, State};
///
/// # tokio_test::block_on(async {
/// let mut host = Host::new(ConfigDir::new("config"));
/// host.add(KvPlugin::<MemoryBackend>::named("store"));
/// let status = host.status();
/// // A program passes `shutdown_signal()`.
/// host.run(async move {
///     let up = status.wait_for(|agent| agent.state() == State::Ok).await;
///     println!("{up}");
/// })
/// .await?;
/// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
/// ```
#[doc(alias("Agent", "NewAgent"))]
pub struct Host {
    agent: Arc<Agent>,
    board: Board,
    members: Vec<Member>,
    sections: Vec<Section>,
    cn_infra_metrics: bool,
    start_deadline: Duration,
    close_deadline: Duration,
    fatal: mpsc::Sender<Failure>,
    fatals: mpsc::Receiver<Failure>,
}

impl Host {
    /// A host without plugins, which will find their configuration there.
    #[must_use]
    pub fn new(config: ConfigDir) -> Self {
        // One place: the first fatal error decides.
        let (fatal, fatals) = mpsc::channel(1);
        Self {
            agent: Arc::new(Agent {
                config,
                label: None,
                reloads: Reloads::default(),
            }),
            board: Board::new(),
            members: Vec::new(),
            sections: Vec::new(),
            cn_infra_metrics: false,
            start_deadline: START_DEADLINE,
            close_deadline: CLOSE_DEADLINE,
            fatal,
            fatals,
        }
    }

    /// Tells which program this is; shown in its first log line, its metrics and its health reports.
    #[must_use]
    pub fn with_build(self, build: BuildInfo) -> Self {
        self.board.set_build(build);
        self
    }

    /// Sets the label of the agent, which its plugins find in their [`Context`](crate::Context). The gauges of
    /// the agent and its plugins have it, too, as `agent`: hosts of one process need different ones to be told
    /// apart there.
    #[must_use]
    pub fn with_label(mut self, label: AgentLabel) -> Self {
        Arc::make_mut(&mut self.agent).label = Some(label);
        self
    }

    /// Keeps cn-infra's gauges `service_health` and `service_dependency_health`, too, for dashboards and alerts
    /// that know no others; without this they are not there.
    ///
    /// Their values are cn-infra's: 0 for init; 1 for ok, degraded and disabled; 2 for stopped and error.
    /// `service` is the [label](Self::with_label) of the agent, or the name of its
    /// [program](Self::with_build) where it has none; `dependency` is a plugin. The health of the service is the
    /// [state of the agent](crate::AgentStatus::state).
    ///
    /// # Examples
    /// ```
    /// use plugin_runtime::{AgentLabel, ConfigDir, Host};
    ///
    /// let host = Host::new(ConfigDir::new("config"))
    ///     .with_label(AgentLabel::new("vpp1")?)
    ///     .with_cn_infra_metrics();
    /// # Ok::<_, plugin_runtime::BoxError>(())
    /// ```
    #[doc(alias("service_health", "service_dependency_health"))]
    #[must_use]
    pub fn with_cn_infra_metrics(mut self) -> Self {
        self.cn_infra_metrics = true;
        self
    }

    /// Sets how long a plugin must be in another state before that is shown; see [`Hysteresis`].
    #[must_use]
    pub fn with_hysteresis(self, hysteresis: Hysteresis) -> Self {
        self.board.set_hysteresis(hysteresis);
        self
    }

    /// Sets how long `init` and `after_init` of a plugin may take, each; 15 s by default. A plugin
    /// may state [its own](Plugin::start_deadline).
    #[must_use]
    pub fn with_start_deadline(mut self, deadline: Duration) -> Self {
        self.start_deadline = deadline;
        self
    }

    /// Sets how long the tasks of a plugin may take to end, and then its `close`; 5 s each by
    /// default. A plugin may state [its own](Plugin::close_deadline).
    #[must_use]
    pub fn with_close_deadline(mut self, deadline: Duration) -> Self {
        self.close_deadline = deadline;
        self
    }

    /// Adds a plugin after those that are there, and returns its handle.
    ///
    /// A name that does not do is refused by [`run`](Self::run), before any plugin is started.
    pub fn add<P: Plugin>(&mut self, plugin: P) -> P::Handle {
        let name: Arc<str> = plugin.name().into();
        let handle = plugin.handle();
        self.sections.extend(plugin.sections());
        let reporter = self.board.add(&name, plugin.criticality());
        let member = Member::new(name, plugin, reporter, self.fatal.clone());
        self.members.push(member);
        handle
    }

    /// What configures the plugins added so far, to check and show it; see
    /// [`StandardArgs`](crate::StandardArgs) for the flags that ask for it.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Where the plugins find their configuration.
    #[must_use]
    pub fn config(&self) -> &ConfigDir {
        &self.agent.config
    }

    /// Reads the status of the plugins, from now on until after the host is gone.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.board.reader()
    }

    /// Reads the configuration again while the host runs; a [`ReloadPlugin`](crate::ReloadPlugin) does so at
    /// SIGHUP.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader::new(self.agent.reloads.clone())
    }

    /// Brings the plugins up, waits until `shutdown` completes, and closes them.
    ///
    /// If `shutdown` completes while plugins are still coming up, the rest is not started. Before
    /// this returns, every plugin whose `init` was called has been closed and every task of a plugin has ended
    /// or was aborted.
    ///
    /// Deadlines pass on a thread of their own, so that they do even if tasks of plugins block every
    /// worker of the runtime. For that the future has to be awaited where they cannot: by `block_on`, as
    /// [`run_program`](crate::run_program) does, and not in a spawned task.
    ///
    /// # Errors
    /// [`Error::DuplicateName`], [`Error::InvalidName`] and [`Error::Config`] before anything is started, the
    /// last also for names that flags or variables cannot tell apart, see [`keyval_config::check_names`];
    /// [`Error::Plugin`] with every failure of a plugin: to come up, to go on, or to close.
    ///
    /// # Cancel safety
    /// If the future is dropped, tasks are aborted and plugins dropped without being closed: let
    /// `shutdown` complete instead.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time enabled. On a current-thread runtime, deadlines cannot
    /// interrupt a plugin that blocks the thread.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<()> {
        if let Err(error) = self.check() {
            // The refusal comes first; what they fail of is logged.
            let _ = self.discard().await;
            return Err(error);
        }
        let label = self.agent.label.as_ref().map(AgentLabel::as_str);
        let gauges = Gauges::new(label).with_cn_infra(self.cn_infra_metrics);
        let board = self.board.clone();
        gauges.begin(&board.reader().current());
        // Boxed, as whoever awaits the run has no use for so large a future.
        let life = Box::pin(self.start_stay_and_close(shutdown, &gauges));
        let failures = tokio::select! {
            failures = life => failures,
            never = board.tend(&gauges) => match never {},
        };
        gauges.set(&board.reader().current());
        let mut failures = failures.into_iter();
        match failures.next() {
            None => Ok(()),
            Some(first) => Err(Error::Plugin {
                first,
                others: failures.collect(),
            }),
        }
    }

    /// Lives the whole life of the agent, and returns what failed in it.
    async fn start_stay_and_close(
        &mut self,
        shutdown: impl Future<Output = ()>,
        gauges: &Gauges,
    ) -> Vec<Failure> {
        let mut fatals = std::mem::replace(&mut self.fatals, mpsc::channel(1).1);
        let first = {
            let mut shutdown = pin!(shutdown);
            tokio::select! {
                biased;
                () = &mut shutdown => None,
                Some(fatal) = fatals.recv() => Some(fatal),
                failure = self.start_and_stay(gauges) => Some(failure),
            }
        };
        if let Some(failure) = &first {
            // Not as an error: it is returned, and whoever handles it tells it.
            tracing::info!(%failure, "the agent ends");
        }
        self.board.set_phase(Phase::Stopping);
        let mut failures: Vec<Failure> = first.into_iter().collect();
        failures.extend(self.close().await);
        // Told while it was about to end, or was ending.
        failures.extend(fatals.try_recv().ok());
        self.board.set_phase(Phase::Stopped);
        failures
    }

    /// Refuses what makes no agent, before anything is started.
    fn check(&self) -> Result<()> {
        self.check_names()?;
        Ok(self.check_settings()?)
    }

    /// Remembers what a reload is compared with, and warns of files that are nobody's. That reads files,
    /// and types of plugins check them.
    async fn remember_settings(&self) {
        let members = self.members.iter();
        let reporters = members.map(|member| (Arc::clone(&member.name), member.reporter.clone()));
        let (agent, reporters) = (Arc::clone(&self.agent), reporters.collect());
        agent.reloads.begin(&agent.config, reporters);
        let sections = self.sections.clone();
        let names: Vec<String> = self.configurable().into_iter().map(str::to_owned).collect();
        let work = async move {
            for told in agent.config.stray_files(names.iter().map(String::as_str)) {
                tracing::warn!("{told}");
            }
            agent.reloads.remember(&agent.config, sections);
            Ok(())
        };
        if let Err(cause) = contain("configuration", self.start_deadline, work).await {
            tracing::warn!(%cause, "a reload will not name what only a restart takes up");
        }
    }

    /// The first line: all that one asks when one reads the log of an agent.
    async fn log_start(&self) {
        let build = Arc::clone(&self.board.reader().current().build);
        let described = self.members.iter().map(|member| async move {
            let described = member.describe(&self.agent.config, self.start_deadline);
            (member, described.await)
        });
        // At once, so that one that hangs costs the others nothing.
        let described = join_all(described).await;
        let plugins = described.iter().map(|(member, text)| match text {
            Ok(Some(text)) => format!("{} ({})", member.name, text.replace('\n', " ")),
            Ok(None) | Err(_) => member.name.to_string(),
        });
        let plugins: Vec<String> = plugins.collect();
        let scope = self.agent.label.as_ref().map(AgentLabel::prefix);
        tracing::info!(
            program = %build.name,
            version = %build.version,
            commit = %build.commit,
            scope = scope.as_ref().map(tracing::field::display),
            configuration = %self.agent.config.path().display(),
            plugins = plugins.join(", "),
            "the agent starts"
        );
        for (member, text) in &described {
            if let Err(cause) = text {
                tracing::warn!(plugin = %member.name, %cause, "it does not describe itself");
            }
        }
    }

    fn check_names(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.names().find(|name| !names.insert(*name)) {
            let name = twice.to_owned();
            return Err(Error::DuplicateName { name });
        }
        check_names(self.names()).map_err(|error| match error {
            keyval_config::Error::PluginName { name } => Error::InvalidName { name },
            error => Error::Config(error),
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &*member.name)
    }

    /// The names under which something can be configured.
    fn configurable(&self) -> BTreeSet<&str> {
        let sections = self.sections.iter().flat_map(Section::names);
        sections.chain(self.names()).collect()
    }

    /// Refuses names that cannot be configured apart, and flags for plugins that there are not.
    #[cfg(feature = "cli")]
    pub(crate) fn check_configurable(&self) -> keyval_config::Result<()> {
        check_names(self.names())?;
        self.check_settings()
    }

    fn check_settings(&self) -> keyval_config::Result<()> {
        self.agent.config.check_plugins(self.configurable())
    }

    /// Tells of files that look as if they should be those of plugins, and are not.
    #[cfg(feature = "cli")]
    pub(crate) fn stray_files(&self) -> Vec<String> {
        self.agent.config.stray_files(self.configurable())
    }

    /// Brings every plugin up and then stays for ever; returns at the first failure.
    async fn start_and_stay(&mut self, gauges: &Gauges) -> Failure {
        join(self.remember_settings(), self.log_start()).await;
        for member in &mut self.members {
            member.begun = true;
            let began = Instant::now();
            let context = member.context(&self.agent);
            let started = member
                .start(Stage::Init, context, self.start_deadline)
                .await;
            gauges.set_init(&member.name, began.elapsed());
            if let Err(failure) = started {
                return failure;
            }
        }
        for member in &self.members {
            let context = member.context(&self.agent);
            let started = member.start(Stage::AfterInit, context, self.start_deadline);
            if let Err(failure) = started.await {
                return failure;
            }
        }
        for member in &self.members {
            member.reporter.ok_unless_told();
        }
        self.board.set_phase(Phase::Running);
        tracing::info!(plugins = self.members.len(), "every plugin is up");
        std::future::pending().await
    }

    /// Drops what was never started, and closes what was, the last first; tells what failed.
    async fn close(&self) -> Vec<Failure> {
        let mut failures = self.discard().await;
        for member in self.members.iter().rev().filter(|member| member.begun) {
            let before = failures.len();
            failures.extend(member.end_tasks(self.close_deadline).await);
            failures.extend(member.close(self.close_deadline).await.err());
            let failed = failures
                .get(before)
                .map(|failure| failure.to_string().into());
            if let Some(cause) = &failed {
                tracing::info!(%cause, "a plugin did not close in order");
            } else {
                tracing::info!(plugin = %member.name, "closed");
            }
            member.reporter.stopped(failed);
        }
        failures
    }

    /// Drops the plugins that were never started, and tells what failed.
    async fn discard(&self) -> Vec<Failure> {
        let members = self.members.iter().rev();
        let never_started = members
            .filter(|member| !member.begun)
            .map(|member| async move {
                member.reporter.never_started();
                member.discard(self.close_deadline).await
            });
        let ended = join_all(never_started).await;
        let failures = ended.into_iter().filter_map(Result::err);
        failures
            .inspect(|failure| tracing::info!(%failure, "a plugin was not dropped in order"))
            .collect()
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugins: Vec<&str> = self.members.iter().map(|member| &*member.name).collect();
        f.debug_struct("Host")
            .field("plugins", &plugins)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}
