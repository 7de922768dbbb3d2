//! Carries out puts, deletes and transactions on the state.

use std::time::Duration;

use bytes::Bytes;

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::memory::slot::{NewLease, Slot, Write};
use crate::memory::state::{After, Commit, State};
use crate::options::{Lifetime, ListOptions, Order, Projection, PutOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, OpReply, PutReply, RangeReply, TxnReply};
use crate::revision::Revision;
use crate::txn::{Compare, Op, Target, Txn};

/// Puts a key, if its condition holds.
pub(crate) fn put(
    state: &mut State,
    key: &Key,
    value: Bytes,
    options: &PutOptions,
    after: &mut After,
) -> Result<PutReply> {
    if let Some(condition) = &options.only_if {
        let current = state
            .index
            .get(key.as_bytes())
            .and_then(|slot| slot.latest());
        if !holds(&condition.compare(key), current.as_ref()) {
            return Ok(PutReply {
                revision: state.revision,
                written: false,
                prev: current,
                lease: None,
            });
        }
    }
    check_put(state, key, options)?;
    let mut commit = state.begin();
    let reply = apply_put(&mut commit, key, value, options)?;
    commit.finish(after);
    Ok(reply)
}

/// Carries out a transaction that has passed [`Txn::check`].
pub(crate) fn commit(state: &mut State, txn: Txn, after: &mut After) -> Result<TxnReply> {
    let succeeded = txn.compares.iter().all(|compare| {
        let slot = state.index.get(compare.key.as_bytes());
        holds(compare, slot.and_then(|slot| slot.latest()).as_ref())
    });
    let ops = if succeeded { txn.then } else { txn.otherwise };
    // Whatever can fail fails here, so that nothing is half done. No branch puts and deletes one
    // key, so what is true of the keys before the transaction is true when each operation's turn
    // comes.
    for op in &ops {
        match op {
            Op::Get(_, options) => drop(state.readable(options.at)?),
            Op::Put(key, _, options) => check_put(state, key, options)?,
            Op::Delete(..) => {}
        }
    }
    let mut commit = state.begin();
    let mut replies = Vec::with_capacity(ops.len());
    for op in ops {
        replies.push(match op {
            Op::Get(range, options) => OpReply::Get(read(commit.state(), &range, &options)),
            Op::Put(key, value, options) => {
                OpReply::Put(apply_put(&mut commit, &key, value, &options)?)
            }
            Op::Delete(range, options) => {
                let (deleted, prev) = commit.delete(&range, options.previous);
                OpReply::Delete(DeleteReply {
                    revision: commit.revision(),
                    deleted,
                    prev,
                })
            }
        });
    }
    let revision = commit.finish(after);
    for reply in &mut replies {
        if let OpReply::Delete(reply) = reply {
            reply.revision = revision;
        }
    }
    Ok(TxnReply {
        revision,
        succeeded,
        replies,
    })
}

/// Whether a compare holds for what stands there.
fn holds(compare: &Compare, current: Option<&Entry>) -> bool {
    let relation = compare.relation;
    match &compare.target {
        Target::Version(given) => relation.holds(&current.map_or(0, |entry| entry.version), given),
        Target::Created(given) => relation.holds(
            &current.map_or(Revision::ZERO, |entry| entry.created),
            given,
        ),
        Target::Modified(given) => relation.holds(
            &current.map_or(Revision::ZERO, |entry| entry.modified),
            given,
        ),
        Target::Lease(given) => {
            let number = |lease: Option<LeaseId>| lease.map_or(0, LeaseId::get);
            let stored = current.and_then(|entry| entry.lease);
            relation.holds(&number(stored), &number(*given))
        }
        Target::Value(given) => current.is_some_and(|entry| relation.holds(&entry.value, given)),
    }
}

/// Refuses a put that the state does not allow.
fn check_put(state: &State, key: &Key, options: &PutOptions) -> Result<()> {
    if let Lifetime::Lease(lease) = options.lifetime {
        state.leases.check(lease)?;
    }
    let keeps_lease = options.lifetime == Lifetime::Keep;
    if !options.keep_value && !keeps_lease {
        return Ok(());
    }
    let slot = state.index.get(key.as_bytes());
    if slot.is_some_and(|slot| slot.is_live()) {
        return Ok(());
    }
    let what = if options.keep_value { "value" } else { "lease" };
    Err(Error::invalid(format!(
        "the put is to keep the {what} of \"{key}\", which does not exist: put it with a {what} first"
    )))
}

fn apply_put(
    commit: &mut Commit<'_>,
    key: &Key,
    value: Bytes,
    options: &PutOptions,
) -> Result<PutReply> {
    let mut own_lease = None;
    let lease = match options.lifetime {
        Lifetime::Permanent => NewLease::Set(None),
        Lifetime::Lease(lease) => NewLease::Set(Some(lease)),
        Lifetime::Keep => NewLease::Keep,
        Lifetime::Ttl(ttl) => {
            own_lease = Some(grant(commit.state(), ttl)?.0);
            NewLease::Set(own_lease)
        }
    };
    let write = Write {
        value: (!options.keep_value).then_some(value),
        lease,
    };
    let prev = commit.put(key, write, options.previous);
    Ok(PutReply {
        revision: commit.revision(),
        written: true,
        prev,
        lease: own_lease,
    })
}

/// Grants a lease of at least this TTL.
pub(crate) fn grant(state: &mut State, ttl: Duration) -> Result<(LeaseId, Duration)> {
    Lifetime::Ttl(ttl).check()?;
    state.leases.grant(ttl)
}

/// Grants a lease of at least this TTL under this number.
pub(crate) fn grant_as(state: &mut State, lease: LeaseId, ttl: Duration) -> Result<Duration> {
    Lifetime::Ttl(ttl).check()?;
    state.leases.grant_as(lease, ttl)
}

/// Reads a range within a transaction; sees the writes before it.
fn read(state: &State, range: &KeyRange, options: &ListOptions) -> RangeReply {
    // Above every revision: what this transaction has written so far counts, too.
    let at = options.at.unwrap_or(Revision::new(u64::MAX));
    let mut reply = RangeReply {
        entries: Vec::new(),
        count: None,
    };
    if options.projection == Projection::Count {
        let count = match range.single() {
            Some(key) => state
                .index
                .get(key.as_bytes())
                .is_some_and(|slot| slot.is_live_at(at))
                .into(),
            None => state
                .index
                .range(range)
                .filter(|slot| slot.is_live_at(at))
                .count() as u64,
        };
        reply.count = Some(count);
        return reply;
    }
    let limit = options.limit.unwrap_or(usize::MAX);
    let look = |slot: &Slot| {
        let mut entry = slot.at(at)?;
        if options.projection == Projection::Keys {
            entry.value = Bytes::new();
        }
        Some(entry)
    };
    if let Some(key) = range.single() {
        let slot = state.index.get(key.as_bytes());
        reply.entries.extend(slot.and_then(|slot| look(slot)));
        return reply;
    }
    let slots = state.index.range(range);
    reply.entries = match options.order {
        Order::Ascending => slots.filter_map(|slot| look(slot)).take(limit).collect(),
        Order::Descending => slots
            .rev()
            .filter_map(|slot| look(slot))
            .take(limit)
            .collect(),
    };
    reply
}
