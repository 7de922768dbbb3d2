//! What becomes of leases, and of the keys that go with them, when the store cannot be reached.

use std::time::{Duration, Instant};

use keyval::recipes::{Lock, Session, SessionOptions, SessionState};
use keyval::{
    BackoffPolicy, Broker, BrokerExt, Error, FollowOptions, Key, KeyRange, Leases, Maintenance,
    MirrorSnapshot, Op, PutOptions, Revision, Txn,
};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::cluster::Cluster;
use keyval_tests::etcd::{Etcd, patient};
use keyval_tests::proxy::{Flow, Proxy, Way};
use keyval_tests::replica::{Replica, soon};

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
    replica.until(MirrorSnapshot::is_empty).await;
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

/// A session with a short TTL on this store, with its keys `x/a` and `x/b`.
async fn session(store: &EtcdStore) -> Session {
    let backoff = BackoffPolicy::default().with_max(Duration::from_millis(250));
    let options = SessionOptions::default()
        .with_ttl(Duration::from_secs(3))
        .with_backoff(backoff);
    let session = Session::open_opts(store.clone(), options)
        .await
        .expect("the server is well");
    for key in ["x/a", "x/b"] {
        session.put(key, "").await.expect("the server is well");
    }
    session
}

/// Waits until the session has a lease again after a loss.
async fn renewed(session: &Session) {
    let mut state = session.state();
    let renewed = state.wait_for(|state| matches!(state, SessionState::Renewed { .. }));
    let found = soon("a new lease", renewed).await;
    drop(found.expect("the session goes on"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_puts_its_keys_again_on_a_server_that_lost_its_data() {
    let mut server = Etcd::start();
    let store = server.store().await;
    let session = session(&store).await;
    let lost = session.lost(session.lease());
    server.wipe();
    let cause = soon("the loss", lost).await;
    println!("{cause}");
    renewed(&session).await;
    for key in ["x/a", "x/b"] {
        let entry = store.get(key).await.unwrap().expect("it is back");
        assert_eq!(entry.lease, Some(session.lease()));
    }
    session.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_the_leader_that_it_talks_to() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.leader();
    let mut endpoints = cluster.endpoints();
    endpoints.rotate_left(leader);
    let config = cluster.config().with_endpoints(endpoints);
    let store = EtcdStore::connect(&config).await.unwrap();
    let session = session(&store).await;
    let mut lost = Box::pin(session.lost(session.lease()));
    cluster.kill(leader);
    let killed = Instant::now();
    // Longer than the lease lives without a renewal.
    soon("renewals", async {
        while killed.elapsed() < session.ttl() * 2 || session.remaining() < session.ttl() / 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(futures::poll!(&mut lost).is_pending());
    for key in ["x/a", "x/b"] {
        assert!(store.get(key).await.unwrap().is_some(), "{key} is gone");
    }
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_holder_that_stood_still_has_lost_its_lock_and_what_it_writes_under_it_is_refused() {
    let server = Etcd::start();
    let store = server.store().await;
    let session = Session::open(store.clone(), Duration::from_secs(2)).await;
    let held = Lock::new(&session.unwrap(), "lock")
        .acquire()
        .await
        .unwrap();
    let config = patient(server.config());
    let next = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = EtcdStore::connect(&config).await.unwrap();
            let session = Session::open(store.clone(), Duration::from_secs(600)).await;
            let lock = Lock::new(&session.unwrap(), "lock");
            let held = soon("the lock", lock.acquire()).await.unwrap();
            let put = Op::put("x/a", "of the next");
            let put = store.commit(Txn::new().when(held.guard()).then(put)).await;
            assert!(put.unwrap().succeeded);
            held.fence()
        })
    });
    // As a process that is stopped: nothing here goes on until the lease is over and the next one has
    // the lock.
    let next = next.join().unwrap();
    assert!(held.fence() < next);
    let late = Op::put("x/a", "late");
    let late = store.commit(Txn::new().when(held.guard()).then(late)).await;
    assert!(!late.unwrap().succeeded);
    assert_eq!(
        store.get("x/a").await.unwrap().unwrap().value,
        "of the next"
    );
    soon("the loss", held.lost()).await;
    assert!(!held.release().await.unwrap(), "it is of the next");
    let queue = store.list(KeyRange::prefix("lock/")).await.unwrap();
    assert_eq!(queue.collect().await.unwrap().len(), 1);
}
