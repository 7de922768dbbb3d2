//! What callers and followers learn when the network between the members of a cluster is cut.
//!
//! Run by `cargo xtask test containers`, where Docker runs.

use std::time::{Duration, Instant};

use keyval::{
    Broker, BrokerExt, Consistency, Error, FollowOptions, GetOptions, Key, KeyRange, Revision,
};
use keyval_etcd::EtcdStore;
use keyval_tests::containers::Containers;
use keyval_tests::replica::{Replica, history, soon};

/// The deadline of the stores here: longer than an election.
const DEADLINE: Duration = Duration::from_secs(3);

async fn store(cluster: &Containers, endpoints: Vec<String>) -> EtcdStore {
    let config = cluster
        .config()
        .with_endpoints(endpoints)
        .with_operation_timeout(DEADLINE);
    EtcdStore::connect(&config)
        .await
        .expect("the members are well")
}

/// Puts below `x/` as soon as the store takes it.
async fn marked(store: &EtcdStore) -> Revision {
    let putting = async {
        loop {
            match store.put("x/marker", "").await {
                Ok(revision) => return revision,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    };
    soon("the marker", putting).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_the_others_fails_in_time_and_nobody_misses_a_change() {
    let cluster = Containers::start(3);
    let alone = cluster.leader();
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(alone);
    let pinned = store(&cluster, endpoints[..1].to_vec()).await;
    let all = store(&cluster, endpoints.clone()).await;
    let others = store(&cluster, endpoints[1..].to_vec()).await;
    let first = marked(&all).await;
    let options = FollowOptions::default();
    let replica = Replica::start(all.clone(), KeyRange::prefix("x/"), options).await;

    cluster.cut(alone);
    let begun = Instant::now();
    marked(&others).await;
    println!("the others write again after {:?}", begun.elapsed());
    let mut lost = 0;
    for _ in 0..5 {
        // Only the first goes to the member that is cut off.
        if let Err(error) = all.put("x/marker", "").await {
            assert!(error.is_retryable(), "{error}");
            lost += 1;
        }
    }
    assert!(lost <= 1, "{lost} of 5");
    let error = pinned.put("x/alone", "").await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { .. } | Error::Unavailable { .. }),
        "{error}"
    );
    let stale = GetOptions::default().with_consistency(Consistency::Serializable);
    let read = pinned.get_opts(&Key::from("x/marker"), stale).await;
    assert!(read.unwrap().is_some());
    // It reaches what the others did while its own member knows nothing of it.
    let last = marked(&others).await;
    replica.reaches(last).await;

    cluster.join(alone);
    let last = marked(&pinned).await;
    replica.reaches(last).await;
    let told = replica.told();
    let truth = history(&others, &KeyRange::prefix("x/"), first.next(), last).await;
    let until_last = told
        .changes
        .iter()
        .filter(|changes| changes.revision <= last);
    assert!(until_last.eq(&truth), "some was lost or told twice");
    assert_eq!(told.losses(), 0);
}
