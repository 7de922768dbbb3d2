//! What a call does to a state and answers, in the simplest way.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use crate::entry::{Change, Entry};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{Lifetime, ListOptions, Order, Projection, PutOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, OpReply, PutReply, RangeReply, TxnReply};
use crate::revision::Revision;
use crate::testing::history::call::{Reply, Request};
use crate::txn::{Compare, Op, Target, Txn};

/// All entries of a store at one revision; a copy costs nothing.
pub(super) type State = OrdMap<Key, Arc<Entry>>;

/// What a write does.
#[derive(Debug)]
pub(super) struct Effect {
    /// The changes, in key order, with previous entries.
    pub(super) changes: Vec<Change>,
    /// What it answers.
    pub(super) reply: Reply,
}

/// A write in the making.
struct Draft<'a> {
    before: &'a State,
    state: State,
    /// The revision that it becomes.
    revision: Revision,
    /// The leases that the store has made for puts with a TTL, by key: chance, so far as a model
    /// knows.
    granted: &'a dyn Fn(&Key) -> Option<LeaseId>,
}

/// What a write does to this state at this revision; `None` if a store has to refuse it there, or
/// if it is none. Reads of the past within a transaction are answered as of now.
pub(super) fn write(
    before: &State,
    revision: Revision,
    request: &Request,
    granted: &dyn Fn(&Key) -> Option<LeaseId>,
) -> Option<Effect> {
    let mut draft = Draft {
        before,
        state: before.clone(),
        revision,
        granted,
    };
    let reply = match request {
        Request::Put(key, value, options) => Reply::Put(draft.put_if(key, value, options)?),
        Request::Delete(range, options) => Reply::Delete(draft.delete(range, options.previous)),
        Request::Commit(txn) => Reply::Commit(draft.commit(txn)?),
        Request::Get(..) | Request::List(..) | Request::Revoke(_) => return None,
    };
    Some(Effect {
        changes: draft.changes(),
        reply,
    })
}

/// What a list shows of a state.
pub(super) fn look(state: &State, range: &KeyRange, options: &ListOptions) -> RangeReply {
    let mut entries: Vec<Entry> = within(state, range)
        .map(|entry| (**entry).clone())
        .collect();
    let count = (options.projection == Projection::Count).then_some(entries.len() as u64);
    if options.order == Order::Descending {
        entries.reverse();
    }
    entries.truncate(options.limit.unwrap_or(usize::MAX));
    match options.projection {
        Projection::Entries => {}
        Projection::Keys => entries.iter_mut().for_each(|entry| entry.value.clear()),
        Projection::Count => entries.clear(),
    }
    RangeReply { entries, count }
}

/// The entries of a range.
pub(super) fn within<'a>(
    state: &'a State,
    range: &KeyRange,
) -> impl Iterator<Item = &'a Arc<Entry>> {
    let end = range.end().cloned();
    state
        .range(range.start().clone()..)
        .take_while(move |(key, _)| end.as_ref().is_none_or(|end| *key < end))
        .map(|(_, entry)| entry)
}

/// The changes that lead from one state of a range to another, in key order.
pub(super) fn difference(before: &State, after: &State, range: &KeyRange) -> Vec<Change> {
    let put = |entry: &Arc<Entry>| {
        let prev = before.get(&entry.key);
        (prev != Some(entry)).then(|| Change::Put {
            entry: (**entry).clone(),
            prev: prev.map(|prev| (**prev).clone()),
        })
    };
    let delete = |entry: &Arc<Entry>| {
        (!after.contains_key(&entry.key)).then(|| Change::Delete {
            key: entry.key.clone(),
            prev: Some((**entry).clone()),
        })
    };
    let mut changes: Vec<Change> = within(after, range).filter_map(put).collect();
    changes.extend(within(before, range).filter_map(delete));
    changes.sort_by(|a, b| a.key().cmp(b.key()));
    changes
}

/// Whether a compare holds in a state.
fn holds(state: &State, compare: &Compare) -> bool {
    let entry = state.get(&compare.key);
    let relation = compare.relation;
    let zero = Revision::ZERO;
    match &compare.target {
        Target::Version(given) => relation.holds(&entry.map_or(0, |entry| entry.version), given),
        Target::Created(given) => relation.holds(&entry.map_or(zero, |e| e.created), given),
        Target::Modified(given) => relation.holds(&entry.map_or(zero, |e| e.modified), given),
        Target::Value(given) => entry.is_some_and(|entry| relation.holds(&entry.value, given)),
        Target::Lease(given) => relation.holds(&entry.and_then(|entry| entry.lease), given),
    }
}

impl Draft<'_> {
    fn put_if(&mut self, key: &Key, value: &Bytes, options: &PutOptions) -> Option<PutReply> {
        if let Some(condition) = &options.only_if
            && !holds(self.before, &condition.compare(key))
        {
            return Some(PutReply {
                revision: self.revision,
                written: false,
                prev: self.before.get(key).map(|entry| (**entry).clone()),
                lease: None,
            });
        }
        self.put(key, value, options)
    }

    fn put(&mut self, key: &Key, value: &Bytes, options: &PutOptions) -> Option<PutReply> {
        let old = self.state.get(key).cloned();
        let made = match options.lifetime {
            Lifetime::Ttl(_) => (self.granted)(key),
            _ => None,
        };
        let entry = Entry {
            key: key.clone(),
            value: match (&old, options.keep_value) {
                (Some(old), true) => old.value.clone(),
                (None, true) => return None,
                (_, false) => value.clone(),
            },
            created: old.as_ref().map_or(self.revision, |old| old.created),
            modified: self.revision,
            version: old.as_ref().map_or(0, |old| old.version) + 1,
            lease: match options.lifetime {
                Lifetime::Permanent => None,
                Lifetime::Ttl(_) => made,
                Lifetime::Lease(lease) => Some(lease),
                Lifetime::Keep => old.as_ref()?.lease,
            },
        };
        self.state.insert(key.clone(), Arc::new(entry));
        Some(PutReply {
            revision: self.revision,
            written: true,
            prev: old.filter(|_| options.previous).map(Arc::unwrap_or_clone),
            lease: made,
        })
    }

    fn delete(&mut self, range: &KeyRange, previous: bool) -> DeleteReply {
        let gone: Vec<Entry> = within(&self.state, range)
            .map(|entry| (**entry).clone())
            .collect();
        for entry in &gone {
            self.state.remove(&entry.key);
        }
        DeleteReply {
            revision: self.revision,
            deleted: gone.len() as u64,
            prev: if previous { gone } else { Vec::new() },
        }
    }

    fn commit(&mut self, txn: &Txn) -> Option<TxnReply> {
        let succeeded = txn
            .compares
            .iter()
            .all(|compare| holds(self.before, compare));
        let branch = if succeeded { &txn.then } else { &txn.otherwise };
        let replies = branch.iter().map(|op| {
            Some(match op {
                Op::Get(range, options) => OpReply::Get(look(&self.state, range, options)),
                Op::Put(key, value, options) => OpReply::Put(self.put(key, value, options)?),
                Op::Delete(range, options) => OpReply::Delete(self.delete(range, options.previous)),
            })
        });
        Some(TxnReply {
            replies: replies.collect::<Option<_>>()?,
            revision: self.revision,
            succeeded,
        })
    }

    fn changes(&self) -> Vec<Change> {
        difference(self.before, &self.state, &KeyRange::all())
    }
}
