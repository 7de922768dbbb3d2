//! The task that ends leases at their deadline, so that watchers learn of it without being asked.

use std::sync::{Arc, Weak};

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::error::Result;
use crate::memory::shared::Shared;

/// The running task; aborted when dropped.
#[derive(Debug)]
pub(crate) struct Reaper {
    runtime: Id,
    task: JoinHandle<()>,
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reaper {
    /// Stops the task and waits for its end.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        // A task that was aborted ends with an error that says just this.
        drop((&mut self.task).await);
    }
}

/// Sees to it that a reaper runs on the present runtime; called whenever a lease was granted, and
/// by watchers while there are leases.
///
/// Without a runtime there is none: leases then end with the next operation on the store.
pub(crate) fn ensure(shared: &Arc<Shared>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let mut reaper = shared.reaper.lock();
    let replaced = match reaper.as_ref() {
        // Its runtime may be gone, or stand still while another one works with the store.
        Some(running) if running.runtime == runtime.id() && !running.task.is_finished() => {
            drop(reaper);
            shared.granted.notify_one();
            return;
        }
        _ => reaper.replace(Reaper {
            runtime: runtime.id(),
            task: runtime.spawn(run(Arc::downgrade(shared), shared.granted.clone())),
        }),
    };
    drop(reaper);
    drop(replaced);
}

async fn run(store: Weak<Shared>, granted: Arc<Notify>) {
    loop {
        // The store must be able to go while its reaper sleeps, so it is not held across an await.
        let Some(Ok(deadline)) = store.upgrade().map(|shared| next_deadline(&shared)) else {
            // The store is gone or closed.
            return;
        };
        match deadline {
            None => granted.notified().await,
            // A renewal needs no word: the reaper wakes too early then, and looks again.
            Some(deadline) => drop(timeout_at(deadline, granted.notified()).await),
        }
    }
}

/// Ends what is due, and says when the next lease ends.
fn next_deadline(shared: &Shared) -> Result<Option<Instant>> {
    shared.read(|state| Ok(state.leases.next_deadline()))
}
