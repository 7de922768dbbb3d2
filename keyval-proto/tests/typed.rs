//! The promises of typed handles, on the in-memory store.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use keyval::{
    BoxError, Broker, BrokerExt, Change, Changes, Condition, Entry, KeyRange, ListOptions, Memory,
    Op, Prefixed, PutOptions, RetryPolicy, Snapshot, Store, StoreExt, Txn, Update, WatchOptions,
};
use keyval_proto::{Codec, DecodeError, Decoded, Error, Protobuf, Typed};

#[derive(Clone, PartialEq, prost::Message)]
struct Interface {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(uint32, tag = "2")]
    mtu: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Route {
    #[prost(string, tag = "1")]
    via: String,
}

/// No protobuf: a field of a wire type that does not exist.
const BROKEN: &[u8] = b"\xff\xff secret";

fn mtu(mtu: u32) -> Interface {
    Interface {
        address: "10.0.0.1/24".into(),
        mtu,
    }
}

fn interfaces() -> (Memory, Typed<Interface, Prefixed<Memory>>) {
    let store = Memory::new();
    let typed = Typed::new(store.prefixed("agents/1/"), Protobuf);
    (store, typed)
}

async fn resync<T>(
    updates: &mut (impl Stream<Item = keyval::Result<Update<T>>> + Unpin),
) -> Snapshot<T> {
    match updates.next().await.unwrap().unwrap() {
        Update::Resync(snapshot) => snapshot,
        Update::Changes(changes) => panic!("changes at {}", changes.revision),
    }
}

async fn changes<T>(
    updates: &mut (impl Stream<Item = keyval::Result<Update<T>>> + Unpin),
) -> Changes<T> {
    loop {
        match updates.next().await.unwrap().unwrap() {
            Update::Resync(snapshot) => panic!("a resync at {}", snapshot.revision),
            Update::Changes(changes) if changes.is_progress() => {}
            Update::Changes(changes) => return changes,
        }
    }
}

/// The one entry that was put.
fn put<T>(changes: &Changes<T>) -> &Entry<T> {
    match &changes.changes[..] {
        [Change::Put { entry, .. }] => entry,
        other => panic!("{} changes, or no put", other.len()),
    }
}

#[tokio::test]
async fn what_is_put_is_what_is_got_under_the_scoped_key() {
    let (store, typed) = interfaces();
    let revision = typed.put("eth0", &mtu(1500)).await.unwrap();
    let entry = typed.get("eth0").await.unwrap().unwrap();
    assert_eq!(entry.key, "eth0");
    assert_eq!(entry.value, mtu(1500));
    assert_eq!(entry.modified, revision);
    let raw = store.get("agents/1/eth0").await.unwrap().unwrap();
    assert_eq!(raw.value, Protobuf.encode(&mtu(1500)).unwrap());
}

#[tokio::test]
async fn a_missing_key_is_none_and_an_empty_value_the_default_message() {
    let (store, typed) = interfaces();
    assert!(typed.get("eth0").await.unwrap().is_none());
    store.put("agents/1/eth0", "").await.unwrap();
    let entry = typed.get("eth0").await.unwrap().unwrap();
    assert_eq!(entry.value, Interface::default());
}

#[tokio::test]
async fn a_broken_value_is_an_error_of_its_key_that_does_not_show_the_value() {
    let (store, typed) = interfaces();
    let revision = store.put("agents/1/eth0", BROKEN).await.unwrap();
    let error = typed.get("eth0").await.unwrap_err();
    let Error::Decode(decode) = &error else {
        panic!("{error}");
    };
    assert_eq!(decode.key, "eth0");
    assert_eq!(decode.revision, revision);
    assert!(std::error::Error::source(decode).is_some());
    assert!(error.to_string().starts_with(&format!(
        "cannot decode the value of \"eth0\" at revision {revision}: "
    )));
    assert!(!format!("{error} {error:?}").contains("secret"));
    assert!(!error.may_have_applied() && !error.is_retryable());
}

#[tokio::test]
async fn a_broken_value_does_not_hide_its_neighbours_in_a_list() {
    let (store, typed) = interfaces();
    typed.put("eth0", &mtu(1500)).await.unwrap();
    store.put("agents/1/eth1", BROKEN).await.unwrap();
    typed.put("eth2", &mtu(9000)).await.unwrap();
    let listing = typed.list(KeyRange::all()).await.unwrap();
    let revision = listing.revision;
    let entries: Vec<Entry<Decoded<Interface>>> = listing.entries.try_collect().await.unwrap();
    assert_eq!(entries[0].value, Ok(mtu(1500)));
    assert_eq!(entries[1].value.as_ref().unwrap_err().key, "eth1");
    assert_eq!(entries[2].value, Ok(mtu(9000)));
    assert_eq!(entries[2].modified, revision);
}

#[tokio::test]
async fn a_broken_value_does_not_end_what_follows_it() {
    let (store, typed) = interfaces();
    store.put("agents/1/eth0", BROKEN).await.unwrap();
    let mut updates = typed.follow(KeyRange::all());
    let snapshot = resync(&mut updates).await;
    assert_eq!(snapshot.entries[0].key, "eth0");
    assert!(snapshot.entries[0].value.is_err());

    let revision = store.put("agents/1/eth1", BROKEN).await.unwrap();
    let seen = changes(&mut updates).await;
    let error = put(&seen).value.as_ref().unwrap_err();
    assert_eq!(
        (error.key.as_str(), error.revision),
        (Some("eth1"), revision)
    );

    typed.put("eth0", &mtu(1500)).await.unwrap();
    assert_eq!(put(&changes(&mut updates).await).value, Ok(mtu(1500)));
}

#[tokio::test]
async fn a_follower_sees_the_picture_and_then_every_change_in_typed_form() {
    let (_, typed) = interfaces();
    let first = typed.put("eth0", &mtu(1500)).await.unwrap();
    let mut updates = typed.follow(KeyRange::all());
    let snapshot = resync(&mut updates).await;
    assert_eq!(snapshot.revision, first);
    assert_eq!(snapshot.entries[0].value, Ok(mtu(1500)));

    let second = typed.put("eth0", &mtu(9000)).await.unwrap();
    let seen = changes(&mut updates).await;
    assert_eq!(seen.revision, second);
    assert_eq!(put(&seen).value, Ok(mtu(9000)));
    assert_eq!(put(&seen).version, 2);

    assert!(typed.delete("eth0").await.unwrap());
    let seen = changes(&mut updates).await;
    assert!(matches!(&seen.changes[..], [Change::Delete { key, .. }] if *key == "eth0"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_value_arrives_as_a_delete_with_its_last_value() {
    let (_, typed) = interfaces();
    let mut watch = typed
        .watch(KeyRange::all(), WatchOptions::default().with_previous())
        .await
        .unwrap();
    let options = PutOptions::default().with_ttl(Duration::from_secs(3));
    let reply = typed.put_opts("eth0", &mtu(1500), options).await.unwrap();
    assert!(reply.written && reply.lease.is_some());
    let seen = watch.try_next().await.unwrap().unwrap();
    assert_eq!(put(&seen).lease, reply.lease);
    let seen = watch.try_next().await.unwrap().unwrap();
    let prev = seen.changes[0].prev().unwrap();
    assert!(matches!(seen.changes[0], Change::Delete { .. }));
    assert_eq!(prev.value, Ok(mtu(1500)));
    assert!(typed.get("eth0").await.unwrap().is_none());
}

#[tokio::test]
async fn a_watch_carries_previous_values_and_its_start_in_typed_form() {
    let (store, typed) = interfaces();
    let first = typed.put("eth0", &mtu(1500)).await.unwrap();
    let options = WatchOptions::default().with_previous();
    let mut watch = typed.watch(KeyRange::all(), options).await.unwrap();
    assert_eq!(watch.inner().after(), first);
    store.put("agents/1/eth0", BROKEN).await.unwrap();
    let seen = watch.try_next().await.unwrap().unwrap();
    assert!(put(&seen).value.is_err());
    assert_eq!(seen.changes[0].prev().unwrap().value, Ok(mtu(1500)));
}

#[tokio::test]
async fn a_lost_race_is_a_reply_with_what_stands_there() {
    let (store, typed) = interfaces();
    assert!(
        typed
            .put_if_absent("eth0", &mtu(1500))
            .await
            .unwrap()
            .written
    );
    let lost = typed.put_if_absent("eth0", &mtu(9000)).await.unwrap();
    assert!(!lost.written);
    assert_eq!(lost.prev.unwrap().value, Ok(mtu(1500)));

    let broken = store.put("agents/1/eth0", BROKEN).await.unwrap();
    let options = PutOptions::default()
        .only_if(Condition::Modified(broken))
        .with_previous();
    let won = typed.put_opts("eth0", &mtu(9000), options).await.unwrap();
    assert!(won.written, "a broken value can be replaced");
    assert_eq!(won.prev.unwrap().value.unwrap_err().revision, broken);
}

#[tokio::test]
async fn values_of_several_types_go_into_one_transaction() {
    let (store, interfaces) = interfaces();
    let routes = interfaces.of::<Route>();
    let via = Route {
        via: "10.0.0.254".into(),
    };
    let txn = Txn::new()
        .then(interfaces.put_op("interfaces/eth0", &mtu(1500)).unwrap())
        .then(routes.put_op("routes/default", &via).unwrap())
        .then(Op::delete("old"));
    let reply = interfaces.store().commit(txn).await.unwrap();
    let route = routes.get("routes/default").await.unwrap().unwrap();
    let interface = interfaces.get("interfaces/eth0").await.unwrap().unwrap();
    assert_eq!((route.value, route.modified), (via, reply.revision));
    assert_eq!(interface.modified, reply.revision);
    let keys = store.keys(KeyRange::prefix("agents/1/")).await.unwrap();
    assert_eq!(keys.collect().await.unwrap().len(), 2);
}

#[tokio::test]
async fn deletes_tell_how_many_there_were_and_stay_within_the_scope() {
    let (store, typed) = interfaces();
    store.put("agents/10/eth0", "").await.unwrap();
    for key in ["a/1", "a/2", "b/1"] {
        typed.put(key, &mtu(1500)).await.unwrap();
    }
    assert!(!typed.delete("none").await.unwrap());
    assert_eq!(typed.delete_prefix("a/").await.unwrap(), 2);
    assert_eq!(typed.delete_prefix("").await.unwrap(), 1);
    assert!(store.get("agents/10/eth0").await.unwrap().is_some());
}

#[tokio::test]
async fn what_has_no_values_is_no_typed_list_but_a_count_is() {
    let (_, typed) = interfaces();
    typed.put("eth0", &mtu(1500)).await.unwrap();
    let options = ListOptions::default();
    let error = typed.list_opts(KeyRange::all(), options.keys_only()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Store(keyval::Error::Invalid { .. })));
    let counted = typed.list_opts(KeyRange::all(), options.count_only()).await;
    assert_eq!(counted.unwrap().count, Some(1));
}

#[tokio::test]
async fn a_put_that_keeps_the_value_is_refused_before_it_is_sent() {
    let (_, typed) = interfaces();
    typed.put("eth0", &mtu(1500)).await.unwrap();
    let options = PutOptions::default().keep_value();
    // The default message is no bytes at all: the store alone would not notice.
    let error = typed.put_opts("eth0", &Interface::default(), options).await;
    assert!(matches!(
        error.unwrap_err(),
        Error::Store(keyval::Error::Invalid { .. })
    ));
    let entry = typed.get("eth0").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.version), (mtu(1500), 1));
}

#[tokio::test]
async fn errors_of_the_store_pass_through_with_their_meaning() {
    let (_, typed) = interfaces();
    let error = typed.put("", &mtu(1500)).await.unwrap_err();
    assert!(matches!(error, Error::Store(keyval::Error::Invalid { .. })));
    assert!(!error.may_have_applied());
}

/// Refuses to write what it calls too long.
#[derive(Clone)]
struct Short;

impl Codec<String> for Short {
    fn encode(&self, value: &String) -> Result<Bytes, BoxError> {
        match value.len() {
            0..8 => Ok(value.clone().into()),
            length => Err(format!("{length} bytes are too many").into()),
        }
    }

    fn decode(&self, bytes: Bytes) -> Result<String, BoxError> {
        Ok(std::str::from_utf8(&bytes)?.to_owned())
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_encoded_is_told_and_not_sent() {
    let store = Memory::new();
    let names = Typed::new(store.clone(), Short);
    names.put("name", &"left".to_owned()).await.unwrap();
    let long = "a long secret".to_owned();
    for error in [
        names.put("name", &long).await.unwrap_err(),
        names.put_op("name", &long).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "cannot encode the value of \"name\": 13 bytes are too many"
        );
        assert!(std::error::Error::source(&error).is_some());
        assert!(!error.may_have_applied());
    }
    assert_eq!(names.get("name").await.unwrap().unwrap().value, "left");
}

#[tokio::test]
async fn any_stack_of_wrappers_can_be_typed() {
    async fn round_trip<S: Store + Clone>(store: S) -> String {
        let typed = Typed::<Interface, _>::new(store, Protobuf);
        let mut updates = typed.follow(KeyRange::all());
        resync(&mut updates).await;
        typed.put("eth0", &mtu(1500)).await.unwrap();
        assert_eq!(put(&changes(&mut updates).await).value, Ok(mtu(1500)));
        typed.to_string()
    }

    assert_eq!(round_trip(Memory::new()).await, "Typed(Interface, memory)");
    let stack = Memory::new()
        .prefixed("agents/1/")
        .timeout(Duration::from_secs(1))
        .retry(RetryPolicy::default())
        .observe("memory");
    let shown = round_trip(stack).await;
    assert!(shown.starts_with("Typed(Interface, Observe("), "{shown}");
    assert!(shown.contains("Prefixed(agents/1/, memory)"), "{shown}");
    let shared: std::sync::Arc<dyn Store> = std::sync::Arc::new(Memory::new());
    round_trip(shared).await;
}

#[test]
fn decode_errors_are_equal_if_they_tell_the_same() {
    let error = |key: &str, revision: u64, cause: &str| {
        DecodeError::new(key.into(), revision.into(), cause)
    };
    assert_eq!(error("a", 1, "short"), error("a", 1, "short"));
    assert_ne!(error("a", 1, "short"), error("b", 1, "short"));
    assert_ne!(error("a", 1, "short"), error("a", 2, "short"));
    assert_ne!(error("a", 1, "short"), error("a", 1, "long"));
}

#[tokio::test]
async fn no_bytes_from_outside_make_the_codec_panic() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..10_000 {
        let bytes: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
        let decoded: Result<Interface, _> = Protobuf.decode(bytes.into());
        if let Ok(value) = decoded {
            let again = Protobuf.encode(&value).unwrap();
            assert_eq!(Codec::<Interface>::decode(&Protobuf, again).unwrap(), value);
        }
    }
}
