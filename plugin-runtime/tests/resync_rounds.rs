//! The promises of resync: who is visited, when and why.

#![allow(clippy::unwrap_used)]

mod kv_support;
mod resync_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyval::{BrokerExt, Bytes, Change, KeyRange, ResyncCause, StoreExt, Update};
use keyval_proto::{Decoded, Protobuf, Typed};
use kv_support::{Lab, soon};
use plugin_runtime::{ResyncError, ResyncSettings, RoundCause, VisitOutcome, resync};
use resync_support::{Agent, Doing, Recorder, names, recorders};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn the_first_connection_brings_one_round_that_visits_all_in_order() {
    let lab = Lab::new("allow-delayed-start: true");
    lab.hang();
    lab.store.inner().put("b/1", "old").await.unwrap();
    let [a, b, c] = recorders();
    let agent = Agent::start_in(lab, |resync, store| {
        for (name, it) in [("c", &c), ("b", &b), ("a", &a)] {
            it.register(resync, store, name);
        }
    });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(agent.rounds(), 0);
    agent.lab.accept();
    let round = agent.round(1).await;
    assert_eq!(round.causes, [RoundCause::Connected]);
    assert_eq!(names(&round), ["c", "b", "a"]);
    assert!(round.is_ok());
    assert_eq!(b.picture(), [("1".to_owned(), Bytes::from("old"))]);
    assert_eq!(b.causes(), [ResyncCause::Initial]);
    // And then the changes as they come, without another round.
    agent.store.put("a/2", "new").await.unwrap();
    a.until(|told| told.len() == 2).await;
    assert_eq!(a.picture(), [("2".to_owned(), Bytes::from("new"))]);
    assert_eq!(agent.rounds(), 1);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_visited_before_the_one_ahead_has_answered() {
    let [slow, next] = recorders();
    let gap = Duration::from_secs(7);
    slow.behaves(move |_| Doing::TakesTime(gap));
    let agent = Agent::start("", |resync, store| {
        slow.register(resync, store, "slow");
        next.register(resync, store, "next");
    });
    let round = agent.round(1).await;
    assert_eq!(round.visits[0].took, gap);
    assert_eq!(round.took, gap);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_participants_of_one_name_are_refused() {
    let (resync, driver) = resync(ResyncSettings::default()).unwrap();
    resync.register_action("a", || async { Ok(()) }).unwrap();
    let error = resync.register_action("a", || async { Ok(()) });
    assert_eq!(error, Err(ResyncError::DuplicateName { name: "a".into() }));
    drop(driver);
    let error = resync.register_action("b", || async { Ok(()) });
    assert_eq!(error, Err(ResyncError::Ended));
}

#[tokio::test(start_paused = true)]
async fn one_who_joins_late_is_visited_alone() {
    let [early, late] = recorders();
    let agent = Agent::start("", |resync, store| early.register(resync, store, "early"));
    agent.round(1).await;
    late.register(&agent.resync, &agent.store, "late");
    let round = agent.round(2).await;
    assert_eq!(round.causes, [RoundCause::Joined]);
    assert_eq!(names(&round), ["late"]);
    assert_eq!(agent.rounds(), 2);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn any_outage_however_short_brings_a_round_where_the_settings_say_so() {
    let it = Recorder::new();
    let agent = Agent::start("resync-after-reconnect: true", |resync, store| {
        it.register(resync, store, "a");
    });
    agent.round(1).await;
    // No time passes at all.
    agent.lab.store.control().cut();
    agent.lab.store.control().heal();
    let round = agent.round(2).await;
    assert_eq!(round.causes, [RoundCause::Reconnected]);
    assert_eq!(it.causes(), [ResyncCause::Initial, ResyncCause::Requested]);

    agent.lab.store.control().cut();
    agent.lab.store.inner().put("a/1", "x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    agent.lab.store.control().heal();
    agent.round(3).await;
    assert_eq!(it.picture().len(), 1);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_that_setting_an_outage_brings_the_changes_and_no_round() {
    let it = Recorder::new();
    let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
    agent.round(1).await;
    agent.lab.store.control().cut();
    agent.lab.store.inner().put("a/1", "x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    agent.lab.store.control().heal();
    it.until(|told| told.len() == 2).await;
    assert!(matches!(it.told()[1], Update::Changes(_)));
    assert_eq!(agent.rounds(), 1);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_during_a_round_comes_together_in_one_more() {
    let it = Recorder::new();
    it.behaves(|_| Doing::TakesTime(Duration::from_secs(5)));
    let agent = Agent::start("resync-after-reconnect: true", |resync, store| {
        it.register(resync, store, "a");
    });
    agent.round(1).await;
    let round = tokio::spawn({
        let resync = agent.resync.clone();
        async move { resync.resync().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    // During the second round.
    for _ in 0..100 {
        agent.resync.request();
    }
    agent.lab.store.control().cut();
    agent.lab.store.control().heal();
    assert_eq!(round.await.unwrap().unwrap().number, 2);
    let third = agent.round(3).await;
    let causes = [RoundCause::Requested, RoundCause::Reconnected];
    assert_eq!(third.causes, causes);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(agent.rounds(), 3);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_by_hand_gets_a_round_with_all_that_was_written_before() {
    let it = Recorder::new();
    let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
    for number in 0..5 {
        let written = agent.store.put("a/1", number.to_string()).await.unwrap();
        let round = agent.resync.resync().await.unwrap();
        let VisitOutcome::Done { revision, .. } = &round.visits[0].outcome else {
            panic!("{round}");
        };
        assert!(revision.unwrap() >= written, "{round}");
    }
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn all_who_take_part_in_one_range_are_told_of_each_deletion() {
    let lab = Lab::new("");
    let [one, other] = recorders();
    let agent = Agent::start_in(lab, |resync, store| {
        for (name, it) in [("one", &one), ("other", &other)] {
            let (prefixed, it) = (store.prefixed("a/"), it.clone());
            let updates = move || prefixed.follow(KeyRange::all());
            let reconcile = move |update: Update| {
                let it = it.clone();
                async move { it.take(update).await }
            };
            resync.register(name, updates, reconcile).unwrap();
        }
    });
    agent.store.put("a/1", "x").await.unwrap();
    agent.round(1).await;
    agent.store.delete("a/1").await.unwrap();
    for it in [&one, &other] {
        it.until(|told| {
            matches!(told.last(), Some(Update::Changes(changes))
            if matches!(changes.changes[..], [Change::Delete { .. }]))
        })
        .await;
        assert!(it.picture().is_empty());
    }
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_round_begins_while_the_store_is_out_of_reach() {
    let it = Recorder::new();
    let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
    agent.round(1).await;
    agent.lab.store.control().cut();
    let waiting = tokio::spawn({
        let resync = agent.resync.clone();
        async move { resync.resync().await }
    });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(agent.rounds(), 1);
    agent.lab.store.control().heal();
    let round = soon("the round", waiting).await.unwrap().unwrap();
    assert!(round.is_ok());
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_who_follows_nothing_does_its_part_in_each_round() {
    let times = Arc::new(Mutex::new(0));
    let count = Arc::clone(&times);
    let agent = Agent::start("", move |resync, _| {
        resync
            .register_action("action", move || {
                *count.lock().unwrap() += 1;
                async { Ok(()) }
            })
            .unwrap();
    });
    agent.round(1).await;
    agent.resync.resync().await.unwrap();
    assert_eq!(*times.lock().unwrap(), 2);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_round_is_told_when_there_are_no_more() {
    let lab = Lab::new("allow-delayed-start: true");
    lab.hang();
    let agent = Agent::start_in(lab, |_, _| {});
    let waiting = tokio::spawn({
        let resync = agent.resync.clone();
        async move { resync.resync().await }
    });
    tokio::task::yield_now().await;
    agent.running.stop().await;
    let told = soon("the end", waiting).await.unwrap();
    assert_eq!(told.unwrap_err(), ResyncError::Ended);
    assert_eq!(agent.resync.resync().await.unwrap_err(), ResyncError::Ended);
}

#[tokio::test(start_paused = true)]
async fn the_plugin_is_still_starting_until_the_first_round_is_done() {
    let it = Recorder::new();
    let gap = Duration::from_secs(8);
    it.behaves(move |_| Doing::TakesTime(gap));
    let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
    let start = Instant::now();
    let cause = agent
        .running
        .cause("resync", |state, cause| {
            state == "init" && !cause.is_empty()
        })
        .await;
    assert_eq!(cause, "no round of resync is done yet");
    agent.running.ok("resync").await;
    assert_eq!(start.elapsed(), gap);
    agent.running.stop().await;
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let settings = ResyncSettings::default().with_deadline(Duration::ZERO);
    let told = resync(settings).unwrap_err().to_string();
    assert!(told.contains("deadline"), "{told}");
    let settings = ResyncSettings::default().with_retry_interval(Duration::ZERO);
    assert!(
        resync(settings)
            .unwrap_err()
            .to_string()
            .contains("retry-interval")
    );
}

#[tokio::test(start_paused = true)]
async fn one_who_has_left_is_asked_and_told_no_more_and_its_name_is_free() {
    let [gone, stays] = recorders();
    let agent = Agent::start("", |resync, store| {
        gone.register(resync, store, "gone");
        stays.register(resync, store, "stays");
    });
    agent.round(1).await;
    // Also one who is stuck.
    gone.behaves(|_| Doing::Hangs);
    agent.store.put("gone/1", "x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(soon("the end", agent.resync.leave("gone")).await);
    assert!(!agent.resync.leave("gone").await);
    agent.store.put("gone/2", "x").await.unwrap();
    let round = agent.resync.resync().await.unwrap();
    assert_eq!(names(&round), ["stays"]);
    assert_eq!(gone.told().len(), 1);
    agent.running.ok("resync").await;
    gone.behaves(|_| Doing::Takes);
    gone.register(&agent.resync, &agent.store, "gone");
    gone.until(|told| told.len() == 2).await;
    assert_eq!(gone.picture().len(), 2);
    agent.running.stop().await;
    assert!(soon("the end", agent.resync.leave("gone")).await);
}

#[tokio::test(start_paused = true)]
async fn a_participant_may_take_typed_values() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let agent = Agent::start("", move |resync, store| {
        let names = Typed::<String, _>::new(store.prefixed("names/"), Protobuf);
        let updates = move || names.follow(KeyRange::all());
        let reconcile = move |update: Update<Decoded<String>>| {
            if let Update::Resync(snapshot) = update {
                let entries = snapshot.entries.into_iter();
                *sees.lock().unwrap() = entries.map(|entry| entry.value).collect();
            }
            async { Ok(()) }
        };
        resync.register("names", updates, reconcile).unwrap();
    });
    let names = Typed::<String, _>::new(agent.store.prefixed("names/"), Protobuf);
    names.put("1", &"left".to_owned()).await.unwrap();
    agent.resync.resync().await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [Ok("left".to_owned())]);
    agent.running.stop().await;
}
