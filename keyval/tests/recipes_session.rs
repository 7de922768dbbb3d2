//! Sessions on a store that fails: what is told, when, and what is back afterwards.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use keyval::recipes::{LeaseKeeper, LossCause, Session, SessionOptions, SessionState};
use keyval::testing::{Fault, FaultControl, Faulty, Operation};
use keyval::{
    BrokerExt, Change, ChangeStream, Error, KeyRange, LeaseId, Leases, Maintenance, Memory,
    StoreExt, WatchOptions, Watcher,
};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, advance, sleep, timeout};

const TTL: Duration = Duration::from_secs(9);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn options() -> SessionOptions {
    SessionOptions::default().with_ttl(TTL)
}

/// A session on a store that can fail, and the well store behind it.
async fn open_with(options: SessionOptions) -> (Session, FaultControl, Memory) {
    let memory = Memory::new();
    let store = Faulty::new(memory.clone());
    let control = store.control();
    let session = Session::open_opts(store, options).await.unwrap();
    (session, control, memory)
}

async fn open() -> (Session, FaultControl, Memory) {
    open_with(options()).await
}

async fn until_renewed(session: &Session) -> (LeaseId, Vec<String>) {
    let mut state = session.state();
    let renewed = state
        .wait_for(|state| matches!(state, SessionState::Renewed { .. }))
        .await
        .unwrap();
    match &*renewed {
        SessionState::Renewed { lease, refused, .. } => {
            (*lease, refused.iter().map(ToString::to_string).collect())
        }
        other => panic!("{other:?}"),
    }
}

async fn watch(store: &Memory) -> ChangeStream {
    store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap()
}

/// The next changes, in short words, one for each key.
async fn told(watch: &mut ChangeStream, changes: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < changes {
        for change in watch.next().await.unwrap().unwrap().changes {
            told.push(match change {
                Change::Put { entry, .. } => format!("put {}", entry.key),
                Change::Delete { key, .. } => format!("delete {key}"),
            });
        }
    }
    told
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_told_at_the_safe_deadline_and_not_before() {
    let begun = Instant::now();
    let (session, control, _memory) = open_with(options().without_regrant()).await;
    control.hang();
    let lost = session.lost(session.lease());
    let cause = lost.await;
    assert_eq!(begun.elapsed(), TTL);
    assert_eq!(cause, LossCause::Expired { last_error: None });
    assert!(!session.is_alive());
    assert_eq!(session.remaining(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_safe_deadline_counts_from_the_sending_of_the_last_renewal_that_was_answered() {
    let begun = Instant::now();
    let (session, control, _memory) = open_with(options().without_regrant()).await;
    control.delay(seconds(1));
    control.until_called(Operation::KeepAlive, 1).await;
    let sent = Instant::now();
    assert_eq!(sent - begun, TTL / 3);
    control.until_called(Operation::KeepAlive, 2).await;
    assert_eq!(Instant::now() - sent, TTL / 3, "the next one too");
    control.hang();
    let error = session.lost(session.lease()).await;
    assert_eq!(sent.elapsed(), TTL, "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_ends_before_the_deadline_is_no_loss() {
    let (session, control, _memory) = open().await;
    let lease = session.lease();
    for _ in 0..20 {
        control.cut();
        sleep(TTL / 2).await;
        control.heal();
        sleep(TTL / 2).await;
    }
    assert_eq!(*session.state().borrow(), SessionState::Alive { lease });
    assert!(session.remaining() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn slow_answers_are_no_loss_as_long_as_they_come_within_the_ttl() {
    let (session, control, _memory) = open().await;
    let lease = session.lease();
    // More than the third after which the next renewal is sent, beside the one under way.
    control.delay(TTL / 2);
    sleep(TTL * 20).await;
    assert_eq!(*session.state().borrow(), SessionState::Alive { lease });
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_loss_names_the_last_failure() {
    let (session, control, _memory) = open_with(options().without_regrant()).await;
    control.cut();
    let cause = session.lost(session.lease()).await;
    let text = cause.to_string();
    assert!(matches!(
        cause,
        LossCause::Expired {
            last_error: Some(_)
        }
    ));
    assert!(text.contains("cut off"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_a_bounded_number_of_requests() {
    let options = SessionOptions::default().with_ttl(seconds(60));
    let (session, control, _memory) = open_with(options.clone()).await;
    control.until_called(Operation::KeepAlive, 1).await;
    control.cut();
    let before = control.calls(Operation::KeepAlive);
    session.lost(session.lease()).await;
    let renewals = control.calls(Operation::KeepAlive) - before;
    // Fifty seconds, at first with waits up to 100 ms, at last with waits up to 5 s.
    assert!((8..=80).contains(&renewals), "{renewals}");
    let before = control.calls(Operation::Grant);
    sleep(seconds(600)).await;
    let grants = control.calls(Operation::Grant) - before;
    assert!((100..=600).contains(&grants), "{grants}");
    control.heal();
    until_renewed(&session).await;
}

#[tokio::test(start_paused = true)]
async fn many_sessions_are_kept_by_one_task() {
    let store = Memory::new();
    let keeper = LeaseKeeper::new();
    let shared = options().with_keeper(keeper.clone());
    let open = |n: u32| {
        let scope = store.prefixed(format!("agents/{n}/"));
        let options = shared.clone();
        async move { Session::open_opts(scope, options).await.unwrap() }
    };
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let mut sessions = vec![open(0).await];
    let with_one = tasks();
    for n in 1..500 {
        sessions.push(open(n).await);
    }
    for session in &sessions {
        session.put("here", "x").await.unwrap();
    }
    sleep(TTL * 10).await;
    assert_eq!(tasks(), with_one);
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 500);
    for session in &sessions {
        session.close().await.unwrap();
    }
    assert_eq!(tasks(), with_one - 1, "the task of the keeper is gone");
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 0);

    let again = open(500).await;
    again.put("here", "x").await.unwrap();
    sleep(TTL * 10).await;
    assert!(again.is_alive(), "a keeper can be used again");
}

#[tokio::test(start_paused = true)]
async fn keys_come_back_in_the_order_in_which_they_were_first_put() {
    let (session, _control, memory) = open().await;
    for key in ["c", "a", "d", "b"] {
        session.put(key, "1").await.unwrap();
    }
    session.put("a", "2").await.unwrap();
    assert!(session.remove("d").await.unwrap());
    let mut watch = watch(&memory).await;
    memory.revoke(session.lease()).await.unwrap();
    assert_eq!(
        told(&mut watch, 6).await,
        [
            "delete a", "delete b", "delete c", "put c", "put a", "put b"
        ]
    );
    assert_eq!(memory.get("a").await.unwrap().unwrap().value, "2");
}

#[tokio::test(start_paused = true)]
async fn a_jump_of_the_clock_is_a_loss_at_once_and_then_all_is_well_again() {
    let (session, _control, memory) = open().await;
    session.put("key", "x").await.unwrap();
    let old = session.lease();
    advance(TTL * 100).await;
    assert!(!session.is_alive(), "before any task looked");
    let refused = session.put("other", "x").await.unwrap_err();
    assert!(matches!(refused, Error::LeaseLost { lease } if lease == old));
    assert!(matches!(session.lost(old).await, LossCause::Expired { .. }));
    let (lease, _) = until_renewed(&session).await;
    let entry = memory.get("key").await.unwrap().unwrap();
    assert_eq!(entry.lease, Some(lease));
    assert_ne!(lease, old);
    session.put("other", "x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_to_us_alone_is_replaced_without_a_gap_and_then_revoked() {
    let (session, control, memory) = open().await;
    session.put("key", "x").await.unwrap();
    let old = session.lease();
    control.cut();
    let lost = session.lost(old);
    futures::pin_mut!(lost);
    // Somebody else keeps it alive in the store.
    while timeout(seconds(1), &mut lost).await.is_err() {
        memory.keep_alive(old).await.unwrap();
    }
    memory.keep_alive(old).await.unwrap();
    let mut watch = watch(&memory).await;
    control.heal();
    let (lease, refused) = until_renewed(&session).await;
    assert!(refused.is_empty());
    control.until_called(Operation::Revoke, 1).await;
    session.put("last", "x").await.unwrap();
    assert_eq!(told(&mut watch, 2).await, ["put key", "put last"]);
    let status = memory.time_to_live(old).await;
    assert!(matches!(status, Err(Error::LeaseLost { .. })), "{status:?}");
    assert_eq!(memory.time_to_live(lease).await.unwrap().keys.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_come_back_through_failures_whose_outcome_is_unknown() {
    for fault in [
        Fault::refused(),
        Fault::request_lost(),
        Fault::answer_lost(),
        Fault::new(|| Error::Denied {
            message: "for now".to_owned(),
        }),
    ] {
        let (session, control, memory) = open().await;
        let names: Vec<_> = (0..10).map(|n| format!("key/{n}")).collect();
        for name in &names {
            session.put(name, name.clone()).await.unwrap();
        }
        control.fail_next_of(Operation::Put, 25, fault.clone());
        control.fail_next_of(Operation::Grant, 3, fault.clone());
        memory.revoke(session.lease()).await.unwrap();
        let (lease, refused) = until_renewed(&session).await;
        assert!(refused.is_empty(), "{refused:?} after {fault:?}");
        for name in &names {
            let entry = memory.get(name).await.unwrap().unwrap();
            assert_eq!(entry.value, *name);
            assert_eq!(entry.lease, Some(lease));
        }
        session.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_key_of_which_a_put_had_no_answer_is_kept_away_until_it_is_put_again() {
    let (store, memory) = {
        let memory = Memory::new();
        (Faulty::new(memory.clone()), memory)
    };
    let control = store.control();
    let session = Session::open_opts(store.clone(), options()).await.unwrap();
    let mut watch = watch(&memory).await;
    session.put("sure", "x").await.unwrap();
    assert!(session.remove("sure").await.unwrap());
    assert_eq!(told(&mut watch, 2).await, ["put sure", "delete sure"]);

    control.fail_next_of(Operation::Put, 2, Fault::request_held());
    for _ in 0..2 {
        let error = session.put("key", "late").await.unwrap_err();
        assert!(error.may_have_applied(), "{error:?}");
    }
    assert!(!session.remove("key").await.unwrap());
    assert!(!session.remove("key").await.unwrap());
    control.until_called(Operation::Watch, 1).await;
    control.cut();
    assert_eq!(store.deliver_held().await, 2);
    assert_eq!(told(&mut watch, 2).await, ["put key", "put key"]);
    sleep(TTL / 3).await;
    control.heal();
    let deleted = timeout(TTL * 10, told(&mut watch, 1)).await;
    assert_eq!(deleted.expect("it goes before its session"), ["delete key"]);

    session.put("key", "wanted").await.unwrap();
    sleep(TTL).await;
    assert_eq!(memory.get("key").await.unwrap().unwrap().value, "wanted");
    assert_eq!(control.open_watches(), 0, "nobody looks out for it now");
    assert!(session.remove("key").await.unwrap());
    session.put("key", "again").await.unwrap();
    session.close().await.unwrap();
    let rest = ["put key", "delete key", "put key", "delete key"];
    assert_eq!(told(&mut watch, 4).await, rest);
    assert_eq!(control.open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_was_refused_does_not_let_a_removed_key_come_back_late() {
    let memory = Memory::new();
    let store = Faulty::new(memory.clone());
    let control = store.control();
    let session = Session::open_opts(store.clone(), options()).await.unwrap();
    let mut watch = watch(&memory).await;
    control.fail_next_of(Operation::Put, 1, Fault::request_held());
    control.fail_next_of(Operation::Put, 1, Fault::refused());
    let error = session.put("key", "late").await.unwrap_err();
    assert!(error.may_have_applied(), "{error:?}");
    assert!(!session.remove("key").await.unwrap());
    let error = session.put("key", "refused").await.unwrap_err();
    assert!(!error.may_have_applied(), "{error:?}");
    control.until_called(Operation::Watch, 1).await;
    assert_eq!(store.deliver_held().await, 1);
    let told = timeout(TTL, told(&mut watch, 2)).await;
    assert_eq!(told.expect("soon"), ["put key", "delete key"]);

    session.put("key", "wanted").await.unwrap();
    sleep(TTL).await;
    assert_eq!(memory.get("key").await.unwrap().unwrap().value, "wanted");
    assert_eq!(control.open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_put_again_that_was_given_up_is_not_taken_away_if_it_comes() {
    let (session, control, memory) = open().await;
    control.fail_next_of(Operation::Put, 1, Fault::request_lost());
    session.put("key", "lost").await.unwrap_err();
    assert!(!session.remove("key").await.unwrap());
    control.until_called(Operation::Watch, 1).await;
    control.fail_next_of(Operation::Put, 1, Fault::answer_lost());
    session.put("key", "again").await.unwrap_err();
    sleep(TTL).await;
    assert_eq!(memory.get("key").await.unwrap().unwrap().value, "again");
    assert!(session.remove("key").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn removed_keys_are_kept_away_for_twenty_minutes_and_not_as_long_as_the_session_lives() {
    let (session, control, _memory) = open().await;
    let minutes = |minutes: u64| sleep(seconds(minutes * 60));
    for n in 0..20 {
        control.fail_next_of(Operation::Put, 1, Fault::request_lost());
        let key = format!("key/{n}");
        session.put(key.clone(), "x").await.unwrap_err();
        assert!(!session.remove(key).await.unwrap());
    }
    control.until_called(Operation::Watch, 20).await;
    minutes(19).await;
    assert_eq!(control.open_watches(), 20);
    minutes(2).await;
    assert_eq!(control.open_watches(), 0);
    for n in 0..20 {
        assert!(!session.remove(format!("key/{n}")).await.unwrap());
    }
    sleep(TTL).await;
    assert_eq!(control.open_watches(), 0, "they are forgotten");
    assert!(session.is_alive());
}

#[tokio::test(start_paused = true)]
async fn a_lease_lost_while_the_keys_come_back_is_replaced_too() {
    let (session, control, memory) = open().await;
    for n in 0..10 {
        session.put(format!("key/{n}"), "x").await.unwrap();
    }
    for _ in 0..3 {
        // No key comes back for longer than the new lease lives.
        control.fail_next_of(Operation::Put, 5, Fault::refused());
        control.fail_next_of(Operation::KeepAlive, 1_000_000, Fault::request_lost());
        memory.revoke(session.lease()).await.unwrap();
        sleep(TTL * 3).await;
        control.heal();
        sleep(TTL * 3).await;
        assert!(session.is_alive());
        let keys = memory.time_to_live(session.lease()).await.unwrap().keys;
        assert_eq!(keys.len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn without_regrant_a_loss_is_the_end() {
    let (session, control, memory) = open_with(options().without_regrant()).await;
    session.put("key", "x").await.unwrap();
    let lease = session.lease();
    memory.revoke(lease).await.unwrap();
    assert_eq!(session.lost(lease).await, LossCause::Revoked);
    sleep(TTL * 10).await;
    let lost = SessionState::Lost {
        lease,
        cause: LossCause::Revoked,
    };
    assert_eq!(*session.state().borrow(), lost);
    assert_eq!(control.calls(Operation::Grant), 1);
    assert!(session.put("key", "x").await.is_err());
    assert_eq!(memory.get("key").await.unwrap(), None);
    session.close().await.unwrap();
    assert_eq!(*session.state().borrow(), SessionState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_finds_the_lease_gone_makes_the_loss_known_at_once() {
    let (session, _control, memory) = open_with(options().without_regrant()).await;
    let lease = session.lease();
    let begun = Instant::now();
    memory.revoke(lease).await.unwrap();
    let error = session.put("key", "x").await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
    assert_eq!(session.lost(lease).await, LossCause::Revoked);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_revokes_the_lease() {
    let (session, control, memory) = open().await;
    session.put("key", "x").await.unwrap();
    let mut watch = watch(&memory).await;
    let clone = session.clone();
    drop(session);
    clone.put("other", "x").await.unwrap();
    let begun = Instant::now();
    drop(clone);
    let changes = told(&mut watch, 3).await;
    assert_eq!(changes, ["put other", "delete key", "delete other"]);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(control.calls(Operation::Revoke), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_is_bounded_and_says_what_it_could_not_do() {
    let close_timeout = seconds(2);
    let (session, control, memory) = open_with(options().with_close_timeout(close_timeout)).await;
    session.put("key", "x").await.unwrap();
    let lost = session.lost(session.lease());
    let before = Handle::current().metrics().num_alive_tasks();
    control.hang();
    let begun = Instant::now();
    let error = session.close().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert_eq!(begun.elapsed(), close_timeout);
    assert_eq!(lost.await, LossCause::Closed);
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before - 1);
    session.close().await.unwrap();
    sleep(TTL).await;
    assert_eq!(memory.get("key").await.unwrap(), None, "it went by itself");
}

#[tokio::test(start_paused = true)]
async fn closing_while_a_lease_is_granted_leaves_none_behind() {
    let (session, control, memory) = open().await;
    control.hang();
    session.lost(session.lease()).await;
    control.until_called(Operation::Grant, 2).await;
    let closing = {
        let session = session.clone();
        tokio::spawn(async move { session.close().await })
    };
    tokio::task::yield_now().await;
    let revoked = control.calls(Operation::Revoke);
    control.heal();
    closing.await.unwrap().unwrap();
    // The one that expired, and the one that was being granted.
    assert_eq!(control.calls(Operation::Revoke) - revoked, 2);
    drop(memory);
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_ends_the_session() {
    let memory = Memory::new();
    let session = Session::open_opts(memory.clone(), options()).await.unwrap();
    let lost = session.lost(session.lease());
    memory.close().await.unwrap();
    assert_eq!(lost.await, LossCause::Closed);
    session.close().await.unwrap();
    assert_eq!(*session.state().borrow(), SessionState::Closed);
}

#[test]
fn the_end_of_the_runtime_is_told_to_who_waits() {
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let (session, lost) = first.block_on(async {
        let session = Session::open(Memory::new(), TTL).await.unwrap();
        let lost = session.lost(session.lease());
        (session, lost)
    });
    drop(first);
    assert_eq!(second.block_on(lost), LossCause::Closed);
    assert!(!session.is_alive());
    second.block_on(session.close()).unwrap();
}

#[test]
fn a_session_outside_of_a_runtime_is_refused() {
    let opened = Session::open(Memory::new(), TTL).now_or_never().unwrap();
    let error = opened.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_session_shows_no_values() {
    let (session, _control, _memory) = open().await;
    session.put("key", "hunter2").await.unwrap();
    assert!(!format!("{session:?}").contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_lives_can_be_adopted_and_one_that_does_not_is_told() {
    let (session, _control, memory) = open().await;
    session.put("key", "x").await.unwrap();
    let lease = session.lease();
    let adopted = Session::adopt(memory.clone(), lease, options())
        .await
        .unwrap();
    assert_eq!((adopted.lease(), adopted.ttl()), (lease, TTL));
    adopted.close().await.unwrap();
    assert_eq!(session.lost(lease).await, LossCause::Revoked);
    let error = Session::adopt(memory, lease, options()).await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
}
