//! What callers of the etcd backend learn when the server dies, stops or comes back.

use std::time::{Duration, Instant};

use futures::future::join_all;
use keyval::{BrokerExt, Error, KeyRange, Leases, Maintenance, Outcome, WatchOptions, Watcher};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;
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
