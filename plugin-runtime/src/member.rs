//! A plugin in its host: every stage of its life, contained.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use keyval_config::ConfigDir;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use crate::apart::apart;
use crate::contain::contain;
use crate::context::{Agent, Context};
use crate::error::{Cause, Failure, Stage};
use crate::plugin::{ErasedPlugin, Plugin, PluginResult};
use crate::status::Reporter;
use crate::tasks::Tasks;

/// A plugin in its host.
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    pub(crate) reporter: Reporter,
    tasks: Tasks,
    /// Locked for the length of a stage. A stage that was given up may hold it a little longer.
    /// Empty after the close.
    plugin: Arc<Mutex<Option<Box<dyn ErasedPlugin>>>>,
    fatal: mpsc::Sender<Failure>,
    /// Its own deadlines, before the host's.
    start_deadline: Option<Duration>,
    close_deadline: Option<Duration>,
    /// Whether its `init` was called, so that its `close` will be.
    pub(crate) begun: bool,
}

impl Member {
    pub(crate) fn new(
        name: Arc<str>,
        plugin: impl Plugin,
        reporter: Reporter,
        fatal: mpsc::Sender<Failure>,
    ) -> Self {
        Self {
            name,
            reporter,
            tasks: Tasks::new(),
            fatal,
            start_deadline: plugin.start_deadline(),
            close_deadline: plugin.close_deadline(),
            plugin: Arc::new(Mutex::new(Some(Box::new(plugin)))),
            begun: false,
        }
    }

    pub(crate) fn context(&self, agent: &Arc<Agent>) -> Context {
        Context::new(
            Arc::clone(&self.name),
            Arc::clone(agent),
            self.reporter.clone(),
            self.tasks.clone(),
            self.fatal.clone(),
        )
    }

    /// What the plugin says of itself before it is brought up, or why it does not.
    pub(crate) async fn describe(
        &self,
        config: &ConfigDir,
        deadline: Duration,
    ) -> Result<Option<String>, Cause> {
        let (plugin, config) = (Arc::clone(&self.plugin), config.clone());
        let (tell, mut told) = oneshot::channel();
        let work = async move {
            let plugin = plugin.lock_owned().await;
            let text = plugin.as_ref().and_then(|plugin| plugin.describe(&config));
            // Nobody waits for it any more after the deadline.
            let _ = tell.send(text);
            Ok(())
        };
        let deadline = self.start_deadline.unwrap_or(deadline);
        contain(&self.name, deadline, work).await?;
        Ok(told.try_recv().unwrap_or_default())
    }

    /// Carries out a stage of the start, and reports if it fails.
    pub(crate) async fn start(
        &self,
        stage: Stage,
        mut context: Context,
        deadline: Duration,
    ) -> Result<(), Failure> {
        let plugin = Arc::clone(&self.plugin);
        let work = async move {
            match &mut *plugin.lock_owned().await {
                Some(plugin) if stage == Stage::Init => plugin.init(&mut context).await,
                Some(plugin) => plugin.after_init(&mut context).await,
                // It was closed; nothing is started after that.
                None => Ok(()),
            }
        };
        let deadline = self.start_deadline.unwrap_or(deadline);
        let done = contain(&self.name, deadline, work).await;
        done.map_err(|cause| {
            self.reporter.failed(format!("{stage}: {cause}"));
            Failure::new(&self.name, stage, cause)
        })
    }

    /// Closes the plugin and drops it, there where a panic does no harm.
    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), Failure> {
        let plugin = Arc::clone(&self.plugin);
        let work = async move {
            match plugin.lock_owned().await.take() {
                Some(mut plugin) => plugin.close().await,
                None => Ok(()),
            }
        };
        self.end(deadline, work).await
    }

    /// Drops the plugin, which was never started, there where a panic does no harm.
    pub(crate) async fn discard(&self, deadline: Duration) -> Result<(), Failure> {
        let plugin = Arc::clone(&self.plugin);
        let work = async move {
            drop(plugin.lock_owned().await.take());
            Ok(())
        };
        self.end(deadline, work).await
    }

    async fn end(
        &self,
        deadline: Duration,
        work: impl Future<Output = PluginResult> + Send + 'static,
    ) -> Result<(), Failure> {
        let deadline = self.close_deadline.unwrap_or(deadline);
        let done = contain(&self.name, deadline, work).await;
        done.map_err(|cause| Failure::new(&self.name, Stage::Close, cause))
    }

    /// Stops the plugin's tasks and waits for them; aborts those that do not end.
    pub(crate) async fn end_tasks(&self, deadline: Duration) -> Option<Failure> {
        let deadline = self.close_deadline.unwrap_or(deadline);
        self.tasks.stop();
        let mut join = pin!(self.tasks.join());
        if apart(|| timeout(deadline, &mut join)).await.is_ok() {
            return None;
        }
        // Before the join is dropped, which aborts them.
        let tasks = self.tasks.names();
        self.tasks.abort();
        if tasks.is_empty() {
            return None;
        }
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
