//! A live typed picture of a range, for reading and for editing.

use std::fmt;
use std::sync::Arc;

use keyval::{Broker, FollowState, Key, KeyRange, Mirror, MirrorError, Revision, Watcher};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::codec::{Codec, Protobuf};
use crate::error::{Decoded, Result};
use crate::typed::Typed;
use crate::view::changes::ViewChanges;
use crate::view::options::{Pace, ViewOptions};
use crate::view::picture::{ViewEntry, ViewSnapshot};

/// A live typed picture of a range: reads cost no call, changes are told, edits never overwrite what
/// was not seen.
///
/// One task follows the range and applies every revision in order and whole. A value that cannot be
/// decoded stands in the picture as an error of its key, and the rest goes on. The picture outlives
/// outages: [`state`](Self::state) tells how it stands with the store, and what went meanwhile is told
/// as removed afterwards.
///
/// Clones share the picture and the task, which ends with [`close`](Self::close) or with the last of
/// them. After that the picture stays as it is.
///
/// # Examples
/// ```
/// use keyval::{KeyRange, Memory, StoreExt};
/// use keyval_proto::{Pace, Protobuf, Typed, View};
///
/// # tokio_test::block_on(async {
/// let sizes = Typed::<u64, _>::new(Memory::new().prefixed("sizes/"), Protobuf);
/// sizes.put("left", &1).await?;
///
/// let view = View::open(sizes.clone(), KeyRange::all())?;
/// let mut changes = view.changes(Pace::AT_ONCE);
/// let first = changes.next().await.expect("the view is open");
/// assert_eq!(first.added().count(), 1);
///
/// view.update("left", |old| old.copied().unwrap_or(0) + 1).await?;
/// let second = changes.next().await.expect("the view is open");
/// let (before, after) = second.changed().next().expect("one key was changed");
/// assert_eq!((&*before.value, &*after.value), (&Ok(1), &Ok(2)));
///
/// view.close().await;
/// assert!(changes.next().await.is_none());
/// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
/// ```
#[doc(alias("tree", "informer", "cache"))]
pub struct View<T, S, C = Protobuf> {
    shared: Arc<Shared<T, S, C>>,
}

struct Shared<T, S, C> {
    typed: Typed<T, S, C>,
    range: KeyRange,
    attempts: u32,
    copy: Mirror<Decoded<T>>,
    state: watch::Receiver<FollowState>,
    task: Task,
}

/// The task of a view, which ends when this is dropped.
struct Task {
    handle: AbortHandle,
    /// Its sender lives as long as the task.
    alive: watch::Receiver<()>,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

impl<T, S, C> View<T, S, C>
where
    T: PartialEq + Send + Sync + 'static,
    S: Broker + Watcher + Clone,
    C: Codec<T>,
{
    /// Opens a view of a range. It is empty until it is [`ready`](Self::ready).
    ///
    /// # Errors
    /// [`keyval::Error::Invalid`] if the range holds no key, and outside of a tokio runtime.
    pub fn open(typed: Typed<T, S, C>, range: impl Into<KeyRange>) -> Result<Self> {
        Self::open_opts(typed, range, ViewOptions::default())
    }

    /// Opens a view of a range, with options.
    ///
    /// # Errors
    /// As [`open`](Self::open); for options that [`ViewOptions::check`] refuses.
    pub fn open_opts(
        typed: Typed<T, S, C>,
        range: impl Into<KeyRange>,
        options: ViewOptions,
    ) -> Result<Self> {
        let range = range.into();
        range.check()?;
        options.check()?;
        let runtime = Handle::try_current().map_err(|_| {
            keyval::Error::invalid("a view needs a task: open it within a tokio runtime")
        })?;
        let updates = typed.follow_opts(range.clone(), options.follow);
        let state = updates.inner().state();
        let (copy, writer) = keyval::mirror();
        let (living, alive) = watch::channel(());
        let task = runtime.spawn(async move {
            // Dropped last: who waits for it finds the watch and the copy's writer gone.
            let _living = living;
            // It ends only where the range cannot be followed; the state says why.
            let _ = writer.run(updates).await;
        });
        Ok(Self {
            shared: Arc::new(Shared {
                typed,
                range,
                attempts: options.attempts,
                copy,
                state,
                task: Task {
                    handle: task.abort_handle(),
                    alive,
                },
            }),
        })
    }

    /// Tells what changes, at this pace; the first time, all there is.
    ///
    /// Each caller gets a telling of its own, that begins with its first wait.
    pub fn changes(&self, pace: Pace) -> ViewChanges<T> {
        ViewChanges::new(self.shared.copy.clone(), pace)
    }
}

impl<T, S, C> View<T, S, C> {
    /// The entry of a key, as the view shows it now. To read several that fit together, take a
    /// [`snapshot`](Self::snapshot).
    #[must_use]
    pub fn get(&self, key: impl Into<Key>) -> Option<ViewEntry<T>> {
        self.shared.copy.get(key)
    }

    /// The whole picture as it is now, in key order; costs the same at any size.
    #[must_use]
    pub fn snapshot(&self) -> Arc<ViewSnapshot<T>> {
        self.shared.copy.snapshot()
    }

    /// The revision up to which the picture is known; zero before it is ready.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.copy.revision()
    }

    /// Waits until the view shows all there is for the first time; returns the picture.
    ///
    /// While the store cannot be reached this waits on: [`state`](Self::state) tells that.
    ///
    /// # Errors
    /// [`MirrorError::WriterGone`] if the view was closed, or has ended because the range cannot be
    /// followed: [`state`](Self::state) then tells why.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<Arc<ViewSnapshot<T>>, MirrorError> {
        self.shared.copy.ready().await
    }

    /// Waits until the picture is at least at this revision, so that who has written sees what was
    /// written; returns the picture.
    ///
    /// # Errors
    /// [`MirrorError::HistoryChanged`] if the store is wiped or restored meanwhile;
    /// [`MirrorError::WriterGone`] if the view has ended.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn caught_up(&self, at: Revision) -> Result<Arc<ViewSnapshot<T>>, MirrorError> {
        self.shared.copy.caught_up(at).await
    }

    /// How the view stands with the store, now and whenever that changes: connected, or cut off since
    /// when and why. Meanwhile the picture stays as it was.
    ///
    /// The receiver outlives the view; it then shows the last state.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<FollowState> {
        self.shared.state.clone()
    }

    /// Whether the view was closed or has ended, so that the picture will not change any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.task.alive.has_changed().is_err()
    }

    /// Ends the view for all of its clones, and waits until its task and its watch are gone. Closing
    /// again does nothing. Edits go on to work, from the last picture.
    ///
    /// # Cancel safety
    /// If the future is dropped, the view ends all the same.
    pub async fn close(&self) {
        self.shared.task.handle.abort();
        let mut alive = self.shared.task.alive.clone();
        // Nothing is ever sent: it ends when the sender is gone.
        while alive.changed().await.is_ok() {}
    }

    /// The handle on the values.
    #[must_use]
    pub fn typed(&self) -> &Typed<T, S, C> {
        &self.shared.typed
    }

    /// The range that the view shows.
    #[must_use]
    pub fn range(&self) -> &KeyRange {
        &self.shared.range
    }

    /// How often an edit is tried.
    pub(super) fn attempts(&self) -> u32 {
        self.shared.attempts
    }
}

impl<T, S, C> Clone for View<T, S, C> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T, S, C> fmt::Debug for View<T, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("range", &self.shared.range)
            .field("copy", &self.shared.copy)
            .field("state", &*self.shared.state.borrow())
            .finish_non_exhaustive()
    }
}
