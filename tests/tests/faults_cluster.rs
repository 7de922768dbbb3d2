//! What callers and followers learn when members of a cluster die, stop, change or lose their
//! leader.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use keyval::{
    BackoffPolicy, Broker, BrokerExt, Consistency, Error, FollowOptions, GetOptions, Key, KeyRange,
    Maintenance, MirrorSnapshot, Revision, WatchOptions, Watcher,
};
use keyval_etcd::EtcdStore;
use keyval_tests::cluster::Cluster;
use keyval_tests::replica::{Replica, history, soon};

/// How long an election takes at most, if it is undecided once.
const ELECTION: Duration = Duration::from_secs(2);
/// The deadline of the stores here: longer than an election.
const DEADLINE: Duration = Duration::from_secs(3);

/// A store that asks this member first.
async fn store(cluster: &Cluster, first: usize) -> EtcdStore {
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(first);
    let config = cluster
        .config()
        .with_endpoints(endpoints)
        .with_operation_timeout(DEADLINE);
    EtcdStore::connect(&config)
        .await
        .expect("the members are well")
}

/// A follower of `x/` that waits for little between two attempts.
async fn replica(store: &EtcdStore) -> Replica {
    let backoff = BackoffPolicy::default().with_max(Duration::from_millis(250));
    let options = FollowOptions::default().with_backoff(backoff);
    Replica::start(store.clone(), KeyRange::prefix("x/"), options).await
}

/// Puts below `x/` every few milliseconds, whatever becomes of the puts before, until one is
/// acknowledged.
async fn resumed(store: &EtcdStore) -> Revision {
    let putting = async {
        let mut sent = FuturesUnordered::new();
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                Some(put) = sent.next() => {
                    let put: keyval::Result<Revision> = put;
                    match put {
                        Ok(revision) => return revision,
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                }
                _ = pace.tick() => sent.push(store.put("x/marker", "")),
            }
        }
    };
    soon("an acknowledged put", putting).await
}

/// Checks that a follower was told exactly what happened to `x/` after this revision.
async fn is_the_truth(replica: &Replica, store: &EtcdStore, after: Revision) {
    let last = resumed(store).await;
    replica.reaches(last).await;
    let told = replica.told();
    let truth = history(store, &KeyRange::prefix("x/"), after.next(), last).await;
    let told_until = told
        .changes
        .iter()
        .filter(|changes| changes.revision <= last);
    assert!(told_until.eq(&truth), "some was lost or told twice");
    assert_eq!(told.losses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_among_three_costs_no_caller_an_error() {
    let mut cluster = Cluster::start(3);
    for first in 0..3 {
        let dead = cluster.follower();
        let before = store(&cluster, dead).await;
        before.put("a", "").await.unwrap();
        cluster.kill(dead);
        // Read to find the old connection gone, so that no put is under way on it.
        before.get("a").await.unwrap();
        let after = store(&cluster, first).await;
        for n in 0..150 {
            for (store, when) in [(&before, "before"), (&after, "after")] {
                if let Err(error) = store.put("a", n.to_string()).await {
                    panic!("put {n} of a store from {when} the death: {error}");
                }
            }
        }
        cluster.restart(dead);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stops_costs_no_more_than_the_calls_under_way() {
    let mut cluster = Cluster::start(3);
    let stopped = cluster.follower();
    let store = store(&cluster, stopped).await;
    let first = resumed(&store).await;
    let replica = replica(&store).await;
    cluster.pause(stopped);
    let mut failures = 0;
    for n in 0..100 {
        if let Err(error) = store.put("x/a", n.to_string()).await {
            assert!(error.is_retryable(), "{error}");
            failures += 1;
        }
    }
    assert!(failures <= 1, "{failures} of 100");
    is_the_truth(&replica, &store, first).await;
    cluster.resume(stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_resume_with_the_next_leader_and_no_follower_misses_any() {
    let mut cluster = Cluster::start(3);
    let (old, new) = (cluster.leader(), cluster.follower());
    let store = store(&cluster, old).await;
    let first = resumed(&store).await;
    let replica = replica(&store).await;

    let begun = Instant::now();
    cluster.move_leader(new);
    resumed(&store).await;
    let moved = begun.elapsed();

    cluster.kill(new);
    let begun = Instant::now();
    resumed(&store).await;
    let elected = begun.elapsed();
    println!("writes again {moved:?} after a move, {elected:?} after a death");
    let bound = ELECTION + Duration::from_secs(1);
    assert!(moved < bound && elected < bound, "{moved:?}, {elected:?}");
    cluster.restart(new);
    is_the_truth(&replica, &store, first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_at_a_member_that_loses_its_leader_ends_and_says_so() {
    let mut cluster = Cluster::start(3);
    let alone = cluster.follower();
    let config = cluster
        .config()
        .with_endpoints([cluster.address(alone).to_string()]);
    let store = EtcdStore::connect(&config).await.unwrap();
    let (range, options) = (KeyRange::prefix("x/"), WatchOptions::default());
    let mut changes = store.watch_opts(&range, options).await.unwrap();
    store.put("x/a", "").await.unwrap();
    let first = soon("the change", changes.next()).await.unwrap().unwrap();
    assert_eq!(first.changes.len(), 1);
    for member in (0..3).filter(|&member| member != alone) {
        cluster.kill(member);
    }
    let end = soon("the end", async {
        loop {
            // What is told before the end is progress.
            if let Err(error) = changes.next().await.expect("an end has a cause") {
                break error;
            }
        }
    });
    let end = end.await;
    assert!(matches!(end, Error::Unavailable { .. }), "{end}");
    assert!(end.to_string().contains("no leader"), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_writes_fail_in_time_stale_reads_work_and_all_recovers() {
    let mut cluster = Cluster::start(3);
    let alone = cluster.follower();
    let others: Vec<usize> = (0..3).filter(|&member| member != alone).collect();
    let store = store(&cluster, others[0]).await;
    let first = resumed(&store).await;
    let replica = replica(&store).await;
    for &member in &others {
        cluster.kill(member);
    }
    let begun = Instant::now();
    let (get, put) = tokio::join!(store.get("x/marker"), store.put("x/marker", ""));
    let took = begun.elapsed();
    assert!(took < DEADLINE * 2, "{took:?}");
    for error in [get.unwrap_err(), put.unwrap_err()] {
        assert!(
            matches!(error, Error::Timeout { .. } | Error::Unavailable { .. }),
            "{error}"
        );
    }
    let stale = GetOptions::default().with_consistency(Consistency::Serializable);
    let read = store.get_opts(&Key::from("x/marker"), stale).await.unwrap();
    assert!(read.is_some());
    let status = store.status().await.unwrap();
    assert!(!status.serves);
    let told = status.problems.join(", ");
    assert!(told.contains("no leader"), "{told}");
    let mut state = replica.state();
    let cause = soon(
        "a state that says so",
        state.wait_for(|state| {
            state
                .outage()
                .is_some_and(|outage| outage.cause.contains("no leader"))
        }),
    )
    .await;
    drop(cause.unwrap());

    cluster.restart_all(others);
    is_the_truth(&replica, &store, first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_misses_nothing_when_its_member_is_replaced() {
    let mut cluster = Cluster::start(3);
    let replaced = cluster.follower();
    let store = store(&cluster, replaced).await;
    let first = resumed(&store).await;
    let replica = replica(&store).await;
    let other = cluster.store().await;
    let writing = tokio::spawn(async move {
        for n in 0_u64.. {
            // What becomes of each is the business of the history.
            drop(other.put(format!("x/{}", n % 7), n.to_string()).await);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let at = replica.local().revision().get();
    replica.until(|copy| copy.revision().get() > at + 100).await;
    cluster.replace(replaced);
    let at = replica.local().revision().get();
    replica.until(|copy| copy.revision().get() > at + 100).await;
    writing.abort();
    drop(writing.await);
    is_the_truth(&replica, &store, first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_cluster_costs_one_resync() {
    let mut cluster = Cluster::start(3);
    let store = store(&cluster, 0).await;
    for key in ["x/a", "x/b"] {
        store.put(key, "").await.unwrap();
    }
    let replica = replica(&store).await;
    cluster.wipe();
    replica.until(MirrorSnapshot::is_empty).await;
    let new = resumed(&store).await;
    replica
        .until(|copy| copy.revision() >= new && copy.len() == 1)
        .await;
    let told = replica.told();
    assert_eq!(told.losses(), 1, "{:?}", told.resyncs);
    assert_eq!(told.implied_deletes(), ["x/a", "x/b"]);
}
