//! Promises of a store whose operations have a deadline.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod wrap_support;

use std::time::Duration;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Error, KeyRange, Leases, Listing, Maintenance, Memory, Op, Outcome, Result,
    Revision, StoreExt, Timeout, Txn, WatchOptions, Watcher,
};
use tokio::time::Instant;

use crate::wrap_support::{Scripted, Step};

const AFTER: Duration = Duration::from_secs(3);

/// A store of which no operation ever ends.
async fn hanging() -> (Timeout<Scripted>, keyval::LeaseId) {
    let store = Scripted::new([]);
    let lease = store.grant(Duration::from_secs(60)).await.unwrap().id;
    for _ in 0..20 {
        store.then(Step::Hang);
    }
    (store.timeout(AFTER), lease)
}

fn assert_timeout<T: std::fmt::Debug>(result: Result<T>, name: &str, expected: Outcome) {
    match result.unwrap_err() {
        Error::Timeout {
            operation,
            after,
            outcome,
            ..
        } => assert_eq!((operation, after, outcome), (name, AFTER, expected)),
        error => panic!("{name}: {error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_operation_blocks_for_ever_and_each_says_what_may_have_happened() {
    let (store, lease) = hanging().await;
    let all = KeyRange::all();
    let begun = Instant::now();

    let read = Outcome::NotApplied;
    assert_timeout(store.get("k").await, "get", read);
    assert_timeout(store.list(all.clone()).await, "list", read);
    assert_timeout(
        store.watch_opts(&all, WatchOptions::default()).await,
        "watch",
        read,
    );
    assert_timeout(
        store.commit(Txn::new().then(Op::get("k"))).await,
        "commit",
        read,
    );
    assert_timeout(store.time_to_live(lease).await, "time_to_live", read);
    assert_timeout(store.status().await, "status", read);

    let write = Outcome::Unknown;
    assert_timeout(store.put("k", "v").await, "put", write);
    assert_timeout(store.delete("k").await, "delete", write);
    assert_timeout(
        store.commit(Txn::new().otherwise(Op::delete("k"))).await,
        "commit",
        write,
    );
    assert_timeout(store.grant(AFTER).await, "grant", write);
    assert_timeout(store.keep_alive(lease).await, "keep_alive", write);
    assert_timeout(store.revoke(lease).await, "revoke", write);
    assert_timeout(store.compact(Revision::new(1)).await, "compact", write);
    assert_timeout(store.close().await, "close", write);

    let timeouts = u32::try_from(store.inner().calls().len() - 1).unwrap();
    assert_eq!(timeouts, 14);
    let took = begun.elapsed();
    assert!(
        took >= AFTER * timeouts && took < AFTER * timeouts + AFTER,
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_in_time_passes_with_its_own_errors() {
    let store = Scripted::new([
        Step::Late(AFTER - Duration::from_millis(10)),
        Step::Late(AFTER - Duration::from_millis(10)),
        Step::Fail(Error::invalid("no")),
    ])
    .timeout(AFTER);
    store.put("k", "v").await.unwrap();
    assert_eq!(store.get("k").await.unwrap().unwrap().value, "v");
    assert!(matches!(store.get("k").await, Err(Error::Invalid { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_comes_too_late_may_have_been_applied_and_says_so() {
    let store = Scripted::new([Step::Late(AFTER * 2)]).timeout(AFTER);
    let error = store.put("k", "v").await.unwrap_err();
    assert!(error.may_have_applied() && error.is_retryable());
    assert_eq!(error.to_string(), "put did not end within 3s");
}

/// Five entries, of which a list yields two at once, and the next ones after these waits.
async fn slow_list(waits: Vec<Duration>) -> Scripted {
    let store = Scripted::new([]);
    for n in 0..5 {
        store.put(format!("{n}"), "v").await.unwrap();
    }
    store.with_lists(slowed(waits))
}

fn slowed(waits: Vec<Duration>) -> impl Fn(Listing) -> Listing {
    move |listing| {
        let waits = waits.clone();
        Listing {
            revision: listing.revision,
            count: listing.count,
            entries: listing
                .entries
                .enumerate()
                .then(move |(position, entry)| {
                    let wait = position
                        .checked_sub(2)
                        .and_then(|at| waits.get(at).copied());
                    async move {
                        if let Some(wait) = wait {
                            tokio::time::sleep(wait).await;
                        }
                        entry
                    }
                })
                .boxed(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_next_entry_of_a_list_has_the_whole_deadline() {
    let nearly = AFTER - Duration::from_millis(10);
    let store = slow_list(vec![nearly, nearly, nearly]).await;
    let listing = store.timeout(AFTER).list(KeyRange::all()).await.unwrap();
    assert_eq!(listing.collect().await.unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_stops_coming_fails_once_and_ends() {
    let store = slow_list(vec![Duration::from_secs(1_000_000)]).await;
    let mut listing = store.timeout(AFTER).list(KeyRange::all()).await.unwrap();
    assert!(listing.entries.next().await.unwrap().is_ok());
    assert!(listing.entries.next().await.unwrap().is_ok());
    let begun = Instant::now();
    assert_timeout(
        listing.entries.next().await.unwrap(),
        "list",
        Outcome::NotApplied,
    );
    assert!(begun.elapsed() < AFTER + Duration::from_millis(10));
    assert!(listing.entries.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_list_may_take_its_time() {
    let store = slow_list(Vec::new()).await.timeout(AFTER);
    let mut listing = store.list(KeyRange::all()).await.unwrap();
    let mut count = 0;
    while let Some(entry) = listing.entries.next().await {
        entry.unwrap();
        count += 1;
        tokio::time::sleep(AFTER * 10).await;
    }
    assert_eq!(count, 5);
}

#[tokio::test(start_paused = true)]
async fn an_open_watch_may_be_silent_for_as_long_as_it_likes() {
    let store = Memory::new().timeout(AFTER);
    let mut watch = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    let silence = tokio::time::timeout(Duration::from_secs(3600), watch.next()).await;
    assert!(
        silence.is_err(),
        "nothing happened, and nothing ended the watch"
    );
    store.put("k", "v").await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().changes.len(), 1);
}

#[tokio::test]
async fn the_deadline_is_shown_and_the_store_below_can_be_had() {
    let store = Memory::new().timeout(Timeout::<Memory>::DEFAULT);
    assert_eq!(store.to_string(), "Timeout(3s, memory)");
    assert_eq!(store.after(), Duration::from_secs(3));
    assert_eq!(store.capabilities(), store.inner().capabilities());
    store.put("k", "v").await.unwrap();
    assert!(store.into_inner().get("k").await.unwrap().is_some());
}
