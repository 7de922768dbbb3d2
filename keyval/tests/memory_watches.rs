//! Watches of the in-memory store: what unread ones cost, and what they are told.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use keyval::{
    Broker, BrokerExt, ChangeStream, Error, KeyRange, Maintenance, Memory, Op, Revision, Txn,
    WatchOptions, Watcher,
};
use tokio::time::Instant;

async fn watch(store: &Memory, range: impl Into<KeyRange>, options: WatchOptions) -> ChangeStream {
    store.watch_opts(&range.into(), options).await.unwrap()
}

fn prefix(prefix: &str) -> KeyRange {
    KeyRange::prefix(prefix)
}

async fn present(store: &Memory) -> Revision {
    store.status().await.unwrap().revision.unwrap()
}

#[tokio::test]
async fn an_unread_watch_does_not_keep_history_alive() {
    let store = Memory::new();
    let mut behind = watch(&store, prefix("a/"), WatchOptions::default()).await;
    let mut untouched = watch(&store, prefix("b/"), WatchOptions::default()).await;
    for i in 0..5000 {
        store.put("a/x", format!("{i}")).await.unwrap();
    }
    assert_eq!(store.kept_revisions().unwrap(), 5000);
    let to = present(&store).await;
    store.compact(to).await.unwrap();
    assert_eq!(store.kept_revisions().unwrap(), 0);
    let error = behind.next().await.unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Compacted { requested, oldest }
            if requested == Revision::new(2) && oldest == Some(to)),
        "{error}"
    );
    assert!(behind.next().await.is_none(), "the first error ends it");
    // Nothing that concerned this one was compacted.
    store.put("b/x", "1").await.unwrap();
    let changes = untouched.next().await.unwrap().unwrap();
    assert_eq!(changes.revision, to.next());
}

#[tokio::test]
async fn a_watch_far_behind_is_told_every_revision_once() {
    let store = Memory::new();
    let mut lagging = watch(&store, prefix("a/"), WatchOptions::default()).await;
    let mut expected = Vec::new();
    for i in 0..3000_u64 {
        if i % 3 == 0 {
            store.put("b/x", "noise").await.unwrap();
        }
        expected.push(store.put(format!("a/{}", i % 7), "x").await.unwrap());
        // Now and then it reads a little: from memory of late, from history, and in between.
        if i % 97 == 0 {
            let seen = lagging.next().await.unwrap().unwrap();
            assert_eq!(seen.revision, expected.remove(0));
        }
    }
    for revision in expected {
        assert_eq!(lagging.next().await.unwrap().unwrap().revision, revision);
    }
    assert!(lagging.next().now_or_never().is_none());
}

#[tokio::test]
async fn watchers_of_one_range_at_different_speeds_are_told_the_same() {
    let store = Memory::new();
    let mut watches = Vec::new();
    for _ in 0..5 {
        watches.push((
            watch(&store, prefix("a/"), WatchOptions::default()).await,
            Vec::new(),
        ));
    }
    let mut expected = Vec::new();
    for i in 0..400_usize {
        expected.push(store.put("a/x", "x").await.unwrap());
        for (speed, (watch, seen)) in watches.iter_mut().enumerate() {
            // The first reads all there is, the others in ever larger strides.
            if i % (speed * speed * 7 + 1) == 0 {
                while let Some(item) = watch.next().now_or_never() {
                    seen.push(item.unwrap().unwrap().revision);
                }
            }
        }
    }
    for (watch, seen) in &mut watches {
        while let Some(item) = watch.next().now_or_never() {
            seen.push(item.unwrap().unwrap().revision);
        }
        assert_eq!(*seen, expected);
    }
}

#[tokio::test]
async fn every_kind_of_range_is_told_what_concerns_it() {
    let store = Memory::new();
    let ranges = [
        KeyRange::all(),
        KeyRange::key("a"),
        KeyRange::key("a/"),
        prefix("a"),
        prefix("a/"),
        prefix("a/b"),
        KeyRange::prefix(&b"\xff"[..]),
        KeyRange::prefix(&b"\xff\xff"[..]),
        KeyRange::span("a", "b"),
        KeyRange::span("a/a", "a/c"),
        KeyRange::span("A", "z"),
        KeyRange::span(&b"\xfe"[..], &b"\xff\x01"[..]),
    ];
    let mut watches = Vec::new();
    for range in &ranges {
        watches.push(watch(&store, range.clone(), WatchOptions::default()).await);
    }
    let keys: [&[u8]; 10] = [
        b"a",
        b"a/",
        b"a/b",
        b"a/bb",
        b"a/c",
        b"b",
        b"\xff",
        b"\xff\x00",
        b"\xff\xff",
        b"A",
    ];
    for key in keys {
        let at = store.put(key, "x").await.unwrap();
        for (range, watch) in ranges.iter().zip(&mut watches) {
            let told = watch
                .next()
                .now_or_never()
                .map(|item| item.unwrap().unwrap());
            assert_eq!(
                told.map(|changes| changes.revision),
                range.contains(&key.into()).then_some(at),
                "{range:?} and {key:?}"
            );
        }
    }
}

#[tokio::test]
async fn one_revision_is_delivered_whole_to_each_range() {
    let store = Memory::new();
    let mut all = watch(&store, KeyRange::all(), WatchOptions::default()).await;
    let mut some = watch(&store, prefix("b/"), WatchOptions::default()).await;
    let mut txn = Txn::new();
    for i in (0..100).rev() {
        let scope = ["a", "b"][i % 2];
        txn = txn.then(Op::put(format!("{scope}/{i:03}"), "x"));
    }
    store.commit(txn).await.unwrap();
    assert_eq!(all.next().await.unwrap().unwrap().changes.len(), 100);
    let some = some.next().await.unwrap().unwrap();
    assert_eq!(some.changes.len(), 50);
    assert!(some.changes.is_sorted_by_key(|change| change.key().clone()));
}

#[tokio::test(start_paused = true)]
async fn progress_comes_as_often_as_asked_and_only_while_nothing_happens() {
    let store = Memory::new();
    let every = Duration::from_secs(10);
    let options = WatchOptions::default().with_progress(every);
    let mut watch = watch(&store, prefix("a/"), options).await;
    let other = store.put("b/x", "x").await.unwrap();
    let began = Instant::now();
    let first = watch.next().await.unwrap().unwrap();
    assert!(first.is_progress());
    assert_eq!((first.revision, began.elapsed()), (other, every));
    store.put("a/x", "x").await.unwrap();
    assert!(!watch.next().await.unwrap().unwrap().is_progress());
    assert_eq!(began.elapsed(), every);
    let second = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (second.revision, began.elapsed()),
        (other.next(), every * 2)
    );
    assert!(second.is_progress());
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_the_future_waits_for_it() {
    let store = Memory::new();
    let options = WatchOptions::default()
        .starting_at(Revision::new(5))
        .with_progress(Duration::from_secs(1));
    let mut watch = watch(&store, KeyRange::all(), options).await;
    assert_eq!(watch.after(), Revision::new(4));
    let writer = tokio::spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            store.put("a", "x").await.unwrap();
        }
    });
    let mut revisions = Vec::new();
    while revisions.len() < 2 {
        let changes = watch.next().await.unwrap().unwrap();
        assert!(changes.revision.get() >= 4, "nothing before its start");
        if !changes.is_progress() {
            revisions.push(changes.revision.get());
        }
    }
    assert_eq!(revisions, [5, 6]);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_dropped_watch_is_forgotten_and_the_others_stay() {
    let store = Memory::new();
    let mut watches = Vec::new();
    for i in 0..100 {
        let range = prefix(["a/", "b/"][i % 2]);
        watches.push(watch(&store, range, WatchOptions::default()).await);
    }
    for i in (0..100).rev() {
        if i % 3 > 0 {
            drop(watches.remove(i));
        }
    }
    store.put("a/x", "x").await.unwrap();
    store.put("b/x", "x").await.unwrap();
    for watch in &mut watches {
        assert_eq!(watch.next().await.unwrap().unwrap().changes.len(), 1);
        assert!(watch.next().now_or_never().is_none());
    }
}

#[tokio::test]
async fn a_task_that_is_dropped_with_its_watch_does_not_lock_the_store() {
    let store = Memory::new();
    let mut watch = watch(&store, KeyRange::all(), WatchOptions::default()).await;
    let task = tokio::spawn(async move { watch.next().await });
    tokio::task::yield_now().await;
    task.abort();
    store.put("a", "x").await.unwrap();
    assert!(task.await.is_err());
    store.put("a", "y").await.unwrap();
}

#[tokio::test]
async fn the_first_watch_of_a_range_can_begin_in_the_past() {
    let store = Memory::new();
    let first = store.put("a/x", "1").await.unwrap();
    let second = store.put("a/x", "2").await.unwrap();
    for from in [first, second] {
        let options = WatchOptions::default().starting_at(from);
        let mut watch = watch(&store, prefix("a/"), options).await;
        let told = watch.next().now_or_never().expect("it has happened");
        assert_eq!(told.unwrap().unwrap().revision, from);
    }
}
