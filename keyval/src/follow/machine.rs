//! The mind of a follower: what to do next, given what happened; no I/O, no clock.

use std::fmt;

use foldhash::quality::FixedState;

use crate::entry::{Changes, Entry, ResyncCause, Snapshot, Update};
use crate::error::Error;
use crate::follow::known::{Check, Echo, Found, Heard, Known, Limits};
use crate::range::KeyRange;
use crate::revision::Revision;

/// What does not change while a follower lives.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) range: KeyRange,
    pub(super) limits: Limits,
    /// Whether the store can show its past; if not, every watch begins with a resync.
    pub(super) verifiable: bool,
    /// The seed of all digests.
    pub(super) hasher: FixedState,
}

/// Where a follower stands.
#[derive(Debug)]
pub(super) enum State {
    /// The range is to be read as a whole.
    Listing {
        /// The revision delivered last, if any was.
        after: Option<Revision>,
        /// Why it is to be read.
        cause: ResyncCause,
    },
    /// Everything up to a revision is delivered, and a watch is to be opened.
    Opening {
        known: Known,
        /// Where it is to start.
        from: Revision,
    },
    /// A watch is open, and nothing of it is delivered before the store has shown that its history
    /// is the known one: a wiped store accepts a watch at an old revision without a word.
    ///
    /// The watch is opened first, so that a wipe after the check breaks it, and one before the
    /// check is found.
    Verifying {
        known: Known,
        echo: Echo,
        occasion: Occasion,
    },
    /// The watch is delivered.
    Watching { known: Known, echo: Echo },
    /// Something failed, and a while is to pass.
    Waiting {
        /// What to do then.
        then: Box<State>,
    },
    /// It is over.
    Ended,
}

/// Why the history is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A watch was opened.
    Opened,
    /// It is time to.
    Due,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The consumer wants more, and nothing else happened.
    Resumed,
    /// The range was read, to its end.
    Listed {
        revision: Revision,
        entries: Vec<Entry>,
    },
    /// The watch was accepted, and brings everything after this revision.
    Opened { after: Revision },
    /// The check was answered.
    Read(Found),
    /// The watch brought something.
    Item(Changes),
    /// The watch brought nothing for too long.
    Silent,
    /// The watch ended without a cause.
    StreamEnded,
    /// It is time to check the history.
    Due,
    /// What was being done failed.
    Failed(Error),
    /// The while has passed.
    Waited,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Action {
    /// Read the range.
    List,
    /// Open a watch, in place of the one there was.
    Open { from: Revision },
    /// Read this of the range.
    Verify(Check),
    /// Take the next item of the watch.
    Next,
    /// Hand this to the consumer.
    Deliver(Update),
    /// Hand this to the consumer.
    Yield(Error),
    /// Drop the watch, and let it be known.
    Suspend(Trouble),
    /// Let a while pass.
    Wait,
    /// End the stream.
    Stop,
}

/// What cuts a follower off without a word to its consumer.
#[derive(Debug)]
pub(super) enum Trouble {
    Failed(Error),
    Silence,
    StreamEnded,
    Resync(ResyncCause),
}

impl Trouble {
    /// The trouble in one word, as metrics label it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Failed(error) => error.kind(),
            Self::Silence => "silence",
            Self::StreamEnded => "stream_ended",
            Self::Resync(cause) => cause.as_str(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => fmt::Display::fmt(error, f),
            Self::Silence => f.write_str("the watch has fallen silent"),
            Self::StreamEnded => f.write_str("the watch ended without a cause"),
            Self::Resync(cause) => write!(f, "a resync is needed: {}", cause.as_str()),
        }
    }
}

/// What a follower does next.
pub(super) fn step(rules: &Rules, state: State, event: Event) -> (State, Action) {
    match (state, event) {
        (State::Listing { after, cause }, Event::Listed { revision, entries }) => {
            listed(rules, after, cause, revision, entries)
        }
        (state @ State::Listing { .. }, Event::Failed(error)) => failed(state, error),

        (State::Opening { known, from }, Event::Opened { after }) => {
            opened(rules, known, from, after)
        }
        (State::Opening { known, from }, Event::Failed(error)) => {
            not_opened(rules, known, from, error)
        }

        (State::Verifying { known, echo, .. }, Event::Read(found)) => {
            if known.recognises(&found) {
                begin(rules, State::Watching { known, echo })
            } else {
                resync(&known, ResyncCause::HistoryChanged)
            }
        }
        (
            State::Verifying {
                known,
                echo,
                occasion,
            },
            Event::Failed(error),
        ) => not_verified(rules, known, echo, occasion, error),

        (State::Watching { known, echo }, Event::Item(changes)) => heard(known, echo, changes),
        (State::Watching { known, echo }, Event::Due) => {
            let occasion = Occasion::Due;
            let state = State::Verifying {
                known,
                echo,
                occasion,
            };
            begin(rules, state)
        }
        (State::Watching { known, .. }, Event::Silent) => {
            suspend(reopen(rules, known), Trouble::Silence)
        }
        (State::Watching { known, .. }, Event::StreamEnded) => {
            suspend(reopen(rules, known), Trouble::StreamEnded)
        }
        (State::Watching { known, .. }, Event::Failed(error)) => broken(rules, known, error),

        (State::Waiting { then }, Event::Waited) => begin(rules, *then),
        // Whatever else there is, the state itself says what to do.
        (state, _) => begin(rules, state),
    }
}

/// What a state does by itself.
fn begin(rules: &Rules, state: State) -> (State, Action) {
    let action = match &state {
        State::Listing { .. } => Action::List,
        State::Opening { from, .. } => Action::Open { from: *from },
        State::Verifying { known, .. } => Action::Verify(known.check(&rules.range)),
        State::Watching { .. } => Action::Next,
        State::Waiting { .. } => Action::Wait,
        State::Ended => Action::Stop,
    };
    (state, action)
}

fn listed(
    rules: &Rules,
    after: Option<Revision>,
    cause: ResyncCause,
    revision: Revision,
    entries: Vec<Entry>,
) -> (State, Action) {
    // Whatever the reason was to read again: a store does not go back.
    let cause = if after.is_some_and(|after| revision < after) {
        ResyncCause::HistoryChanged
    } else {
        cause
    };
    let known = Known::new(revision, &entries, rules.limits, rules.hasher.clone());
    let from = known.start();
    let snapshot = Snapshot {
        revision,
        after,
        cause,
        entries,
    };
    (
        State::Opening { known, from },
        Action::Deliver(Update::Resync(snapshot)),
    )
}

fn opened(rules: &Rules, known: Known, from: Revision, after: Revision) -> (State, Action) {
    if after > known.through() {
        // Not what was asked for: what lies between would be lost.
        return resync(&known, ResyncCause::Compacted);
    }
    let echo = known.listen(from);
    if !rules.verifiable {
        return begin(rules, State::Watching { known, echo });
    }
    let occasion = Occasion::Opened;
    let state = State::Verifying {
        known,
        echo,
        occasion,
    };
    begin(rules, state)
}

fn not_opened(rules: &Rules, known: Known, from: Revision, error: Error) -> (State, Action) {
    match error {
        Error::Compacted { oldest, .. } => compacted(rules, known, from, oldest),
        Error::FutureRevision { .. } => resync(&known, ResyncCause::HistoryChanged),
        error => failed(reopen(rules, known), error),
    }
}

/// A watch from here is refused because of compaction: what is remembered may be gone, what is to
/// come may not.
fn compacted(
    rules: &Rules,
    mut known: Known,
    from: Revision,
    oldest: Option<Revision>,
) -> (State, Action) {
    if from > known.through() {
        return resync(&known, ResyncCause::Compacted);
    }
    let later = known.forget(oldest);
    let from = if later > from {
        later
    } else {
        known.forget(None)
    };
    begin(rules, State::Opening { known, from })
}

fn not_verified(
    rules: &Rules,
    known: Known,
    echo: Echo,
    occasion: Occasion,
    error: Error,
) -> (State, Action) {
    match error {
        // The watch is open and has shown itself before; only the past has gone in the meantime.
        Error::Compacted { .. } if occasion == Occasion::Due => {
            begin(rules, State::Watching { known, echo })
        }
        Error::Compacted { .. } => resync(&known, ResyncCause::Compacted),
        Error::FutureRevision { .. } => resync(&known, ResyncCause::HistoryChanged),
        error @ (Error::Unavailable { .. }
        | Error::Timeout { .. }
        | Error::Denied { .. }
        | Error::Unauthenticated { .. }
        | Error::OutOfScope { .. }
        | Error::Closed { .. }) => failed(reopen(rules, known), error),
        // What the store cannot answer now it may never answer; the range can still be read.
        _ => resync(&known, ResyncCause::Unverified),
    }
}

fn heard(mut known: Known, mut echo: Echo, changes: Changes) -> (State, Action) {
    match known.hear(&mut echo, &changes) {
        Heard::Contradiction => resync(&known, ResyncCause::HistoryChanged),
        Heard::Old => (State::Watching { known, echo }, Action::Next),
        Heard::New => {
            known.record(&mut echo, &changes);
            (
                State::Watching { known, echo },
                Action::Deliver(Update::Changes(changes)),
            )
        }
    }
}

/// The watch ended with an error.
fn broken(rules: &Rules, known: Known, error: Error) -> (State, Action) {
    match error {
        // Perhaps the error of opening, come as the first item.
        Error::Compacted { oldest, .. } if rules.verifiable => {
            let from = known.start();
            compacted(rules, known, from, oldest)
        }
        Error::Compacted { .. } => resync(&known, ResyncCause::Compacted),
        Error::FutureRevision { .. } => resync(&known, ResyncCause::HistoryChanged),
        error => failed(reopen(rules, known), error),
    }
}

/// What to do after an outage: go on behind what is known, if that can be checked.
fn reopen(rules: &Rules, known: Known) -> State {
    if !rules.verifiable {
        return State::Listing {
            after: Some(known.through()),
            cause: ResyncCause::Unverified,
        };
    }
    let from = known.start();
    State::Opening { known, from }
}

/// Delivers a new picture; after a while, so that a store that contradicts itself for ever is not
/// read without pause.
fn resync(known: &Known, cause: ResyncCause) -> (State, Action) {
    let then = State::Listing {
        after: Some(known.through()),
        cause,
    };
    suspend(then, Trouble::Resync(cause))
}

fn suspend(then: State, trouble: Trouble) -> (State, Action) {
    let then = Box::new(then);
    (State::Waiting { then }, Action::Suspend(trouble))
}

fn failed(then: State, error: Error) -> (State, Action) {
    match error {
        // Nothing will ever make these right.
        Error::Closed { .. } | Error::Invalid { .. } | Error::NotSupported { .. } => {
            (State::Ended, Action::Yield(error))
        }
        // These pass by themselves.
        Error::Unavailable { .. }
        | Error::Timeout { .. }
        | Error::Backend { .. }
        | Error::Compacted { .. }
        | Error::FutureRevision { .. } => suspend(then, Trouble::Failed(error)),
        // These pass if somebody does something about them, so somebody must be told.
        Error::Denied { .. }
        | Error::Unauthenticated { .. }
        | Error::OutOfScope { .. }
        | Error::LeaseLost { .. }
        | Error::TooLarge { .. }
        | Error::TooManyOps { .. }
        | Error::DuplicateKey { .. }
        | Error::StorageFull { .. } => {
            let then = Box::new(then);
            (State::Waiting { then }, Action::Yield(error))
        }
    }
}
