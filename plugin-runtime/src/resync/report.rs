//! What is told of rounds and of those who take part in them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyval::{ResyncCause, Revision};

/// How many rounds are remembered.
const REMEMBERED: usize = 32;

/// How it stands with resync: who takes part, and the latest rounds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ResyncStatus {
    /// Who takes part, in the order in which they are visited.
    pub participants: Vec<ParticipantStatus>,
    /// The latest 32 rounds that are done, the latest last. Their numbers have no gaps.
    pub rounds: VecDeque<Arc<Round>>,
    /// Whether there will be no more.
    pub ended: bool,
    /// The number of the latest round that was begun.
    pub(super) begun: u64,
}

/// How it stands with one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParticipantStatus {
    /// Its name.
    pub name: Arc<str>,
    /// How it stands.
    pub state: ParticipantState,
    /// How often in a row it has failed or been late.
    pub failures: u32,
    /// Its number among all that ever took part.
    pub(super) id: u64,
}

/// How it stands with a participant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParticipantState {
    /// It has not been visited yet, or has lost its place in the history and waits for its visit.
    Waiting,
    /// It has dealt with all that it was told.
    InSync,
    /// It failed or was late, in a round or with a change, or gets no updates, for this reason. It
    /// is tried again.
    Failed {
        /// The reason.
        cause: Arc<str>,
    },
}

/// One round: who was visited, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// Its number; the first round has 1.
    pub number: u64,
    /// Why there was one: all requests that came together in it.
    pub causes: Vec<RoundCause>,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// The visits, in order.
    pub visits: Vec<Visit>,
}

/// Why there is a round.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoundCause {
    /// The store was connected for the first time.
    Connected,
    /// The store is connected again after an outage.
    Reconnected,
    /// A participant has lost its place in the history.
    #[non_exhaustive]
    Lost {
        /// The participant.
        participant: Arc<str>,
        /// Why: compacted, another history, not to be verified.
        cause: ResyncCause,
    },
    /// Somebody asked for it.
    Requested,
    /// Participants were registered since the last round; they alone are visited.
    Joined,
    /// Participants failed or were late before; they alone are visited.
    Retried,
}

/// The visit of one participant in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Visit {
    /// The participant.
    pub participant: Arc<str>,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: VisitOutcome,
}

/// What came of a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VisitOutcome {
    /// It has dealt with a fresh snapshot.
    #[non_exhaustive]
    Done {
        /// The revision of the snapshot; none for a participant that follows nothing.
        revision: Option<Revision>,
    },
    /// It failed; it is visited again.
    #[non_exhaustive]
    Failed {
        /// Why.
        cause: Arc<str>,
    },
    /// It did not answer in time; it is visited again, and then has more time.
    #[non_exhaustive]
    Late {
        /// The time it had.
        after: Duration,
    },
}

impl Round {
    /// Whether everybody who was visited is done.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.visits.iter().all(|visit| visit.outcome.is_done())
    }
}

impl VisitOutcome {
    /// Whether the participant has dealt with a fresh snapshot.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

impl ResyncStatus {
    /// Whether there has been a round, and everybody who takes part is in sync.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        let in_sync = |it: &ParticipantStatus| it.state == ParticipantState::InSync;
        !self.rounds.is_empty() && self.participants.iter().all(in_sync)
    }

    pub(super) fn add(&mut self, round: Round) {
        self.rounds.push_back(Arc::new(round));
        while self.rounds.len() > REMEMBERED {
            self.rounds.pop_front();
        }
    }
}

impl fmt::Display for RoundCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connected"),
            Self::Reconnected => f.write_str("reconnected"),
            Self::Lost { participant, cause } => {
                write!(f, "{participant} lost its place ({})", cause.as_str())
            }
            Self::Requested => f.write_str("requested"),
            Self::Joined => f.write_str("joined"),
            Self::Retried => f.write_str("retried"),
        }
    }
}

impl fmt::Display for VisitOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done { revision: None } => f.write_str("done"),
            Self::Done {
                revision: Some(revision),
            } => write!(f, "done at {revision}"),
            Self::Failed { cause } => write!(f, "failed: {cause}"),
            Self::Late { after } => write!(f, "no answer within {after:?}"),
        }
    }
}

/// On one line: `round 3 (reconnected): interfaces done at 17, routes failed: no such device`.
impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let causes: Vec<String> = self.causes.iter().map(ToString::to_string).collect();
        let visits = self.visits.iter();
        let visits: Vec<String> = visits
            .map(|visit| format!("{} {}", visit.participant, visit.outcome))
            .collect();
        write!(
            f,
            "round {} ({}): {}",
            self.number,
            causes.join(", "),
            visits.join(", ")
        )
    }
}
