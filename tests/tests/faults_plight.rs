//! What callers live through when a member is reached and answers for its state, and for nothing else.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::{Duration, Instant};

use keyval::{Broker, BrokerExt, ConnectionState, Key, Maintenance, Op, Outcome, PutOptions, Txn};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::fake::{FakeEtcd, PASSWORD, Plight, USER};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

const VERSION: &str = "3.5.16";
/// The deadline of calls here. Half of it is more than a healthy call takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long anything may take that should happen soon, on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);

/// Members of one cluster, and a configuration that names them in this order.
async fn cluster(members: &[FakeEtcd]) -> EtcdConfig {
    let mut endpoints = Vec::new();
    for member in members {
        endpoints.push(member.serve_on_loopback().await.to_string());
    }
    EtcdConfig::default()
        .with_endpoints(endpoints)
        .with_operation_timeout(DEADLINE)
}

/// A store that asks the first of these two members first.
async fn store(a: &FakeEtcd, b: &FakeEtcd) -> EtcdStore {
    let config = cluster(&[a.clone(), b.clone()]).await;
    b.suffers(Plight::CutOff);
    let store = EtcdStore::connect(&config).await.unwrap();
    b.suffers(Plight::None);
    store
}

#[tokio::test]
async fn a_store_that_only_writes_leaves_a_member_that_carries_nothing_out() {
    for plight in [Plight::CutOff, Plight::Stalled] {
        let a = FakeEtcd::new(VERSION);
        let b = a.member();
        let store = store(&a, &b).await;
        store.put("a", "1").await.unwrap();
        for ailing in [&a, &b] {
            ailing.suffers(plight);
            let error = store.put("a", "2").await.unwrap_err();
            assert_eq!(error.outcome(), Outcome::Unknown, "{plight:?}: {error}");
            for n in 0..10 {
                // Apart, so that the store has time to look after its connection.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let put = store.put("a", n.to_string()).await;
                put.unwrap_or_else(|error| panic!("put {n} of {plight:?}: {error}"));
            }
            ailing.suffers(Plight::None);
        }
    }
}

#[tokio::test]
async fn reads_do_not_lead_writes_back_to_a_member_that_carries_none_out() {
    let a = FakeEtcd::new(VERSION);
    let b = a.member();
    let store = store(&a, &b).await;
    store.put("a", "1").await.unwrap();
    a.suffers(Plight::NoWrites);
    let readers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                store.get("a").await.unwrap();
            }
        })
    });
    let readers: Vec<_> = readers.map(AbortOnDropHandle::new).collect();
    let error = store.put("a", "2").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    for n in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let put = store.put("a", n.to_string()).await;
        put.unwrap_or_else(|error| panic!("put {n}: {error}"));
    }
    assert!(readers.iter().all(|reader| !reader.is_finished()));
}

#[tokio::test]
async fn a_call_without_an_answer_is_no_outage_where_another_member_answers() {
    let a = FakeEtcd::new(VERSION);
    let b = a.member();
    let store = store(&a, &b).await;
    let connection = store.connection();
    let first = endpoint_of(&connection.state());
    a.suffers(Plight::NoWrites);
    let error = store.put("a", "1").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    store.put("a", "2").await.unwrap();
    let moved = |state: &ConnectionState| state.is_connected() && endpoint_of(state) != first;
    let moved = timeout(SOON, connection.wait_for(moved)).await;
    match moved.expect("calls went elsewhere").expect("it is open") {
        ConnectionState::Connected { outages, .. } => assert_eq!(outages, 0),
        state => unreachable!("{state}"),
    }
}

fn endpoint_of(state: &ConnectionState) -> String {
    match state {
        ConnectionState::Connected { endpoint, .. } => endpoint.to_string(),
        state => panic!("{state}"),
    }
}

#[tokio::test]
async fn a_member_in_doubt_is_asked_after_all_where_no_other_is_there() {
    let a = FakeEtcd::new(VERSION);
    let b = a.member();
    let store = store(&a, &b).await;
    // Both left a call without an answer, one after the other.
    for ailing in [&a, &b] {
        ailing.suffers(Plight::NoWrites);
        let error = store.put("a", "1").await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        ailing.suffers(Plight::None);
    }
    for n in 0..10 {
        store.put("a", n.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_member_without_a_leader_does_not_speak_for_the_store() {
    let a = FakeEtcd::new(VERSION);
    let b = a.member();
    let store = store(&a, &b).await;
    assert!(store.status().await.unwrap().serves);
    for ailing in [&a, &b] {
        ailing.suffers(Plight::CutOff);
        for _ in 0..3 {
            let status = store.status().await.unwrap();
            assert!(status.serves && status.problems.is_empty(), "{status:?}");
        }
        store.put("a", "1").await.unwrap();
        ailing.suffers(Plight::None);
    }
    a.suffers(Plight::CutOff);
    b.suffers(Plight::CutOff);
    let status = store.status().await.unwrap();
    assert!(!status.serves, "{status:?}");
    assert!(status.problems.concat().contains("no leader"), "{status:?}");
    b.suffers(Plight::None);
    assert!(store.status().await.unwrap().serves);
}

#[tokio::test]
async fn a_store_logs_in_beside_a_member_that_carries_nothing_out() {
    for plight in [Plight::CutOff, Plight::Stalled, Plight::NoLogins] {
        // Whichever answers first.
        for _ in 0..3 {
            let a = FakeEtcd::new(VERSION).with_login();
            let config = cluster(&[a.clone(), a.member()]).await;
            let config = config
                .with_login(USER, PASSWORD)
                .with_plaintext_credentials();
            a.suffers(plight);
            let store = EtcdStore::connect(&config).await;
            let store = store.unwrap_or_else(|error| panic!("{plight:?}: {error}"));
            store.put("a", "1").await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_put_whose_token_was_refused_is_sent_elsewhere_if_the_login_gets_no_answer() {
    let a = FakeEtcd::new(VERSION).with_login();
    let b = a.member();
    let config = cluster(&[a.clone(), b.clone()]).await;
    let config = config
        .with_login(USER, PASSWORD)
        .with_plaintext_credentials();
    b.suffers(Plight::CutOff);
    let store = EtcdStore::connect(&config).await.unwrap();
    b.suffers(Plight::None);
    store.put("a", "1").await.unwrap();

    a.end_tokens();
    a.suffers(Plight::NoLogins);
    store.put("a", "2").await.unwrap();

    a.end_tokens();
    b.suffers(Plight::NoLogins);
    let error = store.put("a", "3").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    let told = error.to_string();
    assert!(told.contains("its token was refused"), "{told}");
    let entry = a.store().get("a").await.unwrap().unwrap();
    assert_eq!(entry.value, "2");
}

#[tokio::test]
async fn a_timeout_names_the_key_and_the_endpoint() {
    let server = FakeEtcd::new(VERSION);
    let config = cluster(std::slice::from_ref(&server)).await;
    let store = EtcdStore::connect(&config).await.unwrap();
    server.suffers(Plight::Stalled);
    let begun = Instant::now();
    let error = store.put("some/key", "1").await.unwrap_err();
    assert!(begun.elapsed() >= DEADLINE);
    assert_eq!(error.kind(), "timeout");
    let told = error.to_string();
    let endpoint = &config.endpoints[0];
    assert!(
        told.contains("some/key") && told.contains(endpoint),
        "{told}"
    );
}

#[tokio::test]
async fn a_put_for_which_no_lease_was_granted_was_not_applied() {
    let server = FakeEtcd::new(VERSION);
    let config = cluster(std::slice::from_ref(&server)).await;
    let store = EtcdStore::connect(&config).await.unwrap();
    server.suffers(Plight::Stalled);
    let options = PutOptions::default().with_ttl(Duration::from_secs(60));
    let key = Key::from("a");
    let put = store.put_opts(&key, "1".into(), options.clone()).await;
    let txn = Txn::new().then(Op::Put(key, "1".into(), options));
    for error in [put.unwrap_err(), store.commit(txn).await.unwrap_err()] {
        assert_eq!(error.kind(), "timeout", "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    }
}
