//! What becomes of leases, and of the keys that go with them, when the store cannot be reached.

use std::time::{Duration, Instant};

use keyval::{
    Broker, BrokerExt, Error, FollowOptions, Key, KeyRange, Leases, Maintenance, PutOptions,
    Revision,
};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;
use keyval_tests::proxy::{Flow, Proxy, Way};
use keyval_tests::replica::Replica;

/// The deadline of the stores here: long enough for a busy machine, short enough to wait for.
const DEADLINE: Duration = Duration::from_millis(1500);

async fn store(proxy: &Proxy) -> EtcdStore {
    let config = EtcdConfig::default()
        .with_endpoints([proxy.endpoint()])
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(DEADLINE);
    EtcdStore::connect(&config)
        .await
        .expect("the server is well")
}

#[tokio::test]
async fn a_lease_that_nobody_can_renew_ends_with_its_keys_at_one_revision() {
    let server = Etcd::start();
    let proxy = Proxy::before(server.address());
    let (store, direct) = (store(&proxy).await, server.store().await);
    let range = KeyRange::prefix("x/");
    let replica = Replica::start(direct.clone(), range, FollowOptions::default()).await;
    let lease = store.grant(Duration::from_secs(2)).await.unwrap();
    let options = PutOptions::default().with_lease(lease.id);
    let mut last = Revision::ZERO;
    for key in ["x/a", "x/b", "x/c"] {
        let key = Key::from(key);
        let put = store.put_opts(&key, "".into(), options.clone()).await;
        last = put.unwrap().revision;
    }
    replica.reaches(last).await;
    proxy.flow(Way::Both, Flow::Hold);
    let begun = Instant::now();
    let error = store.keep_alive(lease.id).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    replica.until(|copy| copy.is_empty()).await;
    // A renewal may have been under way, and etcd looks for ended leases twice in a second.
    let took = begun.elapsed();
    assert!(took < lease.ttl * 2 + Duration::from_secs(2), "{took:?}");
    let told = replica.told();
    let end = told.changes.last().expect("there were changes");
    assert_eq!((end.revision, end.changes.len()), (last.next(), 3));

    proxy.heal();
    for error in [
        store.keep_alive(lease.id).await.unwrap_err(),
        store.revoke(lease.id).await.unwrap_err(),
        store
            .put_opts(&Key::from("x/a"), "".into(), options)
            .await
            .unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::LeaseLost { lease: lost } if lost == lease.id),
            "{error}"
        );
    }
    assert_eq!(direct.get("x/a").await.unwrap(), None);
    store.close().await.unwrap();
}
