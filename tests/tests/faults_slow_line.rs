//! Calls over a line that carries little, or late: lists are read in pages no larger than it
//! carries in time, and every call ends in its time.

use std::time::Duration;

use bytes::Bytes;
use keyval::{Broker, BrokerExt, Error, FollowOptions, KeyRange, LeaseId, Leases, Op, Outcome};
use keyval::{PutOptions, Txn};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::fake::FakeEtcd;
use keyval_tests::proxy::{Flow, Proxy, Way};
use keyval_tests::replica::Replica;
use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(2);

/// A store behind a line that does no harm yet.
async fn behind_a_line(server: &FakeEtcd) -> (EtcdStore, Proxy) {
    let proxy = Proxy::before(server.serve_on_loopback().await);
    let config = EtcdConfig::default()
        .with_endpoints([proxy.endpoint()])
        .with_operation_timeout(DEADLINE);
    let store = EtcdStore::connect(&config).await.expect("it serves");
    (store, proxy)
}

/// Lists and follows so many values of this size, which all together take longer than one call may.
async fn list_and_follow(values: usize, size: usize, per_second: u32) {
    let server = FakeEtcd::new("3.5.16");
    let value = Bytes::from(vec![b'x'; size]);
    for n in 0..values {
        let put = server.store().put(format!("x/{n:04}"), value.clone());
        put.await.expect("memory has room");
    }
    let (store, proxy) = behind_a_line(&server).await;
    proxy.flow(Way::ToClient, Flow::Slow { per_second });
    let range = KeyRange::prefix("x/");
    let listing = store.list(range.clone()).await.expect("a first page");
    let entries = listing.collect().await.expect("all pages");
    assert_eq!(entries.len(), values);
    assert!(entries.iter().all(|entry| entry.value == value));

    let replica = Replica::start(store, range, FollowOptions::default()).await;
    replica.until(|copy| copy.len() == values).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_are_listed_and_followed_over_a_slow_line() {
    list_and_follow(80, 64 << 10, 1 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_which_the_line_carries_less_than_a_first_page_in_time_are_listed_too() {
    list_and_follow(14, 1 << 20, 3 << 20).await;
}

/// A transaction that puts one key with each of these leases.
fn puts_with(leases: &[LeaseId]) -> Txn {
    leases.iter().fold(Txn::new(), |txn, &lease| {
        let options = PutOptions::default().with_lease(lease);
        txn.then(Op::Put(lease.to_string().into(), "".into(), options))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_among_several_is_named_in_the_time_of_the_transaction_or_not_at_all() {
    let server = FakeEtcd::new("3.5.16");
    let (store, proxy) = behind_a_line(&server).await;
    let mut leases = Vec::new();
    for _ in 0..5 {
        let granted = store.grant(Duration::from_secs(60)).await;
        leases.push(granted.expect("it serves").id);
    }
    leases.sort_unstable();
    let lost = leases[4];
    store.revoke(lost).await.expect("it serves");
    for (late, is_named) in [(DEADLINE / 4, true), (DEADLINE * 2 / 3, false)] {
        let random = Duration::ZERO;
        proxy.flow(
            Way::ToClient,
            Flow::Delay {
                fixed: late,
                random,
            },
        );
        let begun = Instant::now();
        let error = store.commit(puts_with(&leases)).await.unwrap_err();
        let took = begun.elapsed();
        assert!(took < DEADLINE + DEADLINE / 4, "{took:?}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
        assert!(!matches!(error, Error::Timeout { .. }), "{error}");
        let named = matches!(error, Error::LeaseLost { lease } if lease == lost);
        assert_eq!(named, is_named, "{error}");
    }
}
