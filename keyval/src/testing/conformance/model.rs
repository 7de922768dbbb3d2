//! The promise that covers all others: whatever is done, the store does as a simple model does.

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt;
use proptest::collection::vec;
use proptest::prelude::Strategy;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::broker::{Broker, BrokerExt};
use crate::capability::Capabilities;
use crate::entry::{Change, Changes};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::options::{
    Condition, DeleteOptions, GetOptions, Lifetime, ListOptions, PutOptions, WatchOptions,
};
use crate::range::KeyRange;
use crate::reply::{OpReply, PutReply, RangeReply, TxnReply};
use crate::revision::Revision;
use crate::testing::conformance::reference::{Check, Model, Refusal, ensure, look};
use crate::testing::conformance::script::{
    Do, How, If, NAMES, Range, Side, Step, VALUES, View, When, step,
};
use crate::testing::conformance::subject::Subject;
use crate::txn::{Compare, Op, Relation, Target, Txn};

/// The most steps of one sequence.
const STEPS: usize = 30;
/// How often a failing sequence is tried in smaller forms.
const SHRINKS: usize = 500;

fn same<T: PartialEq + Debug>(store: &T, model: &T) -> Check {
    ensure(store == model, || {
        format!("the store says {store:?},\nthe model says {model:?}")
    })
}

/// Checks that the store refused what the model refuses.
fn same_refusal<T: Debug>(store: &Result<T>, model: Refusal) -> Check {
    one_refusal(store, &[model])
}

/// Checks that the store refused what the model refuses, for one of its reasons.
fn one_refusal<T: Debug>(store: &Result<T>, model: &[Refusal]) -> Check {
    let refusal = match store {
        Err(Error::Invalid { .. }) => Some(Refusal::Invalid),
        Err(Error::DuplicateKey { .. }) => Some(Refusal::Duplicate),
        _ => None,
    };
    ensure(
        refusal.is_some_and(|refusal| model.contains(&refusal)),
        || format!("the store says {store:?},\nthe model refuses: {model:?}"),
    )
}

// By value, as `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn failed(error: Error) -> String {
    format!("the store failed: {error:?}")
}

/// One history on one scope, beside its model.
struct History<'a> {
    s: &'a Subject,
    capabilities: Capabilities,
    model: Model,
}

impl History<'_> {
    fn key(&self, name: usize) -> Key {
        self.s.key(NAMES[name % NAMES.len()])
    }

    fn range(&self, range: Range) -> KeyRange {
        match range {
            Range::Key(name) => KeyRange::key(self.key(name)),
            Range::Prefix(name) => KeyRange::prefix(self.key(name)),
            Range::Span(start, end) => KeyRange::span(self.key(start), self.key(end)),
            Range::All => self.s.all(),
        }
    }

    fn revision(&self, at: When) -> Option<Revision> {
        match at {
            When::Past(index, before) if self.capabilities.history => {
                let revision = self.model.past(index);
                // Just before the beginning others may have written; it is not ours to tell.
                let first = revision == self.model.past(0);
                Some(if before && !first {
                    revision.previous()
                } else {
                    revision
                })
            }
            _ => None,
        }
    }

    fn how(&self, how: How) -> How {
        How {
            previous: how.previous && self.capabilities.previous,
            keep_lifetime: how.keep_lifetime && self.capabilities.leases,
            ..how
        }
    }

    async fn step(&mut self, step: &Step) -> Check {
        match step {
            Step::Get { name, at } => self.get(*name, *at).await,
            Step::List { range, at, view } => self.list(*range, *at, *view).await,
            Step::Put {
                name,
                value,
                how,
                only_if,
            } => self.put(*name, *value, *how, *only_if).await,
            Step::Delete { range, previous } => self.delete(*range, *previous).await,
            Step::Txn { .. } if !self.capabilities.txn => Ok(()),
            Step::Txn {
                compares,
                then,
                otherwise,
            } => self.txn(compares, then, otherwise).await,
        }
    }

    async fn get(&self, name: usize, at: When) -> Check {
        let key = self.key(name);
        let at = self.revision(at);
        let options = GetOptions {
            at,
            ..GetOptions::default()
        };
        let found = self.s.store().get_opts(&key, options).await;
        let state = at.map_or(&self.model.now().1, |at| self.model.at(at));
        same(&found.map_err(failed)?, &state.get(&key).cloned())
    }

    async fn list(&self, range: Range, at: When, view: View) -> Check {
        let range = self.range(range);
        let at = self.revision(at);
        let mut options = options_of(view);
        options.at = at;
        let listing = self.s.store().list_opts(&range, options).await;
        if range.is_empty() {
            return same_refusal(&listing, Refusal::Invalid);
        }
        let listing = listing.map_err(failed)?;
        let (revision, count) = (listing.revision, listing.count);
        match at {
            Some(at) => same(&revision, &at)?,
            None => ensure(revision >= self.model.now().0, || {
                format!("a list of the present is of revision {revision}")
            })?,
        }
        let entries = listing.collect().await.map_err(failed)?;
        let state = at.map_or(&self.model.now().1, |at| self.model.at(at));
        same(&RangeReply { entries, count }, &look(state, &range, view))
    }

    async fn put(&mut self, name: usize, value: usize, how: How, only_if: Option<If>) -> Check {
        let how = self.how(how);
        let key = self.key(name);
        let value = value_of(value, how);
        let stands = self.model.now().1.get(&key).cloned();
        let condition = only_if.map(|only_if| match only_if {
            If::Absent => Condition::Absent,
            If::Exists => Condition::Exists,
            If::Modified(guess) => {
                let right = stands.as_ref().map(|entry| entry.modified);
                Condition::Modified(self.model.guess(guess, right))
            }
            If::Value(value) => Condition::Value(Bytes::from(VALUES[value % VALUES.len()])),
        });
        let mut options = put_options(how);
        options.only_if.clone_from(&condition);
        let reply = self.s.store().put_opts(&key, value.clone(), options).await;
        let revision = reply
            .as_ref()
            .map_or(Revision::ZERO, |reply| reply.revision);
        let mut draft = self.model.draft(revision);
        // A revision of zero is that of no put, also as something to compare with.
        let holds = condition.is_none_or(|condition| match condition {
            Condition::Modified(given) => {
                stands
                    .as_ref()
                    .map_or(Revision::ZERO, |entry| entry.modified)
                    == given
            }
            condition => draft.holds(&condition.compare(&key)),
        });
        let expected = if holds {
            draft.put(&key, &value, how)
        } else {
            Ok(PutReply {
                revision,
                written: false,
                prev: stands,
                lease: None,
            })
        };
        match expected {
            Err(refusal) => same_refusal(&reply, refusal),
            Ok(expected) => {
                same(&reply.map_err(failed)?, &expected)?;
                let (state, changed) = (draft.state, draft.changed.into_keys().collect());
                self.model.take(revision, state, changed)
            }
        }
    }

    async fn delete(&mut self, range: Range, previous: bool) -> Check {
        let range = self.range(range);
        let options = DeleteOptions {
            previous: previous && self.capabilities.previous,
        };
        let reply = self.s.store().delete_opts(&range, options).await;
        if range.is_empty() {
            return same_refusal(&reply, Refusal::Invalid);
        }
        let reply = reply.map_err(failed)?;
        let mut draft = self.model.draft(reply.revision);
        same(&reply, &draft.delete(&range, options.previous))?;
        let (state, changed) = (draft.state, draft.changed.into_keys().collect());
        self.model.take(reply.revision, state, changed)
    }

    async fn txn(
        &mut self,
        compares: &[(usize, usize, Side)],
        then: &[Do],
        otherwise: &[Do],
    ) -> Check {
        let mut txn = Txn::new();
        txn.compares = compares.iter().map(|given| self.compare(given)).collect();
        txn.then = then.iter().map(|op| self.op(op)).collect();
        txn.otherwise = otherwise.iter().map(|op| self.op(op)).collect();
        let refusals = refusals_of(&txn);
        let compares = txn.compares.clone();
        let reply = self.s.store().commit(txn).await;
        if !refusals.is_empty() {
            return one_refusal(&reply, &refusals);
        }
        let revision = reply
            .as_ref()
            .map_or(Revision::ZERO, |reply| reply.revision);
        let mut draft = self.model.draft(revision);
        let succeeded = compares.iter().all(|compare| draft.holds(compare));
        let mut replies = Vec::new();
        for op in if succeeded { then } else { otherwise } {
            replies.push(match op {
                Do::Get { range, view } => OpReply::Get(draft.get(&self.range(*range), *view)),
                Do::Put { name, value, how } => {
                    let how = self.how(*how);
                    match draft.put(&self.key(*name), &value_of(*value, how), how) {
                        Ok(reply) => OpReply::Put(reply),
                        Err(refusal) => return same_refusal(&reply, refusal),
                    }
                }
                Do::Delete { range, previous } => {
                    let previous = *previous && self.capabilities.previous;
                    OpReply::Delete(draft.delete(&self.range(*range), previous))
                }
            });
        }
        let expected = TxnReply {
            revision,
            succeeded,
            replies,
        };
        same(&reply.map_err(failed)?, &expected)?;
        let (state, changed) = (draft.state, draft.changed.into_keys().collect());
        self.model.take(revision, state, changed)
    }

    fn compare(&self, (name, relation, side): &(usize, usize, Side)) -> Compare {
        let key = self.key(*name);
        let relation = match relation % 4 {
            0 => Relation::Equal,
            1 => Relation::NotEqual,
            2 => Relation::Greater,
            _ => Relation::Less,
        };
        let stands = self.model.now().1.get(&key);
        let target = match side {
            Side::Version(version) => Target::Version(*version),
            Side::Created(guess) => {
                Target::Created(self.model.guess(*guess, stands.map(|entry| entry.created)))
            }
            Side::Modified(guess) => {
                Target::Modified(self.model.guess(*guess, stands.map(|entry| entry.modified)))
            }
            Side::Value(value) => Target::Value(Bytes::from(VALUES[value % VALUES.len()])),
            Side::NoLease if self.capabilities.leases => Target::Lease(None),
            Side::NoLease => Target::Version(0),
        };
        Compare::new(key, relation, target)
    }

    fn op(&self, op: &Do) -> Op {
        match op {
            Do::Get { range, view } => Op::Get(self.range(*range), options_of(*view)),
            Do::Put { name, value, how } => {
                let how = self.how(*how);
                Op::Put(self.key(*name), value_of(*value, how), put_options(how))
            }
            Do::Delete { range, previous } => {
                let options = DeleteOptions {
                    previous: *previous && self.capabilities.previous,
                };
                Op::Delete(self.range(*range), options)
            }
        }
    }
}

fn value_of(value: usize, how: How) -> Bytes {
    if how.keep_value {
        Bytes::new()
    } else {
        Bytes::from(VALUES[value % VALUES.len()])
    }
}

fn options_of(view: View) -> ListOptions {
    ListOptions {
        limit: view.limit,
        page: view.page,
        projection: view.projection,
        order: view.order,
        ..ListOptions::default()
    }
}

fn put_options(how: How) -> PutOptions {
    PutOptions {
        previous: how.previous,
        keep_value: how.keep_value,
        lifetime: if how.keep_lifetime {
            Lifetime::Keep
        } else {
            Lifetime::Permanent
        },
        ..PutOptions::default()
    }
}

/// Why a transaction is refused before it is looked at more closely; if for two reasons, either
/// may be told.
fn refusals_of(txn: &Txn) -> Vec<Refusal> {
    let branches = [&txn.then, &txn.otherwise];
    let ops = || branches.iter().flat_map(|branch| branch.iter());
    let empty =
        |op: &Op| matches!(op, Op::Get(range, _) | Op::Delete(range, _) if range.is_empty());
    let mut refusals = Vec::new();
    if ops().any(empty) {
        refusals.push(Refusal::Invalid);
    }
    for branch in branches {
        for (i, op) in branch.iter().enumerate() {
            let Op::Put(key, ..) = op else { continue };
            let again = |(j, other): (usize, &Op)| match other {
                Op::Put(other, ..) => i != j && other == key,
                Op::Delete(range, _) => range.contains(key),
                Op::Get(..) => false,
            };
            if branch.iter().enumerate().any(again) {
                refusals.push(Refusal::Duplicate);
            }
        }
    }
    refusals
}

/// Carries out a history on a fresh scope, and compares the whole of it with the model.
async fn attempt(s: &Subject, steps: &[Step]) -> Check {
    s.forget_calls();
    let scope = s.nested(&format!("{:016x}", fastrand::u64(..)));
    let capabilities = scope.capabilities();
    let options = WatchOptions {
        previous: capabilities.previous,
        ..WatchOptions::default()
    };
    let base = scope.store().list(scope.all()).await;
    let base = base.map_err(failed)?.revision;
    let mut live = None;
    if capabilities.watch {
        let events = scope.watch_opts(&scope.all(), options).await;
        live = Some(events.map_err(failed)?);
    }
    let mut history = History {
        s: &scope,
        capabilities,
        model: Model::new(base),
    };
    for (number, step) in steps.iter().enumerate() {
        let checked = history.step(step).await;
        checked.map_err(|wrong| format!("step {number}, {step:?}:\n{wrong}"))?;
    }
    // Something always comes last, so that the watches have an end.
    let last = Step::Put {
        name: 0,
        value: 1,
        how: How {
            previous: false,
            keep_value: false,
            keep_lifetime: false,
        },
        only_if: None,
    };
    history.step(&last).await?;
    let mut told = history.model.history;
    if !capabilities.previous {
        told.iter_mut().for_each(forget_previous);
    }
    let (first, last) = (told[0].revision, told[told.len() - 1].revision);
    if let Some(mut live) = live {
        let seen = live.until(last).await.map_err(failed)?;
        same(&seen, &told).map_err(|wrong| format!("the watch from the start: {wrong}"))?;
        if capabilities.watch_from {
            let options = options.starting_at(first);
            let late = scope.watch_opts(&scope.all(), options).await;
            let seen = late.map_err(failed)?.until(last).await.map_err(failed)?;
            same(&seen, &told).map_err(|wrong| format!("the watch of the past: {wrong}"))?;
        }
    }
    Ok(())
}

fn forget_previous(changes: &mut Changes) {
    for change in &mut changes.changes {
        match change {
            Change::Put { prev, .. } | Change::Delete { prev, .. } => *prev = None,
        }
    }
}

/// The same with a panic, as of a watch that delivers what it must not, as one more failure.
async fn attempt_all(s: &Subject, steps: &[Step]) -> Check {
    match AssertUnwindSafe(attempt(s, steps)).catch_unwind().await {
        Ok(checked) => checked,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Err(text.unwrap_or_else(|| "a panic without words".to_owned()))
        }
    }
}

/// The seed: that of `KEYVAL_SEED` in the environment, or a new one.
fn seed() -> u64 {
    match std::env::var("KEYVAL_SEED") {
        Ok(text) => match text.parse() {
            Ok(seed) => seed,
            Err(_) => panic!("KEYVAL_SEED is \"{text}\": give it a number"),
        },
        Err(_) => fastrand::u64(..),
    }
}

/// Whatever sequence of reads, writes, deletes and transactions is carried out, every answer, every
/// look at the past and the watch are as a simple model in memory has them.
///
/// The sequences are random; the seed is printed, and `KEYVAL_SEED` repeats it. A failing sequence
/// is shrunk to a small one.
pub async fn a_random_history_is_as_the_model_has_it(s: &Subject) -> Result<()> {
    let seed = seed();
    println!("KEYVAL_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let histories = vec(step(), 1..STEPS);
    for case in 0..s.settings().cases {
        let tree = histories.new_tree(&mut runner);
        let mut tree = tree.expect("nothing is filtered, so there is always a history");
        let mut steps = tree.current();
        let Err(mut wrong) = attempt_all(s, &steps).await else {
            continue;
        };
        let mut smaller = tree.simplify();
        for _ in 0..SHRINKS {
            if !smaller {
                break;
            }
            let tried = tree.current();
            smaller = match attempt_all(s, &tried).await {
                Err(also) => {
                    (steps, wrong) = (tried, also);
                    tree.simplify()
                }
                Ok(()) => tree.complicate(),
            };
        }
        // Once more, so that the last calls that are shown are those of what is reported.
        let _ = attempt_all(s, &steps).await;
        panic!("KEYVAL_SEED={seed}, case {case}, steps {steps:#?}\n{wrong}");
    }
    Ok(())
}
