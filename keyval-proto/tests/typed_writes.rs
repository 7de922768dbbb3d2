//! The promises of typed writes: conditions, transactions of many types, and what they answer.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use keyval::{
    Broker, BrokerExt, Change, Compare, Condition, DeleteOptions, KeyRange, Memory, Op, OpReply,
    Prefixed, PutOptions, StoreExt, Txn, TxnReply, Watcher,
};
use keyval_proto::{Error, Protobuf, Typed};
use keyval_proto_messages::{Interface, Route};

/// No protobuf: a field of a wire type that does not exist.
const BROKEN: &[u8] = b"\xff\xff";

type Scoped<T> = Typed<T, Prefixed<Memory>>;

fn mtu(mtu: u32) -> Interface {
    Interface {
        mtu,
        ..Interface::default()
    }
}

fn via(hop: &str) -> Route {
    Route {
        next_hop: hop.into(),
        ..Route::default()
    }
}

/// Two types in one scope of one store.
fn handles() -> (Memory, Scoped<Interface>, Scoped<Route>) {
    let store = Memory::new();
    let interfaces = Typed::new(store.prefixed("agents/1/"), Protobuf);
    let routes = interfaces.of();
    (store, interfaces, routes)
}

async fn commit(interfaces: &Scoped<Interface>, txn: Txn) -> TxnReply {
    interfaces.store().commit(txn).await.unwrap()
}

#[tokio::test]
async fn what_a_transaction_answers_is_read_in_the_type_of_each_operation() {
    let (store, interfaces, routes) = handles();
    interfaces.put("eth0", &mtu(1)).await.unwrap();
    store.put("agents/1/eth1", BROKEN).await.unwrap();
    routes.put("default", &via("a")).await.unwrap();

    let with_previous = PutOptions::default().with_previous();
    let txn = Txn::new()
        .then(
            interfaces
                .put_op_opts("eth0", &mtu(2), with_previous)
                .unwrap(),
        )
        .then(interfaces.delete_op("eth1"))
        .then(routes.delete_op("none"))
        .then(Op::get("default"));
    let reply = commit(&interfaces, txn).await;
    let [put, deleted, none, got] = reply.replies.try_into().unwrap();

    let OpReply::Put(put) = interfaces.decode(put) else {
        panic!("a put answers as a put");
    };
    assert_eq!(put.prev.unwrap().value, Ok(mtu(1)));
    assert_eq!(put.revision, reply.revision);
    let deleted = interfaces.decode(deleted).into_entries();
    assert_eq!(deleted[0].key, "eth1");
    assert_eq!(deleted[0].value.as_ref().unwrap_err().key, "eth1");
    assert!(routes.decode(none).into_entries().is_empty());
    assert_eq!(routes.decode(got).into_entries()[0].value, Ok(via("a")));
}

#[tokio::test]
async fn a_transaction_of_one_type_is_read_whole() {
    let (_, interfaces, _) = handles();
    for n in 0..3 {
        interfaces.put(format!("eth{n}"), &mtu(n)).await.unwrap();
    }
    let reply = commit(&interfaces, Txn::new().then(Op::list(KeyRange::all()))).await;
    let [reply] = interfaces.decode(reply).replies.try_into().unwrap();
    let values = reply.into_entries().into_iter().map(|it| it.value.unwrap());
    assert!(values.eq((0..3).map(mtu)));
}

#[tokio::test]
async fn compares_of_values_guard_a_transaction() {
    let (_, interfaces, routes) = handles();
    interfaces.put("eth0", &mtu(1)).await.unwrap();
    routes.put("default", &via("a")).await.unwrap();
    let both = |eth0: Compare, default: Compare| {
        let put = routes.put_op("default", &via("b")).unwrap();
        Txn::new().when(eth0).when(default).then(put)
    };
    for (eth0, default, holds) in [
        (
            interfaces.equals("eth0", &mtu(2)),
            routes.equals("default", &via("a")),
            false,
        ),
        (
            interfaces.equals("eth0", &mtu(1)),
            routes.differs("default", &via("a")),
            false,
        ),
        (
            interfaces.differs("none", &mtu(1)),
            routes.equals("default", &via("a")),
            false,
        ),
        (
            interfaces.equals("eth0", &mtu(1)),
            routes.equals("default", &via("a")),
            true,
        ),
        (
            interfaces.differs("eth0", &mtu(2)),
            routes.equals("default", &via("b")),
            true,
        ),
    ] {
        let txn = both(eth0.unwrap(), default.unwrap());
        assert_eq!(
            commit(&interfaces, txn.clone()).await.succeeded,
            holds,
            "{txn:?}"
        );
    }
}

#[tokio::test]
async fn equal_messages_compare_as_equal_whatever_the_order_their_maps_were_filled_in() {
    let (_, interfaces, _) = handles();
    let labelled = |order: &mut dyn Iterator<Item = u32>| {
        // A hash map shuffles them once more.
        let labels: HashMap<_, _> = order.map(|n| (n.to_string(), n.to_string())).collect();
        Interface {
            labels: labels.into_iter().collect(),
            ..Interface::default()
        }
    };
    interfaces
        .put("eth0", &labelled(&mut (0..50)))
        .await
        .unwrap();
    let same = labelled(&mut (0..50).rev());
    let condition = interfaces.condition("eth0", &same).unwrap();
    assert!(
        interfaces
            .compare_and_swap("eth0", condition, &same)
            .await
            .unwrap()
            .written
    );
}

#[tokio::test]
async fn a_swap_takes_place_only_on_what_is_expected() {
    let (store, interfaces, _) = handles();
    let first = interfaces.put("eth0", &mtu(1)).await.unwrap();
    let is_one = interfaces.condition("eth0", &mtu(1)).unwrap();
    let two = interfaces
        .compare_and_swap("eth0", is_one.clone(), &mtu(2))
        .await
        .unwrap();
    assert!(two.written);
    for stale in [is_one, Condition::Modified(first), Condition::Absent] {
        let lost = interfaces
            .compare_and_swap("eth0", stale.clone(), &mtu(3))
            .await
            .unwrap();
        assert!(!lost.written, "{stale:?}");
        assert_eq!(lost.prev.unwrap().value, Ok(mtu(2)));
        if stale != Condition::Absent {
            assert!(!interfaces.compare_and_delete("eth0", stale).await.unwrap());
        }
    }
    let seen = Condition::Modified(two.revision);
    assert!(interfaces.compare_and_delete("eth0", seen).await.unwrap());
    assert!(store.get("agents/1/eth0").await.unwrap().is_none());
}

#[tokio::test]
async fn a_delete_tells_the_values_that_went_where_that_is_asked_for() {
    let (store, interfaces, _) = handles();
    interfaces.put("eth0", &mtu(1)).await.unwrap();
    store.put("agents/1/eth1", BROKEN).await.unwrap();
    store.put("agents/10/eth0", "").await.unwrap();
    let options = DeleteOptions::default();
    let none = interfaces
        .delete_opts(KeyRange::key("eth9"), options)
        .await
        .unwrap();
    assert_eq!(none.deleted, 0);
    let reply = interfaces
        .delete_opts(KeyRange::all(), options.with_previous())
        .await
        .unwrap();
    assert_eq!(reply.deleted, 2);
    assert_eq!(reply.prev[0].value, Ok(mtu(1)));
    assert_eq!(reply.prev[1].value.as_ref().unwrap_err().key, "eth1");
    assert!(store.get("agents/10/eth0").await.unwrap().is_some());
}

#[tokio::test]
async fn a_put_in_a_transaction_cannot_keep_the_value_and_bring_one() {
    let (_, interfaces, _) = handles();
    let keep = PutOptions::default().keep_value();
    let error = interfaces
        .put_op_opts("eth0", &Interface::default(), keep)
        .unwrap_err();
    assert!(matches!(
        &error,
        Error::Store(keyval::Error::Invalid { .. })
    ));
    assert!(
        error
            .to_string()
            .contains("\"eth0\" keeps the value and brings one"),
        "{error}"
    );
}

#[tokio::test]
async fn children_are_those_of_the_scope() {
    let (store, interfaces, _) = handles();
    for key in ["if/eth0", "if/eth0/sub/0", "if/eth1/sub/0", "routes/0"] {
        interfaces.put(key, &mtu(1)).await.unwrap();
    }
    store.put("agents/1", "").await.unwrap();
    let names = async |prefix: &'static str| {
        let children = interfaces.children(prefix, b'/').await.unwrap();
        let children = children.collect().await.unwrap();
        children
            .into_iter()
            .map(|it| it.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["if", "routes"]);
    assert_eq!(names("if/").await, ["eth0", "eth1"]);
}

#[tokio::test]
async fn raw_changes_of_a_shared_watch_are_decoded_by_whoever_they_concern() {
    let (store, interfaces, routes) = handles();
    let scope = store.prefixed("agents/1/");
    let watch = scope
        .watch_opts(&KeyRange::all(), keyval::WatchOptions::default())
        .await;
    let mut watch = watch.unwrap();
    let txn = Txn::new()
        .then(interfaces.put_op("eth0", &mtu(1)).unwrap())
        .then(routes.put_op("routes/0", &via("a")).unwrap());
    commit(&interfaces, txn).await;
    let changes = futures::TryStreamExt::try_next(&mut watch)
        .await
        .unwrap()
        .unwrap();
    let [interface, route]: [Change; 2] = changes.changes.try_into().unwrap();
    let interface = interfaces.decode(interface);
    assert_eq!(interface.entry().unwrap().value, Ok(mtu(1)));
    assert_eq!(routes.decode(route).entry().unwrap().value, Ok(via("a")));
}
