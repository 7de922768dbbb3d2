//! Leases of the in-memory store: exact under paused time, and at home on any runtime.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use keyval::{
    Broker, BrokerExt, Change, ChangeStream, Changes, Error, Key, KeyRange, LeaseId, Leases,
    Lifetime, Maintenance, Memory, MemoryOptions, Op, PutOptions, Txn, WatchOptions, Watcher,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance, sleep, timeout};

async fn watch(store: &Memory) -> ChangeStream {
    store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap()
}

async fn next(watch: &mut ChangeStream) -> Changes {
    watch.next().await.unwrap().unwrap()
}

async fn put_with(store: &Memory, key: &str, lifetime: impl Into<PutOptions>) -> Option<LeaseId> {
    let (key, options) = (key.into(), lifetime.into());
    let reply = store.put_opts(&key, "x".into(), options).await;
    reply.unwrap().lease
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_short_ttl_is_raised_to_the_minimum_and_rounded_up_and_said() {
    let store = Memory::new();
    assert_eq!(store.grant(seconds(1)).await.unwrap().ttl, seconds(2));
    let odd = store.grant(Duration::from_millis(5001)).await.unwrap();
    assert_eq!(odd.ttl, seconds(6));
    let patient = Memory::with_options(MemoryOptions::default().with_min_ttl(seconds(10)));
    assert_eq!(patient.capabilities().min_ttl, Some(seconds(10)));
    assert_eq!(patient.grant(seconds(1)).await.unwrap().ttl, seconds(10));
    let error = store.grant(Duration::from_millis(999)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_there_until_the_deadline_and_not_at_it() {
    let store = Memory::new();
    put_with(&store, "a", Lifetime::Ttl(seconds(3))).await;
    advance(seconds(3) - Duration::from_millis(1)).await;
    assert!(store.get("a").await.unwrap().is_some());
    advance(Duration::from_millis(1)).await;
    assert!(store.get("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn each_lease_ends_as_one_revision_in_the_order_of_the_deadlines() {
    let store = Memory::new();
    let late = store.grant(seconds(9)).await.unwrap().id;
    let early = store.grant(seconds(4)).await.unwrap().id;
    for (key, lease) in [("late/1", late), ("early/1", early), ("early/2", early)] {
        put_with(&store, key, Lifetime::Lease(lease)).await;
    }
    let before = store.status().await.unwrap().revision.unwrap();
    let mut watch = watch(&store).await;
    let first = next(&mut watch).await;
    assert_eq!(first.revision, before.next());
    let keys: Vec<_> = first.changes.iter().map(Change::key).collect();
    assert_eq!(keys, ["early/1", "early/2"]);
    let second = next(&mut watch).await;
    assert_eq!(second.revision, first.revision.next());
    assert_eq!(second.changes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_moves_the_deadline_and_nothing_else() {
    let store = Memory::new();
    let lease = store.grant(seconds(5)).await.unwrap().id;
    put_with(&store, "a", Lifetime::Lease(lease)).await;
    let revision = store.status().await.unwrap().revision;
    let mut watch = watch(&store).await;
    for _ in 0..10 {
        advance(seconds(4)).await;
        assert_eq!(store.keep_alive(lease).await.unwrap(), seconds(5));
        let status = store.time_to_live(lease).await.unwrap();
        assert_eq!((status.granted, status.remaining), (seconds(5), seconds(5)));
        assert_eq!(status.keys, ["a"]);
    }
    assert_eq!(store.status().await.unwrap().revision, revision);
    let began = Instant::now();
    assert_eq!(next(&mut watch).await.changes.len(), 1);
    assert_eq!(began.elapsed().as_secs(), 5);
    for error in [
        store.keep_alive(lease).await.unwrap_err(),
        store.revoke(lease).await.unwrap_err(),
        store.time_to_live(lease).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::LeaseLost { lease: lost } if lost == lease));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_put_detaches_a_key_and_keep_does_not() {
    let store = Memory::new();
    for key in ["plain", "kept", "moved"] {
        put_with(&store, key, Lifetime::Ttl(seconds(5))).await;
    }
    let other = store.grant(seconds(60)).await.unwrap().id;
    put_with(&store, "plain", Lifetime::Permanent).await;
    put_with(&store, "kept", Lifetime::Keep).await;
    put_with(&store, "moved", Lifetime::Lease(other)).await;
    advance(seconds(5)).await;
    let left = store.list(KeyRange::all()).await.unwrap();
    let left: Vec<_> = left.collect().await.unwrap();
    let keys: Vec<_> = left.iter().map(|entry| entry.key.to_string()).collect();
    assert_eq!(keys, ["moved", "plain"]);
    assert_eq!(left[0].lease, Some(other));
    assert_eq!(left[1].lease, None);
}

#[tokio::test]
async fn revoking_a_lease_without_keys_makes_no_revision() {
    let store = Memory::new();
    let lease = store.grant(seconds(60)).await.unwrap().id;
    let keys = store.grant(seconds(60)).await.unwrap().id;
    put_with(&store, "a", Lifetime::Lease(keys)).await;
    let before = store.status().await.unwrap().revision.unwrap();
    store.revoke(lease).await.unwrap();
    assert_eq!(store.status().await.unwrap().revision, Some(before));
    store.revoke(keys).await.unwrap();
    assert_eq!(store.status().await.unwrap().revision, Some(before.next()));
    let error = store
        .put_opts(&"a".into(), "x".into(), Lifetime::Lease(keys).into())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_failed_transaction_grants_no_lease_and_changes_nothing() {
    let store = Memory::new();
    let ended = store.grant(seconds(2)).await.unwrap().id;
    store.revoke(ended).await.unwrap();
    let txn = Txn::new()
        .then(Op::put("a", "x"))
        .then(Op::Put(
            "b".into(),
            "x".into(),
            Lifetime::Ttl(seconds(5)).into(),
        ))
        .then(Op::Put(
            "c".into(),
            "x".into(),
            Lifetime::Lease(ended).into(),
        ));
    let error = store.commit(txn).await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { lease } if lease == ended));
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 0);
    assert_eq!(store.kept_revisions().unwrap(), 0);
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

#[test]
fn a_store_outlives_the_runtime_on_which_a_lease_was_granted() {
    let store = Memory::new();
    runtime().block_on(async {
        put_with(&store, "a", Lifetime::Ttl(seconds(3600))).await;
    });
    // The first runtime is gone, and with it whatever ran there.
    runtime().block_on(async {
        put_with(&store, "b", Lifetime::Ttl(seconds(5))).await;
        let mut watch = watch(&store).await;
        assert_eq!(next(&mut watch).await.changes[0].key(), &Key::from("b"));
    });
}

#[test]
fn a_watch_on_another_runtime_learns_of_a_lease_that_ends() {
    let store = Memory::new();
    let still = runtime();
    still.block_on(async {
        put_with(&store, "a", Lifetime::Ttl(seconds(5))).await;
    });
    // The first runtime still exists, but nobody drives it.
    let other = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    other.block_on(async {
        let mut watch = watch(&store).await;
        let gone = timeout(seconds(60), next(&mut watch)).await.unwrap();
        assert!(matches!(gone.changes[0], Change::Delete { .. }));
    });
    drop(still);
}

#[test]
fn leases_work_without_a_runtime() {
    let store = Memory::new();
    // Nothing but time stands between a call and its answer, so one poll is enough.
    let grant = store.grant(seconds(1)).now_or_never().unwrap().unwrap();
    let status = store.time_to_live(grant.id).now_or_never().unwrap();
    assert!(status.unwrap().remaining <= seconds(2));
}

#[tokio::test(start_paused = true)]
async fn a_closed_or_dropped_store_leaves_no_task_behind() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let closed = Memory::new();
    closed.grant(seconds(60)).await.unwrap();
    assert_eq!(tasks(), before + 1);
    closed.close().await.unwrap();
    assert_eq!(tasks(), before);
    let dropped = Memory::new();
    dropped.grant(seconds(60)).await.unwrap();
    drop(dropped);
    // An aborted task ends when its runtime comes to it.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(tasks(), before);
}

fn idle_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_close_does_not_wait_for_a_runtime_that_stands_still() {
    let store = Memory::new();
    let still = idle_runtime();
    still.block_on(store.grant(seconds(60))).unwrap();
    let closed = idle_runtime().block_on(async { timeout(seconds(10), store.close()).await });
    closed
        .expect("close must not wait for the other runtime")
        .unwrap();
    drop(still);
}

#[test]
fn a_watcher_learns_of_an_expiry_whatever_becomes_of_other_runtimes() {
    let store = Memory::with_options(MemoryOptions::default().with_min_ttl(seconds(1)));
    let still = idle_runtime();
    let working = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let gone = working.block_on(async {
        let mut changes = watch(&store).await;
        let (told, tell) = tokio::sync::oneshot::channel();
        let watching = tokio::spawn(async move {
            let put = next(&mut changes).await;
            told.send(()).unwrap();
            (put, next(&mut changes).await)
        });
        put_with(&store, "key", Lifetime::Ttl(seconds(1))).await;
        tell.await.unwrap();
        // The last grant comes from a runtime that nobody drives from then on.
        let other = store.clone();
        let still = &still;
        std::thread::scope(|scope| {
            scope.spawn(move || still.block_on(other.grant(seconds(60))).unwrap());
        });
        timeout(seconds(20), watching).await
    });
    let (_, gone) = gone.expect("the expiry must reach the watcher").unwrap();
    assert!(matches!(gone.changes[..], [Change::Delete { .. }]));
}

#[tokio::test]
async fn a_least_ttl_beyond_all_bounds_cuts_no_transaction_in_two() {
    let store = Memory::with_options(MemoryOptions::default().with_min_ttl(Duration::MAX));
    let ttl = PutOptions::default().with_ttl(seconds(5));
    let txn = Txn::new()
        .then(Op::put("a", "1"))
        .then(Op::Put("b".into(), "2".into(), ttl));
    let revision = store.commit(txn).await.unwrap().revision;
    let listing = store.list(KeyRange::all()).await.unwrap();
    assert_eq!(
        (listing.revision, listing.collect().await.unwrap().len()),
        (revision, 2)
    );
}
