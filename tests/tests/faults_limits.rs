//! What callers and followers learn at the limits of a server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use keyval::{
    BackoffPolicy, Broker, BrokerExt, DeleteOptions, Error, FollowOptions, Key, KeyRange, Leases,
    Maintenance, Outcome, Prefix, RetryPolicy, StoreExt,
};
use keyval_tests::etcd::Etcd;
use keyval_tests::replica::{Replica, history};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_is_read_and_emptied_and_takes_writes_again() {
    let server = Etcd::start_with(&["--quota-backend-bytes=4194304"]);
    let store = server.store().await;
    let first = store.put("x/0", "").await.unwrap();
    let replica = Replica::start(
        store.clone(),
        KeyRange::prefix("x/"),
        FollowOptions::default(),
    )
    .await;
    let value = Bytes::from(vec![0; 256 * 1024]);
    // Writes that are refused for good must not be tried again.
    let slow = BackoffPolicy::default().with_initial(Duration::from_secs(5));
    let patient = store
        .clone()
        .retry(RetryPolicy::default().with_backoff(slow));
    let mut puts = 0;
    let (error, took) = loop {
        let begun = Instant::now();
        match patient.put(format!("x/{puts}"), value.clone()).await {
            Ok(_) => puts += 1,
            Err(error) => break (error, begun.elapsed()),
        }
    };
    assert!(matches!(error, Error::StorageFull { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(took < Duration::from_secs(5), "tried again: {took:?}");
    let grant = store.grant(Duration::from_secs(60)).await.unwrap_err();
    assert!(matches!(grant, Error::StorageFull { .. }), "{grant}");
    let status = store.status().await.unwrap();
    assert!(status.serves, "it is read");
    let problems = status.problems;
    assert!(problems.iter().any(|problem| problem.contains("NOSPACE")));

    assert_eq!(store.get("x/0").await.unwrap().unwrap().value, value);
    let kept = store.put("x/0", value.clone()).await;
    assert!(matches!(kept, Err(Error::StorageFull { .. })));
    let delete = DeleteOptions::default();
    let range = KeyRange::prefix("x/");
    let last = store.delete_opts(&range, delete).await.unwrap().revision;
    replica.reaches(last).await;
    let truth = history(&store, &KeyRange::prefix("x/"), first.next(), last).await;
    assert_eq!(replica.told().changes, truth);
    store.compact(last).await.unwrap();
    server.defragment();
    server.disarm();
    store.put("x/0", value).await.unwrap();
    replica.agrees_with(&store, KeyRange::prefix("x/")).await;
    assert!(store.status().await.unwrap().problems.is_empty());
    assert_eq!(replica.told().losses(), 0);
}

#[tokio::test]
async fn a_follower_is_told_a_revision_of_many_megabytes_whole() {
    let store = Etcd::shared().store().await;
    let scope = Prefix::new(format!("test-{:016x}/", fastrand::u64(..)));
    let range = KeyRange::prefix(scope.clone());
    let keys: Vec<Key> = (0..8)
        .map(|n| scope.join(&Key::from(format!("{n}"))))
        .collect();
    let replica = Replica::start(
        store.clone(),
        range.clone(),
        FollowOptions::default().with_previous(),
    )
    .await;
    for key in &keys {
        let value = Bytes::from(vec![b'x'; 1 << 20]);
        store.put(key, value).await.unwrap();
    }
    replica.agrees_with(&store, range.clone()).await;
    // With the entries that stood there before, this is a revision of eight mebibytes.
    let delete = DeleteOptions::default();
    let deleted = store.delete_opts(&range, delete).await.unwrap().revision;
    replica.reaches(deleted).await;
    let told = replica.told();
    assert_eq!(told.losses(), 0);
    let last = told.changes.last().expect("there were changes");
    assert_eq!((last.revision, last.changes.len()), (deleted, 8));
    let before = |change: &keyval::Change| change.prev().map(|prev| prev.value.len());
    assert!(
        last.changes
            .iter()
            .all(|change| before(change) == Some(1 << 20))
    );
}
