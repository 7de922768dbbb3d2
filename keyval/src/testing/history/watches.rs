//! What a watch delivers is what happened: whole, in order, once, and nothing left out.

use std::collections::BTreeSet;
use std::fmt;

use crate::entry::{Change, Changes};
use crate::key::Key;
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::history::deliveries::{Delivery, WatchRecord};
use crate::testing::history::timeline::Timeline;
use crate::testing::history::violation::{Findings, Rule};

/// Holds one watch to its word.
pub(super) fn judge(timeline: &Timeline, watch: &WatchRecord, findings: &mut Findings) {
    if let Some(from) = watch.from
        && watch.after != from.previous()
    {
        let what = format!(
            "it is pinned to {}, and was to begin at {from}",
            watch.after
        );
        findings.add(Rule::Resumable, watch, what);
    }
    let mut reader = Reader::new(timeline, &watch.range, watch.previous, watch.after);
    let mut ended = false;
    for (number, item) in watch.items.iter().enumerate() {
        let place = format!("{watch}, item {number}");
        if ended {
            findings.add(Rule::AfterEnd, &place, "it comes after the end");
        }
        match item {
            Delivery::Item(changes) => reader.read(changes, &place, findings),
            Delivery::Ended(_) => ended = true,
        }
    }
    if let Some(until) = watch.until
        && let Some(missed) = timeline.next_change(reader.reached, until, &watch.range)
    {
        let what = format!("the changes of {missed} never came, up to {until}");
        findings.add(Rule::Reliable, watch, what);
    }
}

/// Reads the deliveries of one stream, one after the other.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    timeline: &'a Timeline,
    range: &'a KeyRange,
    previous: bool,
    /// Everything up to this revision has been delivered.
    pub(super) reached: Revision,
    /// The revision up to which that was said without a change.
    told: Revision,
    /// Whether any change has been delivered.
    begun: bool,
    delivered: BTreeSet<Revision>,
    /// The keys of the revision that was delivered last.
    last: BTreeSet<Key>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        timeline: &'a Timeline,
        range: &'a KeyRange,
        previous: bool,
        after: Revision,
    ) -> Self {
        Self {
            timeline,
            range,
            previous,
            reached: after,
            told: Revision::ZERO,
            begun: false,
            delivered: BTreeSet::new(),
            last: BTreeSet::new(),
        }
    }

    /// Everything up to this revision has been delivered in another way.
    pub(super) fn skip_to(&mut self, revision: Revision) {
        self.reached = revision;
        self.told = revision;
        self.begun = true;
    }

    pub(super) fn read(
        &mut self,
        changes: &Changes,
        place: &dyn fmt::Display,
        findings: &mut Findings,
    ) {
        if changes.is_progress() {
            self.progress(changes.revision, place, findings);
            return;
        }
        if self.place_in_order(changes, place, findings) {
            self.compare(changes, place, findings);
        }
        self.begun = true;
    }

    fn progress(&mut self, at: Revision, place: &dyn fmt::Display, findings: &mut Findings) {
        let (reached, end) = (self.reached, self.timeline.end());
        if at < reached {
            let what = format!("progress goes back to {at}, from {reached}");
            return findings.add(Rule::Bookmarkable, place, what);
        }
        if let Some(missed) = self.timeline.next_change(reached, at, self.range) {
            let what = format!("progress to {at}, and the changes of {missed} never came");
            findings.add(Rule::Bookmarkable, place, what);
        } else if at > end {
            let what = format!("progress to {at}, which was never reached: the last is {end}");
            findings.add(Rule::Bookmarkable, place, what);
        }
        self.reached = at;
        self.told = at;
    }

    /// Whether the content is worth comparing.
    fn place_in_order(
        &mut self,
        changes: &Changes,
        place: &dyn fmt::Display,
        findings: &mut Findings,
    ) -> bool {
        let (at, reached) = (changes.revision, self.reached);
        let keys = changes.changes.iter().map(|change| change.key().clone());
        if at > reached {
            let missed = self
                .timeline
                .next_change(reached, at.previous(), self.range);
            if let Some(missed) = missed {
                let what = format!("it is of {at}, and the changes of {missed} never came");
                let rule = if self.begun {
                    Rule::Reliable
                } else {
                    Rule::Resumable
                };
                findings.add(rule, place, what);
            }
            self.reached = at;
            self.last = keys.collect();
            self.delivered.insert(at);
            return true;
        }
        let keys: BTreeSet<Key> = keys.collect();
        if at == reached && self.delivered.contains(&at) && self.last.is_disjoint(&keys) {
            let what = format!("changes of {at} came before: it comes in parts");
            findings.add(Rule::Atomic, place, what);
            self.last.extend(keys);
        } else if self.delivered.contains(&at) {
            findings.add(Rule::Unique, place, format!("{at} was delivered before"));
        } else if at <= self.told {
            let what = format!("it is of {at}, and everything up to {} had come", self.told);
            findings.add(Rule::Bookmarkable, place, what);
        } else if self.begun {
            let what = format!("it is of {at}, and comes after {reached}");
            findings.add(Rule::Ordered, place, what);
        } else {
            let what = format!("it is of {at}, and the watch begins after {reached}");
            findings.add(Rule::Resumable, place, what);
        }
        false
    }

    fn compare(&self, changes: &Changes, place: &dyn fmt::Display, findings: &mut Findings) {
        let at = changes.revision;
        if at <= self.timeline.base() {
            return; // What happened before the history is not known.
        }
        let mut before: Option<&Key> = None;
        for change in &changes.changes {
            let key = change.key();
            match before {
                Some(last) if last == key => {
                    findings.add(
                        Rule::Unique,
                        place,
                        format!("\"{key}\" comes twice at {at}"),
                    );
                }
                Some(last) if last > key => {
                    let what = format!("\"{key}\" comes after \"{last}\" at {at}");
                    findings.add(Rule::Ordered, place, what);
                }
                _ => {}
            }
            before = Some(key);
            if !self.range.contains(key) {
                let what = format!("\"{key}\" is outside of the range {}", self.range);
                findings.add(Rule::Filter, place, what);
                continue;
            }
            let mut expected = self.timeline.changes_in(at, self.range);
            match expected.find(|expected| expected.key() == key) {
                Some(expected) => self.compare_one(change, expected, place, findings),
                None => {
                    let what = format!("\"{key}\" did not change at {at}");
                    findings.add(Rule::Reliable, place, what);
                }
            }
        }
        let missing = self.timeline.changes_in(at, self.range).find(|expected| {
            let key = expected.key();
            !changes.changes.iter().any(|change| change.key() == key)
        });
        if let Some(missing) = missing {
            let what = format!(
                "\"{}\" changed at {at} too, and is not in it",
                missing.key()
            );
            findings.add(Rule::Atomic, place, what);
        }
    }

    fn compare_one(
        &self,
        change: &Change,
        expected: &Change,
        place: &dyn fmt::Display,
        findings: &mut Findings,
    ) {
        let key = change.key();
        if let (Some(told), Some(entry)) = (change.entry(), expected.entry())
            && (told.created, told.version) != (entry.created, entry.version)
        {
            let what = format!(
                "\"{key}\" is of version {} made at {}, and was of {} made at {}",
                told.version, told.created, entry.version, entry.created
            );
            findings.add(Rule::IsCreate, place, what);
        } else if change.entry() != expected.entry() {
            let what = format!("\"{key}\" is told to be another than it was");
            findings.add(Rule::Reliable, place, what);
        }
        // A previous entry that is missing can have been compacted away.
        let as_asked = match (change.prev(), self.previous) {
            (None, _) => true,
            (Some(_), false) => false,
            (told, true) => told == expected.prev(),
        };
        if !as_asked {
            let what = format!("the previous entry of \"{key}\" is another, or not asked for");
            findings.add(Rule::PrevKv, place, what);
        }
    }
}
