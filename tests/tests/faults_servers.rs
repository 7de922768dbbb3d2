//! What callers and followers learn when a server dies, stops, loses its data or comes back.

use std::time::{Duration, Instant};

use futures::future::join_all;
use keyval::{
    BackoffPolicy, Broker, BrokerExt, Error, FollowOptions, Key, KeyRange, Leases, Maintenance,
    Outcome, PutOptions, ResyncCause, Revision, WatchOptions, Watcher,
};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;
use keyval_tests::replica::{Replica, history, soon};
use tokio::sync::oneshot;

/// The deadline of the stores here: long enough for a busy machine, short enough to wait for.
const DEADLINE: Duration = Duration::from_millis(1500);

async fn store(server: &Etcd) -> EtcdStore {
    let config = server
        .config()
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(DEADLINE);
    EtcdStore::connect(&config)
        .await
        .expect("the server is well")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_put_never_lies_about_whether_it_was_applied() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    let (started, mut busy) = (tokio::sync::Semaphore::new(0), Vec::new());
    let started = std::sync::Arc::new(started);
    for writer in 0..32 {
        let (store, started) = (store.clone(), started.clone());
        busy.push(tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for n in 0.. {
                let key = format!("{writer}/{n}");
                let put = store.put(&key, "x").await;
                started.add_permits(1);
                let failed = put.is_err();
                outcomes.push((
                    key,
                    put.map_err(|error| (error.outcome(), error.to_string())),
                ));
                // The first failure is in flight at the kill; the next ones find nobody.
                if failed && outcomes.iter().filter(|(_, put)| put.is_err()).count() == 3 {
                    break;
                }
            }
            outcomes
        }));
    }
    started.acquire_many(500).await.unwrap().forget();
    server.kill();
    let outcomes: Vec<_> = join_all(busy)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    server.restart();

    let (mut done, mut not, mut unknown) = (0, 0, 0);
    for (key, put) in outcomes {
        let there = store.get(&key).await.unwrap().is_some();
        match put {
            Ok(_) => {
                assert!(there, "{key} was acknowledged and is gone");
                done += 1;
            }
            Err((Outcome::NotApplied, told)) => {
                assert!(!there, "{key} is there: {told}");
                not += 1;
            }
            Err((Outcome::Unknown, _)) => unknown += 1,
        }
    }
    println!("{done} done, {not} certainly not, {unknown} unknown");
    assert!(not > 0, "puts after the kill certainly were not sent");
}

#[tokio::test]
async fn a_server_that_is_gone_costs_an_error_and_no_new_handle() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    store.put("a", "1").await.unwrap();
    server.kill();
    // The first may still find the old connection.
    drop(store.get("a").await);
    let error = store.put("a", "2").await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert!(!error.may_have_applied(), "{told}");
    assert!(told.contains("put of \"a\""), "{told}");
    assert!(told.contains(&server.endpoint()), "{told}");
    server.restart();
    store.put("a", "3").await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "3");
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap().id;
    server.pause();
    let begun = Instant::now();
    let all = KeyRange::all();
    let (get, put, keep_alive, watch) = tokio::join!(
        store.get("a"),
        store.put("a", "1"),
        store.keep_alive(lease),
        store.watch_opts(&all, WatchOptions::default()),
    );
    let took = begun.elapsed();
    server.resume();
    assert!(took >= DEADLINE && took < DEADLINE * 3, "{took:?}");
    for (error, outcome) in [
        (get.unwrap_err(), Outcome::NotApplied),
        (put.unwrap_err(), Outcome::Unknown),
        (keep_alive.unwrap_err(), Outcome::Unknown),
        (watch.unwrap_err(), Outcome::NotApplied),
    ] {
        assert!(
            matches!(error, Error::Timeout { after, .. } if after == DEADLINE),
            "{error}"
        );
        assert_eq!(error.outcome(), outcome, "{error}");
    }
    store.put("a", "2").await.unwrap();
}

#[tokio::test]
async fn closing_does_not_say_that_a_put_under_way_was_not_applied() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    store.put("a", "1").await.unwrap();
    server.pause();
    let (sent, under_way) = oneshot::channel();
    let (get, put) = {
        let (a, b) = (store.clone(), store.clone());
        let get = tokio::spawn(async move { a.get("a").await });
        let put = tokio::spawn(async move {
            let put = b.put("a", "2");
            futures::pin_mut!(put);
            assert!(futures::poll!(&mut put).is_pending());
            sent.send(()).unwrap();
            put.await
        });
        (get, put)
    };
    under_way.await.unwrap();
    let begun = Instant::now();
    store.close().await.unwrap();
    let get = get.await.unwrap().unwrap_err();
    let put = put.await.unwrap().unwrap_err();
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    server.resume();
    assert!(matches!(get, Error::Closed { .. }), "{get}");
    assert!(put.may_have_applied(), "{put}");
}

/// Puts below `x/` as soon as the store takes it.
async fn marked(store: &EtcdStore) -> Revision {
    let putting = async {
        loop {
            match store.put("x/marker", "").await {
                Ok(revision) => return revision,
                Err(error) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    soon("the marker", putting).await
}

/// A follower of `x/` that waits for little between two attempts.
async fn replica(store: &EtcdStore) -> Replica {
    let backoff = BackoffPolicy::default().with_max(Duration::from_millis(250));
    let options = FollowOptions::default().with_backoff(backoff);
    Replica::start(store.clone(), KeyRange::prefix("x/"), options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_back_within_a_second_of_its_server_and_has_missed_nothing() {
    let mut server = Etcd::start();
    let (store, other) = (store(&server).await, server.store().await);
    let first = store.put("x/first", "").await.unwrap();
    let replica = replica(&store).await;
    let writing = tokio::spawn(async move {
        let mut n = 0;
        loop {
            n += 1;
            // What becomes of each is the business of the history.
            if other
                .put(format!("x/{}", n % 7), n.to_string())
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let mut worst = Duration::ZERO;
    for _ in 0..3 {
        let at = replica.local().revision();
        replica
            .until(|copy| copy.revision().get() > at.get() + 100)
            .await;
        server.kill();
        let killed = Instant::now();
        replica.stands(|state| state.outage().is_some()).await;
        assert!(
            killed.elapsed() < Duration::from_secs(1),
            "{:?}",
            killed.elapsed()
        );
        server.restart();
        let up = Instant::now();
        let marker = marked(&store).await;
        replica.reaches(marker).await;
        worst = worst.max(up.elapsed());
    }
    writing.abort();
    drop(writing.await);
    let last = store.put("x/last", "").await.unwrap();
    replica.reaches(last).await;
    let told = replica.told();
    let truth = history(&store, &KeyRange::prefix("x/"), first.next(), last).await;
    println!(
        "{} revisions, back at most {worst:?} after the server",
        truth.len()
    );
    assert!(told.changes == truth, "some was lost or told twice");
    assert_eq!(told.losses(), 0);
    assert!(worst <= Duration::from_secs(1), "{worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_their_keys_survive_a_restart() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap().id;
    let options = PutOptions::default().with_lease(lease);
    let key = Key::from("a");
    store.put_opts(&key, "1".into(), options).await.unwrap();
    server.kill();
    server.restart();
    assert_eq!(store.get("a").await.unwrap().unwrap().lease, Some(lease));
    assert!(store.keep_alive(lease).await.unwrap() > Duration::from_secs(50));
    store.revoke(lease).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_server_costs_one_resync_that_deletes_every_key() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    let keys: Vec<String> = (0..20).map(|n| format!("x/{n:02}")).collect();
    for key in &keys {
        store.put(key.as_str(), "1").await.unwrap();
    }
    let replica = replica(&store).await;
    assert_eq!(replica.local().snapshot().len(), keys.len());
    server.wipe();
    let other = server.store().await;
    other.put("y/elsewhere", "1").await.unwrap();
    replica.until(|copy| copy.is_empty()).await;
    other.put("x/new", "2").await.unwrap();
    replica.agrees_with(&other, KeyRange::prefix("x/")).await;
    let told = replica.told();
    assert_eq!(told.resyncs[1..], [ResyncCause::HistoryChanged]);
    assert_eq!(told.implied_deletes(), keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_server_that_has_outgrown_its_old_history_costs_one_resync() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    store.put("x/gone", "1").await.unwrap();
    let old = store.put("x/kept", "1").await.unwrap();
    let replica = replica(&store).await;
    // It must not look before.
    replica.stop();
    server.wipe();
    let other = server.store().await;
    while other.put("x/kept", "2").await.unwrap() <= old.next() {}
    replica.go_on();
    replica.agrees_with(&other, KeyRange::prefix("x/")).await;
    let told = replica.told();
    assert_eq!(told.resyncs[1..], [ResyncCause::HistoryChanged]);
    assert_eq!(told.implied_deletes(), ["x/gone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_brings_back_what_was_deleted_and_undoes_what_was_put() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    for key in ["x/changed", "x/deleted", "x/kept"] {
        store.put(key, "old").await.unwrap();
    }
    server.back_up();
    store.put("x/changed", "new").await.unwrap();
    store.put("x/added", "new").await.unwrap();
    store.delete("x/deleted").await.unwrap();
    let replica = replica(&store).await;
    server.restore();
    let other = server.store().await;
    replica.agrees_with(&other, KeyRange::prefix("x/")).await;
    let told = replica.told();
    assert_eq!(told.resyncs[1..], [ResyncCause::HistoryChanged]);
    let implied: Vec<String> = told
        .implied
        .iter()
        .map(|change| change.key().to_string())
        .collect();
    assert_eq!(implied, ["x/added", "x/changed", "x/deleted"]);
    assert_eq!(told.implied_deletes(), ["x/added"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_for_ten_seconds_piles_up_nothing_and_is_used_again() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    let first = store.put("x/a", "0").await.unwrap();
    let replica = replica(&store).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    server.pause();
    let (begun, mut most) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let calls = (0..8).map(|n| {
            let store = &store;
            async move {
                let failed = match n % 2 {
                    0 => store.get("x/a").await.map(drop),
                    _ => store.put("x/a", "1").await.map(drop),
                };
                failed.unwrap_err()
            }
        });
        let failed = join_all(calls).await;
        assert!(asked.elapsed() < DEADLINE * 2, "{:?}", asked.elapsed());
        assert!(failed.iter().all(Error::is_retryable), "{failed:?}");
        most = most.max(tasks());
    }
    println!("at most {most} tasks");
    assert!(most < 30, "{most} tasks");
    server.resume();
    let last = marked(&store).await;
    replica.reaches(last).await;
    let told = replica.told();
    assert_eq!(told.losses(), 0);
    let truth = history(&store, &KeyRange::prefix("x/"), first.next(), last).await;
    assert_eq!(told.changes, truth);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_can_be_closed_though_its_server_has_stopped_for_ever() {
    let mut server = Etcd::start();
    let store = store(&server).await;
    let replica = replica(&store).await;
    server.pause();
    let put = {
        let store = store.clone();
        tokio::spawn(async move { store.put("x/a", "1").await })
    };
    let begun = Instant::now();
    store.close().await.unwrap();
    assert!(begun.elapsed() < DEADLINE * 2, "{:?}", begun.elapsed());
    put.await.unwrap().unwrap_err();
    assert!(matches!(store.get("x/a").await, Err(Error::Closed { .. })));
    let errors = replica.ended().await;
    assert!(
        errors.iter().any(|error| error.contains("closed")),
        "{errors:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_named_with_what_to_do() {
    let mut server = Etcd::start();
    server.kill();
    let begun = Instant::now();
    let error = EtcdStore::connect(&server.config()).await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert!(told.contains(&server.endpoint()), "{told}");
    assert!(error.hint().contains("address"), "{}", error.hint());
    assert!(!error.may_have_applied());
}
