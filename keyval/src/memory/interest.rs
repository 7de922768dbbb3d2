//! Who waits for changes to what, found from a changed key without looking at everybody.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::Waker;

use foldhash::fast::RandomState;
use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::key::Key;
use crate::range::KeyRange;
use crate::revision::Revision;

/// The place of a seat that is not parked.
const AWAY: usize = usize::MAX;

/// One watcher's seat: whether it waits, and what came while it waited.
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

/// All watchers of one range.
#[derive(Debug)]
pub(crate) struct Group {
    range: KeyRange,
    parking: Mutex<Parking>,
}

#[derive(Debug, Default)]
struct Parking {
    members: usize,
    parked: Vec<Arc<Seat>>,
}

impl Seat {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waker: AtomicWaker::new(),
            place: AtomicUsize::new(AWAY),
            pending: AtomicU64::new(0),
        })
    }

    /// Sets who is woken. Not to be called under any lock: the waker it replaces is dropped, and
    /// with it perhaps a whole task.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}

impl Group {
    /// Waits for the next commit that concerns the range.
    pub(crate) fn park(&self, seat: &Arc<Seat>) {
        let mut parking = self.parking.lock();
        seat.pending.store(0, Relaxed);
        if seat.place.load(Relaxed) == AWAY {
            seat.place.store(parking.parked.len(), Relaxed);
            parking.parked.push(seat.clone());
        }
    }

    /// `Err` if the seat is still parked, so that there is nothing to read; else the revision that
    /// unparked it, if one did since it was parked.
    pub(crate) fn pending(&self, seat: &Seat) -> Result<Option<Revision>, Parked> {
        let _parking = self.parking.lock();
        if seat.place.load(Relaxed) != AWAY {
            return Err(Parked);
        }
        let pending = seat.pending.load(Relaxed);
        Ok((pending > 0).then(|| Revision::new(pending)))
    }

    fn unpark_all(&self, revision: u64, wakers: &mut Vec<Waker>) {
        let mut parking = self.parking.lock();
        for seat in parking.parked.drain(..) {
            seat.place.store(AWAY, Relaxed);
            seat.pending.store(revision, Relaxed);
            wakers.extend(seat.waker.take());
        }
    }
}

/// The seat is parked: nothing has happened.
#[derive(Debug)]
pub(crate) struct Parked;

/// The groups whose ranges share one longest prefix.
type Bucket = Vec<Arc<Group>>;

/// The buckets of one length of prefix.
type Buckets = HashMap<Box<[u8]>, Bucket, RandomState>;

/// Every group, found by the longest prefix that all keys of its range share.
///
/// A changed key is looked up once for each length that such a prefix has; a range whose keys
/// share nothing is looked at on every change.
#[derive(Debug, Default)]
pub(crate) struct Interests {
    by_length: Vec<(usize, Buckets)>,
}

impl Interests {
    /// Adds a watcher of this range.
    pub(crate) fn join(&mut self, range: &KeyRange) -> (Arc<Group>, Arc<Seat>) {
        let cover = cover(range);
        let at = match self
            .by_length
            .binary_search_by_key(&cover.len(), |(length, _)| *length)
        {
            Ok(at) => at,
            Err(at) => {
                self.by_length.insert(at, (cover.len(), Buckets::default()));
                at
            }
        };
        let bucket = self.by_length[at].1.entry(cover.into()).or_default();
        let group = match bucket.iter().find(|group| group.range == *range) {
            Some(group) => group.clone(),
            None => {
                let group = Arc::new(Group {
                    range: range.clone(),
                    parking: Mutex::default(),
                });
                bucket.push(group.clone());
                group
            }
        };
        group.parking.lock().members += 1;
        (group, Seat::new())
    }

    /// Removes a watcher; returns its waker, to be dropped without any lock.
    pub(crate) fn leave(&mut self, group: &Arc<Group>, seat: &Seat) -> Option<Waker> {
        let mut parking = group.parking.lock();
        let place = seat.place.swap(AWAY, Relaxed);
        if place != AWAY {
            parking.parked.swap_remove(place);
            if let Some(moved) = parking.parked.get(place) {
                moved.place.store(place, Relaxed);
            }
        }
        parking.members -= 1;
        let empty = parking.members == 0;
        drop(parking);
        if empty {
            self.remove(group);
        }
        seat.waker.take()
    }

    fn remove(&mut self, group: &Arc<Group>) {
        let cover = cover(&group.range);
        let Ok(at) = self
            .by_length
            .binary_search_by_key(&cover.len(), |(length, _)| *length)
        else {
            return;
        };
        let buckets = &mut self.by_length[at].1;
        if let Some(bucket) = buckets.get_mut(cover) {
            bucket.retain(|other| !Arc::ptr_eq(other, group));
            if bucket.is_empty() {
                buckets.remove(cover);
            }
        }
        if buckets.is_empty() {
            self.by_length.remove(at);
        }
    }

    /// Unparks all whom a change of this key concerns; their wakers are to be woken without any
    /// lock.
    pub(crate) fn touch(&self, key: &Key, revision: Revision, wakers: &mut Vec<Waker>) {
        for (length, buckets) in &self.by_length {
            let Some(prefix) = key.as_bytes().get(..*length) else {
                return;
            };
            let Some(bucket) = buckets.get(prefix) else {
                continue;
            };
            for group in bucket {
                if group.range.contains(key) {
                    group.unpark_all(revision.get(), wakers);
                }
            }
        }
    }

    /// Unparks everybody, without anything to read.
    pub(crate) fn wake_all(&self, wakers: &mut Vec<Waker>) {
        for (_, buckets) in &self.by_length {
            for group in buckets.values().flatten() {
                group.unpark_all(0, wakers);
            }
        }
    }
}

/// The longest prefix that every key of the range has.
fn cover(range: &KeyRange) -> &[u8] {
    let start = range.start().as_bytes();
    let Some(end) = range.end() else {
        // Everything from here on: only a start of 0xFF bytes says something about what follows.
        return &start[..leading_max(start)];
    };
    let end = end.as_bytes();
    let common = start.iter().zip(end).take_while(|(a, b)| a == b).count();
    // The end is the first key after a prefix that is longer by a byte, and by any 0xFF after it.
    if end.len() == common + 1
        && start
            .get(common)
            .is_some_and(|byte| byte + 1 == end[common])
    {
        let next = common + 1;
        return &start[..next + leading_max(&start[next..])];
    }
    &start[..common]
}

fn leading_max(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == 0xFF).count()
}

#[cfg(test)]
mod tests {
    use super::cover;
    use crate::range::{KeyRange, Prefix};

    #[test]
    fn a_range_is_found_under_the_longest_prefix_of_its_keys() {
        let scope = Prefix::segment("a");
        for (range, expected) in [
            (KeyRange::all(), &b""[..]),
            (KeyRange::key("abc"), b"abc"),
            (KeyRange::prefix("ab/"), b"ab/"),
            (KeyRange::prefix(&b"\xff\xff"[..]), b"\xff\xff"),
            (KeyRange::prefix(&b"a\xff\xff"[..]), b"a\xff\xff"),
            (scope.shift(&KeyRange::all()), b"a/"),
            (scope.shift(&KeyRange::key("x")), b"a/x"),
            (KeyRange::span("a/b", "a/x"), b"a/"),
            (KeyRange::span("a", "c"), b""),
            (KeyRange::span("a", "b"), b"a"),
            (KeyRange::span("a", "ab"), b"a"),
        ] {
            assert_eq!(cover(&range), expected, "{range:?}");
        }
    }
}
