//! Entries, changes, snapshots and updates: what a store holds and what happens to it.

use bytes::Bytes;

use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::revision::Revision;

/// A key with its value, as it stands in the store at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<V = Bytes> {
    /// The key.
    pub key: Key,
    /// The value; an empty value is a value.
    pub value: V,
    /// The revision at which the key came to be.
    pub created: Revision,
    /// The revision of the last put.
    pub modified: Revision,
    /// The number of puts since the key came to be: 1 for a new key.
    pub version: u64,
    /// The lease with which the key goes, if any.
    pub lease: Option<LeaseId>,
}

impl<V> Entry<V> {
    /// The same entry with another value.
    pub fn map<U>(self, f: impl FnOnce(V) -> U) -> Entry<U> {
        Entry {
            key: self.key,
            value: f(self.value),
            created: self.created,
            modified: self.modified,
            version: self.version,
            lease: self.lease,
        }
    }

    /// Whether the last put made the key, rather than replaced its value.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.version == 1
    }
}

/// What happened to one key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<V = Bytes> {
    /// The key was put.
    Put {
        /// What stands there now.
        entry: Entry<V>,
        /// What stood there before, if that was asked for, is still kept, and was there.
        prev: Option<Entry<V>>,
    },
    /// The key went: it was deleted, or its lease ended.
    Delete {
        /// The key.
        key: Key,
        /// What stood there before, if that was asked for and is still kept.
        prev: Option<Entry<V>>,
    },
}

impl<V> Change<V> {
    /// The key that changed.
    pub fn key(&self) -> &Key {
        match self {
            Self::Put { entry, .. } => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// What stands there after the change: nothing after a delete.
    pub fn entry(&self) -> Option<&Entry<V>> {
        match self {
            Self::Put { entry, .. } => Some(entry),
            Self::Delete { .. } => None,
        }
    }

    /// What stood there before, as far as it is known.
    pub fn prev(&self) -> Option<&Entry<V>> {
        match self {
            Self::Put { prev, .. } | Self::Delete { prev, .. } => prev.as_ref(),
        }
    }

    /// The same change with its entries replaced.
    #[must_use]
    pub fn map<U>(self, mut f: impl FnMut(Entry<V>) -> Entry<U>) -> Change<U> {
        match self {
            Self::Put { entry, prev } => Change::Put {
                prev: prev.map(&mut f),
                entry: f(entry),
            },
            Self::Delete { key, prev } => Change::Delete {
                key,
                prev: prev.map(f),
            },
        }
    }
}

/// All that one revision did to a range, whole; or, without changes, word that the store has come
/// this far and that nothing happened to the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<V = Bytes> {
    /// The revision: everything up to and including it has been delivered.
    pub revision: Revision,
    /// The changes to the range, in key order; none means progress.
    pub changes: Vec<Change<V>>,
}

impl<V> Changes<V> {
    /// Word that nothing happened to the range up to this revision.
    #[must_use]
    pub fn progress(revision: Revision) -> Self {
        Self {
            revision,
            changes: Vec::new(),
        }
    }

    /// Whether this is progress alone.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        self.changes.is_empty()
    }

    /// The same changes with their entries replaced.
    #[must_use]
    pub fn map<U>(self, mut f: impl FnMut(Entry<V>) -> Entry<U>) -> Changes<U> {
        Changes {
            revision: self.revision,
            changes: self
                .changes
                .into_iter()
                .map(|change| change.map(&mut f))
                .collect(),
        }
    }
}

/// Why a new complete picture is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResyncCause {
    /// It is the first one.
    Initial,
    /// The changes since the last delivery have been compacted away.
    Compacted,
    /// The store is not the one it was: it was wiped or restored, and its history differs.
    HistoryChanged,
    /// The store cannot show whether its history is still the one that was delivered.
    Unverified,
    /// Somebody asked for it, although nothing was lost.
    Requested,
}

impl ResyncCause {
    /// The cause in one word, as metrics label it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Compacted => "compacted",
            Self::HistoryChanged => "history_reset",
            Self::Unverified => "unverified",
            Self::Requested => "requested",
        }
    }
}

/// All there is in a range at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<V = Bytes> {
    /// The revision at which the range looked like this.
    pub revision: Revision,
    /// The last revision delivered before: what happened between the two is only known as the
    /// difference of the two pictures. `None` if nothing was delivered before. After a change of
    /// history it can be above `revision`.
    pub after: Option<Revision>,
    /// Why this picture is delivered.
    pub cause: ResyncCause,
    /// Every entry of the range, in key order.
    pub entries: Vec<Entry<V>>,
}

impl<V> Snapshot<V> {
    /// The same snapshot with its entries replaced.
    #[must_use]
    pub fn map<U>(self, f: impl FnMut(Entry<V>) -> Entry<U>) -> Snapshot<U> {
        Snapshot {
            revision: self.revision,
            after: self.after,
            cause: self.cause,
            entries: self.entries.into_iter().map(f).collect(),
        }
    }
}

/// What reaches one who follows a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<V = Bytes> {
    /// This is all there is; what is not in it is gone.
    #[doc(alias("relist", "reset"))]
    Resync(Snapshot<V>),
    /// This is what one revision did.
    Changes(Changes<V>),
}

impl<V> Update<V> {
    /// The revision up to and including which the range is known after this update.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Resync(snapshot) => snapshot.revision,
            Self::Changes(changes) => changes.revision,
        }
    }

    /// The same update with its entries replaced.
    #[must_use]
    pub fn map<U>(self, f: impl FnMut(Entry<V>) -> Entry<U>) -> Update<U> {
        match self {
            Self::Resync(snapshot) => Update::Resync(snapshot.map(f)),
            Self::Changes(changes) => Update::Changes(changes.map(f)),
        }
    }
}
