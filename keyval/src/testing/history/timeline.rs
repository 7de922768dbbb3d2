//! Every state that a store was in, from the list of all its changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::entry::{Change, Changes, Entry};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::history::model::State;
use crate::testing::history::violation::{Findings, Rule};
use crate::testing::history::whole::Base;

/// More revisions than this are not missing in a row: then the revision itself is wrong.
const GAP: u64 = 1_000_000;

/// Every state of a store, by revision.
#[derive(Debug)]
pub(super) struct Timeline {
    base: Revision,
    /// One for each revision from the base on.
    points: Vec<Point>,
    /// When each key changed.
    changed: HashMap<Key, Vec<Revision>>,
    leases: Leases,
}

/// One revision: what it did, and what was there after it.
#[derive(Debug)]
struct Point {
    /// In key order, with previous entries.
    changes: Vec<Change>,
    state: State,
    /// Whether it can be the end of a lease: every key of one lease goes, and nothing else happens.
    ends_lease: bool,
}

/// How many keys each lease has.
#[derive(Debug, Default)]
struct Leases {
    keys: BTreeMap<LeaseId, usize>,
    /// Since when a lease has no keys any more.
    gone: BTreeMap<LeaseId, Revision>,
}

impl Timeline {
    /// Replays all changes from the base on; what does not follow from what was there is wrong.
    pub(super) fn new(base: &Base, truth: &[Changes], findings: &mut Findings) -> Self {
        let entries = base.entries.iter();
        let state: State = entries
            .map(|entry| (entry.key.clone(), Arc::new(entry.clone())))
            .collect();
        let mut leases = Leases::default();
        for entry in state.values() {
            leases.count(None, Some(entry), base.revision);
        }
        let point = Point {
            changes: Vec::new(),
            state,
            ends_lease: false,
        };
        let mut timeline = Self {
            base: base.revision,
            points: vec![point],
            changed: HashMap::new(),
            leases,
        };
        for changes in truth {
            timeline.replay(changes, findings);
        }
        timeline
    }

    /// The revision from which everything is known.
    pub(super) fn base(&self) -> Revision {
        self.base
    }

    /// The last revision that is known.
    pub(super) fn end(&self) -> Revision {
        Revision::new(self.base.get() + self.points.len() as u64 - 1)
    }

    /// What was there at a revision; `None` if it is not known.
    pub(super) fn at(&self, revision: Revision) -> Option<&State> {
        Some(&self.point(revision)?.state)
    }

    /// What a revision did; nothing if it is not known.
    pub(super) fn changes(&self, revision: Revision) -> &[Change] {
        self.point(revision).map_or(&[], |point| &point.changes)
    }

    /// What a revision did to a range.
    pub(super) fn changes_in<'a>(
        &'a self,
        revision: Revision,
        range: &'a KeyRange,
    ) -> impl Iterator<Item = &'a Change> {
        let changes = self.changes(revision).iter();
        changes.filter(|change| range.contains(change.key()))
    }

    /// The first revision after one and up to another at which something happened to a range.
    pub(super) fn next_change(
        &self,
        after: Revision,
        until: Revision,
        range: &KeyRange,
    ) -> Option<Revision> {
        let until = until.min(self.end());
        let mut revision = after.max(self.base);
        while revision < until {
            revision = revision.next();
            if self.changes_in(revision, range).next().is_some() {
                return Some(revision);
            }
        }
        None
    }

    /// Every revision after the base.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Revision> {
        (self.base.get() + 1..=self.end().get()).map(Revision::new)
    }

    pub(super) fn ends_lease(&self, revision: Revision) -> bool {
        self.point(revision).is_some_and(|point| point.ends_lease)
    }

    /// Since when a lease has no keys; `None` if it has some to the end.
    pub(super) fn lease_gone(&self, lease: LeaseId) -> Option<Revision> {
        if self.leases.keys.contains_key(&lease) {
            return None;
        }
        let gone = self.leases.gone.get(&lease);
        Some(gone.copied().unwrap_or(self.base))
    }

    /// The first revision from one on at which a key was as told.
    pub(super) fn first_match(
        &self,
        key: &Key,
        entry: Option<&Entry>,
        from: Revision,
    ) -> Option<Revision> {
        let matches = |revision: Revision| {
            let state = self.at(revision)?;
            (state.get(key).map(|found| &**found) == entry).then_some(revision)
        };
        let from = from.max(self.base);
        matches(from).or_else(|| {
            let changed = self.changed.get(key)?;
            let later = changed.partition_point(|revision| *revision <= from);
            changed[later..].iter().find_map(|at| matches(*at))
        })
    }

    fn point(&self, revision: Revision) -> Option<&Point> {
        let index = revision.get().checked_sub(self.base.get())?;
        self.points.get(usize::try_from(index).ok()?)
    }

    fn replay(&mut self, changes: &Changes, findings: &mut Findings) {
        let (at, expected) = (changes.revision, self.end().next());
        let place = format!("revision {at} of the truth");
        if at < expected {
            let what = format!("it comes when {expected} is the next");
            return findings.add(Rule::Truth, place, what);
        }
        if changes.changes.is_empty() {
            return findings.add(Rule::Truth, place, "it has no changes");
        }
        if at > expected {
            let what = format!("it comes when {expected} is the next: there is a gap");
            findings.add(Rule::Truth, &place, what);
            if at.get() - expected.get() > GAP {
                return;
            }
            while self.end().next() < at {
                let state = self.last().clone();
                self.points.push(Point {
                    changes: Vec::new(),
                    state,
                    ends_lease: false,
                });
            }
        }
        let mut wrong = |key: &Key, what: &str| {
            findings.add(Rule::Truth, &place, format!("\"{key}\": {what}"));
        };
        let before = self.last().clone();
        let mut state = before.clone();
        let mut known: Vec<Change> = Vec::new();
        let mut ended = Vec::new();
        for change in &changes.changes {
            let key = change.key();
            if known.last().is_some_and(|last| last.key() >= key) {
                wrong(key, "it does not come in key order");
            }
            let prev = before.get(key).cloned();
            if let Some(told) = change.prev()
                && Some(told) != prev.as_deref()
            {
                wrong(key, "the previous entry is another");
            }
            self.leases.count(prev.as_deref(), change.entry(), at);
            self.changed.entry(key.clone()).or_default().push(at);
            match change {
                Change::Put { entry, .. } => {
                    let (created, version) = prev
                        .as_ref()
                        .map_or((at, 1), |p| (p.created, p.version + 1));
                    if (entry.modified, entry.created, entry.version) != (at, created, version) {
                        wrong(key, "its revisions do not follow from what was there");
                    }
                    state.insert(key.clone(), Arc::new(entry.clone()));
                    ended.push(None);
                    known.push(Change::Put {
                        entry: entry.clone(),
                        prev: prev.map(Arc::unwrap_or_clone),
                    });
                }
                Change::Delete { .. } => {
                    if prev.is_none() {
                        wrong(key, "it goes although it was not there");
                    }
                    state.remove(key);
                    ended.push(prev.as_ref().and_then(|prev| prev.lease));
                    known.push(Change::Delete {
                        key: key.clone(),
                        prev: prev.map(Arc::unwrap_or_clone),
                    });
                }
            }
        }
        let first = ended[0];
        let ends_lease = first.is_some_and(|lease| !self.leases.keys.contains_key(&lease))
            && ended.iter().all(|lease| *lease == first);
        self.points.push(Point {
            changes: known,
            state,
            ends_lease,
        });
    }

    fn last(&self) -> &State {
        let last = self.points.last().expect("there is the base");
        &last.state
    }
}

impl Leases {
    fn count(&mut self, before: Option<&Entry>, after: Option<&Entry>, at: Revision) {
        if let Some(lease) = after.and_then(|entry| entry.lease) {
            *self.keys.entry(lease).or_default() += 1;
        }
        if let Some(lease) = before.and_then(|entry| entry.lease)
            && let Some(keys) = self.keys.get_mut(&lease)
        {
            *keys -= 1;
            if *keys == 0 {
                self.keys.remove(&lease);
                self.gone.insert(lease, at);
            }
        }
    }
}
