//! The promises of a view's picture: what it shows, when, and how it ends.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, poll};
use keyval::testing::{Faulty, Operation};
use keyval::{
    Broker, BrokerExt, FollowState, KeyRange, Maintenance, Memory, MirrorError, Op, RetryPolicy,
    Store, StoreExt, Txn,
};
use keyval_proto::{Codec, Error, Pace, Protobuf, Typed, View, ViewOptions, ViewSnapshot};
use keyval_proto_messages::Interface;

/// No protobuf: a field of a wire type that does not exist.
const BROKEN: &[u8] = b"\xff\xff";

fn mtu(mtu: u32) -> Interface {
    Interface {
        mtu,
        ..Interface::default()
    }
}

/// `eth0=1500`, or `eth0!` for a value that cannot be decoded.
fn shown(picture: &ViewSnapshot<Interface>) -> Vec<String> {
    let words = picture.iter().map(|entry| match &*entry.value {
        Ok(value) => format!("{}={}", entry.key, value.mtu),
        Err(error) => {
            assert_eq!((&error.key, error.revision), (&entry.key, entry.modified));
            format!("{}!", entry.key)
        }
    });
    words.collect()
}

#[tokio::test]
async fn a_view_shows_its_range_in_order_and_nothing_else() {
    let store = Memory::new();
    let typed = Typed::<Interface, _>::new(store.prefixed("agents/1/"), Protobuf);
    store.put("agents/10/eth0", "").await.unwrap();
    for (key, value) in [("if/eth1", 2), ("if/eth0", 1), ("routes/0", 9)] {
        typed.put(key, &mtu(value)).await.unwrap();
    }
    let view = View::open(typed, KeyRange::prefix("if/")).unwrap();
    assert_eq!(
        shown(&view.ready().await.unwrap()),
        ["if/eth0=1", "if/eth1=2"]
    );
    assert_eq!(view.get("if/eth1").unwrap().version, 1);
    assert!(view.get("routes/0").is_none());
}

#[tokio::test]
async fn a_view_is_ready_once_it_shows_all_there_is() {
    let store = Faulty::new(Memory::new());
    store
        .put("eth0", Protobuf.encode(&mtu(1500)).unwrap())
        .await
        .unwrap();
    let control = store.control();
    control.hang();
    let view = View::open(Typed::<Interface, _>::new(store, Protobuf), KeyRange::all()).unwrap();
    let mut ready = Box::pin(view.ready());
    control.until_called(Operation::List, 1).await;
    assert!(poll!(&mut ready).is_pending());
    assert!(view.snapshot().is_empty() && view.get("eth0").is_none());
    control.heal();
    assert_eq!(shown(&ready.await.unwrap()), ["eth0=1500"]);
}

#[tokio::test]
async fn who_has_written_sees_what_was_written() {
    let typed = Typed::<Interface, _>::new(Memory::new().prefixed("a/"), Protobuf);
    let view = View::open(typed.clone(), KeyRange::all()).unwrap();
    for n in 0..100 {
        let at = typed.put("eth0", &mtu(n)).await.unwrap();
        let picture = view.caught_up(at).await.unwrap();
        assert!(picture.revision() >= at && view.revision() >= at);
        assert_eq!(shown(&picture), [format!("eth0={n}")]);
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_decoded_is_a_state_of_its_key_alone() {
    let store = Memory::new();
    let typed = Typed::<Interface, _>::new(store.clone(), Protobuf);
    store.put("eth0", BROKEN).await.unwrap();
    typed.put("eth1", &mtu(1)).await.unwrap();
    let view = View::open(typed.clone(), KeyRange::all()).unwrap();
    assert_eq!(shown(&view.ready().await.unwrap()), ["eth0!", "eth1=1"]);

    let at = store.put("eth1", BROKEN).await.unwrap();
    assert_eq!(
        shown(&view.caught_up(at).await.unwrap()),
        ["eth0!", "eth1!"]
    );
    let at = typed.put("eth0", &mtu(2)).await.unwrap();
    assert_eq!(
        shown(&view.caught_up(at).await.unwrap()),
        ["eth0=2", "eth1!"]
    );
    let at = store.put("eth2", "").await.unwrap();
    assert_eq!(
        shown(&view.caught_up(at).await.unwrap()),
        ["eth0=2", "eth1!", "eth2=0"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_picture_is_that_of_one_revision_and_none_goes_back() {
    let store = Memory::new();
    let typed = Typed::<Interface, _>::new(store.clone(), Protobuf);
    let view = View::open(typed.clone(), KeyRange::all()).unwrap();
    view.ready().await.unwrap();
    let readers = (0..2).map(|_| {
        let view = view.clone();
        tokio::task::spawn_blocking(move || {
            let mut last = 0;
            while last < 2000 {
                let picture = view.snapshot();
                let value = |key| {
                    picture
                        .get(key)
                        .map_or(0, |it| it.value.as_ref().as_ref().unwrap().mtu)
                };
                let (left, right) = (value("left"), value("right"));
                assert_eq!(left, right, "half of revision {}", picture.revision());
                assert!(left >= last, "{left} after {last}");
                last = left;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for n in 1..=2000 {
        let left = typed.put_op("left", &mtu(n)).unwrap();
        let right = typed.put_op("right", &mtu(n)).unwrap();
        store
            .commit(Txn::new().then(left).then(right))
            .await
            .unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_went_during_an_outage_is_gone_afterwards_and_the_outage_is_told() {
    let store = Faulty::new(Memory::new());
    let (control, inner) = (store.control(), store.inner().clone());
    let typed = Typed::<Interface, _>::new(store.clone(), Protobuf);
    for key in ["eth0", "eth1", "eth2"] {
        typed.put(key, &mtu(1)).await.unwrap();
    }
    let view = View::open(typed, KeyRange::all()).unwrap();
    let mut state = view.state();
    state.wait_for(FollowState::is_connected).await.unwrap();
    let mut changes = view.changes(Pace::AT_ONCE);
    assert_eq!(changes.next().await.unwrap().added().count(), 3);

    control.cut();
    let outage = state.wait_for(|state| state.outage().is_some()).await;
    assert!(outage.unwrap().outage().unwrap().cause.contains("cut off"));
    let behind = Typed::<Interface, _>::new(inner.clone(), Protobuf);
    inner
        .commit(Txn::new().then(Op::delete("eth0")).then(Op::delete("eth1")))
        .await
        .unwrap();
    behind.put("eth1", &mtu(2)).await.unwrap();
    behind.put("eth3", &mtu(3)).await.unwrap();
    // The changes of the outage are lost: only a new complete picture can tell.
    store.compact_now().await.unwrap();
    assert_eq!(shown(&view.snapshot()), ["eth0=1", "eth1=1", "eth2=1"]);

    control.heal();
    let told = changes.next().await.unwrap();
    let keys = |entries: Vec<&keyval_proto::ViewEntry<Interface>>| {
        entries
            .iter()
            .map(|it| it.key.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(told.removed().collect()), ["eth0"]);
    assert_eq!(
        keys(told.changed().map(|(_, after)| after).collect()),
        ["eth1"]
    );
    assert_eq!(keys(told.added().collect()), ["eth3"]);
    assert_eq!(shown(&told.snapshot), ["eth1=2", "eth2=1", "eth3=3"]);
    state.wait_for(FollowState::is_connected).await.unwrap();
}

#[tokio::test]
async fn a_closed_view_leaves_no_watch_and_keeps_its_picture() {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    let typed = Typed::<Interface, _>::new(store, Protobuf);
    let at = typed.put("eth0", &mtu(1)).await.unwrap();
    let view = View::open(typed.clone(), KeyRange::all()).unwrap();
    view.caught_up(at).await.unwrap();
    view.state()
        .wait_for(FollowState::is_connected)
        .await
        .unwrap();
    assert_eq!((control.open_watches(), view.is_closed()), (1, false));

    let other = view.clone();
    tokio::join!(view.close(), other.close());
    assert_eq!((control.open_watches(), view.is_closed()), (0, true));
    other.close().await;

    let next = typed.put("eth0", &mtu(2)).await.unwrap();
    assert_eq!(shown(&view.snapshot()), ["eth0=1"]);
    assert!(view.ready().await.is_ok(), "it was ready");
    let late = view.caught_up(next).await;
    assert_eq!(late.unwrap_err(), MirrorError::WriterGone);
    let mut changes = view.changes(Pace::AT_ONCE);
    assert_eq!(changes.next().await.unwrap().added().count(), 1);
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn the_last_handle_takes_the_view_along() {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    let view = View::open(Typed::<Interface, _>::new(store, Protobuf), KeyRange::all()).unwrap();
    let mut changes = view.changes(Pace::AT_ONCE);
    assert!(changes.next().await.is_some());
    let state = view.state();
    let other = view.clone();
    drop(view);
    assert!(changes.next().now_or_never().is_none(), "the other goes on");
    drop(other);
    assert!(changes.next().await.is_none());
    let mut ended = state.clone();
    while ended.changed().await.is_ok() {}
    assert_eq!(control.open_watches(), 0);
}

#[tokio::test]
async fn a_range_that_cannot_be_followed_ends_the_view_and_the_state_says_why() {
    let store = Memory::new();
    let typed = Typed::<Interface, _>::new(store.clone(), Protobuf);
    store.close().await.unwrap();
    let view = View::open(typed, KeyRange::all()).unwrap();
    assert_eq!(view.ready().await.unwrap_err(), MirrorError::WriterGone);
    let state = view.state().borrow().clone();
    assert!(
        state.outage().unwrap().cause.contains("closed"),
        "{state:?}"
    );
    view.close().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_the_view_is_opened() {
    let typed = Typed::<Interface, _>::new(Memory::new(), Protobuf);
    let open = |range, options| View::open_opts(typed.clone(), range, options);
    let silence = ViewOptions::default().follow.with_silence(Duration::ZERO);
    for (refused, told) in [
        (
            open(KeyRange::span("b", "a"), ViewOptions::default()),
            "holds no key",
        ),
        (
            open(KeyRange::all(), ViewOptions::default().with_attempts(0)),
            "at least 1 attempt",
        ),
        (
            open(KeyRange::all(), ViewOptions::default().with_follow(silence)),
            "silence",
        ),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Store(keyval::Error::Invalid { .. })));
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn a_view_outside_of_a_runtime_is_refused() {
    let typed = Typed::<Interface, _>::new(Memory::new(), Protobuf);
    let error = View::open(typed, KeyRange::all()).unwrap_err();
    assert!(
        error.to_string().contains("within a tokio runtime"),
        "{error}"
    );
}

#[tokio::test]
async fn a_view_stands_on_any_stack_of_wrappers() {
    let shared: Arc<dyn Store> = Arc::new(Memory::new());
    let stack = shared
        .prefixed("agents/1/")
        .timeout(Duration::from_secs(1))
        .retry(RetryPolicy::default())
        .observe("memory");
    let typed = Typed::<Interface, _>::new(stack, Protobuf);
    let view = View::open(typed, KeyRange::all()).unwrap();
    let edited = view.update("eth0", |_| mtu(1)).await.unwrap();
    let picture = view.caught_up(edited.revision).await.unwrap();
    assert_eq!(shown(&picture), ["eth0=1"]);
}
