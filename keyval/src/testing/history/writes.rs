//! Every change was asked for once, and every acknowledged write is there.

use std::collections::BTreeMap;

use crate::entry::Change;
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::revision::Revision;
use crate::testing::history::call::{Answer, Call, Reply, Request};
use crate::testing::history::model::{Effect, write};
use crate::testing::history::timeline::Timeline;
use crate::testing::history::violation::{Findings, Rule};
use crate::txn::Op;

/// What became of the calls whose outcome was not known.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// How many of them took effect.
    pub(super) applied: usize,
    /// Those that did not, so far, by their index.
    pub(super) pending: Vec<usize>,
}

/// Finds the call behind each change, and holds acknowledged calls to their word. `floors` is what
/// had been seen when each call began.
pub(super) fn judge(
    timeline: &Timeline,
    calls: &[&Call],
    floors: &[Revision],
    findings: &mut Findings,
) -> Resolved {
    let mut claimed: BTreeMap<Revision, usize> = BTreeMap::new();
    for (index, call) in calls.iter().enumerate() {
        let Some(reply) = call.reply() else { continue };
        let Some(revision) = reply.wrote_at() else {
            changed_nothing(timeline, call, reply, findings);
            continue;
        };
        match claimed.get(&revision) {
            Some(other) => {
                let what = format!("it wrote at {revision}, and so did {}", calls[*other]);
                findings.add(Rule::Distinct, call, what);
            }
            None => {
                claimed.insert(revision, index);
                wrote(timeline, call, reply, revision, findings);
            }
        }
    }
    let open: Vec<Revision> = timeline
        .revisions()
        .filter(|revision| !claimed.contains_key(revision) && !timeline.ends_lease(*revision))
        .collect();
    let unknown = |call: &Call| matches!(call.answer, Answer::Unknown(_));
    let candidates: Vec<usize> = (0..calls.len())
        .filter(|index| unknown(calls[*index]) && calls[*index].request.is_write())
        .collect();
    let fits = |revision: Revision, index: usize| {
        floors[index] < revision && did(timeline, calls[index], revision)
    };
    let mut found = Matching::new(&candidates);
    for revision in open {
        let possible: Vec<usize> = candidates
            .iter()
            .copied()
            .filter(|index| fits(revision, *index))
            .collect();
        if !found.add(revision, possible) {
            blame(timeline, calls, floors, revision, findings);
        }
    }
    Resolved {
        applied: found.by_call.len(),
        pending: found.unused(),
    }
}

/// A call that was acknowledged as a write at this revision.
fn wrote(
    timeline: &Timeline,
    call: &Call,
    reply: &Reply,
    revision: Revision,
    findings: &mut Findings,
) {
    if revision <= timeline.base() {
        return; // It broke real time, and was told of there.
    }
    let Some(effect) = effect(timeline, call, revision.previous(), revision) else {
        let what = match timeline.at(revision) {
            Some(_) => format!("it could not be carried out at {revision}"),
            None => format!("it is acknowledged at {revision}, which is not in the truth"),
        };
        return findings.add(Rule::Lost, call, what);
    };
    if branch(&effect.reply) != branch(reply) {
        let what = format!("its compares lead to the other branch at {revision}");
        return findings.add(Rule::Branch, call, what);
    }
    if effect.changes != timeline.changes(revision) {
        let what = format!(
            "it is acknowledged at {revision}, where the truth has {}",
            keys_of(timeline.changes(revision))
        );
        return findings.add(Rule::Lost, call, what);
    }
    answered(call, reply, &effect, findings);
}

/// A call that was acknowledged as one that changed nothing.
fn changed_nothing(timeline: &Timeline, call: &Call, reply: &Reply, findings: &mut Findings) {
    let revision = match reply {
        Reply::Put(reply) => reply.revision,
        Reply::Delete(reply) => reply.revision,
        Reply::Commit(reply) => reply.revision,
        Reply::Get(_) | Reply::List(_) | Reply::Revoke => return,
    };
    if revision < timeline.base() {
        return; // It is stale, and was told of there.
    }
    let Some(effect) = effect(timeline, call, revision, revision) else {
        let what = format!("it cannot be answered so at {revision}");
        return findings.add(Rule::Reply, call, what);
    };
    if branch(&effect.reply) != branch(reply) {
        let what = format!("its compares lead to the other branch at {revision}");
        return findings.add(Rule::Branch, call, what);
    }
    if !effect.changes.is_empty() {
        let what = format!(
            "it changed nothing at {revision}, and had {} to change",
            keys_of(&effect.changes)
        );
        return findings.add(Rule::Reply, call, what);
    }
    answered(call, reply, &effect, findings);
}

fn answered(call: &Call, reply: &Reply, effect: &Effect, findings: &mut Findings) {
    // What a transaction reads of the past is not replayed.
    let reads_past = match &call.request {
        Request::Commit(txn) => txn
            .then
            .iter()
            .chain(&txn.otherwise)
            .any(|op| matches!(op, Op::Get(_, options) if options.at.is_some())),
        _ => false,
    };
    if !reads_past && effect.reply != *reply {
        let what = format!("it answered {reply:?} where {:?} was right", effect.reply);
        findings.add(Rule::Reply, call, what);
    }
}

/// Which way a condition led.
fn branch(reply: &Reply) -> bool {
    match reply {
        Reply::Put(reply) => reply.written,
        Reply::Commit(reply) => reply.succeeded,
        _ => true,
    }
}

/// What a call does to the state of one revision, when it becomes another.
fn effect(
    timeline: &Timeline,
    call: &Call,
    before: Revision,
    revision: Revision,
) -> Option<Effect> {
    timeline.at(revision)?;
    write(timeline.at(before)?, revision, &call.request, &|key| {
        granted(timeline, key, revision)
    })
}

fn granted(timeline: &Timeline, key: &Key, revision: Revision) -> Option<LeaseId> {
    let change = timeline
        .changes(revision)
        .iter()
        .find(|change| change.key() == key)?;
    change.entry()?.lease
}

/// Whether what happened at a revision is just what the call does there.
fn did(timeline: &Timeline, call: &Call, revision: Revision) -> bool {
    let touched = timeline.changes(revision);
    let puts_one = match &call.request {
        Request::Put(key, ..) => Some(key),
        _ => None,
    };
    if puts_one.is_some_and(|key| touched.len() != 1 || touched[0].key() != key) {
        return false;
    }
    effect(timeline, call, revision.previous(), revision)
        .is_some_and(|effect| effect.changes == touched)
}

/// Nobody is left to have made this revision: says what it looks like.
fn blame(
    timeline: &Timeline,
    calls: &[&Call],
    floors: &[Revision],
    revision: Revision,
    findings: &mut Findings,
) {
    let place = format!("revision {revision}");
    let touched = keys_of(timeline.changes(revision));
    let like = |wanted: fn(&Answer) -> bool| {
        let mut calls = calls.iter().zip(floors);
        calls.find(|(call, floor)| {
            wanted(&call.answer) && **floor < revision && did(timeline, call, revision)
        })
    };
    if let Some((call, _)) = like(|answer| matches!(answer, Answer::Refused(_))) {
        let what = format!("{touched} changed as by a call that certainly was not applied: {call}");
        return findings.add(Rule::Refused, place, what);
    }
    if let Some((call, _)) = like(|answer| !matches!(answer, Answer::Refused(_))) {
        let what = format!("{touched} changed as by a call that was applied before: {call}");
        return findings.add(Rule::AppliedTwice, place, what);
    }
    let what = format!("{touched} changed, and nobody asked for it");
    findings.add(Rule::Unexplained, place, what);
}

fn keys_of(changes: &[Change]) -> String {
    match changes {
        [] => "nothing".to_owned(),
        [one] => format!("\"{}\"", one.key()),
        [first, rest @ ..] => format!("\"{}\" and {} more", first.key(), rest.len()),
    }
}

/// Which call made which revision, each at most once; grown one revision at a time by augmenting
/// paths.
#[derive(Debug)]
struct Matching<'a> {
    candidates: &'a [usize],
    possible: BTreeMap<Revision, Vec<usize>>,
    by_call: BTreeMap<usize, Revision>,
}

impl<'a> Matching<'a> {
    fn new(candidates: &'a [usize]) -> Self {
        Self {
            candidates,
            possible: BTreeMap::new(),
            by_call: BTreeMap::new(),
        }
    }

    /// Finds a call for one more revision; false if there is none, whatever the others change to.
    fn add(&mut self, revision: Revision, possible: Vec<usize>) -> bool {
        self.possible.insert(revision, possible);
        let mut tried = Vec::new();
        self.augment(revision, &mut tried)
    }

    fn augment(&mut self, revision: Revision, tried: &mut Vec<usize>) -> bool {
        let possible = self.possible.get(&revision).cloned().unwrap_or_default();
        for call in possible {
            if tried.contains(&call) {
                continue;
            }
            tried.push(call);
            let holder = self.by_call.get(&call).copied();
            if holder.is_none_or(|holder| self.augment(holder, tried)) {
                self.by_call.insert(call, revision);
                return true;
            }
        }
        false
    }

    fn unused(&self) -> Vec<usize> {
        let unused = |index: &usize| !self.by_call.contains_key(index);
        self.candidates.iter().copied().filter(unused).collect()
    }
}
