//! What callers and followers learn when the network between them and the server fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use keyval::recipes::commit_once;
use keyval::{
    BackoffPolicy, BrokerExt, Compare, Error, FollowOptions, KeyRange, Op, Outcome, RetryPolicy,
    Revision, Txn, WatchOptions, Watcher,
};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;
use keyval_tests::proxy::{Admit, Flow, Proxy, Way};
use keyval_tests::replica::{Replica, history, soon};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// The deadline of the stores here: long enough for a busy machine, short enough to wait for.
const DEADLINE: Duration = Duration::from_millis(1500);
/// How long a connection without an answer may be taken for a good one: a ping after 10 s, 5 s for
/// its answer, and what a busy machine adds.
const FOUND_OUT: Duration = Duration::from_secs(20);

/// A server, and the proxy before it.
fn harmed() -> (Etcd, Proxy) {
    let server = Etcd::start();
    let proxy = Proxy::before(server.address());
    (server, proxy)
}

async fn store(proxy: &Proxy, deadline: Duration) -> EtcdStore {
    let config = EtcdConfig::default()
        .with_endpoints([proxy.endpoint()])
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(deadline);
    EtcdStore::connect(&config)
        .await
        .expect("the server is well")
}

/// A follower of `x/` that waits for little between two attempts.
async fn replica(store: &EtcdStore) -> Replica {
    let backoff = BackoffPolicy::default().with_max(Duration::from_millis(250));
    let options = FollowOptions::default().with_backoff(backoff);
    Replica::start(store.clone(), KeyRange::prefix("x/"), options).await
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

/// Checks that a follower was told exactly what happened to `x/` after this revision.
async fn is_the_truth(replica: &Replica, direct: &EtcdStore, after: Revision) {
    let last = direct.put("x/last", "").await.expect("the server is well");
    replica.reaches(last).await;
    let told = replica.told();
    let truth = history(direct, &KeyRange::prefix("x/"), after.next(), last).await;
    assert!(told.changes == truth, "some was lost or told twice");
    assert_eq!(told.losses(), 0);
}

#[tokio::test]
async fn what_is_not_answered_is_given_up_at_the_deadline_and_written_at_most_once() {
    let (server, proxy) = harmed();
    let (store, direct) = (store(&proxy, DEADLINE).await, server.store().await);
    store.put("before", "1").await.unwrap();
    for (way, flow) in [
        (Way::ToServer, Flow::Hold),
        (Way::ToClient, Flow::Hold),
        (Way::ToServer, Flow::Lose),
        (Way::ToClient, Flow::Lose),
    ] {
        let key = format!("{way:?}{flow:?}");
        proxy.flow(way, flow);
        let begun = Instant::now();
        let all = KeyRange::all();
        let (get, put, list, watch) = tokio::join!(
            store.get("before"),
            store.put(key.as_str(), "1"),
            async {
                let listing = store.list(KeyRange::all()).await?;
                listing.collect().await
            },
            store.watch_opts(&all, WatchOptions::default()),
        );
        let took = begun.elapsed();
        assert!(took < DEADLINE * 2, "{key}: {took:?}");
        let put = put.unwrap_err();
        assert_eq!(put.outcome(), Outcome::Unknown, "{key}: {put}");
        for error in [get.unwrap_err(), put, list.unwrap_err(), watch.unwrap_err()] {
            assert!(error.is_retryable(), "{key}: {error}");
        }
        proxy.heal();
        marked(&store).await;
        let written = direct.get(key.as_str()).await.unwrap();
        let times = written.map_or(0, |entry| entry.version);
        println!("{key}: written {times} times");
        assert!(times <= 1, "{key}: {times} times");
    }
}

#[tokio::test]
async fn a_follower_misses_nothing_of_an_outage_that_loses_or_holds_what_is_sent() {
    let (server, proxy) = harmed();
    let (store, direct) = (store(&proxy, DEADLINE).await, server.store().await);
    let first = store.put("x/first", "").await.unwrap();
    let replica = replica(&store).await;
    for way in [Way::ToServer, Way::ToClient, Way::Both] {
        for flow in [Flow::Hold, Flow::Lose] {
            proxy.flow(way, flow);
            for n in 0..20 {
                direct.put(format!("x/{}", n % 3), "").await.unwrap();
            }
            direct.delete("x/1").await.unwrap();
            proxy.heal();
            let last = direct.put("x/back", "").await.unwrap();
            replica.reaches(last).await;
        }
    }
    is_the_truth(&replica, &direct, first).await;
}

#[tokio::test]
async fn a_connection_whose_other_side_is_gone_is_found_out_without_help() {
    let (server, proxy) = harmed();
    let (store, direct) = (store(&proxy, DEADLINE).await, server.store().await);
    let first = store.put("x/first", "").await.unwrap();
    let replica = replica(&store).await;
    proxy.abandon();
    let begun = Instant::now();
    let last = direct.put("x/unheard", "").await.unwrap();
    let ((), _) = tokio::join!(replica.reaches(last), marked(&store));
    let took = begun.elapsed();
    println!("found out after {took:?}");
    assert!(took < FOUND_OUT, "{took:?}");
    is_the_truth(&replica, &direct, first).await;
}

#[tokio::test]
async fn a_slow_link_is_slow_and_nothing_else() {
    let (server, proxy) = harmed();
    let store = store(&proxy, Duration::from_secs(20)).await;
    let direct = server.store().await;
    let first = store.put("x/first", "").await.unwrap();
    let replica = replica(&store).await;
    // Watches have a connection of their own, which is there with the first change.
    let ready = direct.put("x/ready", "").await.unwrap();
    replica.until(|copy| copy.revision() >= ready).await;
    let before = proxy.counts().accepted;
    let fixed = Duration::from_millis(100);
    let random = Duration::from_millis(400);
    proxy.flow(Way::ToServer, Flow::Delay { fixed, random });
    proxy.flow(Way::ToClient, Flow::Slow { per_second: 1024 });
    for n in 0..40 {
        direct.put(format!("x/{n}"), "").await.unwrap();
        if n % 10 == 0 {
            store.put("x/slow", "").await.unwrap();
        }
    }
    is_the_truth(&replica, &direct, first).await;
    assert_eq!(proxy.counts().accepted, before, "it connected again");
}

#[tokio::test]
async fn a_connection_cut_amid_an_answer_is_never_a_short_list_or_a_lost_change() {
    let (server, proxy) = harmed();
    let (store, direct) = (store(&proxy, DEADLINE * 4).await, server.store().await);
    let value = Bytes::from(vec![b'v'; 100]);
    for n in 0..200 {
        let key = format!("y/{n:03}");
        direct.put(key, value.clone()).await.unwrap();
    }
    let first = store.put("x/first", "").await.unwrap();
    let replica = replica(&store).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut whole, mut broken) = (0, 0);
    for n in 0..30 {
        let bytes = rng.u64(1..30_000);
        proxy.flow(Way::ToClient, Flow::CutAfter { bytes });
        let (list, put) = tokio::join!(
            async {
                let listing = store.list(KeyRange::prefix("y/")).await?;
                listing.collect().await
            },
            direct.put(format!("x/{}", n % 5), value.clone()),
        );
        put.unwrap();
        match list {
            Ok(entries) => {
                assert_eq!(entries.len(), 200);
                whole += 1;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{bytes} bytes: {error}");
                broken += 1;
            }
        }
        proxy.heal();
    }
    println!("{whole} lists came, {broken} broke");
    assert!(broken > 0, "no list was cut");
    is_the_truth(&replica, &direct, first).await;
}

#[tokio::test]
async fn a_connection_cut_amid_a_request_never_lies_about_whether_it_was_applied() {
    let (server, proxy) = harmed();
    let (store, direct) = (store(&proxy, DEADLINE * 4).await, server.store().await);
    let value = Bytes::from(vec![b'v'; 2_000]);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut applied, mut unknown) = (0, 0);
    for n in 0..40 {
        let way = if rng.bool() {
            Way::ToServer
        } else {
            Way::ToClient
        };
        let bytes = rng.u64(1..2_500);
        proxy.flow(way, Flow::CutAfter { bytes });
        let key = format!("{n}");
        let put = store.put(key.as_str(), value.clone()).await;
        proxy.heal();
        let times = direct
            .get(key.as_str())
            .await
            .unwrap()
            .map_or(0, |entry| entry.version);
        match put {
            Ok(_) => {
                assert_eq!(times, 1, "{key}");
                applied += 1;
            }
            Err(error) if error.may_have_applied() => {
                assert!(times <= 1, "{key}: {error}");
                unknown += 1;
            }
            Err(error) => assert_eq!(times, 0, "{key}: {error}"),
        }
    }
    println!("{applied} applied, {unknown} unknown");
    assert!(applied > 0 && unknown > 0);
}

#[tokio::test]
async fn a_closed_port_is_an_error_that_names_it_and_says_that_nothing_was_applied() {
    let (_server, proxy) = harmed();
    let store = store(&proxy, DEADLINE).await;
    store.put("a", "1").await.unwrap();
    proxy.admit(Admit::Refuse);
    proxy.cut();
    // The first may still find the old connection.
    drop(store.get("a").await);
    let begun = Instant::now();
    let error = store.put("a", "2").await.unwrap_err();
    let told = error.to_string();
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert!(told.contains(&proxy.endpoint()), "{told}");
    assert!(!error.may_have_applied(), "{told}");
    proxy.heal();
    marked(&store).await;
}

#[tokio::test]
async fn a_commit_that_is_to_take_place_once_does_though_its_answer_is_lost() {
    let (server, proxy) = harmed();
    let (store, direct) = (store(&proxy, DEADLINE).await, server.store().await);
    for flow in [Flow::Hold, Flow::Lose] {
        let key = format!("{flow:?}");
        let first = direct.put(key.as_str(), "10").await.unwrap();
        let withdraw = Txn::new()
            .when(Compare::modified(key.as_str(), first))
            .then(Op::put(key.as_str(), "7"));
        proxy.flow(Way::ToClient, flow);
        let once = commit_once(&store, withdraw, RetryPolicy::default());
        let (reply, ()) = tokio::join!(once, async {
            while direct.get(key.as_str()).await.unwrap().unwrap().version < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            proxy.cut();
            proxy.heal();
        });
        let reply = reply.unwrap();
        assert!(reply.succeeded, "{flow:?}: it was carried out");
        let entry = direct.get(key.as_str()).await.unwrap().unwrap();
        assert_eq!((entry.version, entry.modified), (2, reply.revision));
    }
}

/// Counts what is logged at the level of information or above.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::INFO {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn a_server_that_closes_every_connection_draws_no_storm_of_attempts_or_log_lines() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    let _logging = tracing::subscriber::set_default(subscriber);
    let (server, proxy) = harmed();
    let (store, direct) = (store(&proxy, DEADLINE).await, server.store().await);
    let first = store.put("x/first", "").await.unwrap();
    let options = FollowOptions::default();
    let replica = Replica::start(store.clone(), KeyRange::prefix("x/"), options).await;
    for admit in [Admit::Close, Admit::Refuse] {
        let (accepted, logged) = (proxy.counts().accepted, lines.0.load(Ordering::Relaxed));
        proxy.admit(admit);
        proxy.cut();
        replica.stands(|state| state.outage().is_some()).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let state = replica.state().borrow().clone();
        let attempts = state.outage().map_or(0, |outage| outage.attempts);
        let accepted = proxy.counts().accepted - accepted;
        let logged = lines.0.load(Ordering::Relaxed) - logged;
        println!("{admit:?}: {attempts} attempts, {accepted} connections, {logged} lines");
        assert!((1..=25).contains(&attempts), "{attempts} attempts");
        assert!(accepted <= 50, "{accepted} connections");
        assert!(logged <= 5, "{logged} lines");
        proxy.heal();
        replica.stands(keyval::FollowState::is_connected).await;
    }
    is_the_truth(&replica, &direct, first).await;
}
