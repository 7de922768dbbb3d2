//! The history of the in-memory store: how much is kept, what compaction frees, and the limits.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Bytes, Connector, DeleteOptions, Entry, Error, GetOptions, Key, KeyRange,
    ListOptions, Maintenance, Memory, MemoryConfig, MemoryConnector, MemoryOptions, Op, Revision,
    Txn, WatchOptions, Watcher,
};
use tokio::time::advance;

async fn present(store: &Memory) -> Revision {
    store.status().await.unwrap().revision.unwrap()
}

async fn compacted(store: &Memory) -> Revision {
    store.status().await.unwrap().compacted.unwrap()
}

async fn list(store: &Memory, options: ListOptions) -> keyval::Result<Vec<Entry>> {
    store
        .list_opts(&KeyRange::all(), options)
        .await?
        .collect()
        .await
}

#[tokio::test]
async fn a_retention_by_count_keeps_what_it_says_and_not_much_more() {
    let options = MemoryOptions::default().with_retain_revisions(100);
    let store = Memory::with_options(options);
    for i in 0..10_000 {
        store.put(format!("{}", i % 10), "x").await.unwrap();
    }
    let now = present(&store).await;
    assert_eq!(compacted(&store).await.get(), now.get() - 100);
    assert_eq!(store.kept_revisions().unwrap(), 100);
    let back = Revision::new(now.get() - 100);
    assert_eq!(
        list(&store, ListOptions::default().at(back))
            .await
            .unwrap()
            .len(),
        10
    );
    let error = list(&store, ListOptions::default().at(back.previous())).await;
    assert!(matches!(error, Err(Error::Compacted { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_retention_by_age_keeps_at_least_what_it_says() {
    let options = MemoryOptions::default().with_retain_for(Duration::from_secs(60));
    let store = Memory::with_options(options);
    for i in 0..600_u64 {
        let at = store.put("a", format!("{i}")).await.unwrap();
        let a_minute_ago = Revision::new(at.get().saturating_sub(60).max(1));
        let options = GetOptions::default().at(a_minute_ago);
        store.get_opts(&"a".into(), options).await.unwrap();
        advance(Duration::from_secs(1)).await;
    }
    let kept = store.kept_revisions().unwrap();
    assert!((60..=63).contains(&kept), "{kept} revisions are kept");
}

#[tokio::test(start_paused = true)]
async fn two_retentions_keep_what_either_of_them_wants() {
    let options = MemoryOptions::default()
        .with_retain_revisions(10)
        .with_retain_for(Duration::from_secs(60));
    let store = Memory::with_options(options);
    for _ in 0..50 {
        store.put("a", "x").await.unwrap();
    }
    assert_eq!(compacted(&store).await, Revision::ZERO);
    advance(Duration::from_secs(120)).await;
    store.put("a", "x").await.unwrap();
    assert!(store.kept_revisions().unwrap() >= 10);
}

#[tokio::test]
async fn a_compaction_keeps_the_state_at_its_revision_and_all_after_it() {
    let store = Memory::new();
    store.put("gone", "x").await.unwrap();
    store.put("kept", "1").await.unwrap();
    store.delete("gone").await.unwrap();
    store.put("again", "x").await.unwrap();
    store.delete("again").await.unwrap();
    let to = store.put("kept", "2").await.unwrap();
    store.put("again", "y").await.unwrap();
    store.put("kept", "3").await.unwrap();
    store.compact(to).await.unwrap();
    let then = list(&store, ListOptions::default().at(to)).await.unwrap();
    assert_eq!(then.len(), 1);
    assert_eq!(
        (&then[0].key, &then[0].value[..]),
        (&"kept".into(), &b"2"[..])
    );
    assert_eq!((then[0].version, then[0].created), (2, Revision::new(3)));
    let now = list(&store, ListOptions::default()).await.unwrap();
    assert_eq!(now.len(), 2);
    assert!(now[0].is_new());
    // What is kept can be watched, with what stood there before.
    let options = WatchOptions::default()
        .starting_at(to.next())
        .with_previous();
    let mut watch = store.watch_opts(&KeyRange::all(), options).await.unwrap();
    assert!(
        watch.next().await.unwrap().unwrap().changes[0]
            .prev()
            .is_none()
    );
    let changes = watch.next().await.unwrap().unwrap();
    assert_eq!(changes.changes[0].prev().unwrap().value, "2");
}

#[tokio::test]
async fn what_cannot_be_compacted_is_said_with_the_numbers() {
    let store = Memory::new();
    let now = store.put("a", "x").await.unwrap();
    let error = store.compact(now.next()).await.unwrap_err();
    assert!(matches!(error, Error::FutureRevision { requested, current }
            if requested == now.next() && current == Some(now)));
    store.compact(now).await.unwrap();
    let error = store.compact(now).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { requested, oldest }
            if requested == now && oldest == Some(now)));
    let old = WatchOptions::default().starting_at(now);
    let error = store.watch_opts(&KeyRange::all(), old).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { .. }));
}

#[tokio::test]
async fn a_list_whose_revision_is_compacted_under_it_fails_and_is_never_short() {
    let store = Memory::new();
    for i in 0..2000 {
        store.put(format!("{i:04}"), "x").await.unwrap();
    }
    let listing = store.list(KeyRange::all()).await.unwrap();
    let mut entries = listing.entries;
    assert!(entries.next().await.unwrap().is_ok());
    store.delete_prefix("1").await.unwrap();
    store.compact(present(&store).await).await.unwrap();
    let rest: Vec<_> = entries.collect().await;
    let (last, before) = rest.split_last().unwrap();
    assert!(matches!(last, Err(Error::Compacted { .. })));
    assert!(before.iter().all(Result::is_ok));
}

#[tokio::test]
async fn deleted_keys_cost_nothing_after_a_compaction() {
    let store = Memory::new();
    for i in 0..1000 {
        store.put(format!("{i}"), "x").await.unwrap();
    }
    let options = DeleteOptions::default().with_previous();
    let reply = store.delete_opts(&KeyRange::all(), options).await.unwrap();
    assert_eq!((reply.deleted, reply.prev.len()), (1000, 1000));
    assert_eq!(store.kept_revisions().unwrap(), 1001);
    store.compact(reply.revision).await.unwrap();
    assert_eq!(store.kept_revisions().unwrap(), 0);
    assert_eq!(store.status().await.unwrap().size, Some(0));
    // The keys can come again, and are new.
    store.put("1", "x").await.unwrap();
    assert!(store.get("1").await.unwrap().unwrap().is_new());
}

#[tokio::test]
async fn a_compaction_that_is_dropped_is_finished_by_later_writes() {
    let store = Memory::new();
    for _ in 0..1000 {
        store.put("a", "x").await.unwrap();
    }
    let to = present(&store).await;
    {
        let compaction = store.compact(to);
        futures::pin_mut!(compaction);
        // Polled once: it has begun, and has more to do.
        assert!(futures::poll!(&mut compaction).is_pending());
    }
    assert!(store.kept_revisions().unwrap() > 0);
    for _ in 0..200 {
        store.put("a", "x").await.unwrap();
    }
    assert_eq!(store.kept_revisions().unwrap(), 200);
}

#[tokio::test]
async fn the_size_is_that_of_what_exists() {
    let store = Memory::new();
    store.put("a", "12345").await.unwrap();
    store.put("bb", "1").await.unwrap();
    assert_eq!(store.status().await.unwrap().size, Some(9));
    store.put("a", "").await.unwrap();
    assert_eq!(store.status().await.unwrap().size, Some(4));
    store.delete("bb").await.unwrap();
    let status = store.status().await.unwrap();
    assert_eq!(status.size, Some(1));
    assert!(status.version.starts_with("memory "), "{}", status.version);
}

#[tokio::test]
async fn the_limits_can_be_set_and_are_told_with_the_numbers() {
    let mut config = MemoryConfig::default();
    config.max_txn_ops = Some(2);
    config.max_request_bytes = Some(10);
    let store = MemoryConnector::connect(&config).await.unwrap();
    assert_eq!(MemoryConnector::BACKEND, "memory");
    let error = store.put("key", Bytes::from(vec![0; 8])).await.unwrap_err();
    assert!(matches!(
        error,
        Error::TooLarge {
            size: 11,
            limit: Some(10)
        }
    ));
    store.put("key", Bytes::from(vec![0; 7])).await.unwrap();
    let txn = ["a", "b", "c"]
        .into_iter()
        .fold(Txn::new(), |txn, key| txn.then(Op::put(key, "")));
    let error = store.commit(txn).await.unwrap_err();
    assert!(matches!(
        error,
        Error::TooManyOps {
            count: 3,
            limit: Some(2)
        }
    ));
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 1);
}

#[tokio::test]
async fn the_key_is_copied_and_a_buffer_it_came_from_is_let_go() {
    let store = Memory::new();
    let buffer = Bytes::from(vec![b'k'; 1 << 20]);
    store.put(Key::from(buffer.slice(..8)), "x").await.unwrap();
    assert!(buffer.is_unique());
}

#[tokio::test]
async fn all_handles_are_closed_with_one_and_everything_after_says_so() {
    let store = Memory::new();
    store.put("a", "x").await.unwrap();
    let listing = store.list(KeyRange::all()).await.unwrap();
    let mut watch = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    store.put("b", "x").await.unwrap();
    store.clone().close().await.unwrap();
    assert!(matches!(listing.collect().await, Err(Error::Closed { .. })));
    assert!(matches!(
        watch.next().await,
        Some(Err(Error::Closed { .. }))
    ));
    assert!(watch.next().await.is_none());
    assert!(matches!(
        store.put("a", "y").await,
        Err(Error::Closed { .. })
    ));
    assert!(matches!(store.status().await, Err(Error::Closed { .. })));
    assert!(matches!(
        store.compact(Revision::new(2)).await,
        Err(Error::Closed { .. })
    ));
    assert!(matches!(
        store
            .watch_opts(&KeyRange::all(), WatchOptions::default())
            .await,
        Err(Error::Closed { .. })
    ));
    store.close().await.unwrap();
    assert_eq!(store.to_string(), "memory");
}
