//! The machine by itself: every event in every order.

use bytes::Bytes;
use foldhash::quality::FixedState;
use proptest::prelude::*;

use crate::entry::{Change, Changes, Entry, ResyncCause, Update};
use crate::error::{Error, Outcome};
use crate::follow::known::{Check, Found, Known, Limits};
use crate::follow::machine::{Action, Event, Rules, State, Trouble, step};
use crate::key::Key;
use crate::range::KeyRange;
use crate::reply::{OpReply, RangeReply};
use crate::revision::Revision;

fn rules(exact_keys: usize) -> Rules {
    Rules {
        range: KeyRange::prefix("a/"),
        limits: Limits::new(exact_keys, Some(128)),
        verifiable: true,
        hasher: FixedState::with_seed(1),
    }
}

fn entry(key: &str, modified: u64) -> Entry {
    Entry {
        key: Key::from(key),
        value: Bytes::from_static(b"x"),
        created: Revision::new(modified),
        modified: Revision::new(modified),
        version: 1,
        lease: None,
    }
}

fn put(key: &str, at: u64) -> Changes {
    Changes {
        revision: Revision::new(at),
        changes: vec![Change::Put {
            entry: entry(key, at),
            prev: None,
        }],
    }
}

fn compacted(oldest: Option<u64>) -> Error {
    Error::Compacted {
        requested: Revision::new(1),
        oldest: oldest.map(Revision::new),
    }
}

fn initial() -> State {
    State::Listing {
        after: None,
        cause: ResyncCause::Initial,
    }
}

/// A machine that has listed `a/1` at revision 5.
fn listed(rules: &Rules) -> State {
    let event = Event::Listed {
        revision: Revision::new(5),
        entries: vec![entry("a/1", 3)],
    };
    let (state, action) = step(rules, initial(), event);
    assert!(matches!(action, Action::Deliver(Update::Resync(_))));
    state
}

/// The same, with its watch open and checked.
fn watching(rules: &Rules) -> State {
    let (state, action) = step(rules, listed(rules), Event::Resumed);
    let Action::Open { from } = action else {
        panic!("{action:?}");
    };
    let after = from.previous();
    let (state, action) = step(rules, state, Event::Opened { after });
    let Action::Verify(check) = action else {
        panic!("{action:?}");
    };
    let found = match check {
        Check::Every(_) => Found::Every(vec![entry("a/1", 3)]),
        Check::Samples(_) => samples(),
    };
    let (state, action) = step(rules, state, Event::Read(found));
    assert!(matches!(action, Action::Next), "{action:?}");
    state
}

/// What a store says of the samples of `listed`.
fn samples() -> Found {
    let reply = |entries: Vec<Entry>, count| OpReply::Get(RangeReply { entries, count });
    Found::Samples(vec![
        reply(vec![], Some(1)),
        reply(vec![entry("a/1", 3)], None),
    ])
}

#[test]
fn nothing_is_delivered_before_the_history_is_recognised() {
    for rules in [rules(1_000), rules(0)] {
        let (state, _) = step(&rules, listed(&rules), Event::Resumed);
        let after = Revision::new(5);
        let (state, action) = step(&rules, state, Event::Opened { after });
        assert!(matches!(action, Action::Verify(_)), "{action:?}");
        let other = Found::Every(vec![entry("a/1", 4)]);
        let (_, action) = step(&rules, state, Event::Read(other));
        let Action::Suspend(Trouble::Resync(cause)) = action else {
            panic!("{action:?}");
        };
        assert_eq!(cause, ResyncCause::HistoryChanged);
    }
}

#[test]
fn a_watch_that_begins_too_late_is_not_used() {
    let rules = rules(1_000);
    let (state, _) = step(&rules, listed(&rules), Event::Resumed);
    let after = Revision::new(6);
    let (_, action) = step(&rules, state, Event::Opened { after });
    let Action::Suspend(Trouble::Resync(cause)) = action else {
        panic!("{action:?}");
    };
    assert_eq!(cause, ResyncCause::Compacted);
}

#[test]
fn a_past_that_cannot_be_watched_again_is_left_out_of_the_comparison() {
    let rules = rules(0);
    let mut state = watching(&rules);
    for at in 7..12 {
        (state, _) = step(&rules, state, Event::Item(put("a/2", at)));
    }
    (state, _) = step(&rules, state, Event::StreamEnded);
    let (mut state, mut action) = step(&rules, state, Event::Waited);
    let mut starts = Vec::new();
    for oldest in [Some(8), Some(8), Some(11)] {
        let Action::Open { from } = action else {
            panic!("{action:?}");
        };
        starts.push(from.get());
        (state, action) = step(&rules, state, Event::Failed(compacted(oldest)));
    }
    // Each start is later than the one before, up to the first that matters.
    assert_eq!(starts, [6, 9, 12]);
    assert!(
        matches!(
            action,
            Action::Suspend(Trouble::Resync(ResyncCause::Compacted))
        ),
        "{action:?}"
    );
    assert!(matches!(state, State::Waiting { .. }));
}

#[test]
fn errors_end_the_stream_or_are_told_or_pass() {
    let told = |message: &str| Error::Denied {
        message: message.into(),
    };
    let cases = [
        (Error::invalid("x"), "end"),
        (Error::Closed { store: "x".into() }, "end"),
        (told("x"), "told"),
        (Error::unavailable("x", Outcome::NotApplied), "passes"),
        (Error::backend("x", Outcome::NotApplied), "passes"),
        (compacted(None), "passes"),
    ];
    for (error, expected) in cases {
        let text = error.to_string();
        let (state, action) = step(&rules(0), initial(), Event::Failed(error));
        let found = match (&state, &action) {
            (State::Ended, Action::Yield(_)) => "end",
            (State::Waiting { .. }, Action::Yield(_)) => "told",
            (State::Waiting { .. }, Action::Suspend(_)) => "passes",
            _ => "something else",
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_replica_that_lags_behind_is_not_another_history() {
    for rules in [rules(1_000), rules(0)] {
        let mut state = watching(&rules);
        for at in [1, 2, 4] {
            let item = Event::Item(Changes::progress(Revision::new(at)));
            let action;
            (state, action) = step(&rules, state, item);
            assert!(matches!(action, Action::Next), "{action:?}");
        }
    }
}

#[test]
fn memory_is_bounded() {
    let hasher = FixedState::with_seed(1);
    let entries: Vec<Entry> = (0..5_000).map(|n| entry(&format!("a/{n}"), n)).collect();
    let limits = Limits::new(1_000, Some(128));
    let mut known = Known::new(Revision::new(5_000), &entries, limits, hasher);
    assert!(!known.is_exact());
    let mut echo = known.listen(known.start());
    for n in 5_001..8_000 {
        known.record(&mut echo, &put("a/new", n));
    }
    assert_eq!(known.through(), Revision::new(7_999));
    assert_eq!(
        known.start(),
        Revision::new(7_984),
        "sixteen are watched again"
    );
    let Check::Samples(txn) = known.check(&KeyRange::prefix("a/")) else {
        panic!("the range is large");
    };
    assert_eq!(txn.then.len(), 17);

    let mut whole = put("a/0", 9_000);
    whole.changes = (0..300)
        .map(|n| Change::Put {
            entry: entry(&format!("a/{n}"), 9_000),
            prev: None,
        })
        .collect();
    known.record(&mut echo, &whole);
    assert_eq!(
        known.start(),
        Revision::new(9_001),
        "too much to watch again"
    );
    known.record(&mut echo, &Changes::progress(Revision::new(100_000)));
    assert_eq!(known.start(), Revision::new(90_001), "not too far back");
}

/// Any event, with revisions from a small range, so that they meet.
fn event() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        (1u64..12).prop_map(EventKind::Listed),
        (0u64..12).prop_map(EventKind::Opened),
        any::<bool>().prop_map(EventKind::Read),
        (1u64..14, any::<bool>()).prop_map(|(at, progress)| EventKind::Item(at, progress)),
        (0u8..6).prop_map(EventKind::Failed),
        Just(EventKind::Silent),
        Just(EventKind::StreamEnded),
        Just(EventKind::Due),
        Just(EventKind::Waited),
        Just(EventKind::Resumed),
    ]
}

/// An event that can be copied, and made to fit the state.
#[derive(Clone, Debug)]
enum EventKind {
    Listed(u64),
    Opened(u64),
    Read(bool),
    Item(u64, bool),
    Failed(u8),
    Silent,
    StreamEnded,
    Due,
    Waited,
    Resumed,
}

fn make(kind: &EventKind) -> Event {
    match kind {
        EventKind::Listed(at) => Event::Listed {
            revision: Revision::new(*at),
            entries: vec![],
        },
        EventKind::Opened(after) => Event::Opened {
            after: Revision::new(*after),
        },
        EventKind::Read(true) => Event::Read(Found::Every(vec![])),
        EventKind::Read(false) => Event::Read(Found::Every(vec![entry("a/9", 1); 9])),
        EventKind::Item(at, true) => Event::Item(Changes::progress(Revision::new(*at))),
        EventKind::Item(at, false) => Event::Item(put("a/1", *at)),
        EventKind::Failed(kind) => Event::Failed(match kind {
            0 => compacted(None),
            1 => compacted(Some(6)),
            2 => Error::FutureRevision {
                requested: Revision::new(9),
                current: None,
            },
            3 => Error::Denied {
                message: "x".into(),
            },
            4 => Error::backend("x", Outcome::NotApplied),
            _ => Error::unavailable("x", Outcome::NotApplied),
        }),
        EventKind::Silent => Event::Silent,
        EventKind::StreamEnded => Event::StreamEnded,
        EventKind::Due => Event::Due,
        EventKind::Waited => Event::Waited,
        EventKind::Resumed => Event::Resumed,
    }
}

proptest! {
    #[test]
    fn no_order_of_events_delivers_out_of_order_or_unchecked(
        events in prop::collection::vec(event(), 0..200),
        exact in any::<bool>(),
    ) {
        let rules = rules(if exact { 1_000 } else { 0 });
        let mut state = initial();
        let (mut last, mut checked) = (None, false);
        for kind in &events {
            let recognised = matches!(kind, EventKind::Read(true));
            let (next, action) = step(&rules, state, make(kind));
            match &action {
                Action::Open { from } => {
                    prop_assert!(Some(from.previous()) <= last, "{from} is behind {last:?}");
                    checked = false;
                }
                Action::Verify(_) => {}
                Action::Next if recognised => checked = true,
                Action::Suspend(_) | Action::Yield(_) | Action::List => checked = false,
                Action::Deliver(Update::Resync(snapshot)) => {
                    prop_assert_eq!(snapshot.after, last);
                    last = Some(snapshot.revision);
                    checked = false;
                }
                Action::Deliver(Update::Changes(changes)) => {
                    prop_assert!(checked, "delivered before the history was recognised");
                    prop_assert!(Some(changes.revision) > last);
                    last = Some(changes.revision);
                }
                Action::Next | Action::Wait => {}
                Action::Stop => prop_assert!(false, "no such event ends it"),
            }
            state = next;
        }
    }
}
