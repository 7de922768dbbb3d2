//! Leases and sessions on a real etcd: many on one stream, and through crashes, silence and cuts.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use keyval::recipes::{LeaseKeeper, LossCause, Session, SessionOptions, SessionState};
use keyval::testing::Faulty;
use keyval::{
    Broker, BrokerExt, Error, Key, KeyRange, Leases, Maintenance, Op, PutOptions, StoreExt, Txn,
    Update,
};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;

const STREAMS: &str = "grpc_server_started_total{grpc_method=\"LeaseKeepAlive\",\
    grpc_service=\"etcdserverpb.Lease\",grpc_type=\"bidi_stream\"}";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A store that does not wait long for a server that is silent.
async fn impatient(server: &Etcd) -> EtcdStore {
    let config = server
        .config()
        .with_dial_timeout(seconds(10))
        .with_operation_timeout(seconds(1));
    EtcdStore::connect(&config)
        .await
        .expect("the server is well")
}

async fn until_renewed(session: &Session) {
    let mut state = session.state();
    let renewed = state.wait_for(|state| matches!(state, SessionState::Renewed { .. }));
    let renewed = tokio::time::timeout(seconds(30), renewed).await;
    drop(renewed.expect("in time").expect("the session goes on"));
}

#[tokio::test]
async fn a_thousand_leases_are_renewed_on_one_stream() {
    let server = Etcd::start();
    let store = server.store().await;
    let mut leases = Vec::new();
    for _ in 0..20 {
        let granted = (0..50).map(|_| store.grant(seconds(60)));
        for granted in join_all(granted).await {
            leases.push(granted.unwrap().id);
        }
    }
    for _ in 0..3 {
        let renewed = leases.iter().map(|lease| store.keep_alive(*lease));
        for ttl in join_all(renewed).await {
            assert_eq!(ttl.unwrap(), seconds(60));
        }
    }
    assert_eq!(server.metric(STREAMS), Some(1.0));
}

#[tokio::test]
async fn a_lease_that_is_lost_disturbs_no_other_on_its_stream() {
    let server = Etcd::start();
    let store = server.store().await;
    let kept = store.grant(seconds(60)).await.unwrap().id;
    let lost = store.grant(seconds(60)).await.unwrap().id;
    store.revoke(lost).await.unwrap();
    for _ in 0..3 {
        // The same lease twice at once, too: each has an answer of its own.
        let (one, gone, other) = tokio::join!(
            store.keep_alive(kept),
            store.keep_alive(lost),
            store.keep_alive(kept)
        );
        assert_eq!((one.unwrap(), other.unwrap()), (seconds(60), seconds(60)));
        let told = matches!(gone, Err(Error::LeaseLost { lease }) if lease == lost);
        assert!(told, "{gone:?}");
    }
    assert_eq!(server.metric(STREAMS), Some(1.0));
}

#[tokio::test]
async fn a_renewal_that_nobody_waits_for_any_more_takes_no_others_answer() {
    let mut server = Etcd::start();
    let store = impatient(&server).await;
    let lease = store.grant(seconds(60)).await.unwrap().id;
    store.keep_alive(lease).await.unwrap();
    server.pause();
    for _ in 0..2 {
        let error = store.keep_alive(lease).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.may_have_applied(), "{error}");
    }
    server.resume();
    for _ in 0..3 {
        assert_eq!(store.keep_alive(lease).await.unwrap(), seconds(60));
    }
    assert_eq!(server.metric(STREAMS), Some(1.0));
}

#[tokio::test]
async fn closing_the_store_ends_the_stream_at_once() {
    let server = Etcd::start();
    let store = server.store().await;
    let lease = store.grant(seconds(60)).await.unwrap().id;
    store.keep_alive(lease).await.unwrap();
    let begun = Instant::now();
    store.close().await.unwrap();
    assert!(begun.elapsed() < seconds(5), "{:?}", begun.elapsed());
    let error = store.keep_alive(lease).await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

#[tokio::test]
async fn sessions_survive_a_crash_of_the_server_that_is_shorter_than_their_ttl() {
    let mut server = Etcd::start();
    let store = impatient(&server).await;
    let options = SessionOptions::default()
        .with_ttl(seconds(9))
        .with_keeper(LeaseKeeper::new());
    let mut sessions = Vec::new();
    for n in 0..20 {
        let session = Session::open_opts(store.clone(), options.clone())
            .await
            .unwrap();
        session.put(format!("agents/{n}"), "x").await.unwrap();
        sessions.push(session);
    }
    server.kill();
    server.restart();
    // Time is what this is about: by then each has had to be renewed.
    tokio::time::sleep(seconds(10)).await;
    for session in &sessions {
        let lease = session.lease();
        assert_eq!(*session.state().borrow(), SessionState::Alive { lease });
    }
    assert_eq!(store.count(KeyRange::prefix("agents/")).await.unwrap(), 20);
    // The server counts from its restart; a stream that came too early may have been refused.
    let streams = server.metric(STREAMS);
    assert!(streams.is_some_and(|streams| streams <= 5.0), "{streams:?}");
    for session in &sessions {
        session.close().await.unwrap();
    }
    assert_eq!(store.count(KeyRange::prefix("agents/")).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_is_silent_for_longer_than_the_ttl_costs_a_loss_and_nothing_else() {
    let mut server = Etcd::start();
    let store = impatient(&server).await;
    let session = Session::open(store.clone(), seconds(3)).await.unwrap();
    session.put("key", "x").await.unwrap();
    let lease = session.lease();
    server.pause();
    let safe = Instant::now() + session.remaining();
    let cause = session.lost(lease).await;
    let late = Instant::now().saturating_duration_since(safe);
    server.resume();
    assert!(matches!(cause, LossCause::Expired { .. }), "{cause}");
    assert!(late < Duration::from_millis(500), "{late:?} late");
    until_renewed(&session).await;
    let entry = store.get("key").await.unwrap().unwrap();
    assert_eq!(entry.lease, Some(session.lease()));
    assert_ne!(session.lease(), lease);
    session.close().await.unwrap();
    assert_eq!(store.get("key").await.unwrap(), None);
}

#[tokio::test]
async fn a_lease_that_expires_while_the_client_is_cut_off_is_lost_before_its_keys_are() {
    let store = Etcd::shared().store().await;
    let scope = format!("cut/{:016x}/", fastrand::u64(..));
    let key = format!("{scope}key");
    let broken = Faulty::new(store.clone());
    let control = broken.control();
    let session = Session::open(broken, seconds(2)).await.unwrap();
    session.put(&key, "x").await.unwrap();
    let mut updates = store.follow(KeyRange::prefix(scope.as_str()));
    assert!(matches!(updates.next().await, Some(Ok(Update::Resync(_)))));
    control.cut();
    let lost = async {
        let cause = session.lost(session.lease()).await;
        (cause, Instant::now())
    };
    let gone = async {
        loop {
            match updates.next().await {
                Some(Ok(Update::Changes(changes))) if changes.is_progress() => {}
                Some(Ok(Update::Changes(changes))) => return (changes, Instant::now()),
                other => panic!("{other:?}"),
            }
        }
    };
    let both = tokio::time::timeout(seconds(30), futures::future::join(lost, gone));
    let ((cause, lost), (changes, gone)) = both.await.expect("the lease expires");
    assert!(matches!(cause, LossCause::Expired { .. }), "{cause}");
    assert!(changes.changes[0].entry().is_none(), "{changes:?}");
    assert!(lost <= gone, "the loss is told first");
    control.heal();
    until_renewed(&session).await;
    let entry = store.get(&key).await.unwrap().unwrap();
    assert_eq!(entry.lease, Some(session.lease()));
    session.close().await.unwrap();
}

#[tokio::test]
async fn the_keys_of_a_lease_are_read_however_long_they_are_together() {
    let store = Etcd::shared().store().await;
    let lease = store.grant(seconds(60)).await.unwrap().id;
    let mut keys = Vec::new();
    for n in 0..6 {
        let key = Key::from(format!("test-long/{n}{}", "x".repeat(1 << 20)));
        let options = PutOptions::default().with_lease(lease);
        store.put_opts(&key, "".into(), options).await.unwrap();
        keys.push(key);
    }
    let status = store.time_to_live(lease).await.unwrap();
    assert!(status.keys == keys, "{} keys", status.keys.len());
    store.revoke(lease).await.unwrap();
}

#[tokio::test]
async fn of_several_leases_in_a_transaction_the_one_that_is_lost_is_named() {
    let store = Etcd::shared().store().await;
    for live_first in [true, false] {
        let live = store.grant(seconds(60)).await.unwrap().id;
        let lost = store.grant(seconds(60)).await.unwrap().id;
        store.revoke(lost).await.unwrap();
        let mut leases = [live, lost];
        if !live_first {
            leases.reverse();
        }
        let mut txn = Txn::new();
        for (key, lease) in ["test-lost/a", "test-lost/b"].into_iter().zip(leases) {
            let options = PutOptions::default().with_lease(lease);
            txn = txn.then(Op::Put(key.into(), "".into(), options));
        }
        let error = store.commit(txn).await.unwrap_err();
        assert!(
            matches!(error, Error::LeaseLost { lease } if lease == lost),
            "{error}"
        );
        store.revoke(live).await.unwrap();
    }
}
