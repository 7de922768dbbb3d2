//! The tasks of one plugin: known, stoppable, joined at its close.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use keyval::BoxError;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::contain::panic_text;
use crate::status::Reporter;

/// The tasks of one plugin. Dropping the last handle aborts them.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    stop: CancellationToken,
    running: Arc<Mutex<JoinSet<()>>>,
    names: Arc<Names>,
}

/// The names of the tasks that run.
#[derive(Debug, Default)]
struct Names {
    counter: AtomicU64,
    names: Mutex<BTreeMap<u64, String>>,
}

/// Keeps the name of a task for as long as the task is there.
struct Named {
    names: Arc<Names>,
    number: u64,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            stop: CancellationToken::new(),
            running: Arc::default(),
            names: Arc::default(),
        }
    }

    /// Runs a task; if it fails or panics, that is its plugin's state. After the stop it is dropped
    /// instead.
    pub(crate) fn spawn<F>(
        &self,
        plugin: Arc<str>,
        name: &str,
        reporter: Reporter,
        task: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let task = AssertUnwindSafe(task(self.stop.clone())).catch_unwind();
        // The stop locks it as well, so that whoever joins knows of all tasks there will ever be.
        let mut running = self.running.lock();
        if self.stop.is_cancelled() {
            drop(running);
            tracing::debug!(%plugin, name, "a task came after the stop, and is not run");
            return;
        }
        let named = Named::new(&self.names, name);
        let name = name.to_owned();
        // Those that have ended need not be kept until the close.
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let _named = named;
            let cause = match task.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("task {name} failed: {error}"),
                Err(panic) => format!("task {name} panicked: {}", panic_text(&*panic)),
            };
            tracing::error!(%plugin, %cause, "a task ended with an error");
            reporter.failed(cause);
        });
    }

    /// Asks every task to stop; from now on there are no new ones.
    pub(crate) fn stop(&self) {
        let running = self.running.lock();
        self.stop.cancel();
        drop(running);
    }

    /// Waits until every task has ended, after the stop.
    ///
    /// # Cancel safety
    /// Dropping the future aborts the tasks that are left.
    pub(crate) async fn join(&self) {
        // Taken out, as a lock cannot be held while waiting.
        let mut running = std::mem::take(&mut *self.running.lock());
        while running.join_next().await.is_some() {}
    }

    /// The names of those that run.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.names.lock().values().cloned().collect()
    }

    /// Aborts every task that is left.
    pub(crate) fn abort(&self) {
        self.running.lock().abort_all();
    }
}

impl Named {
    fn new(names: &Arc<Names>, name: &str) -> Self {
        let number = names.counter.fetch_add(1, Ordering::Relaxed);
        names.names.lock().insert(number, name.to_owned());
        Self {
            names: Arc::clone(names),
            number,
        }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.names.names.lock().remove(&self.number);
    }
}
