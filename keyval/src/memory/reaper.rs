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

/// Stops the tasks, and waits for the end of the one on the present runtime. Those on others, which
/// may stand still, end when their runtimes go on, and touch nothing then.
pub(crate) async fn stop(reapers: Vec<Reaper>) {
    let present = Handle::try_current().map(|runtime| runtime.id());
    for mut reaper in reapers {
        reaper.task.abort();
        if present
            .as_ref()
            .is_ok_and(|present| *present == reaper.runtime)
        {
            // A task that was aborted ends with an error that says just this.
            drop((&mut reaper.task).await);
        }
    }
}

/// Sees to it that a reaper runs on the present runtime; called whenever a lease was granted, and
/// by watchers while there are leases.
///
/// Each runtime that works with the store has one, as any of them may be gone tomorrow or stand
/// still. Without a runtime there is none: leases then end with the next operation on the store.
pub(crate) fn ensure(shared: &Arc<Shared>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let mut reapers = shared.reapers.lock();
    let id = runtime.id();
    if reapers
        .iter()
        .any(|reaper| reaper.runtime == id && !reaper.task.is_finished())
    {
        return;
    }
    reapers.retain(|reaper| !reaper.task.is_finished());
    let task = runtime.spawn(run(Arc::downgrade(shared), shared.granted.clone()));
    reapers.push(Reaper { runtime: id, task });
}

async fn run(store: Weak<Shared>, granted: Arc<Notify>) {
    loop {
        // Before the look at the deadlines, so that no grant in between is missed.
        let more = granted.notified();
        // The store must be able to go while its reaper sleeps, so it is not held across an await.
        let Some(Ok(deadline)) = store.upgrade().map(|shared| next_deadline(&shared)) else {
            // The store is gone or closed.
            return;
        };
        match deadline {
            None => more.await,
            // A renewal needs no word: the reaper wakes too early then, and looks again.
            Some(deadline) => drop(timeout_at(deadline, more).await),
        }
    }
}

/// Ends what is due, and says when the next lease ends.
fn next_deadline(shared: &Shared) -> Result<Option<Instant>> {
    shared.read(|state| Ok(state.leases.next_deadline()))
}
