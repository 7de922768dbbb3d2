//! One key with all its versions that are still kept.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::entry::{Change, Entry};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::revision::Revision;

/// One version of a key: a value, or the word that the key was deleted.
#[derive(Debug)]
pub(crate) struct Record {
    created: Revision,
    modified: Revision,
    /// The number of puts since the key came to be; 0 marks a deletion.
    version: u64,
    value: Bytes,
    lease: Option<LeaseId>,
}

impl Record {
    fn first(revision: Revision, value: Bytes, lease: Option<LeaseId>) -> Self {
        Self {
            created: revision,
            modified: revision,
            version: 1,
            value,
            lease,
        }
    }

    fn tombstone(revision: Revision) -> Self {
        Self {
            created: Revision::ZERO,
            modified: revision,
            version: 0,
            value: Bytes::new(),
            lease: None,
        }
    }

    fn is_live(&self) -> bool {
        self.version > 0
    }

    fn entry(&self, key: &Key) -> Option<Entry> {
        self.is_live().then(|| Entry {
            key: key.clone(),
            value: self.value.clone(),
            created: self.created,
            modified: self.modified,
            version: self.version,
            lease: self.lease,
        })
    }
}

/// What a put writes.
#[derive(Debug)]
pub(crate) struct Write {
    /// The value; `None` keeps the one that stands there.
    pub(crate) value: Option<Bytes>,
    /// The lease, or none; `Err(Kept)` keeps the one that stands there.
    pub(crate) lease: NewLease,
}

/// The lease of a key after a put.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NewLease {
    /// This one, or none.
    Set(Option<LeaseId>),
    /// The one it had before.
    Keep,
}

/// What a put or a delete found in its way.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// Whether the key existed.
    pub(crate) existed: bool,
    /// The length of its value.
    pub(crate) value_len: usize,
    /// The lease it had.
    pub(crate) lease: Option<LeaseId>,
    /// What stood there, if it was asked for.
    pub(crate) entry: Option<Entry>,
}

/// What stands there after a put.
#[derive(Debug)]
pub(crate) struct Written {
    /// What was in its way.
    pub(crate) replaced: Replaced,
    /// The length of the value now.
    pub(crate) value_len: usize,
    /// The lease now.
    pub(crate) lease: Option<LeaseId>,
}

/// The versions of one key, behind a lock of its own, so that lists read it while others write.
#[derive(Debug)]
pub(crate) struct Slot {
    key: Key,
    versions: Mutex<Versions>,
}

#[derive(Debug)]
struct Versions {
    latest: Record,
    /// The versions before the latest, oldest first.
    older: Vec<Record>,
}

impl Versions {
    fn at(&self, revision: Revision) -> Option<&Record> {
        if self.latest.modified <= revision {
            return Some(&self.latest);
        }
        let after = self
            .older
            .partition_point(|record| record.modified <= revision);
        self.older[..after].last()
    }

    fn push(&mut self, record: Record) -> &Record {
        if self.older.capacity() == 0 {
            // Most keys have few versions: the usual first capacity of 4 would be waste.
            self.older.reserve_exact(1);
        }
        let old = std::mem::replace(&mut self.latest, record);
        self.older.push(old);
        &self.older[self.older.len() - 1]
    }
}

impl Slot {
    /// A key that came to be at this revision. Its bytes are copied: the caller's may be a small
    /// part of a large buffer.
    pub(crate) fn new(
        key: &Key,
        revision: Revision,
        value: Bytes,
        lease: Option<LeaseId>,
    ) -> Arc<Self> {
        Arc::new(Self {
            key: Key::from(key.as_bytes()),
            versions: Mutex::new(Versions {
                latest: Record::first(revision, value, lease),
                older: Vec::new(),
            }),
        })
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// What stands there now.
    pub(crate) fn latest(&self) -> Option<Entry> {
        self.versions.lock().latest.entry(&self.key)
    }

    /// Whether the key exists now.
    pub(crate) fn is_live(&self) -> bool {
        self.versions.lock().latest.is_live()
    }

    /// What stood there at this revision, which must not be compacted.
    pub(crate) fn at(&self, revision: Revision) -> Option<Entry> {
        self.versions.lock().at(revision)?.entry(&self.key)
    }

    /// Whether the key existed at this revision, which must not be compacted.
    pub(crate) fn is_live_at(&self, revision: Revision) -> bool {
        let versions = self.versions.lock();
        versions.at(revision).is_some_and(Record::is_live)
    }

    /// What this revision did to the key; `None` if the version is no longer kept.
    pub(crate) fn change(&self, revision: Revision, previous: bool) -> Option<Change> {
        let versions = self.versions.lock();
        let (record, before) = if versions.latest.modified == revision {
            (&versions.latest, versions.older.last())
        } else {
            let older = &versions.older;
            let at = older
                .binary_search_by_key(&revision, |record| record.modified)
                .ok()?;
            (&older[at], older[..at].last())
        };
        let prev = before
            .filter(|_| previous)
            .and_then(|record| record.entry(&self.key));
        Some(match record.entry(&self.key) {
            Some(entry) => Change::Put { entry, prev },
            None => Change::Delete {
                key: self.key.clone(),
                prev,
            },
        })
    }

    /// Puts a new version. The caller has made sure that there is a value to keep, if it is kept.
    pub(crate) fn put(&self, revision: Revision, write: Write, previous: bool) -> Written {
        let mut versions = self.versions.lock();
        let old = &versions.latest;
        let existed = old.is_live();
        let record = Record {
            created: if existed { old.created } else { revision },
            modified: revision,
            version: old.version + 1,
            value: write.value.unwrap_or_else(|| old.value.clone()),
            lease: match write.lease {
                NewLease::Set(lease) => lease,
                NewLease::Keep => old.lease,
            },
        };
        let (value_len, lease) = (record.value.len(), record.lease);
        let old = versions.push(record);
        Written {
            replaced: replaced(&self.key, old, previous),
            value_len,
            lease,
        }
    }

    /// Deletes the key, if it exists.
    pub(crate) fn delete(&self, revision: Revision, previous: bool) -> Replaced {
        let mut versions = self.versions.lock();
        if !versions.latest.is_live() {
            return Replaced::default();
        }
        replaced(
            &self.key,
            versions.push(Record::tombstone(revision)),
            previous,
        )
    }

    /// Gives up every version that nobody can ask for after a compaction; returns them, so that
    /// they can be freed without any lock, and whether nothing at all is left of the key.
    pub(crate) fn prune(&self, compacted: Revision) -> (Vec<Record>, bool) {
        let mut versions = self.versions.lock();
        if versions.latest.modified <= compacted {
            let gone = std::mem::take(&mut versions.older);
            return (gone, !versions.latest.is_live());
        }
        let after = versions
            .older
            .partition_point(|record| record.modified <= compacted);
        let Some(base) = after.checked_sub(1) else {
            return (Vec::new(), false);
        };
        // The state at the compacted revision stays readable; that the key was absent needs no
        // record.
        let keep_from = if versions.older[base].is_live() {
            base
        } else {
            after
        };
        if keep_from == 0 {
            return (Vec::new(), false);
        }
        let kept = versions.older.split_off(keep_from);
        (std::mem::replace(&mut versions.older, kept), false)
    }
}

fn replaced(key: &Key, old: &Record, previous: bool) -> Replaced {
    Replaced {
        existed: old.is_live(),
        value_len: old.value.len(),
        lease: old.lease,
        entry: if previous { old.entry(key) } else { None },
    }
}

/// A slot in the ordered index, which orders it by its key.
#[derive(Clone, Debug)]
pub(crate) struct SlotRef(pub(crate) Arc<Slot>);

impl Borrow<[u8]> for SlotRef {
    fn borrow(&self) -> &[u8] {
        self.0.key.as_bytes()
    }
}

impl PartialEq for SlotRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for SlotRef {}

impl PartialOrd for SlotRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SlotRef {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
