//! Runs plugins: up in order, down in reverse, whatever happens in between.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use keyval_config::ConfigDir;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::context::Context;
use crate::error::{Cause, Error, Failure, Result, Stage};
use crate::plugin::{ErasedPlugin, Plugin};
use crate::status::{Board, Reporter, StatusHandle};
use crate::tasks::{Tasks, panic_text};

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
    config: ConfigDir,
    board: Board,
    members: Vec<Member>,
    start_deadline: Duration,
    close_deadline: Duration,
    fatal: mpsc::Sender<Failure>,
    fatals: mpsc::Receiver<Failure>,
}

/// A plugin in its host.
struct Member {
    name: Arc<str>,
    reporter: Reporter,
    tasks: Tasks,
    /// Locked for the length of a stage. A stage that was given up may hold it a little longer.
    inner: Arc<Mutex<Inner>>,
    /// Whether its `init` was called, so that its `close` will be.
    begun: bool,
}

struct Inner {
    plugin: Box<dyn ErasedPlugin>,
    context: Context,
}

impl Host {
    /// A host without plugins, which will find their configuration there.
    #[must_use]
    pub fn new(config: ConfigDir) -> Self {
        // One place: the first fatal error decides.
        let (fatal, fatals) = mpsc::channel(1);
        Self {
            config,
            board: Board::new(),
            members: Vec::new(),
            start_deadline: START_DEADLINE,
            close_deadline: CLOSE_DEADLINE,
            fatal,
            fatals,
        }
    }

    /// Sets how long `init` and `after_init` of a plugin may take, each; 15 s by default.
    #[must_use]
    pub fn with_start_deadline(mut self, deadline: Duration) -> Self {
        self.start_deadline = deadline;
        self
    }

    /// Sets how long the tasks of a plugin may take to end, and then its `close`; 5 s each by
    /// default.
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
        let reporter = self.board.add(&name);
        let tasks = Tasks::new();
        let context = Context::new(
            Arc::clone(&name),
            self.config.clone(),
            reporter.clone(),
            tasks.clone(),
            self.fatal.clone(),
        );
        let plugin = Box::new(plugin);
        self.members.push(Member {
            name,
            reporter,
            tasks,
            inner: Arc::new(Mutex::new(Inner { plugin, context })),
            begun: false,
        });
        handle
    }

    /// Reads the status of the plugins, from now on until after the host is gone.
    #[must_use]
    pub fn status(&self) -> StatusHandle {
        self.board.reader()
    }

    /// Brings the plugins up, waits until `shutdown` completes, and closes them.
    ///
    /// If `shutdown` completes while plugins are still coming up, the rest is not started. Before
    /// this returns, every plugin whose `init` was called has been closed and every task of a plugin has ended
    /// or was aborted.
    ///
    /// # Errors
    /// [`Error::DuplicateName`] and [`Error::InvalidName`] before anything is started;
    /// [`Error::Plugin`] with every failure of a plugin: to come up, to go on, or to close.
    ///
    /// # Cancel safety
    /// If the future is dropped, tasks are aborted and plugins dropped without being closed: let
    /// `shutdown` complete instead.
    ///
    /// # Panics
    /// Outside of a multi-threaded or current-thread tokio runtime with time enabled. On a
    /// current-thread runtime, deadlines cannot interrupt a plugin that blocks the thread.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.check_names()?;
        let first = {
            let mut fatals = std::mem::replace(&mut self.fatals, mpsc::channel(1).1);
            let mut shutdown = pin!(shutdown);
            tokio::select! {
                biased;
                () = &mut shutdown => None,
                Some(fatal) = fatals.recv() => Some(fatal),
                failure = self.start_and_stay() => Some(failure),
            }
        };
        if let Some(failure) = &first {
            // Not as an error: it is returned, and whoever handles it tells it.
            tracing::info!(%failure, "the agent ends");
        }
        let mut failures: Vec<Failure> = first.into_iter().collect();
        failures.extend(self.close().await);
        let mut failures = failures.into_iter();
        match failures.next() {
            None => Ok(()),
            Some(first) => Err(Error::Plugin {
                first,
                others: failures.collect(),
            }),
        }
    }

    fn check_names(&self) -> Result<()> {
        let mut names = BTreeSet::new();
        for member in &self.members {
            let name = String::from(&*member.name);
            if !can_be_a_name(&name) {
                return Err(Error::InvalidName { name });
            }
            if !names.insert(&member.name) {
                return Err(Error::DuplicateName { name });
            }
        }
        Ok(())
    }

    /// Brings every plugin up and then stays for ever; returns at the first failure.
    async fn start_and_stay(&mut self) -> Failure {
        for member in &mut self.members {
            member.begun = true;
            if let Err(failure) = member.start(Stage::Init, self.start_deadline).await {
                return failure;
            }
        }
        for member in &self.members {
            if let Err(failure) = member.start(Stage::AfterInit, self.start_deadline).await {
                return failure;
            }
        }
        for member in &self.members {
            member.reporter.ok_unless_told();
        }
        tracing::info!(plugins = self.members.len(), "every plugin is up");
        std::future::pending().await
    }

    /// Closes what was started, the last first, and tells what failed.
    async fn close(&self) -> Vec<Failure> {
        let mut failures = Vec::new();
        for member in self.members.iter().rev() {
            let before = failures.len();
            if member.begun {
                failures.extend(member.end_tasks(self.close_deadline).await);
                let closed = member.stage(Stage::Close, self.close_deadline).await;
                failures.extend(closed.err());
            }
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
}

impl Member {
    /// Carries out a stage of the start, and reports if it fails.
    async fn start(&self, stage: Stage, deadline: Duration) -> Result<(), Failure> {
        let done = self.stage(stage, deadline).await;
        if let Err(failure) = &done {
            self.reporter.error(format!("{stage}: {}", failure.cause));
        }
        done
    }

    /// Carries out a stage in a task of its own, so that neither a panic nor a plugin that blocks
    /// its thread takes the host along.
    async fn stage(&self, stage: Stage, deadline: Duration) -> Result<(), Failure> {
        let inner = Arc::clone(&self.inner);
        let work = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut inner = inner.lock_owned().await;
            let Inner { plugin, context } = &mut *inner;
            match stage {
                Stage::Init => plugin.init(context).await,
                Stage::AfterInit => plugin.after_init(context).await,
                Stage::Close => plugin.close().await,
                // Nothing is called while it runs.
                Stage::Run => Ok(()),
            }
        }));
        let cause = match timeout(deadline, work).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => Cause::Failed(error),
            Ok(Err(ended)) => match ended.try_into_panic() {
                Ok(panic) => Cause::Panicked(panic_text(&*panic)),
                Err(cancelled) => Cause::Failed(cancelled.into()),
            },
            Err(_) => Cause::TimedOut(deadline),
        };
        Err(Failure::new(&self.name, stage, cause))
    }

    /// Stops the plugin's tasks and waits for them; aborts those that do not end.
    async fn end_tasks(&self, deadline: Duration) -> Option<Failure> {
        self.tasks.stop();
        if timeout(deadline, self.tasks.join()).await.is_ok() {
            return None;
        }
        let tasks = self.tasks.names();
        self.tasks.abort();
        let after = deadline;
        let cause = Cause::TasksLeft { tasks, after };
        Some(Failure::new(&self.name, Stage::Close, cause))
    }
}

/// A plugin whose host is gone leaves no task behind.
impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.stop();
        self.tasks.abort();
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugins: Vec<&str> = self.members.iter().map(|member| &*member.name).collect();
        f.debug_struct("Host")
            .field("plugins", &plugins)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Whether the name can be part of a file's and a variable's name, as configuration needs it.
fn can_be_a_name(name: &str) -> bool {
    let letter = |c: u8| c.is_ascii_alphanumeric();
    name.bytes().next().is_some_and(letter)
        && name.bytes().all(|c| letter(c) || c == b'-' || c == b'_')
}
