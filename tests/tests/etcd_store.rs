//! The etcd backend's own promises on a real server: pages, limits, leases, connecting.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Compare, Condition, Error, KeyRange, Leases, Lifetime, ListOptions,
    Maintenance, Op, OpReply, Outcome, Prefix, PutOptions, Revision, Txn,
};
use keyval_config::Environment;
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;

const MIB: usize = 1 << 20;

/// A prefix that no other test uses.
fn scope() -> Prefix {
    Prefix::new(format!("test-{:016x}/", fastrand::u64(..)))
}

/// Puts `count` keys `prefix00000..`, as many as fit into one transaction at a time.
async fn fill(store: &EtcdStore, scope: &Prefix, count: usize, value: &Bytes) {
    let keys: Vec<usize> = (0..count).collect();
    for chunk in keys.chunks(128) {
        let txn = chunk.iter().fold(Txn::new(), |txn, n| {
            let key = scope.join(&format!("{n:05}").into());
            txn.then(Op::put(key, value.clone()))
        });
        store.commit(txn).await.expect("the server is well");
    }
}

#[tokio::test]
async fn a_list_of_20_000_keys_is_of_one_revision_in_both_orders() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    fill(&store, &scope, 20_000, &Bytes::from_static(b"value")).await;
    let range = KeyRange::prefix(scope.clone());

    let listing = store.list(range.clone()).await.unwrap();
    let revision = listing.revision;
    // Written while the list is under way: none of it may show.
    store
        .put(scope.join(&"10000".into()), "changed")
        .await
        .unwrap();
    store.delete(scope.join(&"19999".into())).await.unwrap();
    store.put(scope.join(&"99999".into()), "new").await.unwrap();
    let entries = listing.collect().await.unwrap();
    assert_eq!(entries.len(), 20_000);
    assert!(entries.is_sorted_by(|a, b| a.key < b.key));
    assert!(
        entries
            .iter()
            .all(|entry| entry.value == "value" && entry.modified <= revision)
    );

    let options = ListOptions::default().at(revision).keys_only().reverse();
    let listing = store.list_opts(&range, options).await.unwrap();
    assert_eq!(listing.revision, revision);
    let backwards = listing.collect().await.unwrap();
    assert!(backwards.iter().all(|entry| entry.value.is_empty()));
    let keys = |entries: &[keyval::Entry]| -> Vec<_> {
        entries.iter().map(|entry| entry.key.clone()).collect()
    };
    let mut expected = keys(&entries);
    expected.reverse();
    assert_eq!(keys(&backwards), expected);
    assert_eq!(store.count(range).await.unwrap(), 20_000);
}

#[tokio::test]
async fn a_limit_ends_a_list_on_and_off_the_edge_of_a_page() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    fill(&store, &scope, 10, &Bytes::new()).await;
    let range = KeyRange::prefix(scope.clone());
    for page in 1..=12 {
        for limit in 1..=12 {
            for reverse in [false, true] {
                let mut options = ListOptions::default().with_limit(limit).with_page(page);
                if reverse {
                    options = options.reverse();
                }
                let listing = store.list_opts(&range, options).await.unwrap();
                let keys: Vec<String> = listing
                    .collect()
                    .await
                    .unwrap()
                    .into_iter()
                    .map(|entry| scope.strip(&entry.key).unwrap().to_string())
                    .collect();
                let mut all: Vec<String> = (0..10).map(|n| format!("{n:05}")).collect();
                if reverse {
                    all.reverse();
                }
                all.truncate(limit);
                assert_eq!(keys, all, "page {page}, limit {limit}, reverse {reverse}");
            }
        }
    }
}

#[tokio::test]
async fn a_page_that_fails_is_an_error_and_no_short_list() {
    let server = Etcd::start();
    let store = server.store().await;
    let scope = scope();
    fill(&store, &scope, 30, &Bytes::new()).await;
    let options = ListOptions::default().with_page(5);
    let mut listing = store
        .list_opts(&KeyRange::prefix(scope.clone()), options)
        .await
        .unwrap();
    let compacted = store.put(scope.join(&"x".into()), "y").await.unwrap();
    store.compact(compacted).await.unwrap();
    let mut seen = 0;
    let error = loop {
        match listing.entries.next().await.expect("it is no short list") {
            Ok(_) => seen += 1,
            Err(error) => break error,
        }
    };
    assert!(seen < 30, "{seen}");
    assert!(
        matches!(error, Error::Compacted { requested, .. } if requested == listing.revision),
        "{error}"
    );
    assert!(listing.entries.next().await.is_none());
}

#[tokio::test]
async fn a_list_of_more_than_four_mebibytes_arrives() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let value = Bytes::from(vec![b'x'; MIB]);
    for n in 0..9 {
        store
            .put(scope.join(&n.to_string().into()), value.clone())
            .await
            .unwrap();
    }
    let entries = store
        .list(KeyRange::prefix(scope.clone()))
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(entries.len(), 9);
    assert!(entries.iter().all(|entry| entry.value == value));

    let read = Txn::new().then(Op::list(KeyRange::prefix(scope)));
    let reply = store.commit(read).await.unwrap();
    let Some(OpReply::Get(found)) = reply.replies.into_iter().next() else {
        panic!("it was a read");
    };
    assert_eq!(found.entries, entries);
}

#[tokio::test]
async fn a_value_just_below_the_limit_is_stored_and_one_above_is_refused() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let key = scope.join(&"big".into());
    let limit = store.capabilities().max_request_bytes.unwrap();
    let fits = Bytes::from(vec![1; limit - key.len() - 64]);
    store.put(&key, fits.clone()).await.unwrap();
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, fits);

    for size in [limit - key.len(), limit - key.len() + 1, 3 * MIB] {
        let error = store.put(&key, vec![2; size]).await.unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { size: told, limit: known }
                if told == key.len() + size && known == (told > limit).then_some(limit)),
            "{error}"
        );
        assert!(!error.may_have_applied());
    }
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, fits);
}

#[tokio::test]
async fn a_server_with_lower_limits_gives_the_same_errors_without_a_limit() {
    let server = Etcd::start_with(&["--max-txn-ops=4", "--max-request-bytes=4096"]);
    let store = server.store().await;
    let error = store.put("a", vec![0; 5000]).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                size: 5001,
                limit: None
            }
        ),
        "{error}"
    );
    let txn = (0..5).fold(Txn::new(), |txn, n| txn.then(Op::put(n.to_string(), "")));
    let error = store.commit(txn).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooManyOps {
                count: 5,
                limit: None
            }
        ),
        "{error}"
    );
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_put_with_a_ttl_leaves_no_lease_behind_unless_it_took_place() {
    let server = Etcd::start();
    let store = server.store().await;
    let mut raw = etcd_client::Client::connect([server.endpoint()], None)
        .await
        .unwrap();
    let ttl = Duration::from_millis(59_001);
    let reply = store
        .put_opts(&"a".into(), "1".into(), PutOptions::default().with_ttl(ttl))
        .await
        .unwrap();
    let lease = reply.lease.expect("the put made a lease");
    let status = store.time_to_live(lease).await.unwrap();
    assert_eq!(status.granted, Duration::from_secs(60), "rounded up");
    assert_eq!(status.keys, ["a"]);

    let options = PutOptions::default()
        .with_ttl(ttl)
        .only_if(Condition::Absent);
    let reply = store
        .put_opts(&"a".into(), "2".into(), options)
        .await
        .unwrap();
    assert!(!reply.written && reply.lease.is_none());
    let keep = PutOptions::default().keep_value().with_ttl(ttl);
    let error = store
        .put_opts(&"missing".into(), Bytes::new(), keep)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    let ttl_put = |key: &str| Op::Put(key.into(), "3".into(), PutOptions::default().with_ttl(ttl));
    let txn = Txn::new()
        .when(Compare::absent("a"))
        .then(ttl_put("b"))
        .then(ttl_put("c"))
        .otherwise(ttl_put("d"));
    assert!(!store.commit(txn).await.unwrap().succeeded);

    let leases = raw.leases().await.unwrap();
    assert_eq!(leases.leases().len(), 2, "those of a and d");
}

#[tokio::test]
async fn a_lease_that_ended_is_lost_for_every_operation() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let key = scope.join(&"leased".into());
    let grant = store.grant(Duration::from_secs(30)).await.unwrap();
    assert!(grant.ttl >= Duration::from_secs(30));
    let options = PutOptions::default().with_lease(grant.id);
    store
        .put_opts(&key, "1".into(), options.clone())
        .await
        .unwrap();
    assert_eq!(store.keep_alive(grant.id).await.unwrap(), grant.ttl);
    store.revoke(grant.id).await.unwrap();
    assert!(store.get(&key).await.unwrap().is_none());

    let txn = Txn::new().then(Op::Put(key.clone(), "2".into(), options.clone()));
    for error in [
        store.keep_alive(grant.id).await.unwrap_err(),
        store.revoke(grant.id).await.unwrap_err(),
        store.time_to_live(grant.id).await.unwrap_err(),
        store
            .put_opts(&key, "2".into(), options.clone())
            .await
            .unwrap_err(),
        store.commit(txn).await.unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::LeaseLost { lease } if lease == grant.id),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_to_be_kept_must_be_there() {
    let store = Etcd::shared().store().await;
    let key = scope().join(&"kept".into());
    for options in [
        PutOptions::default().keep_value(),
        PutOptions::default().with_lifetime(Lifetime::Keep),
    ] {
        let error = store
            .put_opts(&key, Bytes::new(), options)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(!error.may_have_applied());
    }
    let first = store.put(&key, "value").await.unwrap();
    let options = PutOptions::default().keep_value().with_previous();
    let reply = store.put_opts(&key, Bytes::new(), options).await.unwrap();
    assert_eq!(reply.prev.unwrap().modified, first);
    let entry = store.get(&key).await.unwrap().unwrap();
    assert_eq!((entry.value, entry.version), (Bytes::from("value"), 2));
}

#[tokio::test]
async fn the_past_and_the_future_are_told_apart() {
    let server = Etcd::start();
    let store = server.store().await;
    let first = store.put("a", "1").await.unwrap();
    let second = store.put("a", "2").await.unwrap();
    assert_eq!((first, second), (Revision::new(2), Revision::new(3)));
    let at = |revision| keyval::GetOptions::default().at(revision);
    let never = store.get_opts(&"a".into(), at(Revision::ZERO)).await;
    assert!(never.unwrap().is_none(), "revision 0 is not the present");
    let past = store.get_opts(&"a".into(), at(first)).await.unwrap();
    assert_eq!(past.unwrap().value, "1");
    let error = store
        .get_opts(&"a".into(), at(Revision::new(9)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::FutureRevision { requested, .. } if requested == Revision::new(9)),
        "{error}"
    );
    store.compact(second).await.unwrap();
    for revision in [Revision::ZERO, first] {
        let error = store.get_opts(&"a".into(), at(revision)).await.unwrap_err();
        assert!(
            matches!(error, Error::Compacted { requested, .. } if requested == revision),
            "{error}"
        );
    }
    assert!(matches!(
        store.compact(second).await,
        Err(Error::Compacted { .. })
    ));
    assert!(matches!(
        store.compact(Revision::new(99)).await,
        Err(Error::FutureRevision { .. })
    ));
}

#[tokio::test]
async fn the_status_names_the_version_and_the_revision() {
    let server = Etcd::start();
    let store = server.store().await;
    let revision = store.put("a", "1").await.unwrap();
    let status = store.status().await.unwrap();
    assert_eq!(status.version, format!("etcd {}", server.version()));
    assert_eq!(status.revision, Some(revision));
    assert!(status.size.unwrap() > 0);
    assert!(status.problems.is_empty(), "{:?}", status.problems);
    assert_eq!(store.to_string(), format!("etcd({})", server.endpoint()));
    assert_eq!(format!("{store:?}"), store.to_string());
}

#[tokio::test]
async fn a_store_without_room_says_so_and_lists_its_alarm() {
    let server = Etcd::start_with(&["--quota-backend-bytes=4194304"]);
    let store = server.store().await;
    let value = Bytes::from(vec![0; 256 * 1024]);
    let error = loop {
        if let Err(error) = store.put("a", value.clone()).await {
            break error;
        }
    };
    assert!(matches!(error, Error::StorageFull { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::NotApplied);
    assert!(store.get("a").await.unwrap().is_some());
    let status = store.status().await.unwrap();
    assert!(
        status
            .problems
            .iter()
            .any(|problem| problem.contains("NOSPACE")),
        "{:?}",
        status.problems
    );
}

#[tokio::test]
async fn connecting_names_every_endpoint_and_why_it_failed() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = free.local_addr().unwrap().to_string();
    let config = EtcdConfig::default()
        .with_endpoints(["127.0.0.1:1", &silent])
        .with_dial_timeout(Duration::from_millis(300));
    let error = EtcdStore::connect(&config).await.unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert!(told.contains("127.0.0.1:1: tcp connect error"), "{told}");
    assert!(told.contains("Connection refused"), "{told}");
    assert!(
        told.contains(&format!("{silent}: no answer within 300ms")),
        "{told}"
    );
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_caller_an_error() {
    let server = Etcd::shared();
    let config = server.config().with_endpoints([
        "127.0.0.1:1".to_owned(),
        server.endpoint(),
        "127.0.0.1:2".to_owned(),
    ]);
    let store = EtcdStore::connect(&config).await.unwrap();
    let scope = scope();
    for n in 0..200 {
        store
            .put(scope.join(&n.to_string().into()), "x")
            .await
            .unwrap();
    }
    assert_eq!(store.count(KeyRange::prefix(scope)).await.unwrap(), 200);
}

#[tokio::test]
async fn the_environment_names_the_endpoint_that_the_configuration_does_not() {
    let server = Etcd::shared();
    let environment = Environment::from_iter([("ETCDV3_ENDPOINTS", server.endpoint())]);
    let store = EtcdStore::connect_in(&EtcdConfig::default(), &environment)
        .await
        .unwrap();
    assert_eq!(store.to_string(), format!("etcd({})", server.endpoint()));
}

#[tokio::test]
async fn a_closed_store_refuses_everything() {
    let store = Etcd::shared().store().await;
    let clone = store.clone();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(clone.get("a").await, Err(Error::Closed { .. })));
    assert!(matches!(
        clone.put("a", "b").await,
        Err(Error::Closed { .. })
    ));
    assert!(matches!(clone.status().await, Err(Error::Closed { .. })));
}
