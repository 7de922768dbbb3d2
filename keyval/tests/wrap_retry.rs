//! Promises of a store that tries again what can safely be tried again.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod wrap_support;

use std::time::Duration;

use futures::StreamExt;
use keyval::{
    BackoffPolicy, Broker, BrokerExt, Error, KeyRange, LeaseId, Leases, Listing, Maintenance,
    Memory, Op, Outcome, Result, Retry, RetryPolicy, Revision, StoreExt, Txn, WatchOptions,
    Watcher,
};
use tokio::time::Instant;

use crate::wrap_support::{Scripted, Step, lost, refused};

/// A store whose next operations fail like this, and which is tried again.
fn failing(errors: impl IntoIterator<Item = Error>) -> Retry<Scripted> {
    Scripted::new(errors.into_iter().map(Step::Fail)).retry(RetryPolicy::default())
}

fn attempts(store: &Retry<Scripted>) -> usize {
    store.inner().calls().len()
}

async fn count<T>(store: &Retry<Scripted>, operation: impl Future<Output = Result<T>>) -> usize {
    store.inner().forget_calls();
    // What the operation says of its lease or revision does not matter here.
    drop(operation.await);
    attempts(store)
}

/// How often each operation reaches a store that fails like this at first.
async fn attempts_of_each(error: fn() -> Error) -> Vec<(&'static str, usize)> {
    let all = KeyRange::all();
    let lease = LeaseId::new(1).unwrap();
    let store = failing([]);
    let next = || store.inner().then(Step::Fail(error()));
    let mut counts = Vec::new();
    macro_rules! count {
        ($name:literal, $operation:expr) => {{
            next();
            counts.push(($name, count(&store, $operation).await));
        }};
    }
    count!("get", store.get("k"));
    count!("list", store.list(all.clone()));
    count!("watch", store.watch_opts(&all, WatchOptions::default()));
    count!(
        "read-only commit",
        store.commit(Txn::new().then(Op::get("k")))
    );
    count!("time_to_live", store.time_to_live(lease));
    count!("keep_alive", store.keep_alive(lease));
    count!("status", store.status());
    count!("put", store.put("k", "v"));
    count!("delete", store.delete("k"));
    count!("commit", store.commit(Txn::new().then(Op::put("k", "v"))));
    count!("grant", store.grant(Duration::from_secs(5)));
    count!("revoke", store.revoke(lease));
    count!("compact", store.compact(Revision::new(2)));
    count!("close", store.close());
    counts
}

#[tokio::test(start_paused = true)]
async fn what_was_certainly_not_applied_is_tried_again() {
    for (operation, attempts) in attempts_of_each(refused).await {
        let expected = if operation == "close" { 1 } else { 2 };
        assert_eq!(attempts, expected, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_have_been_applied_is_never_tried_again() {
    let reads = [
        "get",
        "list",
        "watch",
        "read-only commit",
        "time_to_live",
        "keep_alive",
        "status",
    ];
    for (operation, attempts) in attempts_of_each(lost).await {
        let expected = if reads.contains(&operation) { 2 } else { 1 };
        assert_eq!(attempts, expected, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_fail_again_is_not_tried_again() {
    for (operation, attempts) in attempts_of_each(|| Error::backend("?", Outcome::NotApplied)).await
    {
        assert_eq!(attempts, 1, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_does_not_make_a_second_put() {
    let store = Scripted::new([Step::Lose(lost())]).retry(RetryPolicy::default());
    let error = store.put_if_absent("k", "v").await.unwrap_err();
    assert!(error.may_have_applied());
    assert_eq!(store.get("k").await.unwrap().unwrap().version, 1);
}

#[tokio::test(start_paused = true)]
async fn the_operation_that_succeeds_at_last_is_whole() {
    let store = failing([refused(), refused(), refused(), refused()]);
    let txn = Txn::new()
        .when(keyval::Compare::absent("k"))
        .then(Op::put("k", "v"))
        .then(Op::get("k"));
    let reply = store.commit(txn).await.unwrap();
    assert!(reply.succeeded);
    assert_eq!(reply.replies.len(), 2);
    assert_eq!(attempts(&store), 5);
}

#[tokio::test(start_paused = true)]
async fn attempts_and_waits_are_bounded_and_the_last_error_comes_out_unchanged() {
    let numbered = |n| Error::unavailable(format!("attempt {n}"), Outcome::NotApplied);
    for seed in 0..50 {
        fastrand::seed(seed);
        let store = failing((1..100).map(numbered));
        let begun = Instant::now();
        let error = store.put("k", "v").await.unwrap_err();
        assert_eq!(error.to_string(), "the store is unavailable: attempt 5");
        assert_eq!(attempts(&store), 5);
        // 100 + 200 + 400 + 800 ms, and the clock counts whole ones.
        assert!(
            begun.elapsed() <= Duration::from_millis(1504),
            "seed {seed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_left_to_chance() {
    let mut waits = std::collections::BTreeSet::new();
    for seed in 0..20 {
        fastrand::seed(seed);
        let store = failing([refused()]);
        let begun = Instant::now();
        store.put("k", "v").await.unwrap();
        waits.insert(begun.elapsed());
    }
    assert!(waits.len() > 10, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_after_the_budget() {
    let slow = Duration::from_secs(4);
    let budget = Duration::from_secs(10);
    let policy = RetryPolicy::default()
        .with_attempts(1000)
        .with_budget(budget)
        .with_backoff(BackoffPolicy::default().with_max(Duration::from_millis(100)));
    let store = Scripted::new((0..1000).map(|_| Step::FailLate(slow, refused()))).retry(policy);
    let begun = Instant::now();
    assert!(store.get("k").await.is_err());
    // The third attempt begins after some 8 s and takes 4 more; a fourth would begin after 12 s.
    assert_eq!(attempts(&store), 3);
    assert!(begun.elapsed() < budget + slow);
}

#[tokio::test(start_paused = true)]
async fn with_one_attempt_or_none_nothing_is_tried_again() {
    for attempts in [0, 1] {
        let store = Scripted::new([Step::Fail(refused())])
            .retry(RetryPolicy::default().with_attempts(attempts));
        assert!(store.get("k").await.is_err());
        assert_eq!(store.inner().calls().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_failures_count_although_the_backoff_has_calmed_down() {
    // Each failure takes longer than the time after which a backoff forgets.
    let policy = RetryPolicy::default().with_budget(Duration::from_secs(100_000));
    let slow = Duration::from_secs(60);
    let store = Scripted::new((0..100).map(|_| Step::FailLate(slow, refused()))).retry(policy);
    assert!(store.get("k").await.is_err());
    assert_eq!(attempts(&store), 5);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_when_open_is_not_repaired() {
    let store = Scripted::new([])
        .with_lists(|listing| Listing {
            revision: listing.revision,
            count: None,
            entries: futures::stream::iter([Err(refused())]).boxed(),
        })
        .retry(RetryPolicy::default());
    let listing = store.list(KeyRange::all()).await.unwrap();
    assert!(matches!(
        listing.collect().await,
        Err(Error::Unavailable { .. })
    ));
    assert_eq!(attempts(&store), 1);
}

#[tokio::test]
async fn the_policy_is_shown_and_the_store_below_can_be_had() {
    let store = Memory::new().retry(RetryPolicy::default());
    assert_eq!(store.to_string(), "Retry(5, memory)");
    assert_eq!(store.policy().budget, Duration::from_secs(10));
    assert_eq!(store.capabilities(), store.inner().capabilities());
    store.put("k", "v").await.unwrap();
    assert!(store.into_inner().get("k").await.unwrap().is_some());
}
