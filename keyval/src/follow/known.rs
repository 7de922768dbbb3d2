//! What a follower remembers of the history it delivered, so as to recognise it again.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;
use hashbrown::HashMap;

use crate::entry::{Change, Changes, Entry};
use crate::key::Key;
use crate::options::ListOptions;
use crate::range::KeyRange;
use crate::reply::OpReply;
use crate::revision::Revision;
use crate::txn::{Op, Txn};

/// The most keys that stand for a large range.
const WITNESSES: usize = 16;
/// The most bytes of values for which a range is read again as a whole.
const EXACT_BYTES: usize = 1 << 20;
/// The most bytes of a value that is read again to recognise one key.
const WITNESS_BYTES: usize = 64 << 10;
/// The most revisions, and changes in them, that are watched a second time.
const ECHO_REVISIONS: usize = 16;
const ECHO_CHANGES: usize = 256;
/// How far back they may lie: a store reads everything in between to find them.
const ECHO_DISTANCE: u64 = 10_000;

/// How much to remember.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Up to how many keys each is remembered.
    exact_keys: usize,
    /// How many keys one transaction of the store can read beside a count.
    witnesses: usize,
}

impl Limits {
    pub(super) fn new(exact_keys: usize, max_txn_ops: Option<usize>) -> Self {
        let witnesses = max_txn_ops.map_or(WITNESSES, |ops| ops.saturating_sub(1).min(WITNESSES));
        Self {
            exact_keys,
            witnesses,
        }
    }
}

/// What is known of a range and of its history up to a revision.
///
/// Of a small range each key is remembered, as a hash of everything about it: at any later time
/// the range as it was at this revision either hashes the same, or the history is another one. Of a
/// large range three things are remembered: how many keys it has, the keys changed last, and a hash
/// of each of the latest changes together with the fact that there was none between them.
#[derive(Debug)]
pub(super) struct Known {
    /// Everything up to and including this revision is known.
    through: Revision,
    /// How many keys the range has.
    count: u64,
    /// What stands at each key, by the hash of the key; `None` for a large range.
    marks: Option<HashMap<u64, Mark, FixedState>>,
    /// The bytes of the values behind the marks.
    bytes: usize,
    /// Of a large range, and of one that may soon be, the keys changed last, the latest at the back.
    witnesses: VecDeque<Witness>,
    /// The latest revisions that changed the range, the latest at the back; complete from `since`.
    recent: VecDeque<Past>,
    /// From here on `recent` is complete.
    since: Revision,
    limits: Limits,
    hasher: FixedState,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    digest: u64,
    size: usize,
}

#[derive(Debug)]
struct Witness {
    key: Key,
    /// Whether the value is read again, and the digest of what stands there; `None` is nothing.
    stands: Option<(bool, u64)>,
}

#[derive(Debug)]
struct Past {
    revision: Revision,
    changes: usize,
    digest: u64,
}

/// What to read to recognise the history.
#[derive(Debug, PartialEq)]
pub(super) enum Check {
    /// The whole range, as these options say.
    Every(ListOptions),
    /// A count and some keys.
    Samples(Txn),
}

/// What was read.
#[derive(Debug)]
pub(super) enum Found {
    Every(Vec<Entry>),
    Samples(Vec<OpReply>),
}

/// How far a watch has come that also repeats changes already known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Echo {
    /// The latest revision it brought.
    last: Revision,
    /// The first of the remembered revisions that it has not brought.
    next: usize,
}

/// What an item of a watch is to one who knows the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It goes on from what is known.
    New,
    /// It is known.
    Old,
    /// It contradicts what is known.
    Contradiction,
}

impl Known {
    /// What is known from a snapshot.
    pub(super) fn new(
        through: Revision,
        entries: &[Entry],
        limits: Limits,
        hasher: FixedState,
    ) -> Self {
        let mut known = Self {
            through,
            count: entries.len() as u64,
            marks: None,
            bytes: entries.iter().map(|entry| entry.value.len()).sum(),
            witnesses: VecDeque::new(),
            recent: VecDeque::new(),
            since: through.next(),
            limits,
            hasher: hasher.clone(),
        };
        if entries.len() <= limits.exact_keys && known.bytes <= EXACT_BYTES {
            let marks = entries
                .iter()
                .map(|entry| (known.hash(&entry.key), known.mark(entry)));
            let mut map = HashMap::with_capacity_and_hasher(entries.len(), hasher);
            map.extend(marks);
            known.marks = Some(map);
        }
        if known.may_be_large() {
            let mut latest: Vec<&Entry> = entries.iter().collect();
            if latest.len() > limits.witnesses {
                latest.select_nth_unstable_by_key(limits.witnesses, |entry| {
                    std::cmp::Reverse(entry.modified)
                });
                latest.truncate(limits.witnesses);
            }
            latest.sort_unstable_by_key(|entry| entry.modified);
            for entry in latest {
                known.testify(&entry.key, Some(entry));
            }
        }
        known
    }

    /// The revision up to and including which everything is known.
    pub(super) fn through(&self) -> Revision {
        self.through
    }

    /// Where a watch must start for [`hear`](Self::hear) to tell the most: behind what is known, if
    /// the check of the whole range tells all; else at the oldest of the remembered changes.
    pub(super) fn start(&self) -> Revision {
        if self.marks.is_some() {
            return self.through.next();
        }
        let far = self.through.get().saturating_sub(ECHO_DISTANCE);
        self.since.max(Revision::new(far).next())
    }

    /// Begins to listen to a watch that starts here.
    pub(super) fn listen(&self, from: Revision) -> Echo {
        Echo {
            // Not the one before the start: a replica that lags behind may tell its own progress.
            last: Revision::ZERO,
            next: self.recent.partition_point(|past| past.revision < from),
        }
    }

    /// Compares an item of a watch with what is known.
    pub(super) fn hear(&self, echo: &mut Echo, changes: &Changes) -> Heard {
        let revision = changes.revision;
        if revision < echo.last {
            return Heard::Contradiction;
        }
        echo.last = revision;
        if revision > self.through || changes.is_progress() {
            // All that is known up to here has been brought, or is not in this history.
            let due = self
                .recent
                .partition_point(|past| past.revision <= revision);
            return match () {
                () if echo.next < due => Heard::Contradiction,
                () if revision > self.through => Heard::New,
                () => Heard::Old,
            };
        }
        let place = self
            .recent
            .binary_search_by_key(&revision, |past| past.revision);
        match place {
            Ok(at) if at > echo.next || self.recent[at].digest != self.digest(changes) => {
                Heard::Contradiction
            }
            Ok(at) => {
                echo.next = echo.next.max(at + 1);
                Heard::Old
            }
            Err(_) if revision < self.since => Heard::Old,
            Err(_) => Heard::Contradiction,
        }
    }

    /// Takes in changes that are new, heard by this listener.
    pub(super) fn record(&mut self, echo: &mut Echo, changes: &Changes) {
        let mut digest = 0_u64;
        for change in &changes.changes {
            let one = self.change_digest(change);
            digest = digest.wrapping_add(one);
            match change {
                Change::Put { entry, .. } => self.record_put(entry, one),
                Change::Delete { key, .. } => self.record_delete(key),
            }
        }
        if let Some(marks) = &self.marks {
            self.count = marks.len() as u64;
            if marks.len() > self.limits.exact_keys || self.bytes > EXACT_BYTES {
                self.marks = None;
            }
        }
        if self.may_be_large() {
            let before = changes.changes.len().saturating_sub(self.limits.witnesses);
            for change in &changes.changes[before..] {
                self.testify(change.key(), change.entry());
            }
        }
        if !changes.is_progress() {
            self.recent.push_back(Past {
                revision: changes.revision,
                changes: changes.changes.len(),
                digest,
            });
            self.trim();
        }
        self.through = changes.revision;
        echo.next = self.recent.len();
    }

    /// Forgets the changes up to this revision, which can no longer be watched; returns where a
    /// watch must start now.
    pub(super) fn forget(&mut self, through: Option<Revision>) -> Revision {
        let through = through.map_or(self.through, |revision| revision.min(self.through));
        let gone = self.recent.partition_point(|past| past.revision <= through);
        self.recent.drain(..gone);
        self.since = self.since.max(through.next());
        self.start()
    }

    /// What to read of the range to recognise the history.
    pub(super) fn check(&self, range: &KeyRange) -> Check {
        let at = ListOptions::default().at(self.through);
        if let Some(marks) = &self.marks {
            // One more than is known: enough to see that there are too many.
            return Check::Every(at.with_limit(marks.len() + 1));
        }
        let count = Op::Get(range.clone(), at.count_only());
        let keys = self.witnesses.iter().map(|witness| {
            let options = match witness.stands {
                Some((true, _)) => at,
                Some((false, _)) | None => at.keys_only(),
            };
            Op::Get(KeyRange::key(&witness.key), options)
        });
        Check::Samples(keys.fold(Txn::new().then(count), Txn::then))
    }

    /// Whether what the check read is what is known.
    pub(super) fn recognises(&self, found: &Found) -> bool {
        match found {
            Found::Every(entries) => self.marks.as_ref().is_some_and(|marks| {
                entries.len() == marks.len()
                    && entries.iter().all(|entry| {
                        marks
                            .get(&self.hash(&entry.key))
                            .is_some_and(|mark| mark.digest == self.mark(entry).digest)
                    })
            }),
            Found::Samples(replies) => {
                let mut replies = replies.iter();
                let Some(OpReply::Get(total)) = replies.next() else {
                    return false;
                };
                total.count == Some(self.count)
                    && replies.len() == self.witnesses.len()
                    && self
                        .witnesses
                        .iter()
                        .zip(replies)
                        .all(|(witness, reply)| self.confirms(witness, reply))
            }
        }
    }

    fn confirms(&self, witness: &Witness, reply: &OpReply) -> bool {
        let OpReply::Get(reply) = reply else {
            return false;
        };
        match (witness.stands, reply.entries.first()) {
            (None, None) => true,
            (Some((whole, digest)), Some(entry)) => digest == self.entry_digest(entry, whole),
            _ => false,
        }
    }

    /// Whether the range is large, or halfway to it: its witnesses are there when they are needed.
    fn may_be_large(&self) -> bool {
        self.marks.as_ref().is_none_or(|marks| {
            marks.len() > self.limits.exact_keys / 2 || self.bytes > EXACT_BYTES / 2
        })
    }

    fn record_put(&mut self, entry: &Entry, digest: u64) {
        if entry.is_new() {
            self.count += 1;
        }
        if let Some(marks) = &mut self.marks {
            let size = entry.value.len();
            let key = self.hasher.hash_one(&entry.key);
            let before = marks.insert(key, Mark { digest, size });
            self.bytes = self.bytes + size - before.map_or(0, |mark| mark.size);
        }
    }

    fn record_delete(&mut self, key: &Key) {
        self.count = self.count.saturating_sub(1);
        if let Some(marks) = &mut self.marks {
            let key = self.hasher.hash_one(key);
            let before = marks.remove(&key).map_or(0, |mark| mark.size);
            self.bytes -= before;
        }
    }

    /// Makes a key the latest witness.
    fn testify(&mut self, key: &Key, stands: Option<&Entry>) {
        if self.limits.witnesses == 0 {
            return;
        }
        let known = self.witnesses.iter().position(|known| known.key == *key);
        if let Some(place) = known {
            self.witnesses.remove(place);
        } else if self.witnesses.len() == self.limits.witnesses {
            self.witnesses.pop_front();
        }
        let stands = stands.map(|entry| {
            let whole = entry.value.len() <= WITNESS_BYTES;
            (whole, self.entry_digest(entry, whole))
        });
        self.witnesses.push_back(Witness {
            // A copy: the key may share the memory of a whole page of the snapshot.
            key: Key::from(key.as_bytes()),
            stands,
        });
    }

    fn trim(&mut self) {
        let mut changes: usize = self.recent.iter().map(|past| past.changes).sum();
        while self.recent.len() > ECHO_REVISIONS || changes > ECHO_CHANGES {
            let Some(past) = self.recent.pop_front() else {
                return;
            };
            changes -= past.changes;
            self.since = past.revision.next();
        }
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key)
    }

    fn mark(&self, entry: &Entry) -> Mark {
        Mark {
            digest: self.entry_digest(entry, true),
            size: entry.value.len(),
        }
    }

    fn entry_digest(&self, entry: &Entry, whole: bool) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        entry.key.hash(&mut hasher);
        entry.created.hash(&mut hasher);
        entry.modified.hash(&mut hasher);
        entry.version.hash(&mut hasher);
        entry.lease.hash(&mut hasher);
        if whole {
            entry.value.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A digest of changes that does not depend on their order within the revision.
    fn digest(&self, changes: &Changes) -> u64 {
        let digests = changes
            .changes
            .iter()
            .map(|change| self.change_digest(change));
        digests.fold(0, u64::wrapping_add)
    }

    fn change_digest(&self, change: &Change) -> u64 {
        match change {
            Change::Put { entry, .. } => self.entry_digest(entry, true),
            Change::Delete { key, .. } => !self.hash(key),
        }
    }
}

#[cfg(test)]
impl Known {
    /// Whether every key is remembered.
    pub(super) fn is_exact(&self) -> bool {
        self.marks.is_some()
    }
}
