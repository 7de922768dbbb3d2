//! From the answers of a watch to whole revisions, each once and in order.

use etcd_client::proto::PbWatchResponse;
use keyval::{Change, Changes, Result, Revision};

use crate::convert;

/// Puts whole revisions together from what one watch receives.
///
/// etcd splits a revision only into fragments, so that the last revision of a fragment stays here
/// until the answer without that mark.
///
/// Known faults of servers against which this guards: events sent twice, events from before the
/// start or from before what was delivered (a member that travels back in time, a watch from the
/// future). Faults against which no client can guard: events that a server never sends, as 3.4
/// before .31 and 3.5 before .13 may after a compaction.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// Everything up to and including this was handed out, or lies before the start.
    delivered: Revision,
    /// The last revision so far, of which more may follow.
    tail: Option<Changes>,
}

impl Assembler {
    /// An assembler that hands out what comes after this revision.
    pub(crate) fn new(after: Revision) -> Self {
        Self {
            delivered: after,
            tail: None,
        }
    }

    /// The revision up to which everything was handed out.
    pub(crate) fn delivered(&self) -> Revision {
        self.delivered
    }

    /// Forgets the part of a revision that has come so far: the watch begins anew behind what was
    /// handed out.
    pub(crate) fn restart(&mut self) {
        self.tail = None;
    }

    /// Takes events, and passes on the revisions that are now whole; returns whether all found
    /// room. If one did not, nothing after it is passed on or remembered.
    ///
    /// # Errors
    /// [`Error::Backend`](keyval::Error::Backend) for an answer that makes no sense.
    pub(crate) fn accept(
        &mut self,
        response: PbWatchResponse,
        mut pass: impl FnMut(Changes) -> bool,
    ) -> Result<bool> {
        let mut events = response.events.into_iter();
        while let Some(event) = events.next() {
            let (revision, change) = convert::change(event)?;
            if revision <= self.delivered {
                continue;
            }
            match &mut self.tail {
                Some(tail) if tail.revision == revision => tail.changes.push(change),
                Some(tail) if tail.revision > revision => {
                    return Err(convert::malformed(format_args!(
                        "revision {revision} behind revision {}",
                        tail.revision
                    )));
                }
                _ => {
                    if !self.release(&mut pass) {
                        return Ok(false);
                    }
                    let more = events.as_slice().iter();
                    let more = more.take_while(|event| convert::happened(event) == Some(revision));
                    let mut changes = Vec::with_capacity(1 + more.count());
                    changes.push(change);
                    self.tail = Some(Changes { revision, changes });
                }
            }
        }
        Ok(response.fragment || self.release(&mut pass))
    }

    fn release(&mut self, pass: &mut impl FnMut(Changes) -> bool) -> bool {
        let Some(mut whole) = self.tail.take() else {
            return true;
        };
        let revision = whole.revision;
        let in_order = |changes: &[Change]| changes.is_sorted_by(|a, b| a.key() < b.key());
        if !in_order(&whole.changes) {
            // etcd sends them in the order of the operations; the contract is the order of the
            // keys. A revision changes a key once, so that the same key is the same event twice.
            whole.changes.sort_by(|a, b| a.key().cmp(b.key()));
            whole.changes.dedup_by(|a, b| a.key() == b.key());
        }
        let passed = pass(whole);
        if passed {
            self.delivered = revision;
        }
        passed
    }

    /// What the server's word says that everything up to this revision was sent.
    ///
    /// `None` where it says nothing: within a revision, and to a watch that starts later.
    pub(crate) fn progress(&mut self, reached: Revision) -> Option<Changes> {
        if self.tail.is_some() || reached < self.delivered {
            return None;
        }
        self.delivered = reached;
        self.sign_of_life(reached)
    }

    /// Changes without content, which repeat what was delivered: all that can be said when the
    /// store has come at least to this revision. `None` to a watch that starts later.
    pub(crate) fn sign_of_life(&self, reached: Revision) -> Option<Changes> {
        (reached >= self.delivered).then(|| Changes {
            revision: self.delivered,
            changes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use etcd_client::proto::{PbEvent, PbKeyValue, PbWatchResponse};
    use keyval::{Changes, Result, Revision};

    use super::Assembler;

    fn put(key: &str, revision: i64) -> PbEvent {
        PbEvent {
            r#type: 0,
            kv: Some(PbKeyValue {
                key: key.into(),
                mod_revision: revision,
                ..PbKeyValue::default()
            }),
            prev_kv: None,
        }
    }

    fn events(fragment: bool, events: Vec<PbEvent>) -> PbWatchResponse {
        PbWatchResponse {
            fragment,
            events,
            ..PbWatchResponse::default()
        }
    }

    /// What is handed out, as `revision: keys`.
    fn shown(changes: &Changes) -> String {
        let keys: Vec<_> = changes
            .changes
            .iter()
            .map(|c| c.key().to_string())
            .collect();
        format!("{}: {}", changes.revision, keys.join(" "))
    }

    fn accept(assembler: &mut Assembler, response: PbWatchResponse) -> Result<Vec<String>> {
        let mut whole = Vec::new();
        let all = assembler.accept(response, |changes| {
            whole.push(shown(&changes));
            true
        })?;
        assert!(all);
        Ok(whole)
    }

    #[test]
    fn a_revision_is_handed_out_whole_however_it_is_split() {
        let mut assembler = Assembler::new(Revision::new(4));
        let first = events(true, vec![put("a", 5), put("b", 6)]);
        assert_eq!(accept(&mut assembler, first).unwrap(), ["5: a"]);
        let second = events(true, vec![put("c", 6)]);
        assert!(accept(&mut assembler, second).unwrap().is_empty());
        let last = events(false, vec![put("0", 6), put("e", 7)]);
        assert_eq!(accept(&mut assembler, last).unwrap(), ["6: 0 b c", "7: e"]);
        assert_eq!(assembler.delivered(), Revision::new(7));
    }

    #[test]
    fn what_was_delivered_or_lies_before_the_start_is_dropped() {
        let mut assembler = Assembler::new(Revision::new(5));
        let old = events(false, vec![put("a", 4), put("a", 5), put("a", 6)]);
        assert_eq!(accept(&mut assembler, old).unwrap(), ["6: a"]);
        let again = events(false, vec![put("a", 6), put("a", 7)]);
        assert_eq!(accept(&mut assembler, again).unwrap(), ["7: a"]);
    }

    #[test]
    fn an_event_sent_twice_is_handed_out_once() {
        let mut assembler = Assembler::new(Revision::new(4));
        let twice = vec![put("a", 5), put("b", 5), put("a", 5), put("b", 5)];
        assert_eq!(
            accept(&mut assembler, events(false, twice)).unwrap(),
            ["5: a b"]
        );
    }

    #[test]
    fn a_revision_that_goes_back_within_an_answer_is_an_error() {
        let mut assembler = Assembler::new(Revision::new(1));
        let wrong = events(false, vec![put("a", 9), put("a", 8)]);
        assert!(accept(&mut assembler, wrong).is_err());
    }

    #[test]
    fn what_found_no_room_was_not_delivered_nor_anything_after_it() {
        let mut assembler = Assembler::new(Revision::new(1));
        let many = events(false, vec![put("a", 2), put("a", 3), put("a", 4)]);
        let mut passed = Vec::new();
        let all = assembler
            .accept(many, |changes| {
                passed.push(shown(&changes));
                passed.len() < 2
            })
            .unwrap();
        assert!(!all);
        assert_eq!(passed, ["2: a", "3: a"]);
        assert_eq!(assembler.delivered(), Revision::new(2));
        let again = events(false, vec![put("a", 3), put("a", 4)]);
        assert_eq!(accept(&mut assembler, again).unwrap(), ["3: a", "4: a"]);
    }

    #[test]
    fn a_restart_asks_for_an_unfinished_revision_again() {
        let mut assembler = Assembler::new(Revision::new(4));
        let first = events(true, vec![put("a", 5), put("b", 5)]);
        assert!(accept(&mut assembler, first).unwrap().is_empty());
        assembler.restart();
        assert_eq!(assembler.delivered(), Revision::new(4));
        let whole = events(false, vec![put("a", 5), put("b", 5), put("c", 5)]);
        assert_eq!(accept(&mut assembler, whole).unwrap(), ["5: a b c"]);
    }

    #[test]
    fn progress_moves_a_watch_on_but_never_back() {
        let mut assembler = Assembler::new(Revision::new(5));
        let reached = assembler.progress(Revision::new(9)).unwrap();
        assert_eq!(shown(&reached), "9: ");
        assert_eq!(assembler.delivered(), Revision::new(9));
        assert!(assembler.progress(Revision::new(8)).is_none());
        assert_eq!(assembler.delivered(), Revision::new(9));
    }

    #[test]
    fn progress_does_not_cut_a_revision_in_two() {
        let mut assembler = Assembler::new(Revision::new(4));
        let first = events(true, vec![put("a", 5)]);
        assert!(accept(&mut assembler, first).unwrap().is_empty());
        assert!(assembler.progress(Revision::new(5)).is_none());
        let last = events(false, vec![put("b", 5)]);
        assert_eq!(accept(&mut assembler, last).unwrap(), ["5: a b"]);
    }
}
