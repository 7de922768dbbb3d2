//! The tasks that all who use a store share.

use std::future::Future;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one store, on the runtime on which it was connected.
///
/// A watch or a renewal that begins on another runtime must not put there what all others wait for:
/// that runtime may be one that is driven now and then only. Once the runtime of the store has ended,
/// tasks go to that of whoever asks for them.
#[derive(Clone)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    runtime: Handle,
    /// Dropped with the runtime.
    alive: Weak<()>,
}

impl Tasks {
    /// Tasks on the present runtime, until this is cancelled.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        let (tracker, alive) = (TaskTracker::new(), Arc::new(()));
        let tasks = Self {
            tracker,
            runtime: Handle::current(),
            alive: Arc::downgrade(&alive),
        };
        tasks.spawn(async move {
            closing.cancelled().await;
            drop(alive);
        });
        tasks
    }

    /// Begins a task, which closing waits for.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        if self.alive.strong_count() > 0 {
            self.tracker.spawn_on(task, &self.runtime);
        } else {
            self.tracker.spawn(task);
        }
    }

    /// Waits until every task has ended, when nothing begins any more.
    ///
    /// # Cancel safety
    /// Dropping the future ends nothing.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
