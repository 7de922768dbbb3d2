//! What watches and followers delivered, as they were recorded.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::{Changes, Entry, Update};
use crate::mirror::{Mirror, MirrorWriter, mirror};
use crate::range::KeyRange;
use crate::revision::Revision;

/// One item of a recorded stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<T> {
    /// Something was delivered.
    Item(T),
    /// The stream ended, with this cause.
    Ended(String),
}

/// What one raw watch delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRecord {
    /// Who watched.
    pub name: String,
    /// The range that was watched.
    pub range: KeyRange,
    /// Whether previous entries were asked for.
    pub previous: bool,
    /// The revision that was to be delivered first; `None` for a watch from now on, and for the
    /// continuation of a record.
    pub from: Option<Revision>,
    /// The revision to which the watch was pinned, or that was delivered last before this record.
    pub after: Revision,
    /// What came.
    pub items: Vec<Delivery<Changes>>,
    /// A revision up to which everything must have come, if it was waited for.
    pub until: Option<Revision>,
}

impl fmt::Display for WatchRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch {}", self.name)
    }
}

impl WatchRecord {
    /// The revision up to which everything has been delivered.
    #[must_use]
    pub fn reached(&self) -> Revision {
        let reached = self.items.iter().filter_map(|item| match item {
            Delivery::Item(changes) => Some(changes.revision),
            Delivery::Ended(_) => None,
        });
        reached.fold(self.after, Revision::max)
    }
}

/// One update, and what a mirror made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowedUpdate {
    /// What the follower delivered.
    pub update: Update,
    /// What the mirror reported as changed; `None` if there was no mirror.
    pub applied: Option<Changes>,
}

/// A copy, as a mirror showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The revision of the copy.
    pub revision: Revision,
    /// Its entries, in key order.
    pub entries: Vec<Entry>,
}

/// What one follower delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowRecord {
    /// Who followed.
    pub name: String,
    /// The range that was followed.
    pub range: KeyRange,
    /// Whether previous entries were asked for.
    pub previous: bool,
    /// The revision that was delivered last before this record; `None` for a new follower.
    pub after: Option<Revision>,
    /// What came.
    pub items: Vec<Delivery<FollowedUpdate>>,
    /// How often the history was lost on the way, and so how many resyncs there must be besides
    /// the first.
    pub losses: RangeInclusive<usize>,
    /// What the mirror showed at the end, if there was one.
    pub copy: Option<Copied>,
    /// A revision up to which everything must have come, if it was waited for.
    pub until: Option<Revision>,
}

impl fmt::Display for FollowRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "follower {}", self.name)
    }
}

/// Feeds a mirror with what a follower delivers, and records both.
///
/// # Examples
/// ```
/// use futures::StreamExt;
/// use keyval::testing::history::Followed;
/// use keyval::{BrokerExt, FollowOptions, KeyRange, Memory, follow};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let last = store.put("a", "1").await?;
/// let mut updates = follow(store.clone(), KeyRange::all(), FollowOptions::default());
/// let mut followed = Followed::new("all", KeyRange::all());
/// while followed.reached() < Some(last) {
///     let Some(update) = updates.next().await.transpose()? else { unreachable!() };
///     followed.apply(update);
/// }
/// let record = followed.take(0..=0, Some(last));
/// assert_eq!(record.items.len(), 1);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Followed {
    record: FollowRecord,
    reached: Option<Revision>,
    writer: MirrorWriter<Bytes>,
    mirror: Mirror<Bytes>,
}

impl Followed {
    /// A new record of a follower of this range, without previous entries.
    #[must_use]
    pub fn new(name: impl Into<String>, range: KeyRange) -> Self {
        let (mirror, writer) = mirror();
        Self {
            record: FollowRecord {
                name: name.into(),
                range,
                previous: false,
                after: None,
                items: Vec::new(),
                losses: 0..=0,
                copy: None,
                until: None,
            },
            reached: None,
            writer,
            mirror,
        }
    }

    /// The same for a follower that asks for previous entries.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        self.record.previous = true;
        self
    }

    /// The mirror that is fed.
    #[must_use]
    pub fn mirror(&self) -> Mirror<Bytes> {
        self.mirror.clone()
    }

    /// The revision that was delivered last; `None` before the first update.
    #[must_use]
    pub fn reached(&self) -> Option<Revision> {
        self.reached
    }

    /// Records an update, and applies it to the mirror.
    pub fn apply(&mut self, update: Update) {
        let applied = self.writer.apply(update.clone());
        self.reached = Some(update.revision());
        let item = FollowedUpdate {
            update,
            applied: Some(applied.map(|entry| entry.map(Arc::unwrap_or_clone))),
        };
        self.record.items.push(Delivery::Item(item));
    }

    /// Records the end of the follower.
    pub fn ended(&mut self, cause: impl Into<String>) {
        self.record.items.push(Delivery::Ended(cause.into()));
    }

    /// The record so far, together with the copy as it is now; what comes later is recorded anew
    /// and continues this.
    ///
    /// `losses` is how often the history was lost since the last record, and `until` the revision
    /// up to which everything was waited for.
    #[must_use]
    pub fn take(&mut self, losses: RangeInclusive<usize>, until: Option<Revision>) -> FollowRecord {
        let snapshot = self.mirror.snapshot();
        let next = FollowRecord {
            name: self.record.name.clone(),
            range: self.record.range.clone(),
            previous: self.record.previous,
            after: self.reached,
            items: Vec::new(),
            losses: 0..=0,
            copy: None,
            until: None,
        };
        let mut record = std::mem::replace(&mut self.record, next);
        record.losses = losses;
        record.until = until;
        record.copy = Some(Copied {
            revision: snapshot.revision(),
            entries: snapshot
                .iter()
                .map(|entry| entry.clone().map(Arc::unwrap_or_clone))
                .collect(),
        });
        record
    }
}
