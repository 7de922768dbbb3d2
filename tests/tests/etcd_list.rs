//! Long lists of etcd, which are read in several ranges at once: whole, in order, and no burden.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use keyval::{Broker, BrokerExt, Key, KeyRange, ListOptions, Listing, Prefix, bulk_put};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;

/// How often etcd was asked for a range.
const RANGES: &str = "grpc_server_started_total\
    {grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}";

/// A prefix that no other test uses.
fn scope() -> Prefix {
    Prefix::new(format!("test-{:016x}/", fastrand::u64(..)))
}

async fn fill(store: &EtcdStore, keys: &BTreeSet<Key>, value: &Bytes) {
    let puts = keys.iter().map(|key| (key.clone(), value.clone()));
    bulk_put(store, puts).await.expect("the server is well");
}

async fn keys(listing: Listing) -> Vec<Key> {
    let keys = listing.entries.map_ok(|entry| entry.key);
    keys.try_collect().await.expect("the server is well")
}

#[tokio::test]
async fn a_long_list_of_keys_of_any_shape_is_whole_and_in_order() {
    const COUNT: usize = 6_000;
    let store = Etcd::shared().store().await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let shapes: [&mut dyn FnMut(usize) -> Vec<u8>; 5] = [
        &mut |n| format!("{n:08}").into(),
        &mut |n| format!("{:04}/{n}", n / 700).into(),
        &mut |n| format!("{}/{n:x}", ["links", "nodes/left", "routes"][n % 3]).into(),
        &mut |_| random.u64(..).to_be_bytes().to_vec(),
        &mut |n| [vec![0xFF; n % 300], n.to_be_bytes().to_vec()].concat(),
    ];
    for (shape, name) in shapes.into_iter().enumerate() {
        let scope = scope();
        let of_scope = |n| scope.join(&Key::from(name(n)));
        let all: BTreeSet<Key> = (0..COUNT).map(of_scope).collect();
        fill(&store, &all, &Bytes::from_static(b"value")).await;
        let range = KeyRange::prefix(scope.clone());
        let options = ListOptions::default().with_page(150);

        let listed = store.list_opts(&range, options).await.unwrap();
        assert!(keys(listed).await.iter().eq(&all), "shape {shape}");
        let listed = store.list_opts(&range, options.reverse()).await.unwrap();
        let backwards = all.iter().rev();
        assert!(keys(listed).await.iter().eq(backwards), "shape {shape}");
        let options = options.with_limit(COUNT / 2);
        let listed = store.list_opts(&range, options).await.unwrap();
        let half = all.iter().take(COUNT / 2);
        assert!(keys(listed).await.iter().eq(half), "shape {shape}");
    }
}

#[tokio::test]
async fn a_list_that_nobody_reads_asks_for_nothing() {
    let server = Etcd::start();
    let store = server.store().await;
    let all: BTreeSet<Key> = (0..3_000).map(|n| Key::from(format!("{n:08}"))).collect();
    fill(&store, &all, &Bytes::new()).await;
    let before = server.metric(RANGES);
    let options = ListOptions::default().with_page(100);
    let mut listing = store.list_opts(&KeyRange::all(), options).await.unwrap();
    // A call on the same connection, behind which nothing of the list waits to be sent.
    store.put("x", "").await.unwrap();
    let asked = |before| Some(server.metric(RANGES)? - before?);
    assert_eq!(asked(before), Some(1.0), "the first page, and no more");

    listing.entries.next().await.unwrap().unwrap();
    store.put("y", "").await.unwrap();
    let ahead = asked(before);
    assert!(ahead > Some(1.0) && ahead <= Some(7.0), "{ahead:?}");
    store.put("z", "").await.unwrap();
    assert_eq!(asked(before), ahead, "nobody has read on");

    assert!(keys(listing).await.iter().eq(all.iter().skip(1)));
    let all = asked(before);
    assert!(all <= Some(50.0), "{all:?} for 30 pages");
}

#[tokio::test]
async fn lists_that_nobody_reads_on_stall_no_other_call() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let key = |n: usize| scope.join(&Key::from(format!("{n:08}")));
    let all: BTreeSet<Key> = (0..4_000).map(key).collect();
    fill(&store, &all, &Bytes::from(vec![b'x'; 2048])).await;
    let range = KeyRange::prefix(scope.clone());
    let mut listings = Vec::new();
    for _ in 0..20 {
        let mut listing = store.list(range.clone()).await.unwrap();
        listing.entries.next().await.unwrap().unwrap();
        listings.push(listing);
    }
    for _ in 0..20 {
        let put = store.put(scope.join(&"~".into()), "");
        let put = tokio::time::timeout(Duration::from_secs(10), put).await;
        put.expect("no list holds it up").unwrap();
    }
    for listing in listings {
        assert!(keys(listing).await.iter().eq(all.iter().skip(1)));
    }
}
