//! The promises of resync to those who fail, are late or lose their place.

#![allow(clippy::unwrap_used)]

mod kv_support;
mod resync_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use keyval::{BrokerExt, Bytes, KeyRange, ResyncCause, Revision, StoreExt, Update};
use kv_support::Lab;
use plugin_runtime::{ParticipantState, ResyncStatus, RoundCause, VisitOutcome};
use resync_support::{Agent, Doing, Recorder, at_first, names, recorders};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn one_who_is_late_is_reported_and_has_more_time_at_the_next_visit() {
    let lab = Lab::new("");
    lab.write("resync.yaml", "deadline: 2s");
    let [late, next] = recorders();
    late.behaves(|_| Doing::TakesTime(Duration::from_secs(7)));
    let agent = Agent::start_in(lab, |resync, store| {
        late.register(resync, store, "late");
        next.register(resync, store, "next");
    });
    let round = agent.round(1).await;
    assert!(
        matches!(&round.visits[0].outcome, VisitOutcome::Late { after, .. } if after.as_secs() == 2),
        "{round}"
    );
    // The round went on.
    assert!(round.visits[1].outcome.is_done());
    let status = agent.until(ResyncStatus::is_in_sync).await;
    let last = status.rounds.back().unwrap();
    assert_eq!(
        (last.number, &last.causes[..]),
        (3, &[RoundCause::Retried][..])
    );
    assert_eq!(names(last), ["late"]);
    assert_eq!(last.took, Duration::from_secs(7));
    // 2 s and 4 s were not enough, 8 s were.
    assert_eq!(late.told().len(), 1);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_who_fails_panics_or_hangs_is_tried_again_for_as_long_as_it_takes() {
    for (times, doing, told) in [
        (
            7,
            (|| Doing::Fails("no such device")) as fn() -> Doing,
            "no such device",
        ),
        (7, || Doing::Panics, "it panicked: no manners"),
        (3, || Doing::Hangs, "no answer within"),
    ] {
        let it = Recorder::new();
        it.behaves(at_first(times, doing));
        let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
        let cause = agent
            .running
            .cause("resync", |state, _| state == "degraded")
            .await;
        assert!(cause.contains(told), "{cause}");
        let status = agent.until(ResyncStatus::is_in_sync).await;
        assert_eq!(status.rounds.len(), times + 1);
        assert_eq!(status.participants[0].failures, 0);
        agent.running.ok("resync").await;
        // Ever less often.
        let (first, last) = (&status.rounds[1], &status.rounds[times]);
        assert_eq!(first.causes, [RoundCause::Retried]);
        assert!(last.is_ok() && !first.is_ok());
        // And it is none the worse for it.
        agent.store.put("a/1", "x").await.unwrap();
        it.until(|told| told.len() == 2).await;
        agent.running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_at_a_change_begins_anew_with_a_snapshot() {
    for doing in [(|| Doing::Fails("full")) as fn() -> Doing, || Doing::Panics] {
        let it = Recorder::new();
        let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
        agent.round(1).await;
        it.behaves(at_first(1, doing));
        agent.store.put("a/1", "x").await.unwrap();
        let round = agent.round(2).await;
        assert_eq!(round.causes, [RoundCause::Retried]);
        assert_eq!(it.picture().len(), 1);
        assert_eq!(it.causes().len(), 2);
        agent.running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_hangs_is_reported_at_the_deadline_and_made_good() {
    let it = Recorder::new();
    let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
    agent.round(1).await;
    it.behaves(at_first(1, || Doing::Hangs));
    let began = Instant::now();
    agent.store.put("a/1", "x").await.unwrap();
    let degraded = |state: &str, _: &str| state == "degraded";
    let cause = agent.running.cause("resync", degraded).await;
    assert_eq!(cause, "a did not deal with changes within 10s");
    assert_eq!(began.elapsed().as_secs(), 10);
    let round = agent.round(2).await;
    assert_eq!(round.causes, [RoundCause::Retried]);
    agent.until(ResyncStatus::is_in_sync).await;
    assert_eq!(it.picture().len(), 1);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_round_waits_for_a_change_no_longer_than_that_has_time() {
    let it = Recorder::new();
    let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
    agent.round(1).await;
    it.behaves(at_first(1, || Doing::Hangs));
    agent.store.put("a/1", "x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let round = agent.resync.resync().await.unwrap();
    assert!(round.is_ok(), "{round}");
    assert_eq!(round.took.as_secs(), 6);
    assert_eq!(it.picture().len(), 1);
    // Its snapshot has made good for the change.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(agent.resync.status().borrow().rounds.len(), 2);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_a_compaction_left_behind_brings_a_round_in_which_deletions_show() {
    let [a, b, c] = recorders();
    let agent = Agent::start("", |resync, store| {
        a.register(resync, store, "a");
        b.register(resync, store, "b");
        c.register(resync, store, "c");
    });
    for key in ["a/1", "b/1", "b/2", "c/1"] {
        agent.store.put(key, "x").await.unwrap();
    }
    b.until(|told| told.len() == 3).await;
    agent.lab.store.control().cut();
    agent.lab.store.inner().delete("b/1").await.unwrap();
    agent.lab.store.compact_now().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    agent.lab.store.control().heal();
    let round = agent.round(2).await;
    assert!(
        matches!(
            &round.causes[0],
            RoundCause::Lost {
                cause: ResyncCause::Compacted,
                ..
            }
        ),
        "{round}"
    );
    assert_eq!(names(&round), ["a", "b", "c"]);
    assert_eq!(b.picture(), [("2".to_owned(), Bytes::from("x"))]);
    assert!(
        [&a, &b, &c]
            .iter()
            .any(|it| it.causes().contains(&ResyncCause::Compacted))
    );
    // However many have noticed, each got one or two snapshots for it.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(agent.rounds() <= 3, "{:?}", agent.resync);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_lost_during_a_round_brings_another_in_which_all_are_visited() {
    let lab = Lab::new("");
    lab.write("resync.yaml", "deadline: 60s");
    let it = Recorder::new();
    let slow = Arc::new(AtomicBool::new(false));
    let agent = Agent::start_in(lab, |resync, store| {
        let slow = Arc::clone(&slow);
        let action = move || {
            let time = Duration::from_secs(30) * u32::from(slow.load(Ordering::Relaxed));
            async move {
                tokio::time::sleep(time).await;
                Ok(())
            }
        };
        resync.register_action("slow", action).unwrap();
        it.register(resync, store, "a");
    });
    agent.round(1).await;
    slow.store(true, Ordering::Relaxed);
    agent.resync.request();
    let waits = |status: &ResyncStatus| status.participants[1].state == ParticipantState::Waiting;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // While the round is with the first of the two.
    agent.lab.store.control().cut();
    agent.lab.store.inner().put("a/1", "x").await.unwrap();
    agent.lab.store.inner().delete("a/1").await.unwrap();
    agent.lab.store.compact_now().await.unwrap();
    agent.lab.store.control().heal();
    agent.until(waits).await;
    let round = agent.round(3).await;
    assert!(
        matches!(&round.causes[..], [RoundCause::Lost { participant, .. }] if &**participant == "a"),
        "{round}"
    );
    assert_eq!(names(&round), ["slow", "a"]);
    agent.until(ResyncStatus::is_in_sync).await;
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_what_is_older_than_its_snapshot_or_told_before() {
    let it = Recorder::new();
    let agent = Agent::start("resync-after-reconnect: true", |resync, store| {
        it.register(resync, store, "a");
    });
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let store = agent.lab.store.inner();
    for number in 0..400 {
        let key = format!("a/{}", random.u8(..10));
        match random.u8(..10) {
            0 => agent.resync.request(),
            1 => {
                agent.lab.store.control().cut();
                agent.lab.store.control().heal();
            }
            2 => {
                store.delete(key.as_str()).await.unwrap();
            }
            3 if random.bool() => drop(agent.lab.store.compact_now().await),
            4 => tokio::time::sleep(Duration::from_millis(random.u64(..300))).await,
            _ => {
                store.put(key.as_str(), number.to_string()).await.unwrap();
            }
        }
    }
    let last = store.put("a/last", "x").await.unwrap();
    it.until(|told| told.last().is_some_and(|update| update.revision() >= last))
        .await;
    let mut at = Revision::ZERO;
    for update in it.told() {
        match &update {
            Update::Resync(_) => assert!(update.revision() >= at, "back to {update:?}"),
            Update::Changes(changes) => {
                assert!(update.revision() > at, "again {update:?}");
                assert!(!changes.is_progress());
            }
        }
        at = update.revision();
    }
    let truth = store.prefixed("a/").list(KeyRange::all()).await.unwrap();
    let truth = truth.collect().await.unwrap().into_iter();
    let truth: Vec<_> = truth
        .map(|entry| (entry.key.to_string(), entry.value))
        .collect();
    assert_eq!(it.picture(), truth);
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_whose_updates_fail_is_seen_and_recovers() {
    let it = Recorder::new();
    let agent = Agent::start("", |resync, store| it.register(resync, store, "a"));
    agent.round(1).await;
    let denied = keyval::testing::Fault::new(|| keyval::Error::Denied {
        message: "range".into(),
    });
    let control = agent.lab.store.control();
    control.cut();
    control.heal();
    control.fail_next_of(keyval::testing::Operation::Watch, 1, denied);
    let failed = |status: &ResyncStatus| matches!(&status.participants[0].state, ParticipantState::Failed { cause } if cause.contains("range"));
    agent.until(failed).await;
    agent.until(ResyncStatus::is_in_sync).await;
    agent.store.put("a/1", "x").await.unwrap();
    it.until(|told| told.len() == 2).await;
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_whose_updates_panic_is_seen_and_recovers() {
    let it = Recorder::new();
    let agent = Agent::start("", |resync, store| {
        let (store, it) = (store.prefixed("a/"), it.clone());
        let mut visits = 0;
        let updates = move || {
            visits += 1;
            let panics = visits == 1;
            store
                .follow(KeyRange::all())
                .map(move |update| match update {
                    Ok(Update::Changes(changes)) if panics && !changes.is_progress() => {
                        panic!("no such codec")
                    }
                    update => update,
                })
        };
        let reconcile = move |update: Update| {
            let it = it.clone();
            async move { it.take(update).await }
        };
        resync.register("a", updates, reconcile).unwrap();
    });
    agent.round(1).await;
    agent.store.put("a/1", "x").await.unwrap();
    let failed = |status: &ResyncStatus| matches!(&status.participants[0].state, ParticipantState::Failed { cause } if cause.contains("no such codec"));
    agent.until(failed).await;
    let status = agent.until(ResyncStatus::is_in_sync).await;
    assert_eq!(status.rounds.len(), 2);
    agent.store.put("a/2", "y").await.unwrap();
    it.until(|told| told.len() == 3).await;
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_a_round_in_its_own_visit_is_late_and_holds_up_nobody_for_longer() {
    let lab = Lab::new("");
    lab.write("resync.yaml", "deadline: 2s");
    let next = Recorder::new();
    let asks = Arc::new(AtomicBool::new(true));
    let agent = Agent::start_in(lab, |resync, store| {
        let (own, asks) = (resync.clone(), Arc::clone(&asks));
        let action = move || {
            let (own, asks) = (own.clone(), asks.load(Ordering::Relaxed));
            async move {
                if asks {
                    own.resync().await?;
                }
                Ok(())
            }
        };
        resync.register_action("asks", action).unwrap();
        next.register(resync, store, "next");
    });
    // What it waits for comes when it has been given up, and asks again: with twice the time each.
    for (number, seconds) in [(1, 2), (2, 4), (3, 8)] {
        let round = agent.round(number).await;
        assert!(
            matches!(&round.visits[0].outcome, VisitOutcome::Late { after, .. } if after.as_secs() == seconds),
            "{round}"
        );
        assert!(round.visits[1].outcome.is_done(), "{round}");
        assert_eq!(round.took.as_secs(), seconds);
    }
    let degraded = |state: &str, _: &str| state == "degraded";
    let cause = agent.running.cause("resync", degraded).await;
    assert!(
        cause.contains("asks") && cause.contains("no answer within"),
        "{cause}"
    );
    asks.store(false, Ordering::Relaxed);
    agent.until(ResyncStatus::is_in_sync).await;
    agent.running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_a_round_at_a_change_is_late_and_then_gets_it() {
    let lab = Lab::new("");
    lab.write("resync.yaml", "deadline: 2s");
    let it = Recorder::new();
    let agent = Agent::start_in(lab, |resync, store| {
        let (own, prefixed, it) = (resync.clone(), store.prefixed("a/"), it.clone());
        let updates = move || prefixed.follow(KeyRange::all());
        let reconcile = move |update: Update| {
            let (own, it) = (own.clone(), it.clone());
            async move {
                if matches!(update, Update::Changes(_)) {
                    own.resync().await?;
                }
                it.take(update).await
            }
        };
        resync.register("a", updates, reconcile).unwrap();
    });
    agent.round(1).await;
    let began = Instant::now();
    agent.store.put("a/1", "x").await.unwrap();
    let round = agent.round(2).await;
    assert_eq!(round.causes, [RoundCause::Requested]);
    assert_eq!(began.elapsed().as_secs(), 2);
    agent.until(ResyncStatus::is_in_sync).await;
    // By the snapshot of the round: the change itself was given up.
    assert_eq!(it.causes().len(), 2);
    assert_eq!(it.told().len(), 2);
    assert_eq!(it.picture().len(), 1);
    agent.running.stop().await;
}
