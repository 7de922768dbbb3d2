//! The model: what a scope should hold, now and at every revision, in the simplest way.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::entry::{Change, Changes, Entry};
use crate::key::Key;
use crate::options::{Order, Projection};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, PutReply, RangeReply};
use crate::revision::Revision;
use crate::testing::conformance::script::{Guess, How, View};
use crate::txn::{Compare, Target};

/// What the model refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Invalid,
    Duplicate,
}

pub(super) type Modelled<T> = std::result::Result<T, Refusal>;
pub(super) type State = BTreeMap<Key, Entry>;

/// What should be in the scope, now and at every revision since the beginning.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) states: Vec<(Revision, State)>,
    pub(super) history: Vec<Changes>,
}

/// A write in the making: it becomes a revision if it changes something.
pub(super) struct Draft<'a> {
    pub(super) before: &'a State,
    pub(super) state: State,
    pub(super) changed: BTreeMap<Key, ()>,
    pub(super) revision: Revision,
}

impl Model {
    pub(super) fn new(base: Revision) -> Self {
        Self {
            states: vec![(base, State::new())],
            history: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> &(Revision, State) {
        self.states.last().expect("there is the empty beginning")
    }

    pub(super) fn at(&self, revision: Revision) -> &State {
        let made = self.states.partition_point(|(made, _)| *made <= revision);
        // Before the scope had anything it was empty, as at its beginning.
        &self.states[made.saturating_sub(1)].1
    }

    pub(super) fn past(&self, index: usize) -> Revision {
        self.states[index % self.states.len()].0
    }

    pub(super) fn guess(&self, guess: Guess, right: Option<Revision>) -> Revision {
        match guess {
            Guess::Right => right.unwrap_or_default(),
            Guess::Past(index) => self.past(index),
            Guess::Zero => Revision::ZERO,
        }
    }

    pub(super) fn draft(&self, revision: Revision) -> Draft<'_> {
        let state = &self.now().1;
        Draft {
            before: state,
            state: state.clone(),
            changed: BTreeMap::new(),
            revision,
        }
    }

    /// Takes over what a draft changed; without a change the revision only has to be no older.
    pub(super) fn take(&mut self, revision: Revision, state: State, changed: Vec<Key>) -> Check {
        let now = self.now().0;
        if changed.is_empty() {
            return ensure(revision >= now, || {
                format!("nothing changed at {revision}, although {now} was told before")
            });
        }
        ensure(revision > now, || {
            format!("a change at {revision}, although {now} was told before")
        })?;
        let before = &self.now().1;
        let changes = changed.into_iter().map(|key| {
            let prev = before.get(&key).cloned();
            match state.get(&key).cloned() {
                Some(entry) => Change::Put { entry, prev },
                None => Change::Delete { key, prev },
            }
        });
        let changes = changes.collect();
        self.history.push(Changes { revision, changes });
        self.states.push((revision, state));
        Ok(())
    }
}

impl Draft<'_> {
    pub(super) fn get(&self, range: &KeyRange, view: View) -> RangeReply {
        look(&self.state, range, view)
    }

    pub(super) fn put(&mut self, key: &Key, value: &Bytes, how: How) -> Modelled<PutReply> {
        let old = self.state.get(key).cloned();
        if (how.keep_value || how.keep_lifetime) && old.is_none() {
            return Err(Refusal::Invalid);
        }
        let entry = Entry {
            key: key.clone(),
            value: match &old {
                Some(old) if how.keep_value => old.value.clone(),
                _ => value.clone(),
            },
            created: old.as_ref().map_or(self.revision, |old| old.created),
            modified: self.revision,
            version: old.as_ref().map_or(0, |old| old.version) + 1,
            lease: None,
        };
        self.state.insert(key.clone(), entry);
        self.changed.insert(key.clone(), ());
        Ok(PutReply {
            revision: self.revision,
            written: true,
            prev: old.filter(|_| how.previous),
            lease: None,
        })
    }

    pub(super) fn delete(&mut self, range: &KeyRange, previous: bool) -> DeleteReply {
        let gone: Vec<Entry> = within(&self.state, range).cloned().collect();
        for entry in &gone {
            self.state.remove(&entry.key);
            self.changed.insert(entry.key.clone(), ());
        }
        DeleteReply {
            revision: self.revision,
            deleted: gone.len() as u64,
            prev: if previous { gone } else { Vec::new() },
        }
    }

    pub(super) fn holds(&self, compare: &Compare) -> bool {
        let entry = self.before.get(&compare.key);
        let relation = compare.relation;
        let zero = Revision::ZERO;
        match &compare.target {
            Target::Version(given) => {
                relation.holds(&entry.map_or(0, |entry| entry.version), given)
            }
            Target::Created(given) => {
                relation.holds(&entry.map_or(zero, |entry| entry.created), given)
            }
            Target::Modified(given) => {
                relation.holds(&entry.map_or(zero, |entry| entry.modified), given)
            }
            Target::Value(given) => entry.is_some_and(|entry| relation.holds(&entry.value, given)),
            Target::Lease(given) => relation.holds(&entry.and_then(|entry| entry.lease), given),
        }
    }
}

pub(super) fn within<'a>(state: &'a State, range: &'a KeyRange) -> impl Iterator<Item = &'a Entry> {
    state.values().filter(|entry| range.contains(&entry.key))
}

pub(super) fn look(state: &State, range: &KeyRange, view: View) -> RangeReply {
    let mut entries: Vec<Entry> = within(state, range).cloned().collect();
    let count = (view.projection == Projection::Count).then_some(entries.len() as u64);
    if view.order == Order::Descending {
        entries.reverse();
    }
    entries.truncate(view.limit.unwrap_or(usize::MAX));
    match view.projection {
        Projection::Entries => {}
        Projection::Keys => entries.iter_mut().for_each(|entry| entry.value.clear()),
        Projection::Count => entries.clear(),
    }
    RangeReply { entries, count }
}

/// What a step found: nothing to complain of, or what is wrong.
pub(super) type Check = std::result::Result<(), String>;

pub(super) fn ensure(holds: bool, wrong: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(wrong()) }
}
