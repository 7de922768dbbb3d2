//! A watch: a cursor into the shared history.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::Stream;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep};

use crate::entry::{Change, Changes};
use crate::error::Result;
use crate::memory::interest::{Group, Seat};
use crate::memory::reaper;
use crate::memory::shared::Shared;
use crate::memory::state::State;
use crate::options::WatchOptions;
use crate::range::KeyRange;
use crate::revision::Revision;

/// The most revisions that are taken out of the history in one go.
const BATCH: usize = 128;

/// The most revisions that are looked at in one go, under the lock that writers wait for.
const LOOK: u64 = 1024;

/// The changes of a range, pulled from the history when they are asked for.
#[derive(Debug)]
pub(crate) struct WatchStream {
    shared: Arc<Shared>,
    range: KeyRange,
    previous: bool,
    group: Arc<Group>,
    seat: Arc<Seat>,
    /// The next revision to look at; of no meaning while the seat is parked.
    next: Revision,
    /// Everything up to here has been delivered or did not concern the range.
    after: Revision,
    ready: VecDeque<Changes>,
    progress: Option<Progress>,
    failed: bool,
}

#[derive(Debug)]
struct Progress {
    every: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What a look at the history found.
enum Found {
    /// Changes, which are ready now.
    Changes,
    /// Nothing so far, but there is more to look at.
    More,
    /// Nothing; all has been seen up to this revision, and the seat is parked.
    Nothing(Revision),
}

impl WatchStream {
    /// Begins the watch: every later commit is seen. Returns it with the revision after which it
    /// delivers.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        range: &KeyRange,
        options: &WatchOptions,
    ) -> Result<(Revision, Self)> {
        let (after, group, seat) = shared.write(|state, _| {
            let next = options.from.unwrap_or(state.revision.next());
            if next <= state.compacted {
                return Err(state.compacted_error(next));
            }
            let (group, seat) = state.interests.join(range);
            if next > state.revision {
                // Nothing to read yet: what does not concern the range can be compacted away
                // before the first look without harm.
                group.park(&seat);
            }
            Ok((next.previous(), group, seat))
        })?;
        let watch = Self {
            shared: shared.clone(),
            range: range.clone(),
            previous: options.previous,
            group,
            seat,
            next: after.next(),
            after,
            ready: VecDeque::new(),
            progress: options
                .progress
                .map(|every| Progress { every, timer: None }),
            failed: false,
        };
        watch.ensure_reaper();
        Ok((after, watch))
    }

    fn ensure_reaper(&self) {
        let leases = self.shared.read(|state| Ok(!state.leases.is_empty()));
        if leases.unwrap_or(false) {
            reaper::ensure(&self.shared);
        }
    }

    /// Looks on in the history, and parks the seat when it comes to the end.
    fn look(&mut self) -> Result<Found> {
        let Self {
            shared,
            range,
            previous,
            group,
            seat,
            next,
            ready,
            ..
        } = self;
        shared.read(|state| {
            match group.pending(seat) {
                Err(_) => return Ok(Found::Nothing(state.revision)),
                Ok(Some(pending)) => *next = (*next).max(pending),
                Ok(None) => {}
            }
            // Looked at once: from here on the cursor counts, until the seat is parked again.
            if *next <= state.compacted {
                return Err(state.compacted_error(*next));
            }
            let end = state
                .revision
                .get()
                .min(next.get().saturating_add(LOOK - 1));
            while next.get() <= end && ready.len() < BATCH {
                ready.extend(changes(state, *next, range, *previous));
                *next = next.next();
            }
            if *next > state.revision {
                group.park(seat);
            }
            Ok(if !ready.is_empty() {
                Found::Changes
            } else if *next > state.revision {
                Found::Nothing(state.revision)
            } else {
                Found::More
            })
        })
    }

    /// Word that nothing has happened, if it is time for it.
    fn progress(&mut self, cx: &mut Context<'_>, seen: Revision) -> Poll<Changes> {
        let Some(progress) = &mut self.progress else {
            return Poll::Pending;
        };
        let every = progress.every;
        let timer = progress.timer.get_or_insert_with(|| Box::pin(sleep(every)));
        std::task::ready!(timer.as_mut().poll(cx));
        match Instant::now().checked_add(every) {
            Some(next) => timer.as_mut().reset(next),
            None => self.progress = None,
        }
        if seen < self.after {
            // The watch begins in the future, to which the store has not come. Polled again at
            // once, so that the timer knows whom to wake.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.after = seen;
        Poll::Ready(Changes::progress(seen))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Changes>> {
        let mut registered = false;
        loop {
            if let Some(changes) = self.ready.pop_front() {
                self.after = changes.revision;
                return Poll::Ready(Ok(changes));
            }
            // A long history must not keep the others of this thread waiting.
            let budget = std::task::ready!(coop::poll_proceed(cx));
            match self.look() {
                Ok(Found::Changes) => {
                    if let Some(progress) = &mut self.progress {
                        progress.timer = None;
                    }
                    budget.made_progress();
                }
                Ok(Found::More) => budget.made_progress(),
                Ok(Found::Nothing(seen)) if registered => {
                    self.ensure_reaper();
                    return self.progress(cx, seen).map(Ok);
                }
                Ok(Found::Nothing(_)) => {
                    // Outside of every lock, and before the last look, so that no commit in
                    // between is missed.
                    self.seat.register(cx.waker());
                    registered = true;
                }
                Err(error) => {
                    self.failed = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

/// What a revision did to the range, if anything.
fn changes(state: &State, revision: Revision, range: &KeyRange, previous: bool) -> Option<Changes> {
    let slots = state.history.get(revision);
    let changes: Vec<Change> = match slots {
        [slot] if !range.contains(slot.key()) => return None,
        [slot] => vec![slot.change(revision, previous)?],
        slots => slots
            .iter()
            .filter(|slot| range.contains(slot.key()))
            .filter_map(|slot| slot.change(revision, previous))
            .collect(),
    };
    (!changes.is_empty()).then_some(Changes { revision, changes })
}

impl Stream for WatchStream {
    type Item = Result<Changes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        self.poll(cx).map(Some)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let waker = self
            .shared
            .leave(|state| state.interests.leave(&self.group, &self.seat));
        // Dropped without the lock: it can be all that holds a task.
        drop(waker);
    }
}
