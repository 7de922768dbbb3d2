//! All that a store holds, and the one way in which it changes: a commit at the next revision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use tokio::time::Instant;

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::memory::history::{History, Touched};
use crate::memory::index::Index;
use crate::memory::interest::Interests;
use crate::memory::lease::LeaseTable;
use crate::memory::options::MemoryOptions;
use crate::memory::signs::Signs;
use crate::memory::slot::{NewLease, Record, Replaced, Slot, Write};
use crate::range::KeyRange;
use crate::revision::Revision;

/// How many slots a write prunes, if a compaction left some to prune.
const PRUNED_BY_A_WRITE: usize = 8;

/// What is done after the lock is released: waking and freeing, both of which can run code of
/// others or take long.
#[derive(Debug, Default)]
pub(crate) struct After {
    pub(crate) wakers: Vec<Waker>,
    garbage: Vec<Record>,
    slots: Vec<Touched>,
}

impl After {
    pub(crate) fn run(self) {
        for waker in self.wakers {
            waker.wake();
        }
        drop(self.garbage);
        drop(self.slots);
    }
}

/// All that a store holds.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) index: Index,
    pub(crate) history: History,
    pub(crate) leases: LeaseTable,
    pub(crate) interests: Interests,
    pub(crate) closed: bool,
    /// The bytes of all keys and values that exist.
    pub(crate) size: u64,
    options: MemoryOptions,
    signs: Arc<Signs>,
    /// Which revision was the present one at some moments of the past; for retention by age.
    marks: VecDeque<(Instant, Revision)>,
}

impl State {
    pub(crate) fn new(options: MemoryOptions, signs: Arc<Signs>) -> Self {
        let revision = Revision::new(1);
        Self {
            revision,
            compacted: Revision::ZERO,
            index: Index::new(),
            history: History::new(revision.next()),
            leases: LeaseTable::new(options.min_ttl),
            interests: Interests::default(),
            closed: false,
            size: 0,
            options,
            signs,
            marks: VecDeque::new(),
        }
    }

    /// Refuses a revision that cannot be read; the present one if none is given.
    pub(crate) fn readable(&self, at: Option<Revision>) -> Result<Revision> {
        let Some(at) = at else {
            return Ok(self.revision);
        };
        if at > self.revision {
            return Err(Error::FutureRevision {
                requested: at,
                current: Some(self.revision),
            });
        }
        if at < self.compacted {
            return Err(self.compacted_error(at));
        }
        Ok(at)
    }

    pub(crate) fn compacted_error(&self, requested: Revision) -> Error {
        Error::Compacted {
            requested,
            oldest: Some(self.compacted),
        }
    }

    /// Begins a commit; it takes place when it is finished.
    pub(crate) fn begin(&mut self) -> Commit<'_> {
        Commit {
            revision: self.revision.next(),
            first: None,
            others: Vec::new(),
            state: self,
        }
    }

    /// Ends a lease: its keys are deleted at one revision.
    pub(crate) fn end_lease(
        &mut self,
        lease: crate::lease_id::LeaseId,
        after: &mut After,
    ) -> Result<()> {
        let keys = self.leases.end(lease)?;
        let mut commit = self.begin();
        for key in &keys {
            commit.delete_key(key, false);
        }
        commit.finish(after);
        Ok(())
    }

    /// Ends every lease that is due, the one that is due longest first.
    pub(crate) fn end_due_leases(&mut self, after: &mut After) {
        let now = Instant::now();
        while let Some(lease) = self.leases.due(now) {
            if self.end_lease(lease, after).is_err() {
                return;
            }
        }
    }

    /// Gives up the history before this revision, at once for whoever asks for it; its memory is
    /// freed by [`prune`](Self::prune).
    pub(crate) fn compact(&mut self, to: Revision) -> Result<()> {
        if to > self.revision {
            return Err(Error::FutureRevision {
                requested: to,
                current: Some(self.revision),
            });
        }
        if to <= self.compacted {
            return Err(self.compacted_error(to));
        }
        self.set_compacted(to);
        Ok(())
    }

    fn set_compacted(&mut self, to: Revision) {
        self.compacted = to;
        self.signs.set_compacted(to);
    }

    /// Prunes at most this many slots of what is compacted; returns whether more is left.
    pub(crate) fn prune(&mut self, most: usize, after: &mut After) -> bool {
        for _ in 0..most {
            let Some(slot) = self.history.pop(self.compacted) else {
                break;
            };
            let (gone, dead) = slot.prune(self.compacted);
            after.garbage.extend(gone);
            if dead {
                self.index.remove(&slot);
            }
            after.slots.push(Touched::One(slot));
        }
        self.history.has_up_to(self.compacted)
    }

    fn retain(&mut self, after: &mut After) {
        let by_count = self
            .options
            .retain_revisions
            .map(|count| self.revision.get().saturating_sub(count));
        let by_age = self.options.retain_for.map(|age| {
            let now = Instant::now();
            // Marks are rough, so that there are few of them; a revision goes late, never early.
            if self
                .marks
                .back()
                .is_none_or(|(at, _)| now.duration_since(*at) >= age / 64)
            {
                self.marks.push_back((now, self.revision));
            }
            let mut to = 0;
            while let Some((at, revision)) = self.marks.front()
                && now.duration_since(*at) >= age
            {
                to = revision.get();
                self.marks.pop_front();
            }
            to
        });
        let to = match (by_count, by_age) {
            (None, None) => 0,
            (Some(to), None) | (None, Some(to)) => to,
            (Some(count), Some(age)) => count.min(age),
        };
        if to > self.compacted.get() {
            self.set_compacted(Revision::new(to));
        }
        if self.history.has_up_to(self.compacted) {
            self.prune(PRUNED_BY_A_WRITE, after);
        }
    }
}

/// Changes that become one revision.
#[derive(Debug)]
pub(crate) struct Commit<'a> {
    state: &'a mut State,
    revision: Revision,
    /// The first slot beside the others, as most commits have no others.
    first: Option<Arc<Slot>>,
    others: Vec<Arc<Slot>>,
}

impl Commit<'_> {
    /// The revision at which the changes will be.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.state
    }

    fn touch(&mut self, slot: Arc<Slot>) {
        match &self.first {
            None => self.first = Some(slot),
            Some(_) => self.others.push(slot),
        }
    }

    /// Puts a key, and returns what stood there, if that is asked for.
    pub(crate) fn put(&mut self, key: &Key, write: Write, previous: bool) -> Option<Entry> {
        let index = &mut self.state.index;
        let hash = index.hash(key.as_bytes());
        let Some(slot) = index.find(hash, key.as_bytes()) else {
            let value = write.value.unwrap_or_default();
            let lease = match write.lease {
                NewLease::Set(lease) => lease,
                NewLease::Keep => None,
            };
            self.state.size += (key.len() + value.len()) as u64;
            let slot = Slot::new(key, self.revision, value, lease);
            index.insert(hash, slot.clone());
            self.state.leases.attach(slot.key(), None, lease);
            self.touch(slot);
            return None;
        };
        let slot = slot.clone();
        let written = slot.put(self.revision, write, previous);
        let replaced = written.replaced;
        self.state.size += (key.len() + written.value_len) as u64;
        self.state.size -= replaced.size(key);
        self.state
            .leases
            .attach(slot.key(), replaced.lease, written.lease);
        self.touch(slot);
        replaced.entry
    }

    fn delete_slot(&mut self, slot: Arc<Slot>, previous: bool) -> Replaced {
        let replaced = slot.delete(self.revision, previous);
        if replaced.existed {
            self.state.size -= replaced.size(slot.key());
            self.state.leases.attach(slot.key(), replaced.lease, None);
            self.touch(slot);
        }
        replaced
    }

    fn delete_key(&mut self, key: &Key, previous: bool) -> Replaced {
        match self.state.index.get(key.as_bytes()) {
            Some(slot) => {
                let slot = slot.clone();
                self.delete_slot(slot, previous)
            }
            None => Replaced::default(),
        }
    }

    /// Deletes the keys of a range; returns how many existed, and, if that is asked for, what
    /// stood there.
    pub(crate) fn delete(&mut self, range: &KeyRange, previous: bool) -> (u64, Vec<Entry>) {
        if let Some(key) = range.single() {
            let replaced = self.delete_key(key, previous);
            return (
                u64::from(replaced.existed),
                replaced.entry.into_iter().collect(),
            );
        }
        let slots: Vec<_> = self
            .state
            .index
            .range(range)
            .filter(|slot| slot.is_live())
            .cloned()
            .collect();
        let mut entries = Vec::new();
        let mut deleted = 0;
        for slot in slots {
            let replaced = self.delete_slot(slot, previous);
            deleted += u64::from(replaced.existed);
            entries.extend(replaced.entry);
        }
        (deleted, entries)
    }

    /// Makes the changes the next revision, unless there are none; returns the present revision.
    pub(crate) fn finish(self, after: &mut After) -> Revision {
        let Some(first) = self.first else {
            return self.state.revision;
        };
        let state = self.state;
        state.revision = self.revision;
        let touched = Touched::new(first, self.others);
        state
            .interests
            .touch(self.revision, &touched, &mut after.wakers, &mut after.slots);
        state.history.push(touched);
        state.retain(after);
        state.revision
    }
}

impl Replaced {
    /// What the key and its value counted for.
    fn size(&self, key: &Key) -> u64 {
        if self.existed {
            (key.len() + self.value_len) as u64
        } else {
            0
        }
    }
}
