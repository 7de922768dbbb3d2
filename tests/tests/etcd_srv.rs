//! Endpoints from the SRV records of the DNS, on a real etcd and a name server of the test's own.

use std::time::{Duration, Instant};

use keyval::{BrokerExt, ConnectionState, Error, Outcome};
use keyval_config::parse;
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::{Etcd, patient};
use keyval_tests::name_server::NameServer;
use tokio::net::UdpSocket;

/// The records of members that are reached in plain text.
const PLAIN: &str = "_etcd-client._tcp.example.org.";

/// A configuration that leaves the endpoints to this name server.
fn config(server: std::net::SocketAddr) -> EtcdConfig {
    let text = format!("{{discovery-srv: example.org, discovery-srv-server: \"{server}\"}}");
    let config: EtcdConfig = parse("etcd.yaml", &text).expect("the keys are right");
    patient(config)
}

async fn endpoint_of(store: &EtcdStore) -> String {
    let connection = store.connection();
    let state = connection.wait_for(ConnectionState::is_connected).await;
    match state {
        Some(ConnectionState::Connected { endpoint, .. }) => endpoint.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn endpoints_that_the_dns_names_are_connected_to_also_beside_a_dead_one() {
    let (etcd, names) = (Etcd::start(), NameServer::start().await);
    let port = etcd.address().port();
    // The first to be tried is dead.
    names.set(&[(PLAIN, 1, "localhost.", 1), (PLAIN, 2, "localhost.", port)]);
    let store = EtcdStore::connect(&config(names.address())).await.unwrap();
    store.put("found", "1").await.unwrap();
    let there = etcd.store().await.get("found").await.unwrap();
    assert_eq!(there.unwrap().value, "1");
    assert_eq!(endpoint_of(&store).await, format!("localhost:{port}"));
}

#[tokio::test]
async fn records_are_read_anew_by_each_connecting_and_disturb_no_store_that_is_connected() {
    let (a, b) = (Etcd::start(), Etcd::start());
    let names = NameServer::start().await;
    let at = |etcd: &Etcd| [(PLAIN, 0, "localhost.", etcd.address().port())];
    names.set(&at(&a));
    let before = EtcdStore::connect(&config(names.address())).await.unwrap();
    names.set(&at(&b));
    let after = EtcdStore::connect(&config(names.address())).await.unwrap();
    before.put("by", "before").await.unwrap();
    after.put("by", "after").await.unwrap();
    for (etcd, by) in [(&a, "before"), (&b, "after")] {
        let entry = etcd.store().await.get("by").await.unwrap();
        assert_eq!(entry.unwrap().value, by);
    }
}

#[tokio::test]
async fn a_domain_without_records_is_an_error_that_names_them() {
    let names = NameServer::start().await;
    names.set(&[("_other._tcp.example.org.", 0, "localhost.", 1)]);
    let error = EtcdStore::connect(&config(names.address()))
        .await
        .unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert_eq!(error.outcome(), Outcome::NotApplied, "{told}");
    assert!(told.contains("the DNS names no etcd"), "{told}");
    for record in [
        "_etcd-client-ssl._tcp.example.org",
        "_etcd-client._tcp.example.org",
    ] {
        assert!(told.contains(record), "{told}");
    }
}

#[tokio::test]
async fn a_name_server_that_is_silent_is_given_up_within_the_operation_timeout() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let within = Duration::from_millis(500);
    let config = config(silent.local_addr().unwrap()).with_operation_timeout(within);
    let begun = Instant::now();
    let told = EtcdStore::connect(&config).await.unwrap_err().to_string();
    let took = begun.elapsed();
    assert!(told.contains("no answer within 500ms"), "{told}");
    // Once for each kind of record, and what a busy machine adds.
    assert!(took < within * 2 + Duration::from_secs(5), "{took:?}");
}
