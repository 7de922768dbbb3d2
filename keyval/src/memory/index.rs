//! The two indexes over the keys: by hash for single keys, by order for ranges.

use std::fmt;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use imbl::OrdSet;

use crate::memory::slot::{Slot, SlotRef};
use crate::options::Order;
use crate::range::KeyRange;

/// The number of tables of the point index. Each grows by itself, so no put pays for moving all
/// keys at once.
const SHARDS: usize = 256;

/// Every key with at least one version, found by its bytes or in order.
pub(crate) struct Index {
    hasher: RandomState,
    points: Vec<HashTable<Arc<Slot>>>,
    ordered: OrdSet<SlotRef>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            points: std::iter::repeat_with(HashTable::new)
                .take(SHARDS)
                .collect(),
            ordered: OrdSet::new(),
        }
    }

    /// The hash by which a key is found; computed once for a lookup and an insertion.
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<&Arc<Slot>> {
        self.points[shard(hash)].find(hash, |slot| slot.key().as_bytes() == key)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<Slot>> {
        self.find(self.hash(key), key)
    }

    /// Adds a key that is not there.
    pub(crate) fn insert(&mut self, hash: u64, slot: Arc<Slot>) {
        let hasher = &self.hasher;
        self.points[shard(hash)].insert_unique(hash, slot.clone(), |slot| {
            hasher.hash_one(slot.key().as_bytes())
        });
        self.ordered.insert(SlotRef(slot));
    }

    /// Removes exactly this slot, not a later one of the same key.
    pub(crate) fn remove(&mut self, slot: &Arc<Slot>) {
        let key = slot.key().as_bytes();
        let hash = self.hash(key);
        let found = self.points[shard(hash)].find_entry(hash, |other| Arc::ptr_eq(other, slot));
        if let Ok(entry) = found {
            entry.remove();
            self.ordered.remove(key);
        }
    }

    /// The ordered index as it stands now, at a cost that does not depend on its size. Keys that
    /// come or go later do not touch it.
    pub(crate) fn snapshot(&self) -> OrdSet<SlotRef> {
        self.ordered.clone()
    }

    /// The slots of a range in key order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> impl DoubleEndedIterator<Item = &'a Arc<Slot>> {
        self.ordered
            .range::<_, [u8]>(bounds(range))
            .map(|slot| &slot.0)
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("keys", &self.ordered.len())
            .finish_non_exhaustive()
    }
}

/// The shard of a hash: bits that the tables themselves use neither for places nor for tags.
fn shard(hash: u64) -> usize {
    usize::from((hash >> 48) as u8)
}

/// A range as the ordered index wants it.
pub(crate) fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let start = Bound::Included(range.start().as_bytes());
    let end = match range.end() {
        Some(end) => Bound::Excluded(end.as_bytes()),
        None => Bound::Unbounded,
    };
    (start, end)
}

/// Reads a frozen index step by step, in either direction, without holding on to it in between.
pub(crate) struct Walk {
    root: OrdSet<SlotRef>,
    rest: KeyRange,
    order: Order,
    done: bool,
}

impl Walk {
    pub(crate) fn new(root: OrdSet<SlotRef>, range: KeyRange, order: Order) -> Self {
        Self {
            root,
            rest: range,
            order,
            done: false,
        }
    }

    /// Whether every slot of the range was visited.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Visits the next slots, at most this many, until the visitor says stop (`false`).
    pub(crate) fn step(&mut self, most: usize, mut visit: impl FnMut(&Slot) -> bool) {
        if self.done || self.rest.is_empty() {
            self.done = true;
            return;
        }
        let mut last = None;
        let mut left = most;
        let mut stopped = false;
        {
            let mut slots = self.root.range::<_, [u8]>(bounds(&self.rest));
            while left > 0 && !stopped {
                let next = match self.order {
                    Order::Ascending => slots.next(),
                    Order::Descending => slots.next_back(),
                };
                let Some(slot) = next else { break };
                left -= 1;
                stopped = !visit(&slot.0);
                last = Some(slot.0.key().clone());
            }
        }
        self.done = stopped || left > 0;
        if let Some(last) = last {
            self.rest = match self.order {
                Order::Ascending => self.rest.starting_at(last.successor()),
                Order::Descending => self.rest.ending_at(last),
            };
        }
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("rest", &self.rest)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}
