//! A follower tells everything: by a resync when it must, and by changes else.

use crate::entry::{Change, Changes, ResyncCause, Snapshot, Update};
use crate::revision::Revision;
use crate::testing::history::deliveries::{Delivery, FollowRecord, FollowedUpdate};
use crate::testing::history::model::{State, difference, within};
use crate::testing::history::timeline::Timeline;
use crate::testing::history::violation::{Findings, Rule};
use crate::testing::history::watches::Reader;

/// Holds one follower, and the mirror that it feeds, to their word.
pub(super) fn judge(timeline: &Timeline, follow: &FollowRecord, findings: &mut Findings) {
    let after = follow.after.unwrap_or_default();
    let mut judge = Judge {
        timeline,
        follow,
        reader: Reader::new(timeline, &follow.range, follow.previous, after),
        begun: follow.after.is_some(),
        resyncs: 0,
    };
    let mut ended = false;
    for (number, item) in follow.items.iter().enumerate() {
        let place = format!("{follow}, item {number}");
        if ended {
            findings.add(Rule::AfterEnd, &place, "it comes after the end");
        }
        match item {
            Delivery::Item(item) => judge.update(item, &place, findings),
            Delivery::Ended(_) => ended = true,
        }
    }
    judge.end(findings);
}

struct Judge<'a> {
    timeline: &'a Timeline,
    follow: &'a FollowRecord,
    reader: Reader<'a>,
    /// Whether anything has been delivered.
    begun: bool,
    /// How many resyncs there were besides the first.
    resyncs: usize,
}

impl Judge<'_> {
    fn update(&mut self, item: &FollowedUpdate, place: &str, findings: &mut Findings) {
        let before = self.reader.reached;
        match &item.update {
            Update::Resync(snapshot) => {
                let first = !self.begun;
                self.resync(snapshot, place, findings);
                // What a mirror showed of another life of the store is not known.
                let known = !first || snapshot.cause == ResyncCause::Initial;
                if known && let Some(applied) = &item.applied {
                    let before = (!first).then_some(before);
                    self.implied(before, snapshot.revision, applied, place, findings);
                }
            }
            Update::Changes(changes) => {
                if !self.begun {
                    findings.add(Rule::Resync, place, "changes come before the first resync");
                }
                let faults = findings.0.len();
                self.reader.read(changes, &place, findings);
                if let Some(applied) = &item.applied
                    && findings.0.len() == faults
                {
                    self.implied(Some(before), changes.revision, applied, place, findings);
                }
            }
        }
        self.begun = true;
    }

    fn resync(&mut self, snapshot: &Snapshot, place: &str, findings: &mut Findings) {
        let at = snapshot.revision;
        let reached = self.reader.reached;
        if self.begun {
            self.resyncs += 1;
            if matches!(
                snapshot.cause,
                ResyncCause::Initial | ResyncCause::HistoryChanged
            ) {
                let what = format!(
                    "its cause is {}, and it is neither",
                    snapshot.cause.as_str()
                );
                findings.add(Rule::Resync, place, what);
            }
            if snapshot.after != Some(reached) {
                let what = format!(
                    "it is said to follow {:?}, and follows {reached}",
                    snapshot.after
                );
                findings.add(Rule::Resync, place, what);
            }
            if at < reached {
                let what = format!("the resync goes back to {at}, from {reached}");
                findings.add(Rule::Ordered, place, what);
            }
        }
        match self.timeline.at(at) {
            Some(state) => {
                let right = within(state, &self.follow.range).map(|entry| &**entry);
                if !right.eq(&snapshot.entries) {
                    let what = format!("it is not the range as it was at {at}");
                    findings.add(Rule::Snapshot, place, what);
                }
            }
            None if at > self.timeline.end() => {
                let what = format!("it is of {at}, which was never reached");
                findings.add(Rule::Snapshot, place, what);
            }
            None => {}
        }
        self.reader.skip_to(at);
    }

    /// What a mirror reported has to be the difference of two states; `None` is before anything.
    fn implied(
        &self,
        before: Option<Revision>,
        after: Revision,
        applied: &Changes,
        place: &str,
        findings: &mut Findings,
    ) {
        let nothing = State::new();
        let before = match before {
            None => Some(&nothing),
            Some(before) => self.timeline.at(before),
        };
        let (Some(before), Some(after)) = (before, self.timeline.at(after)) else {
            return;
        };
        let expected = difference(before, after, &self.follow.range);
        if applied.changes != expected {
            let missing = |change: &&Change| !applied.changes.contains(change);
            let what = match expected.iter().find(missing) {
                Some(Change::Delete { key, .. }) => format!("the mirror did not delete \"{key}\""),
                Some(Change::Put { entry, .. }) => {
                    format!("the mirror did not put \"{}\" as it was", entry.key)
                }
                None => "the mirror reports more than changed".to_owned(),
            };
            findings.add(Rule::Implied, place, what);
        }
    }

    fn end(&self, findings: &mut Findings) {
        let follow = self.follow;
        if !follow.losses.contains(&self.resyncs) {
            let what = format!(
                "{} resyncs after the first, where the history was lost {:?} times",
                self.resyncs, follow.losses
            );
            findings.add(Rule::Resync, follow, what);
        }
        if let Some(until) = follow.until
            && let Some(missed) =
                self.timeline
                    .next_change(self.reader.reached, until, &follow.range)
        {
            let what = format!("the changes of {missed} never came, up to {until}");
            findings.add(Rule::Converged, follow, what);
        }
        if let Some(copy) = &follow.copy
            && let Some(state) = self.timeline.at(copy.revision)
        {
            let right = within(state, &follow.range).map(|entry| &**entry);
            if !right.eq(&copy.entries) {
                let what = format!("the mirror is not the range as it was at {}", copy.revision);
                findings.add(Rule::Converged, follow, what);
            }
        }
    }
}
