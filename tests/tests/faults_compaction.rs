//! What followers and watches learn when history is compacted away behind or before them.

use std::time::Duration;

use futures::StreamExt;
use keyval::{
    BackoffPolicy, Broker, BrokerExt, DeleteOptions, Error, FollowOptions, FollowState, KeyRange,
    Maintenance, MirrorSnapshot, ResyncCause, Revision, WatchOptions, Watcher,
};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;
use keyval_tests::proxy::Proxy;
use keyval_tests::replica::{Replica, history, soon};

/// A server, a store on it, and a store that reaches it through a proxy.
async fn harmed() -> (Etcd, EtcdStore, Proxy, EtcdStore) {
    let server = Etcd::start();
    let proxy = Proxy::before(server.address());
    let direct = server.store().await;
    let config = EtcdConfig::default()
        .with_endpoints([proxy.endpoint()])
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(Duration::from_secs(20));
    let store = EtcdStore::connect(&config)
        .await
        .expect("the server is well");
    (server, direct, proxy, store)
}

/// A follower of `x/` that waits for little between two attempts.
async fn replica(store: &EtcdStore, silence: Duration) -> Replica {
    let backoff = BackoffPolicy::default().with_max(Duration::from_millis(250));
    let options = FollowOptions::default()
        .with_backoff(backoff)
        .with_silence(silence);
    Replica::start(store.clone(), KeyRange::prefix("x/"), options).await
}

#[tokio::test]
async fn a_follower_left_behind_a_compaction_is_told_every_deletion_in_one_resync() {
    let (_server, direct, proxy, store) = harmed().await;
    for n in 0..10 {
        direct.put(format!("x/{n}"), "old").await.unwrap();
    }
    let replica = replica(&store, Duration::from_secs(30)).await;
    for round in 0..3 {
        replica.stop();
        proxy.cut();
        direct.delete(format!("x/{round}")).await.unwrap();
        direct.put("x/9", format!("{round}")).await.unwrap();
        let last = direct.put("elsewhere", "").await.unwrap();
        direct.compact(last).await.unwrap();
        replica.go_on();
        replica.agrees_with(&direct, KeyRange::prefix("x/")).await;
    }
    let told = replica.told();
    assert_eq!(told.resyncs[1..], [ResyncCause::Compacted; 3]);
    assert_eq!(told.implied_deletes(), ["x/0", "x/1", "x/2"]);
    assert!(told.changes.is_empty(), "{:?}", told.changes);
}

#[tokio::test]
async fn a_quiet_range_beside_a_busy_one_outlives_compactions_where_progress_is_told() {
    let (server, direct, proxy, store) = harmed().await;
    let told_of_progress = store.capabilities().progress;
    println!("etcd {}, progress: {told_of_progress}", server.version());
    direct.put("x/quiet", "").await.unwrap();
    let replica = replica(&store, Duration::from_millis(600)).await;
    for _ in 0..3 {
        let mut busy = Revision::ZERO;
        for n in 0..300 {
            busy = direct.put("y/busy", n.to_string()).await.unwrap();
        }
        // The word of progress is all that keeps it out of reach of the compaction.
        if told_of_progress {
            replica.reaches(busy).await;
        }
        direct.compact(busy).await.unwrap();
        replica.stop();
        proxy.cut();
        replica.go_on();
        replica.stands(|state| state.outage().is_some()).await;
        replica.stands(FollowState::is_connected).await;
    }
    let last = direct.put("x/quiet", "no more").await.unwrap();
    replica.reaches(last).await;
    let told = replica.told();
    let truth = history(&direct, &KeyRange::prefix("x/"), last, last).await;
    assert_eq!(told.changes, truth);
    assert!(told.implied.is_empty(), "{:?}", told.implied);
    let losses = if told_of_progress { 0 } else { 3 };
    assert_eq!(told.losses(), losses, "{:?}", told.resyncs);
}

#[tokio::test]
async fn a_delete_at_the_very_revision_of_a_compaction_is_told() {
    let (_server, direct, proxy, store) = harmed().await;
    let replica = replica(&store, Duration::from_secs(30)).await;
    for round in 0..30 {
        direct.put("x/a", round.to_string()).await.unwrap();
        let put = direct.put("x/b", round.to_string()).await.unwrap();
        replica.reaches(put).await;
        let cut = round % 3 == 0;
        if cut {
            replica.stop();
            proxy.cut();
        }
        let range = KeyRange::key("x/a");
        let delete = direct.delete_opts(&range, DeleteOptions::default()).await;
        let deleted = delete.unwrap();
        direct.compact(deleted.revision).await.unwrap();
        replica.go_on();
        if cut {
            replica.stands(|state| state.outage().is_some()).await;
            replica.stands(FollowState::is_connected).await;
        }
        let gone = |copy: &MirrorSnapshot<_>| copy.get("x/a").is_none();
        replica
            .until(|copy| copy.revision() >= deleted.revision && gone(copy))
            .await;
    }
    replica.agrees_with(&direct, KeyRange::prefix("x/")).await;
    // No more than one for each cut.
    assert!(replica.told().losses() <= 10);
}

#[tokio::test]
async fn a_watch_opened_at_the_revision_of_a_compaction_is_refused_or_complete() {
    let (_server, direct, _proxy, _store) = harmed().await;
    let (mut complete, mut refused) = (0, 0);
    for _ in 0..40 {
        direct.put("x/a", "").await.unwrap();
        direct.put("x/b", "").await.unwrap();
        let range = KeyRange::key("x/a");
        let delete = direct.delete_opts(&range, DeleteOptions::default()).await;
        let deleted = delete.unwrap().revision;
        let options = WatchOptions::default().starting_at(deleted);
        let (watch, compacted) =
            tokio::join!(direct.watch_opts(&range, options), direct.compact(deleted));
        compacted.unwrap();
        let later = direct.put("x/a", "").await.unwrap();
        let next = match watch {
            Ok(mut watch) => soon("a change or an end", watch.next()).await,
            Err(error) => Some(Err(error)),
        };
        match next.expect("a watch does not end without a word") {
            Ok(changes) => {
                assert_eq!(
                    changes.revision, deleted,
                    "the change at {later} came first"
                );
                complete += 1;
            }
            Err(Error::Compacted { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    println!("{complete} complete, {refused} refused");
}
