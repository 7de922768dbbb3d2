//! Who waits for changes to what, found from a changed key without looking at everybody.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::task::Waker;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::memory::group::{Group, Seat};
use crate::memory::history::Touched;
use crate::range::KeyRange;
use crate::revision::Revision;

/// The groups whose ranges share a longest prefix of one length, by the hash of that prefix.
type Groups = HashTable<(u64, Arc<Group>)>;

/// Every group, found by the longest prefix that all keys of its range share.
///
/// A changed key is looked up once for each length that such a prefix has; a range whose keys
/// share nothing is looked at on every change.
#[derive(Debug, Default)]
pub(crate) struct Interests {
    hasher: RandomState,
    by_length: Vec<(usize, Groups)>,
}

impl Interests {
    /// Adds a watcher of this range, at the present revision.
    pub(crate) fn join(&mut self, range: &KeyRange, present: Revision) -> (Arc<Group>, Arc<Seat>) {
        let cover = cover(range);
        let hash = self.hasher.hash_one(cover);
        let at = match self.find_length(cover.len()) {
            Ok(at) => at,
            Err(at) => {
                self.by_length.insert(at, (cover.len(), Groups::new()));
                at
            }
        };
        let groups = &mut self.by_length[at].1;
        let group = match groups.find(hash, |(_, group)| *group.range() == *range) {
            Some((_, group)) => group.clone(),
            None => {
                let group = Group::new(range.clone(), cover.len(), present);
                groups.insert_unique(hash, (hash, group.clone()), |(hash, _)| *hash);
                group
            }
        };
        let seat = group.join();
        (group, seat)
    }

    /// Removes a watcher; returns its waker, to be dropped without any lock.
    pub(crate) fn leave(&mut self, group: &Arc<Group>, seat: &Seat) -> Option<Waker> {
        if group.leave(seat) {
            let cover = cover(group.range());
            let hash = self.hasher.hash_one(cover);
            if let Ok(at) = self.find_length(cover.len()) {
                let groups = &mut self.by_length[at].1;
                if let Ok(found) = groups.find_entry(hash, |(_, other)| Arc::ptr_eq(other, group)) {
                    found.remove();
                }
                if groups.is_empty() {
                    self.by_length.remove(at);
                }
            }
        }
        seat.take_waker()
    }

    fn find_length(&self, length: usize) -> Result<usize, usize> {
        self.by_length
            .binary_search_by_key(&length, |(length, _)| *length)
    }

    /// Tells all whom a revision concerns. Their wakers are to be woken, and what they no longer
    /// keep is to be dropped, without any lock.
    pub(crate) fn touch(
        &self,
        revision: Revision,
        touched: &Touched,
        wakers: &mut Vec<Waker>,
        garbage: &mut Vec<Touched>,
    ) {
        if self.by_length.is_empty() {
            return;
        }
        for slot in touched.slots() {
            let key = slot.key();
            for (length, groups) in &self.by_length {
                let Some(prefix) = key.as_bytes().get(..*length) else {
                    break;
                };
                let hash = self.hasher.hash_one(prefix);
                for (full, group) in groups.iter_hash(hash) {
                    if *full == hash && group.contains(key) {
                        let forgotten = group.touch(revision, touched, wakers);
                        garbage.extend(forgotten.map(|(_, touched)| touched));
                    }
                }
            }
        }
    }

    /// Unparks everybody, without anything to read.
    pub(crate) fn wake_all(&self, wakers: &mut Vec<Waker>) {
        for (_, groups) in &self.by_length {
            for (_, group) in groups {
                group.wake_all(wakers);
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
