//! Real time: what a call saw is at least what was there before it began.

use crate::revision::Revision;
use crate::testing::history::call::{Answer, Call, Listed, Moment, Reply, Request};
use crate::testing::history::model::look;
use crate::testing::history::timeline::Timeline;
use crate::testing::history::violation::{Findings, Rule};

/// What a call saw, and the rule it breaks by that.
struct Seen {
    revision: Option<Revision>,
    wrong: Option<(Rule, String)>,
}

/// Goes through all calls in the order of time and gives each the least revision it can have seen;
/// a read that no revision fits is stale or wrong. Returns what had been seen when each call began.
///
/// Since each call is given the least revision possible, and everything it must not fall behind had
/// been given the least possible before, no other choice could do better.
pub(super) fn judge(
    timeline: &Timeline,
    calls: &[&Call],
    findings: &mut Findings,
) -> Vec<Revision> {
    let mut moments = Vec::with_capacity(2 * calls.len());
    for (index, call) in calls.iter().enumerate() {
        moments.push((call.begun, index, false));
        if matches!(call.answer, Answer::Done(_)) {
            moments.push((call.ended, index, true));
        }
    }
    moments.sort_unstable();
    let ceilings = ceilings(calls);
    let mut floor = timeline.base();
    let mut floors = vec![floor; calls.len()];
    for (_, index, ended) in moments {
        if !ended {
            floors[index] = floor;
            continue;
        }
        let call = calls[index];
        let Some(reply) = call.reply() else { continue };
        let bounds = (floors[index], ceilings.at(call));
        let seen = see(timeline, &call.request, reply, bounds);
        if let Some((rule, what)) = seen.wrong {
            findings.add(rule, call, what);
        }
        floor = floor.max(seen.revision.unwrap_or_default());
    }
    floors
}

/// How far the store can have come at most, moment by moment.
#[derive(Debug)]
struct Ceilings(Vec<(Moment, Revision)>);

/// Every write that began after a moment is above what was there at that moment.
fn ceilings(calls: &[&Call]) -> Ceilings {
    let mut ceilings: Vec<(Moment, Revision)> = calls
        .iter()
        .filter_map(|call| Some((call.begun, call.reply()?.wrote_at()?.previous())))
        .collect();
    ceilings.sort_unstable();
    let mut least = Revision::new(u64::MAX);
    for (_, ceiling) in ceilings.iter_mut().rev() {
        least = least.min(*ceiling);
        *ceiling = least;
    }
    Ceilings(ceilings)
}

impl Ceilings {
    /// The most that a call can have seen.
    fn at(&self, call: &Call) -> Revision {
        let later = self.0.partition_point(|(begun, _)| *begun <= call.ended);
        let ceiling = self.0.get(later).map(|(_, ceiling)| *ceiling);
        ceiling.unwrap_or(Revision::new(u64::MAX))
    }
}

impl Seen {
    fn at(revision: Revision) -> Self {
        Self {
            revision: Some(revision),
            wrong: None,
        }
    }

    /// It saw something that cannot be checked, as it is from before the history.
    fn unknown() -> Self {
        Self {
            revision: None,
            wrong: None,
        }
    }

    fn wrong(rule: Rule, what: impl Into<String>) -> Self {
        Self {
            revision: None,
            wrong: Some((rule, what.into())),
        }
    }
}

fn see(
    timeline: &Timeline,
    request: &Request,
    reply: &Reply,
    (floor, ceiling): (Revision, Revision),
) -> Seen {
    if let Some(revision) = reply.wrote_at() {
        let mut seen = Seen::at(revision);
        if revision <= floor {
            let what = format!("it wrote at {revision}, although {floor} had been seen before");
            seen.wrong = Some((Rule::RealTime, what));
        }
        return seen;
    }
    match (request, reply) {
        (Request::Get(..), Reply::Get(_)) => get(timeline, request, reply, (floor, ceiling)),
        (Request::List(..), Reply::List(listed)) => list(timeline, request, listed, floor),
        (Request::Revoke(lease), _) => match timeline.lease_gone(*lease) {
            Some(revision) => Seen::at(revision.max(floor)),
            None => Seen::wrong(Rule::Stale, "keys of the lease are there to the end"),
        },
        (_, Reply::Put(reply)) => at_least(reply.revision, floor),
        (_, Reply::Delete(reply)) => at_least(reply.revision, floor),
        (_, Reply::Commit(reply)) => at_least(reply.revision, floor),
        _ => Seen::wrong(Rule::Reply, "the answer is one to another request"),
    }
}

fn at_least(revision: Revision, floor: Revision) -> Seen {
    let mut seen = Seen::at(revision);
    if revision < floor {
        let what = format!("it is of {revision}, although {floor} had been seen before");
        seen.wrong = Some((Rule::Stale, what));
    }
    seen
}

fn get(
    timeline: &Timeline,
    request: &Request,
    reply: &Reply,
    (floor, ceiling): (Revision, Revision),
) -> Seen {
    let (Request::Get(key, options), Reply::Get(entry)) = (request, reply) else {
        return Seen::unknown();
    };
    let entry = entry.as_ref();
    let base = timeline.base();
    if let Some(at) = options.at {
        return match timeline.at(at) {
            Some(state) if state.get(key).map(|found| &**found) == entry => Seen::at(at),
            None if at < base => Seen::unknown(),
            Some(_) => Seen::wrong(Rule::Read, format!("it was not so at {at}")),
            None => Seen::wrong(Rule::Read, format!("{at} was never reached")),
        };
    }
    let lags = request.may_lag();
    let from = if lags { base } else { floor };
    let found = timeline.first_match(key, entry, from);
    // Where the bounds contradict each other, the write that does so is told of.
    let possible = |revision: &Revision| *revision <= ceiling || ceiling < floor;
    if let Some(revision) = found.filter(possible) {
        return Seen::at(revision);
    }
    let older = entry.is_none_or(|entry| entry.modified <= base);
    if lags && older {
        return Seen::unknown();
    }
    if !lags && (older || timeline.first_match(key, entry, base).is_some()) {
        let what = format!("it was so only before {floor}, which had been seen before");
        return Seen::wrong(Rule::Stale, what);
    }
    let what = match found {
        Some(later) => format!("it was so only at {later}, after {ceiling}, when it had ended"),
        None => "it was so at no revision".to_owned(),
    };
    Seen::wrong(Rule::Read, what)
}

fn list(timeline: &Timeline, request: &Request, listed: &Listed, floor: Revision) -> Seen {
    let Request::List(range, options) = request else {
        return Seen::unknown();
    };
    let revision = listed.revision;
    let lags = request.may_lag();
    if options.at.is_some_and(|at| at != revision) {
        return Seen::wrong(
            Rule::Read,
            format!("it is of {revision}, which was not asked for"),
        );
    }
    let Some(state) = timeline.at(revision) else {
        return match revision < timeline.base() {
            true if lags => Seen::unknown(),
            true => at_least(revision, floor),
            false => Seen::wrong(Rule::Read, format!("{revision} was never reached")),
        };
    };
    let expected = look(state, range, options);
    let as_told = if listed.whole {
        listed.entries == expected.entries
    } else {
        expected.entries.starts_with(&listed.entries)
    };
    if !as_told || listed.count != expected.count {
        let what = format!(
            "{} entries (count {:?}) where {} (count {:?}) were there at {revision}, or other ones",
            listed.entries.len(),
            listed.count,
            expected.entries.len(),
            expected.count
        );
        return Seen::wrong(Rule::Read, what);
    }
    if lags {
        return Seen::at(revision);
    }
    at_least(revision, floor)
}
