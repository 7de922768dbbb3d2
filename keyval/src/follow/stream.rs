//! The stream of updates that a follower hands to its consumer.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, FusedStream, Stream, StreamExt};
use tokio::sync::watch;

use crate::broker::Broker;
use crate::entry::Update;
use crate::error::Result;
use crate::follow::driver::Driver;
use crate::follow::options::FollowOptions;
use crate::follow::state::FollowState;
use crate::range::KeyRange;
use crate::watcher::Watcher;

/// Follows a range of a store for ever: a snapshot, then every change after it, in order, each
/// revision once and whole.
///
/// What reaches the consumer is either [`Update::Resync`], this is all there is, or
/// [`Update::Changes`], this is what one revision did; nothing happens between two updates that is
/// not told. Changes without content are progress: nothing happened to the range up to this
/// revision. A resync comes first, and again only if the changes since the last delivery cannot be
/// had any more, with its cause.
///
/// # Outages
/// A broken or silent watch is replaced, and goes on where it ended, without a resync. The waits in
/// between grow and are jittered, and it never gives up by itself: errors that pass by themselves
/// are not items of the stream, but are seen in [`Follow::state`], in the logs and in the metrics
/// `keyval_watch_state` (how many followers of this name are in each state),
/// `keyval_reconnects_total`, `keyval_watch_resets_total`, `keyval_watch_events_total` and
/// `keyval_watch_last_progress_timestamp_seconds`.
///
/// Errors that only somebody's doing can end, such as a missing permission, are items too, one for
/// each attempt, and the attempts go on: the permission may be granted. Three errors end the
/// stream: the store was closed, cannot be watched from a revision, or the request is invalid.
///
/// # A changed history
/// A store that was wiped or restored may count its revisions up to where it was and beyond, and
/// nothing in the answers of etcd tells. So after each opening of a watch, before anything of it is
/// delivered, and from time to time, the store has to show the range as it was at the last
/// delivered revision. If that is not what was delivered, a resync follows, with
/// [`ResyncCause::HistoryChanged`](crate::ResyncCause::HistoryChanged).
///
/// - Up to `exact_keys` keys, and 1 MiB of values, this is exact: every key, value and revision is
///   compared (by hashes of 64 bits), so what is delivered next continues what was delivered.
/// - Larger ranges are recognised by the number of keys, by the 16 keys changed last, and by the
///   latest 16 changes, which are watched once more together with the fact that there was nothing
///   else between them (up to 10,000 revisions back, as far as they are kept). A history that
///   agrees in all of these and yet differs is not found out: that takes one that was restored from
///   further back than this, and then did the same again, to the revision; or one in which the range
///   then rested as long as before, after keys were only replaced that had not changed lately. Raise
///   `exact_keys` where that matters: it costs memory and a read of the range for each outage.
/// - A store without history or transactions can show nothing: each outage ends with a resync.
///
/// # Back pressure
/// Nothing happens unless the stream is polled, and nothing is queued: a follower holds one open
/// watch, and while it reads a snapshot, that. A consumer that does not poll leaves unread changes
/// in the watch, where the store bounds them. If the history leaves it behind meanwhile, the next
/// update is a resync.
///
/// # Cancel safety
/// Dropping a future that waits for the next item loses nothing. Dropping the follower ends its
/// watch and leaves nothing behind; there is no task.
///
/// # Examples
/// ```
/// use futures::StreamExt;
/// use keyval::{BrokerExt, FollowOptions, KeyRange, Memory, Update, follow};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// store.put("config/log", "info").await?;
/// let mut updates = follow(store.clone(), KeyRange::prefix("config/"), FollowOptions::default());
///
/// let Some(first) = updates.next().await.transpose()? else { unreachable!() };
/// let Update::Resync(snapshot) = first else { panic!("a snapshot comes first") };
/// assert_eq!(snapshot.entries.len(), 1);
///
/// let at = store.put("config/log", "debug").await?;
/// let Some(second) = updates.next().await.transpose()? else { unreachable!() };
/// assert_eq!(second.revision(), at);
/// # Ok::<(), keyval::Error>(()) }).unwrap();
/// ```
pub fn follow<S: Broker + Watcher>(store: S, range: KeyRange, options: FollowOptions) -> Follow<S> {
    let driver = Driver::new(store, range.clone(), options);
    let state = driver.report().subscribe();
    Follow {
        range,
        state,
        updates: futures::stream::unfold(driver, Driver::next).fuse().boxed(),
        ended: false,
        store: PhantomData,
    }
}

/// The updates of a range of a store `S`; made by [`follow`].
#[must_use = "nothing happens unless it is polled"]
pub struct Follow<S> {
    range: KeyRange,
    state: watch::Receiver<FollowState>,
    updates: BoxStream<'static, Result<Update>>,
    ended: bool,
    store: PhantomData<fn() -> S>,
}

impl<S> Follow<S> {
    /// How it stands with the store, now and whenever that changes.
    ///
    /// The receiver outlives the follower; it then shows the last state, and tells that no more
    /// will come.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<FollowState> {
        self.state.clone()
    }

    /// The range that is followed.
    #[must_use]
    pub fn range(&self) -> &KeyRange {
        &self.range
    }
}

impl<S> Stream for Follow<S> {
    type Item = Result<Update>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.updates.poll_next_unpin(cx);
        self.ended |= matches!(next, Poll::Ready(None));
        next
    }
}

impl<S> FusedStream for Follow<S> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<S> fmt::Debug for Follow<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow")
            .field("range", &self.range)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
