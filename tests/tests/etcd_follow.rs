//! A follower of etcd tells the whole truth: through crashes, compactions and wipes of the server.

use std::time::Duration;

use futures::StreamExt;
use keyval::{
    BrokerExt, Change, Follow, FollowOptions, KeyRange, Maintenance, ResyncCause, Revision, Store,
    Update, follow, mirror,
};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(30);

async fn next<S: Store>(updates: &mut Follow<S>) -> Update {
    tokio::time::timeout(SOON, updates.next())
        .await
        .expect("it comes soon")
        .expect("it never ends")
        .expect("it never fails")
}

/// Puts until it is done, through every outage; only what certainly was not applied is repeated,
/// so that a value may be there twice in time but never out of order.
async fn put_on(store: &EtcdStore, key: &str, value: usize) {
    loop {
        match store.put(key, value.to_string()).await {
            Ok(_) => return,
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_loses_and_repeats_nothing_across_crashes() {
    const LAST: usize = 1500;
    let mut server = Etcd::start();
    let store = server.store().await;
    let options = FollowOptions::default();
    let mut updates = follow(store.clone(), KeyRange::prefix("n/"), options);
    assert!(matches!(next(&mut updates).await, Update::Resync(_)));
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 1..=LAST {
                put_on(&store, "n/a", n).await;
            }
        })
    };
    let (mut seen, mut at, mut crashes) = (0, Revision::ZERO, 0);
    while seen < LAST {
        let changes = match next(&mut updates).await {
            Update::Changes(changes) => changes,
            Update::Resync(snapshot) => panic!("nothing was lost: {:?}", snapshot.cause),
        };
        assert!(
            changes.revision >= at,
            "back from {at} to {}",
            changes.revision
        );
        if let [Change::Put { entry, .. }] = &changes.changes[..] {
            assert!(changes.revision > at, "{at} twice");
            let value: usize = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
            // A put without an answer was repeated: the value comes once more, and no other.
            assert!(value == seen || value == seen + 1, "{value} after {seen}");
            seen = value;
        }
        at = changes.revision;
        if seen >= (crashes + 1) * 400 {
            crashes += 1;
            server.kill();
            server.restart();
        }
    }
    assert_eq!(crashes, 3);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_key_deleted_in_a_compacted_outage_is_reported() {
    let mut server = Etcd::start();
    let store = server.store().await;
    for key in ["x/kept", "x/gone", "x/changed"] {
        store.put(key, "old").await.unwrap();
    }
    let mut updates = follow(store, KeyRange::prefix("x/"), FollowOptions::default());
    let (local, mut local_writer) = mirror();
    local_writer.apply(next(&mut updates).await);
    assert_eq!(local.snapshot().len(), 3);

    server.kill();
    server.restart();
    let other = server.store().await;
    other.delete("x/gone").await.unwrap();
    let last = other.put("x/changed", "new").await.unwrap();
    other.put("elsewhere", "").await.unwrap();
    other.compact(last.next()).await.unwrap();
    // Only now does the follower look: nothing happens unless it is polled.
    let update = next(&mut updates).await;
    let Update::Resync(snapshot) = &update else {
        panic!("what happened is compacted: {update:?}");
    };
    assert_eq!(snapshot.cause, ResyncCause::Compacted);
    let implied = local_writer.apply(update);
    let told: Vec<String> = implied
        .changes
        .iter()
        .map(|change| match change {
            Change::Put { entry, .. } => format!("put {}", entry.key),
            Change::Delete { key, .. } => format!("delete {key}"),
        })
        .collect();
    assert_eq!(told, ["put x/changed", "delete x/gone"]);
}
