//! The one task that keeps the leases of many sessions alive.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

type Work = BoxFuture<'static, ()>;

/// Keeps the leases of sessions alive: one task, however many sessions share it.
///
/// Clones are the same keeper. Give it to the sessions that are to share it by
/// [`SessionOptions::with_keeper`](crate::recipes::SessionOptions::with_keeper); they may be of
/// different stores and scopes. The task begins with the first session and ends with the last, on
/// the runtime on which the first was opened.
///
/// What goes to the server is shared without it: a backend renews all leases of a store together, as
/// etcd's does on one stream.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::recipes::{LeaseKeeper, Session, SessionOptions};
/// use keyval::{Memory, StoreExt};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let options = SessionOptions::default()
///     .with_ttl(Duration::from_secs(10))
///     .with_keeper(LeaseKeeper::new());
/// let one = Session::open_opts(store.prefixed("agents/1/"), options.clone()).await?;
/// let two = Session::open_opts(store.prefixed("agents/2/"), options).await?;
/// one.close().await?;
/// two.close().await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Default)]
pub struct LeaseKeeper {
    // Weak, so that the task ends with the last session and not with the last keeper.
    task: Arc<Mutex<Weak<KeeperTask>>>,
}

impl LeaseKeeper {
    /// A keeper without a session, and so without a task.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The task, which goes on as long as somebody holds it or work of it is not done.
    ///
    /// # Errors
    /// [`Error::Invalid`] outside of a tokio runtime.
    pub(super) fn task(&self) -> Result<Arc<KeeperTask>> {
        let mut task = self.task.lock();
        if let Some(running) = task.upgrade()
            && !running.handle.is_finished()
        {
            return Ok(running);
        }
        let runtime = Handle::try_current().map_err(|_| {
            Error::invalid("a session needs a task: open it within a tokio runtime")
        })?;
        let (work, waiting) = mpsc::unbounded_channel();
        let handle = runtime.spawn(run(waiting));
        let started = Arc::new(KeeperTask { work, handle });
        *task = Arc::downgrade(&started);
        Ok(started)
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseKeeper")
            .field("running", &(self.task.lock().strong_count() > 0))
            .finish()
    }
}

/// The task of a keeper, while it runs.
#[derive(Debug)]
pub(super) struct KeeperTask {
    /// Unbounded, so that a drop can give work. Besides the one that keeps its lease, a session
    /// gives one piece for each place that it takes or gives up, and one for each key that may come
    /// late; all of them end with the lease at the latest.
    work: mpsc::UnboundedSender<Work>,
    handle: JoinHandle<()>,
}

impl KeeperTask {
    /// Lets the task do this beside all else that it does.
    ///
    /// # Errors
    /// [`Error::Closed`] if its runtime has ended.
    pub(super) fn carry_out(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let given = self.work.send(Box::pin(work));
        given.map_err(|_| Error::Closed {
            store: "the runtime of the lease keeper".to_owned(),
        })
    }

    /// Lets go of the task, and waits for its end if nobody else holds it.
    pub(super) async fn leave(self: Arc<Self>) {
        if let Some(Self { work, handle }) = Arc::into_inner(self) {
            drop(work);
            // It fails only if the task was aborted with its runtime; it has ended then too.
            let _ = handle.await;
        }
    }
}

async fn run(mut waiting: mpsc::UnboundedReceiver<Work>) {
    let mut under_way = FuturesUnordered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            work = waiting.recv(), if open => match work {
                Some(work) => under_way.push(work),
                None => open = false,
            },
            Some(()) = under_way.next() => {}
        }
    }
}
