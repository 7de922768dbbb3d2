//! Promises of a handle that is limited to a prefix.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod wrap_support;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Bytes, Change, Compare, Condition, DeleteOptions, Error, Key, KeyRange,
    LeaseId, Leases, Lifetime, ListOptions, Maintenance, Memory, Op, OpReply, Order, Prefix,
    Prefixed, PutOptions, Store, StoreExt, Txn, WatchOptions, Watcher,
};

use crate::wrap_support::Scripted;

const TTL: Duration = Duration::from_secs(30);

/// `agents/1/` beside neighbours that look like it.
async fn neighbourhood() -> (Memory, Prefixed<Memory>) {
    let store = Memory::new();
    for key in [
        "agents/1",
        "agents/1/",
        "agents/10/name",
        "agents/0/name",
        "agents/2/name",
        "z",
    ] {
        store.put(key, "foreign").await.unwrap();
    }
    let scoped = store.prefixed("agents/1/");
    (store, scoped)
}

async fn keys(store: &impl Broker, range: KeyRange) -> Vec<String> {
    let listing = store.keys(range).await.unwrap();
    let entries = listing.collect().await.unwrap();
    entries.iter().map(|entry| entry.key.to_string()).collect()
}

#[tokio::test]
async fn a_scope_never_shows_its_neighbour() {
    let (store, scoped) = neighbourhood().await;
    assert_eq!(keys(&scoped, KeyRange::all()).await, Vec::<String>::new());
    assert_eq!(scoped.count(KeyRange::all()).await.unwrap(), 0);
    for key in ["0/name", "name", "/name", "agents/1/name"] {
        assert!(scoped.get(key).await.unwrap().is_none());
    }
    let mut watch = scoped
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    store.put("agents/10/name", "foreign").await.unwrap();
    store.put("agents/1/", "foreign").await.unwrap();
    store.delete_prefix("agents/2").await.unwrap();
    scoped.put("name", "own").await.unwrap();
    let changes = loop {
        let changes = watch.next().await.unwrap().unwrap();
        if !changes.changes.is_empty() {
            break changes;
        }
    };
    assert_eq!(changes.changes[0].key(), &"name");
    assert_eq!(keys(&scoped, KeyRange::all()).await, ["name"]);
}

#[tokio::test]
async fn deleting_all_of_a_scope_leaves_its_neighbours() {
    let (store, scoped) = neighbourhood().await;
    let before = keys(&store, KeyRange::all()).await;
    scoped.put("a", "1").await.unwrap();
    scoped.put(&b"\xff\xff"[..], "2").await.unwrap();
    let reply = scoped
        .delete_opts(&KeyRange::all(), DeleteOptions::default().with_previous())
        .await
        .unwrap();
    assert_eq!(reply.deleted, 2);
    assert_eq!(reply.prev[1].key, Key::from(&b"\xff\xff"[..]));
    scoped
        .commit(Txn::new().then(Op::delete_prefix("")))
        .await
        .unwrap();
    assert_eq!(keys(&store, KeyRange::all()).await, before);
}

#[tokio::test]
async fn a_scope_of_0xff_bytes_has_an_end_where_keys_have_one() {
    let store = Memory::new();
    store.put(&b"\xfe"[..], "foreign").await.unwrap();
    store.put(&b"\xff"[..], "foreign").await.unwrap();
    let scoped = store.prefixed(&b"\xff"[..]);
    scoped.put("a", "1").await.unwrap();
    scoped.put(&b"\xff\xff"[..], "2").await.unwrap();
    assert_eq!(scoped.count(KeyRange::all()).await.unwrap(), 2);
    assert_eq!(scoped.delete_prefix("").await.unwrap(), 2);
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 2);
}

#[tokio::test]
async fn keys_come_out_as_they_went_in() {
    let (store, scoped) = neighbourhood().await;
    scoped.put("a", "1").await.unwrap();
    let put = scoped
        .put_opts(
            &Key::from("a"),
            Bytes::from("2"),
            PutOptions::default().with_previous(),
        )
        .await
        .unwrap();
    assert_eq!(put.prev.unwrap().key, "a");
    let lost = scoped.put_if_absent("a", "3").await.unwrap();
    assert_eq!(
        (lost.written, lost.prev.unwrap().key),
        (false, Key::from("a"))
    );
    assert_eq!(scoped.get("a").await.unwrap().unwrap().key, "a");
    assert_eq!(store.get("agents/1/a").await.unwrap().unwrap().value, "2");

    let reply = scoped
        .commit(
            Txn::new()
                .when(Compare::exists("a"))
                .when(Compare::value("a", "2"))
                .when(Compare::absent("agents/1/a"))
                .then(Op::Put(
                    Key::from("b"),
                    Bytes::from("3"),
                    PutOptions::default().with_previous(),
                ))
                .then(Op::list(KeyRange::all()))
                .then(Op::Delete(
                    KeyRange::key("a"),
                    DeleteOptions::default().with_previous(),
                )),
        )
        .await
        .unwrap();
    assert!(reply.succeeded);
    let OpReply::Get(found) = &reply.replies[1] else {
        panic!("{reply:?}");
    };
    let found: Vec<_> = found
        .entries
        .iter()
        .map(|entry| entry.key.to_string())
        .collect();
    assert_eq!(found, ["a", "b"]);
    let OpReply::Delete(deleted) = &reply.replies[2] else {
        panic!("{reply:?}");
    };
    assert_eq!(deleted.prev[0].key, "a");

    let reverse = scoped
        .list_opts(
            &KeyRange::all(),
            ListOptions::default().reverse().with_page(1),
        )
        .await
        .unwrap();
    assert_eq!(reverse.collect().await.unwrap()[0].key, "b");
    assert_eq!(ListOptions::default().reverse().order, Order::Descending);
}

#[tokio::test]
async fn a_watch_brings_short_keys_with_what_stood_there_before() {
    let (store, scoped) = neighbourhood().await;
    let options = WatchOptions::default().with_previous();
    let mut watch = scoped
        .watch_opts(&KeyRange::prefix("a"), options)
        .await
        .unwrap();
    let begin = store.put("agents/1/a", "1").await.unwrap();
    store.put("agents/1/b", "not watched").await.unwrap();
    store.put("agents/1/a", "2").await.unwrap();
    store.delete_prefix("agents/1").await.unwrap();
    assert_eq!(watch.after().next(), begin);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        for change in watch.next().await.unwrap().unwrap().changes {
            let prev = change
                .prev()
                .map(|prev| (prev.key.to_string(), prev.value.clone()));
            let put = matches!(change, Change::Put { .. });
            seen.push((put, change.key().to_string(), prev));
        }
    }
    let a = || "a".to_owned();
    assert_eq!(
        seen,
        [
            (true, a(), None),
            (true, a(), Some((a(), Bytes::from("1")))),
            (false, a(), Some((a(), Bytes::from("2")))),
        ]
    );
}

#[tokio::test]
async fn values_and_keys_that_come_back_are_not_copied() {
    let (store, scoped) = neighbourhood().await;
    scoped.put("key", "value").await.unwrap();
    let whole = store.get("agents/1/key").await.unwrap().unwrap();
    let short = scoped.get("key").await.unwrap().unwrap();
    assert_eq!(short.value.as_ptr(), whole.value.as_ptr());
    let start = whole.key.as_bytes()["agents/1/".len()..].as_ptr();
    assert_eq!(short.key.as_bytes().as_ptr(), start);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_the_words_of_the_caller_and_never_sent() {
    let inner = Scripted::new([]);
    let scoped = inner.prefixed("agents/1/");
    let empty = KeyRange::span("b", "a");
    let put = || Op::put("k", "v");
    let errors = [
        scoped.get("").await.unwrap_err(),
        scoped.put("", "v").await.unwrap_err(),
        scoped.delete("").await.unwrap_err(),
        scoped
            .delete_opts(&empty, DeleteOptions::default())
            .await
            .unwrap_err(),
        scoped
            .delete_opts(&KeyRange::span("a", ""), DeleteOptions::default())
            .await
            .unwrap_err(),
        scoped.list(empty.clone()).await.unwrap_err(),
        scoped
            .list_opts(&KeyRange::all(), ListOptions::default().with_limit(0))
            .await
            .unwrap_err(),
        scoped
            .watch_opts(&KeyRange::key(""), WatchOptions::default())
            .await
            .unwrap_err(),
        scoped
            .commit(Txn::new().when(Compare::absent("")).then(put()))
            .await
            .unwrap_err(),
        scoped
            .commit(Txn::new().otherwise(Op::delete("")))
            .await
            .unwrap_err(),
        scoped
            .put_opts(
                &Key::from("k"),
                Bytes::new(),
                PutOptions::default().with_ttl(Duration::from_millis(999)),
            )
            .await
            .unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(!error.to_string().contains("agents"), "{error}");
    }
    let twice = scoped.commit(Txn::new().then(put()).then(put())).await;
    assert!(matches!(twice, Err(Error::DuplicateKey { key }) if key == "k"));
    let many = (0..129).fold(Txn::new(), |txn, n| txn.then(Op::put(format!("{n}"), "")));
    let many = scoped.commit(many).await;
    assert!(matches!(
        many,
        Err(Error::TooManyOps {
            count: 129,
            limit: Some(128)
        })
    ));
    assert_eq!(inner.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn the_prefix_counts_towards_the_size_of_a_request() {
    let store = Memory::new();
    let limit = store.capabilities().max_request_bytes.unwrap();
    let scoped = store.prefixed("p".repeat(100));
    assert_eq!(scoped.capabilities(), store.capabilities());
    let value = Bytes::from(vec![b'v'; limit - 101]);
    scoped.put("k", value.clone()).await.unwrap();
    let over = scoped.put("kk", value).await.unwrap_err();
    assert!(
        matches!(over, Error::TooLarge { size, .. } if size == limit + 1),
        "{over}"
    );
}

#[tokio::test]
async fn a_scope_renews_ends_and_inspects_its_own_leases() {
    let (store, scoped) = neighbourhood().await;
    let lease = scoped.grant(TTL).await.unwrap().id;
    let clone = scoped.clone();
    let inner = scoped.prefixed("deep/");
    clone
        .put_opts(&Key::from("a"), Bytes::new(), Lifetime::Lease(lease).into())
        .await
        .unwrap();
    store
        .put_opts(&Key::from("z"), Bytes::new(), Lifetime::Lease(lease).into())
        .await
        .unwrap();
    assert!(clone.keep_alive(lease).await.unwrap() >= TTL);
    let status = clone.time_to_live(lease).await.unwrap();
    assert_eq!(
        status.keys,
        [Key::from("a")],
        "short, and without the key outside"
    );

    let deep = inner.grant(TTL).await.unwrap().id;
    assert!(inner.keep_alive(deep).await.is_ok());
    assert!(
        scoped.keep_alive(deep).await.is_ok(),
        "it was granted through this scope too"
    );
    assert!(matches!(
        inner.keep_alive(lease).await,
        Err(Error::Denied { .. })
    ));

    clone.revoke(lease).await.unwrap();
    assert!(scoped.get("a").await.unwrap().is_none());
    assert!(matches!(
        scoped.keep_alive(lease).await,
        Err(Error::LeaseLost { .. })
    ));
    assert!(matches!(
        scoped.revoke(lease).await,
        Err(Error::LeaseLost { .. })
    ));
}

#[tokio::test]
async fn a_lease_made_by_a_put_belongs_to_the_scope() {
    let (store, scoped) = neighbourhood().await;
    let reply = scoped
        .put_opts(
            &Key::from("a"),
            Bytes::new(),
            PutOptions::default().with_ttl(TTL),
        )
        .await
        .unwrap();
    assert!(scoped.keep_alive(reply.lease.unwrap()).await.unwrap() >= TTL);

    let put = |key: &str| {
        Op::Put(
            Key::from(key),
            Bytes::new(),
            PutOptions::default().with_ttl(TTL),
        )
    };
    let reply = scoped
        .commit(Txn::new().then(put("b")).then(put("c")))
        .await
        .unwrap();
    for reply in reply.replies {
        let OpReply::Put(reply) = reply else {
            panic!("{reply:?}");
        };
        scoped.revoke(reply.lease.unwrap()).await.unwrap();
    }
    assert_eq!(keys(&scoped, KeyRange::all()).await, ["a"]);
    assert_eq!(
        keys(&store, KeyRange::prefix("agents/1/")).await,
        ["agents/1/", "agents/1/a"]
    );
}

#[tokio::test]
async fn a_lease_from_outside_is_refused_and_nothing_is_sent() {
    let inner = Scripted::new([]);
    let scoped = inner.prefixed("agents/1/");
    let neighbour = inner.prefixed("agents/2/");
    let other = neighbour.grant(TTL).await.unwrap().id;
    let unknown = LeaseId::new(4711).unwrap();
    inner.forget_calls();
    for lease in [other, unknown] {
        let with = || PutOptions::default().with_lease(lease);
        let op = || Op::Put(Key::from("k"), Bytes::new(), with());
        let errors = [
            scoped.keep_alive(lease).await.unwrap_err(),
            scoped.revoke(lease).await.unwrap_err(),
            scoped.time_to_live(lease).await.unwrap_err(),
            scoped
                .put_opts(&Key::from("k"), Bytes::new(), with())
                .await
                .unwrap_err(),
            scoped.commit(Txn::new().then(op())).await.unwrap_err(),
            scoped.commit(Txn::new().otherwise(op())).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::Denied { .. }), "{error}");
            assert!(!error.may_have_applied());
            assert!(error.to_string().contains(&lease.to_string()), "{error}");
        }
    }
    assert_eq!(inner.calls(), Vec::<String>::new());
    assert!(
        neighbour.keep_alive(other).await.is_ok(),
        "the neighbour's lease is unharmed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_expires_is_lost_not_foreign() {
    let (_, scoped) = neighbourhood().await;
    let lease = scoped.grant(TTL).await.unwrap();
    tokio::time::sleep(lease.ttl * 2).await;
    for _ in 0..2 {
        assert!(matches!(
            scoped.keep_alive(lease.id).await,
            Err(Error::LeaseLost { .. })
        ));
    }
}

#[tokio::test]
async fn a_scope_works_over_a_shared_store_of_any_kind() {
    let store = Memory::new();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let scoped: Arc<dyn Store> = Arc::new(shared.prefixed("a/"));
    let nested = scoped.prefixed("b/");
    nested.put("c", "d").await.unwrap();
    assert_eq!(keys(&store, KeyRange::all()).await, ["a/b/c"]);
    assert_eq!(nested.to_string(), "Prefixed(b/, Prefixed(a/, memory))");
    assert_eq!(nested.scope(), &Prefix::new("b/"));
    assert_eq!(nested.inner().to_string(), "Prefixed(a/, memory)");
    assert!(nested.into_inner().get("b/c").await.unwrap().is_some());
}

#[tokio::test]
async fn lost_races_stay_within_the_scope() {
    let (_, scoped) = neighbourhood().await;
    let seen = scoped.put("n", "1").await.unwrap();
    assert!(
        scoped
            .compare_and_swap("n", Condition::Modified(seen), "2")
            .await
            .unwrap()
            .written
    );
    let lost = scoped
        .compare_and_swap("n", Condition::Modified(seen), "3")
        .await
        .unwrap();
    assert_eq!(
        (lost.written, lost.prev.unwrap().key),
        (false, Key::from("n"))
    );
    assert!(
        !scoped
            .compare_and_delete("n", Condition::Absent)
            .await
            .unwrap()
    );
    assert!(
        scoped
            .compare_and_delete("n", Condition::Exists)
            .await
            .unwrap()
    );
}

/// Compiles only for what is no [`Maintenance`]: for what is, the marker cannot be inferred.
trait NotManaged<Marker> {
    fn check() {}
}
struct Managed;
impl<T> NotManaged<()> for T {}
impl<T: Maintenance> NotManaged<Managed> for T {}

#[test]
fn nobody_can_compact_or_close_a_store_through_a_scope() {
    <Prefixed<Memory> as NotManaged<_>>::check();
    <Prefixed<Arc<dyn keyval::ManagedStore>> as NotManaged<_>>::check();
    <Memory as NotManaged<Managed>>::check();
}

#[tokio::test]
async fn an_error_through_a_scope_names_the_key_as_the_caller_does() {
    let store = Memory::new().prefixed("outer/").prefixed("inner/");
    for options in [
        PutOptions::default().keep_value(),
        PutOptions::default().with_lifetime(Lifetime::Keep),
    ] {
        let error = store
            .put_opts(&"key".into(), Bytes::new(), options)
            .await
            .unwrap_err();
        let told = error.to_string();
        assert!(
            told.contains("\"key\"") && !told.contains("inner"),
            "{told}"
        );
        assert!(!told.contains("outer"), "{told}");
    }
}
