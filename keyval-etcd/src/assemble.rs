//! From the answers of a watch to whole revisions, each once and in order.

use etcd_client::proto::PbWatchResponse;
use keyval::{Changes, Result, Revision};

use crate::convert;

/// The number under which etcd answers a request for progress, which concerns a whole stream.
const REQUESTED: i64 = -1;

/// Puts whole revisions together from what one watch receives.
///
/// etcd splits a revision only into fragments, so that the last revision of a fragment stays here
/// until the answer without that mark.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// Everything up to and including this was handed out, or lies before the start.
    delivered: Revision,
    /// Whether progress that was asked for comes behind the changes that it covers.
    exact: bool,
    /// The last revision so far, of which more may follow.
    tail: Option<Changes>,
}

impl Assembler {
    /// An assembler that hands out what comes after this revision.
    pub(crate) fn new(after: Revision, exact: bool) -> Self {
        Self {
            delivered: after,
            exact,
            tail: None,
        }
    }

    /// The revision up to which everything was handed out.
    pub(crate) fn delivered(&self) -> Revision {
        self.delivered
    }

    /// Takes an answer that is no cancellation; returns the revisions that are now whole.
    ///
    /// # Errors
    /// [`Error::Backend`](keyval::Error::Backend) for an answer that makes no sense.
    pub(crate) fn accept(&mut self, response: PbWatchResponse) -> Result<Vec<Changes>> {
        if response.events.is_empty() {
            let word = !response.created && !response.fragment && self.tail.is_none();
            return Ok(if word {
                self.progress(&response).into_iter().collect()
            } else {
                Vec::new()
            });
        }
        let mut whole = Vec::new();
        for event in response.events {
            let (revision, change) = convert::change(event)?;
            // Servers have been seen to repeat events, and to send some from before the start.
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
                    whole.extend(self.release());
                    self.tail = Some(Changes {
                        revision,
                        changes: vec![change],
                    });
                }
            }
        }
        if !response.fragment {
            whole.extend(self.release());
        }
        Ok(whole)
    }

    fn release(&mut self) -> Option<Changes> {
        let mut whole = self.tail.take()?;
        self.delivered = whole.revision;
        // etcd sends them in the order of the operations; the contract is the order of the keys.
        whole.changes.sort_by(|a, b| a.key().cmp(b.key()));
        Some(whole)
    }

    /// What an answer without events says: how far the store has come.
    fn progress(&mut self, response: &PbWatchResponse) -> Option<Changes> {
        let reached = convert::header_revision(response.header.as_ref());
        // A watch that starts in the future has nothing to say before.
        if reached < self.delivered {
            return None;
        }
        if self.exact || response.watch_id != REQUESTED {
            self.delivered = reached;
        }
        Some(Changes {
            revision: self.delivered,
            changes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use etcd_client::proto::{PbEvent, PbKeyValue, PbResponseHeader, PbWatchResponse};
    use keyval::{Changes, Revision};

    use super::{Assembler, REQUESTED};

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

    fn word(watch_id: i64, revision: i64) -> PbWatchResponse {
        PbWatchResponse {
            watch_id,
            header: Some(PbResponseHeader {
                revision,
                ..PbResponseHeader::default()
            }),
            ..PbWatchResponse::default()
        }
    }

    /// What was handed out, as `revision: keys`.
    fn shown(changes: &[Changes]) -> Vec<String> {
        changes
            .iter()
            .map(|whole| {
                let keys: Vec<_> = whole.changes.iter().map(|c| c.key().to_string()).collect();
                format!("{}: {}", whole.revision, keys.join(" "))
            })
            .collect()
    }

    #[test]
    fn a_revision_is_handed_out_whole_however_it_is_split() {
        let mut assembler = Assembler::new(Revision::new(4), true);
        let first = events(true, vec![put("a", 5), put("b", 6)]);
        assert_eq!(shown(&assembler.accept(first).unwrap()), ["5: a"]);
        let second = events(true, vec![put("c", 6)]);
        assert!(assembler.accept(second).unwrap().is_empty());
        let last = events(false, vec![put("0", 6), put("e", 7)]);
        assert_eq!(
            shown(&assembler.accept(last).unwrap()),
            ["6: 0 b c", "7: e"]
        );
        assert_eq!(assembler.delivered(), Revision::new(7));
    }

    #[test]
    fn what_was_delivered_or_lies_before_the_start_is_dropped() {
        let mut assembler = Assembler::new(Revision::new(5), true);
        let old = events(false, vec![put("a", 4), put("a", 5), put("a", 6)]);
        assert_eq!(shown(&assembler.accept(old).unwrap()), ["6: a"]);
        let again = events(false, vec![put("a", 6), put("a", 7)]);
        assert_eq!(shown(&assembler.accept(again).unwrap()), ["7: a"]);
    }

    #[test]
    fn a_revision_that_goes_back_within_an_answer_is_an_error() {
        let mut assembler = Assembler::new(Revision::new(1), true);
        let wrong = events(false, vec![put("a", 9), put("a", 8)]);
        assert!(assembler.accept(wrong).is_err());
    }

    #[test]
    fn progress_moves_the_watch_on_where_it_is_exact() {
        let mut assembler = Assembler::new(Revision::new(5), true);
        assert_eq!(
            shown(&assembler.accept(word(REQUESTED, 9)).unwrap()),
            ["9: "]
        );
        assert_eq!(assembler.delivered(), Revision::new(9));
    }

    #[test]
    fn progress_asked_of_an_old_server_is_a_sign_of_life_only() {
        let mut assembler = Assembler::new(Revision::new(5), false);
        assert_eq!(
            shown(&assembler.accept(word(REQUESTED, 9)).unwrap()),
            ["5: "]
        );
        // The answer overtook this one.
        let late = events(false, vec![put("a", 8)]);
        assert_eq!(shown(&assembler.accept(late).unwrap()), ["8: a"]);
        // What the server says by itself keeps its place among the changes.
        assert_eq!(shown(&assembler.accept(word(0, 9)).unwrap()), ["9: "]);
    }

    #[test]
    fn a_watch_from_the_future_hears_nothing_before() {
        let mut assembler = Assembler::new(Revision::new(99), true);
        assert!(assembler.accept(word(REQUESTED, 9)).unwrap().is_empty());
        assert_eq!(assembler.delivered(), Revision::new(99));
    }

    #[test]
    fn progress_does_not_cut_a_revision_in_two() {
        let mut assembler = Assembler::new(Revision::new(4), true);
        let first = events(true, vec![put("a", 5)]);
        assert!(assembler.accept(first).unwrap().is_empty());
        assert!(assembler.accept(word(REQUESTED, 5)).unwrap().is_empty());
        let last = events(false, vec![put("b", 5)]);
        assert_eq!(shown(&assembler.accept(last).unwrap()), ["5: a b"]);
    }
}
