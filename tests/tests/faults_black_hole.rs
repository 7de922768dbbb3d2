//! What callers live through when requests for a connection are lost: neither accepted nor refused.

use std::time::{Duration, Instant};

use keyval::{BrokerExt, ConnectionState, Error, Outcome, Result};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::black_hole::BlackHole;
use keyval_tests::etcd::Etcd;
use keyval_tests::replica::soon;

/// How long connecting may take.
const DIAL: Duration = Duration::from_secs(1);
/// How long an operation may take: so long that a wait for it is no wait for a connection.
const OPERATION: Duration = Duration::from_secs(20);
/// What a busy machine adds to a wait; less than half of an operation, which a silent endpoint costs
/// where nobody looks after the time for connecting.
const SLACK: Duration = Duration::from_secs(6);

fn config(endpoints: &[String]) -> EtcdConfig {
    EtcdConfig::default()
        .with_endpoints(endpoints)
        .with_dial_timeout(DIAL)
        .with_operation_timeout(OPERATION)
}

/// Reads and writes, and checks that neither fails nor waits for longer than a connection may take.
async fn works(store: &EtcdStore, at: &str) {
    let begun = Instant::now();
    store
        .get("a")
        .await
        .unwrap_or_else(|error| panic!("{at}: {error}"));
    let read = begun.elapsed();
    store
        .put("a", "1")
        .await
        .unwrap_or_else(|error| panic!("{at}: {error}"));
    let written = begun.elapsed() - read;
    assert!(read < DIAL + SLACK, "{at}: read after {read:?}");
    assert!(written < DIAL + SLACK, "{at}: written after {written:?}");
}

async fn is_connected(store: &EtcdStore, wanted: bool) {
    let connection = store.connection();
    let wanted = move |state: &ConnectionState| state.is_connected() == wanted;
    soon("the connection", connection.wait_for(wanted)).await;
}

async fn has_left(store: &EtcdStore, server: &Etcd) {
    let connection = store.connection();
    let left = |state: &ConnectionState| match state {
        ConnectionState::Connected { endpoint, .. } => **endpoint != *server.endpoint(),
        _ => true,
    };
    soon("the end of the connection", connection.wait_for(left)).await;
}

#[tokio::test]
async fn a_black_hole_among_the_endpoints_costs_no_caller_an_error_or_more_than_the_dial_timeout() {
    let hole = BlackHole::open();
    let (mut a, mut b) = (Etcd::start(), Etcd::start());
    for place in 0..3 {
        let mut endpoints = vec![a.endpoint(), b.endpoint()];
        endpoints.insert(place, hole.endpoint());
        let at = format!("the black hole is number {place}");
        // So that it is clear from which server the calls have to find the way to the other.
        b.kill();
        let store = EtcdStore::connect(&config(&endpoints)).await.unwrap();
        b.restart();
        works(&store, &at).await;
        a.kill();
        has_left(&store, &a).await;
        for _ in 0..300 {
            works(&store, &at).await;
        }
        a.restart();
    }
}

fn is_told(result: Result<impl std::fmt::Debug>, hole: &BlackHole, at: &str) {
    let error = result.expect_err("there is no connection");
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{at}: {told}");
    assert_eq!(error.outcome(), Outcome::NotApplied, "{at}: {told}");
    let cause = format!("{}: connect timed out", hole.endpoint());
    assert!(told.contains(&cause), "{at}: {told}");
}

#[tokio::test]
async fn a_store_whose_only_endpoint_is_a_black_hole_says_so_in_time() {
    let hole = BlackHole::open();
    let begun = Instant::now();
    let refused = EtcdStore::connect(&config(&[hole.endpoint()])).await;
    let took = begun.elapsed();
    is_told(refused, &hole, "connecting");
    assert!(took >= DIAL && took < DIAL + SLACK, "{took:?}");
}

#[tokio::test]
async fn a_server_that_becomes_a_black_hole_is_told_by_every_call_within_its_deadline() {
    // The deadline may be longer than connecting may take, and shorter.
    for operation in [OPERATION, DIAL / 2] {
        let mut server = Etcd::start();
        let config = config(&[server.endpoint()]).with_operation_timeout(operation);
        let store = EtcdStore::connect(&config).await.unwrap();
        server.kill();
        let hole = BlackHole::at(server.address());
        is_connected(&store, false).await;
        for n in 0..4 {
            let at = format!("call {n} of {operation:?}");
            let begun = Instant::now();
            is_told(store.get("a").await, &hole, &at);
            let read = begun.elapsed();
            is_told(store.put("a", "1").await, &hole, &at);
            let written = begun.elapsed() - read;
            let most = operation.min(DIAL) + SLACK;
            assert!(read < most && written < most, "{at}: {read:?}, {written:?}");
        }
        drop(hole);
        server.restart();
        is_connected(&store, true).await;
        // A deadline that is short for the hole may be too short for a busy machine.
        soon("a put", async {
            while store.put("a", "1").await.is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}
