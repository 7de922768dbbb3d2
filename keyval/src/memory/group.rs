//! All watchers of one range: who of them waits, and what happened to the range of late.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Waker;

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::key::Key;
use crate::memory::history::Touched;
use crate::range::KeyRange;
use crate::revision::Revision;

/// The place of a seat that is not parked.
const AWAY: usize = usize::MAX;

/// How many of its latest revisions a group remembers.
const RECENT: usize = 16;

/// One watcher's seat: whether it waits, and since when there is something for it.
///
/// While a seat is parked, nothing that concerns it has happened; the first commit that does
/// unparks it and leaves its revision here, so that the watcher never reads history in which there
/// was nothing for it. The numbers are only touched under the lock of the seat's group.
#[derive(Debug)]
pub(crate) struct Seat {
    waker: AtomicWaker,
    /// Its place among the parked of its group.
    place: AtomicUsize,
    /// The revision that unparked it; 0 if none did.
    pending: AtomicU64,
}

impl Seat {
    /// Sets who is woken. Not to be called under any lock: the waker it replaces is dropped, and
    /// with it perhaps a whole task.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    pub(crate) fn take_waker(&self) -> Option<Waker> {
        self.waker.take()
    }
}

/// All watchers of one range.
///
/// It remembers the last few revisions that concern the range, so that watchers who keep up never
/// touch the lock of the store; those who do not, read the shared history.
#[derive(Debug)]
pub(crate) struct Group {
    range: KeyRange,
    /// Whether the range is all the keys with the prefix by which the group is found.
    is_prefix: bool,
    /// The length of that prefix.
    cover: usize,
    parking: Mutex<Parking>,
}

#[derive(Debug)]
struct Parking {
    members: usize,
    parked: Vec<Arc<Seat>>,
    /// The last revision that concerns the range, or with which the group began.
    last: Revision,
    recent: VecDeque<(Revision, Touched)>,
    /// What is remembered are all revisions from here ..
    from: Revision,
    /// .. until here, exclusive, if the group has stopped to remember because nobody read.
    until: Option<Revision>,
}

/// What a group has for a watcher.
#[derive(Debug)]
pub(crate) enum Pull {
    /// Nothing: it is parked now.
    Parked,
    /// Revisions, all that concern it up to the last of them.
    Recent,
    /// It is too far behind: it is to read the history from this revision on.
    Behind(Revision),
}

impl Group {
    /// A group that begins at the present revision: what concerned its range before, it does not
    /// know.
    pub(crate) fn new(range: KeyRange, cover: usize, present: Revision) -> Arc<Self> {
        let prefix = &range.start().as_bytes()[..cover];
        Arc::new(Self {
            is_prefix: range == KeyRange::prefix(prefix),
            cover,
            parking: Mutex::new(Parking {
                members: 0,
                parked: Vec::new(),
                last: present,
                recent: VecDeque::new(),
                from: Revision::new(u64::MAX),
                until: Some(Revision::ZERO),
            }),
            range,
        })
    }

    pub(crate) fn range(&self) -> &KeyRange {
        &self.range
    }

    /// Whether a key whose prefix has the hash of the group's lies in the range.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        if self.is_prefix {
            return key.as_bytes()[..self.cover] == self.range.start().as_bytes()[..self.cover];
        }
        self.range.contains(key)
    }

    pub(crate) fn join(&self) -> Arc<Seat> {
        self.parking.lock().members += 1;
        Arc::new(Seat {
            waker: AtomicWaker::new(),
            place: AtomicUsize::new(AWAY),
            pending: AtomicU64::new(0),
        })
    }

    /// Removes a seat; returns whether it was the last.
    pub(crate) fn leave(&self, seat: &Seat) -> bool {
        let mut parking = self.parking.lock();
        let place = seat.place.swap(AWAY, Relaxed);
        if place != AWAY {
            parking.parked.swap_remove(place);
            if let Some(moved) = parking.parked.get(place) {
                moved.place.store(place, Relaxed);
            }
        }
        parking.members -= 1;
        parking.members == 0
    }

    /// Parks a seat, if it has seen everything that concerns the range before `next`.
    pub(crate) fn park(&self, seat: &Arc<Seat>, next: Revision) -> bool {
        let mut parking = self.parking.lock();
        parking.last < next && {
            parking.park(seat);
            true
        }
    }

    /// Takes what there is for a watcher who has seen everything before `next`, and parks its seat
    /// when there is no more.
    pub(crate) fn pull(
        &self,
        seat: &Arc<Seat>,
        next: &mut Revision,
        into: &mut Vec<(Revision, Touched)>,
    ) -> Pull {
        let mut parking = self.parking.lock();
        if seat.place.load(Relaxed) != AWAY {
            return Pull::Parked;
        }
        *next = (*next).max(Revision::new(seat.pending.load(Relaxed)));
        if parking.last < *next {
            parking.park(seat);
            return Pull::Parked;
        }
        if *next < parking.from {
            return Pull::Behind(*next);
        }
        let seen = parking
            .recent
            .partition_point(|(revision, _)| revision < next);
        into.extend(parking.recent.range(seen..).cloned());
        match into.last() {
            Some((revision, _)) => {
                *next = revision.next();
                if parking.last < *next {
                    parking.park(seat);
                }
                Pull::Recent
            }
            None => Pull::Behind(parking.until.map_or(*next, |until| until.max(*next))),
        }
    }

    /// Notes that a revision concerns the range, and unparks everybody; returns what is no longer
    /// remembered.
    pub(crate) fn touch(
        &self,
        revision: Revision,
        touched: &Touched,
        wakers: &mut Vec<Waker>,
    ) -> Option<(Revision, Touched)> {
        let mut parking = self.parking.lock();
        if parking.last == revision {
            return None;
        }
        parking.last = revision;
        let mut forgotten = None;
        if parking.until.is_none() {
            let full = parking.recent.len() == RECENT;
            if full && parking.parked.is_empty() {
                // Nobody reads: what comes now is in the history.
                parking.until = Some(revision);
            } else {
                if full {
                    forgotten = parking.recent.pop_front();
                    parking.from = forgotten.as_ref().map_or(revision, |(gone, _)| gone.next());
                }
                parking.recent.push_back((revision, touched.clone()));
            }
        }
        parking.unpark_all(revision.get(), wakers);
        forgotten
    }

    pub(crate) fn wake_all(&self, wakers: &mut Vec<Waker>) {
        self.parking.lock().unpark_all(0, wakers);
    }
}

impl Parking {
    fn park(&mut self, seat: &Arc<Seat>) {
        if self.until.take().is_some() {
            // Somebody has read on to the present: remember again from here.
            self.recent.clear();
            self.from = self.last.next();
        }
        seat.pending.store(0, Relaxed);
        if seat.place.load(Relaxed) == AWAY {
            seat.place.store(self.parked.len(), Relaxed);
            self.parked.push(seat.clone());
        }
    }

    fn unpark_all(&mut self, revision: u64, wakers: &mut Vec<Waker>) {
        for seat in self.parked.drain(..) {
            seat.place.store(AWAY, Relaxed);
            seat.pending.store(revision, Relaxed);
            wakers.extend(seat.waker.take());
        }
    }
}
