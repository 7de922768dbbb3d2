//! The in-memory store at work: what a first look at it must show.

use std::time::Duration;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Change, Error, KeyRange, Leases, ListOptions, Maintenance, Memory, Op,
    PutOptions, Revision, Txn, WatchOptions, Watcher,
};

#[tokio::test]
async fn a_list_of_the_past_shows_the_past() {
    let store = Memory::new();
    let first = store.put("a", "1").await.unwrap();
    assert_eq!(first, Revision::new(2));
    store.put("b", "2").await.unwrap();
    store.put("a", "3").await.unwrap();
    store.delete("b").await.unwrap();
    let past = ListOptions::default().at(Revision::new(3));
    let entries = store
        .list_opts(&KeyRange::all(), past)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let values: Vec<_> = entries.iter().map(|entry| entry.value.as_ref()).collect();
    assert_eq!(values, [b"1", b"2"]);
    store.compact(Revision::new(4)).await.unwrap();
    let error = store.list_opts(&KeyRange::all(), past).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { oldest, .. } if oldest == Some(Revision::new(4))));
    assert_eq!(store.kept_revisions().unwrap(), 1);
}

#[tokio::test]
async fn a_watch_delivers_whole_revisions_in_order() {
    let store = Memory::new();
    let options = WatchOptions::default().with_previous();
    let mut watch = store
        .watch_opts(&KeyRange::prefix("a/"), options)
        .await
        .unwrap();
    store.put("a/1", "x").await.unwrap();
    store.put("b/1", "x").await.unwrap();
    let txn = Txn::new()
        .then(Op::put("a/3", "z"))
        .then(Op::put("a/1", "y"))
        .then(Op::put("b/2", "y"));
    let reply = store.commit(txn).await.unwrap();
    let first = watch.next().await.unwrap().unwrap();
    assert_eq!((first.revision.get(), first.changes.len()), (2, 1));
    let second = watch.next().await.unwrap().unwrap();
    assert_eq!(second.revision, reply.revision);
    let keys: Vec<_> = second
        .changes
        .iter()
        .map(|change| change.key().to_string())
        .collect();
    assert_eq!(keys, ["a/1", "a/3"]);
    assert_eq!(second.changes[0].prev().unwrap().value, "x");
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_at_its_deadline_and_watchers_are_told() {
    let store = Memory::new();
    let mut watch = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    let began = tokio::time::Instant::now();
    let lease = store.grant(Duration::from_secs(5)).await.unwrap();
    let options = PutOptions::default().with_lease(lease.id);
    for key in ["a", "b"] {
        store
            .put_opts(&key.into(), "x".into(), options.clone())
            .await
            .unwrap();
        watch.next().await.unwrap().unwrap();
    }
    let gone = watch.next().await.unwrap().unwrap();
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(gone.changes.len(), 2);
    assert!(matches!(gone.changes[0], Change::Delete { .. }));
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_closed_store_ends_its_watches_and_refuses_everything() {
    let store = Memory::new();
    let mut watch = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { (watch.next().await, watch.next().await) });
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    let (last, end) = waiting.await.unwrap();
    assert!(matches!(last, Some(Err(Error::Closed { .. }))));
    assert!(end.is_none());
    assert!(matches!(store.get("a").await, Err(Error::Closed { .. })));
}

#[tokio::test]
async fn a_task_that_never_waits_gives_way_to_others() {
    let store = Memory::new();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let other = tokio::spawn({
        let done = done.clone();
        async move { done.store(true, std::sync::atomic::Ordering::Relaxed) }
    });
    // On one thread the other task runs only if this one gives way, which no operation has to.
    let mut operations = 0;
    while !done.load(std::sync::atomic::Ordering::Relaxed) {
        store.get("a").await.unwrap();
        operations += 1;
        assert!(operations < 1_000_000, "the other task was never let run");
    }
    other.await.unwrap();
}
