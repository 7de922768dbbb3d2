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
use crate::memory::group::{Group, Pull, Seat};
use crate::memory::history::Touched;
use crate::memory::reaper;
use crate::memory::shared::Shared;
use crate::options::WatchOptions;
use crate::range::KeyRange;
use crate::revision::Revision;

/// The most revisions that are taken out of the history in one go.
const BATCH: usize = 128;

/// The most revisions that are looked at in one go, under the lock that writers wait for.
const LOOK: u64 = 256;

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
    /// What was taken over from the group; empty between looks.
    pulled: Vec<(Revision, Touched)>,
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
    /// Nothing, and the seat is parked.
    Nothing,
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
            let (group, seat) = state.interests.join(range, state.revision);
            if next > state.revision {
                // Nothing to read yet: what does not concern the range can be compacted away
                // before the first look without harm.
                group.park(&seat, next);
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
            pulled: Vec::new(),
            progress: options
                .progress
                .map(|every| Progress { every, timer: None }),
            failed: false,
        };
        watch.ensure_reaper();
        Ok((after, watch))
    }

    fn ensure_reaper(&self) {
        if self.shared.has_leases() {
            reaper::ensure(&self.shared);
        }
    }

    /// Looks on in what has happened, and parks the seat when it comes to the end.
    fn look(&mut self) -> Result<Found> {
        self.shared.check_open()?;
        match self
            .group
            .pull(&self.seat, &mut self.next, &mut self.pulled)
        {
            Pull::Parked => Ok(Found::Nothing),
            Pull::Recent => {
                let (range, previous) = (&self.range, self.previous);
                let first = self.pulled.first().map(|(revision, _)| *revision);
                let pulled = self.pulled.drain(..);
                self.ready.extend(
                    pulled.filter_map(|(at, touched)| changes(at, &touched, range, previous)),
                );
                // Whoever prunes a slot has declared the compaction before, so looking afterwards
                // tells.
                if let Some(first) = first {
                    self.shared.check_kept(first)?;
                }
                Ok(if self.ready.is_empty() {
                    Found::More
                } else {
                    Found::Changes
                })
            }
            Pull::Behind(from) => {
                self.next = from;
                self.read_history()
            }
        }
    }

    /// Reads the history from the cursor on.
    fn read_history(&mut self) -> Result<Found> {
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
            if *next <= state.compacted {
                return Err(state.compacted_error(*next));
            }
            let end = state
                .revision
                .get()
                .min(next.get().saturating_add(LOOK - 1));
            while next.get() <= end && ready.len() < BATCH {
                let touched = state.history.get(*next);
                ready.extend(changes(*next, touched, range, *previous));
                *next = next.next();
            }
            if *next > state.revision {
                group.park(seat, *next);
            }
            Ok(if ready.is_empty() {
                Found::More
            } else {
                Found::Changes
            })
        })
    }

    /// Word that nothing has happened, if it is time for it; ready without one if something has
    /// happened after all.
    fn progress(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Changes>>> {
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
        // The revision first: what happened up to it is known to the group by then.
        let seen = self.shared.read(|state| Ok(state.revision))?;
        match self.look()? {
            // A watch that begins in the future has nothing to say before its start.
            Found::Nothing if seen >= self.after => {
                self.after = seen;
                Poll::Ready(Ok(Some(Changes::progress(seen))))
            }
            _ => Poll::Ready(Ok(None)),
        }
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
                Ok(Found::Nothing) if registered => {
                    self.ensure_reaper();
                    match std::task::ready!(self.progress(cx)) {
                        Ok(Some(progress)) => return Poll::Ready(Ok(progress)),
                        Ok(None) => {}
                        Err(error) => {
                            self.failed = true;
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                Ok(Found::Nothing) => {
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
fn changes(
    revision: Revision,
    touched: &Touched,
    range: &KeyRange,
    previous: bool,
) -> Option<Changes> {
    let changes: Vec<Change> = match touched.slots() {
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
