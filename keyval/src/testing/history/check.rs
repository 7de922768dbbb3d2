//! The check of a whole history.

use std::fmt;

use crate::entry::Entry;
use crate::revision::Revision;
use crate::testing::history::call::{Answer, Call};
use crate::testing::history::timeline::Timeline;
use crate::testing::history::violation::{Findings, Violation};
use crate::testing::history::whole::{Base, History};
use crate::testing::history::{follows, order, watches, writes};

/// What a history without violations holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// How many calls there were.
    pub calls: usize,
    /// How many of them certainly had no effect.
    pub refused: usize,
    /// How many of them changed the store, although nobody was told at the time.
    pub resolved: usize,
    /// How many revisions there were.
    pub revisions: u64,
    /// How many deliveries of watches and followers there were.
    pub deliveries: usize,
    /// What the history left: the base of the next one.
    pub next: Base,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls ({} refused, {} of unknown outcome applied, {} pending), {} revisions, \
             {} deliveries",
            self.calls,
            self.refused,
            self.resolved,
            self.next.pending.len(),
            self.revisions,
            self.deliveries
        )
    }
}

/// Checks a history against every [`Rule`](crate::testing::history::Rule).
///
/// Since every write has a revision, no search is needed: the truth is replayed, and each call and
/// each delivery is held against it. That takes time in proportion to the history, but for calls
/// of unknown outcome, each of which is tried on each change that nobody claims.
///
/// # Errors
/// Everything that cannot be, if store and clients keep their promises.
///
/// # Examples
/// ```
/// use keyval::testing::history::{Base, History, Recorder, Rule, check, read_truth};
/// use keyval::{BrokerExt, Memory};
///
/// # tokio_test::block_on(async {
/// let (store, recorder) = (Memory::new(), Recorder::new());
/// recorder.client(store.clone()).put("a", "1").await?;
/// let unseen = store.put("a", "2").await?;
///
/// let base = Base::default();
/// let truth = read_truth(&store, base.revision, unseen).await?;
/// let calls = recorder.take().calls;
/// let violations = check(&History { base, truth, calls, ..History::default() }).unwrap_err();
/// assert_eq!(violations[0].rule, Rule::Unexplained);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
pub fn check(history: &History) -> Result<Summary, Vec<Violation>> {
    let mut findings = Findings::default();
    let timeline = Timeline::new(&history.base, &history.truth, &mut findings);
    if !findings.0.is_empty() {
        // What is held against a broken truth proves nothing.
        return Err(findings.0);
    }
    let calls: Vec<&Call> = history.base.pending.iter().chain(&history.calls).collect();
    let floors = order::judge(&timeline, &calls, &mut findings);
    let resolved = writes::judge(&timeline, &calls, &floors, &mut findings);
    for watch in &history.watches {
        watches::judge(&timeline, watch, &mut findings);
    }
    for follow in &history.follows {
        follows::judge(&timeline, follow, &mut findings);
    }

    if !findings.0.is_empty() {
        return Err(findings.0);
    }
    let refused = |call: &&Call| matches!(call.answer, Answer::Refused(_));
    let watched = history.watches.iter().map(|watch| watch.items.len());
    let followed = history.follows.iter().map(|follow| follow.items.len());
    Ok(Summary {
        calls: history.calls.len(),
        refused: history.calls.iter().filter(refused).count(),
        resolved: resolved.applied,
        revisions: timeline.end().get() - timeline.base().get(),
        deliveries: watched.chain(followed).sum(),
        next: Base {
            revision: timeline.end(),
            entries: entries(&timeline, timeline.end()),
            pending: resolved
                .pending
                .into_iter()
                .map(|index| calls[index].clone())
                .collect(),
        },
    })
}

fn entries(timeline: &Timeline, at: Revision) -> Vec<Entry> {
    let state = timeline.at(at).into_iter().flat_map(|state| state.values());
    state.map(|entry| (**entry).clone()).collect()
}
