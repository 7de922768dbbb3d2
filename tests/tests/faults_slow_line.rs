//! Lists over a line that carries little: their pages are no larger than it carries in time.

use std::time::Duration;

use bytes::Bytes;
use keyval::{BrokerExt, FollowOptions, KeyRange};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::fake::FakeEtcd;
use keyval_tests::proxy::{Flow, Proxy, Way};
use keyval_tests::replica::Replica;

const VALUES: usize = 80;
const SIZE: usize = 64 << 10;
/// All values take several times as long as one call may.
const PER_SECOND: u32 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn large_values_are_listed_and_followed_over_a_slow_line() {
    let server = FakeEtcd::new("3.5.16");
    let value = Bytes::from(vec![b'x'; SIZE]);
    for n in 0..VALUES {
        let put = server.store().put(format!("x/{n:04}"), value.clone());
        put.await.expect("memory has room");
    }
    let proxy = Proxy::before(server.serve_on_loopback().await);
    let config = EtcdConfig::default()
        .with_endpoints([proxy.endpoint()])
        .with_operation_timeout(DEADLINE);
    let store = EtcdStore::connect(&config).await.expect("it serves");
    let per_second = PER_SECOND;
    proxy.flow(Way::ToClient, Flow::Slow { per_second });
    let range = KeyRange::prefix("x/");
    let listing = store.list(range.clone()).await.expect("a first page");
    let entries = listing.collect().await.expect("all pages");
    assert_eq!(entries.len(), VALUES);
    assert!(entries.iter().all(|entry| entry.value == value));

    let replica = Replica::start(store, range, FollowOptions::default()).await;
    replica.until(|copy| copy.len() == VALUES).await;
}
