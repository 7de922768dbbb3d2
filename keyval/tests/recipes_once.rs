//! Promises of writes that are tried again although an answer was lost.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use keyval::recipes::{commit_once, put_once};
use keyval::testing::{Fault, Faulty, Operation};
use keyval::{
    BrokerExt, Compare, Error, LeaseId, Leases, Lifetime, Maintenance, Memory, Op, PutOptions,
    PutReply, Result, RetryPolicy, Revision, Txn,
};

type Store = Faulty<Memory>;

/// A store with `key` at its first value.
async fn store() -> (Store, Revision) {
    let store = Faulty::new(Memory::new());
    let put = store.inner().put("key", "first").await.unwrap();
    (store, put)
}

async fn put(store: &Store, key: &str, value: &'static str) -> Result<PutReply> {
    put_once(
        store,
        key,
        value,
        PutOptions::default(),
        RetryPolicy::default(),
    )
    .await
}

/// Applies so many transactions and loses their answers.
fn lose_answers(store: &Store, times: usize) {
    let control = store.control();
    control.fail_next_of(Operation::Commit, times, Fault::answer_lost());
}

/// A transaction that is guarded by the revision of `key`.
fn guarded(revision: Revision) -> Txn {
    Txn::new()
        .when(Compare::modified("key", revision))
        .then(Op::put("key", "second"))
        .then(Op::put("other", "too"))
}

async fn version(store: &Store, key: &str) -> u64 {
    store.inner().get(key).await.unwrap().unwrap().version
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_in_the_history() {
    let (store, revision) = store().await;
    lose_answers(&store, 1);
    let reply = commit_once(&store, guarded(revision), RetryPolicy::default())
        .await
        .unwrap();
    assert!(reply.succeeded);
    assert_eq!(reply.revision, revision.next());
    assert_eq!(reply.replies.len(), 2);
    assert_eq!(version(&store, "key").await, 2, "it was applied once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_sent_again() {
    let (store, revision) = store().await;
    store
        .control()
        .fail_next_of(Operation::Commit, 2, Fault::request_lost());
    let reply = commit_once(&store, guarded(revision), RetryPolicy::default())
        .await
        .unwrap();
    assert!(reply.succeeded);
    assert_eq!(version(&store, "key").await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_overwritten_at_once_is_still_found() {
    let (store, revision) = store().await;
    store.control().fail_next_of(
        Operation::Commit,
        1,
        Fault::new(|| Error::unavailable("lost", keyval::Outcome::Unknown)).after_applying(),
    );
    let writer = store.clone();
    let first = tokio::spawn(async move {
        commit_once(&writer, guarded(revision), RetryPolicy::default()).await
    });
    // While it waits for its second attempt.
    store.control().until_called(Operation::Commit, 1).await;
    store.inner().put("key", "by another").await.unwrap();
    store.inner().delete("other").await.unwrap();
    let reply = first.await.unwrap().unwrap();
    assert!(reply.succeeded);
    assert_eq!(reply.revision, revision.next());
    assert_eq!(store.get("key").await.unwrap().unwrap().value, "by another");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_came_too_late_is_told_as_refused() {
    let (store, revision) = store().await;
    store
        .control()
        .fail_next_of(Operation::Commit, 1, Fault::request_lost());
    let writer = store.clone();
    let late = tokio::spawn(async move {
        commit_once(&writer, guarded(revision), RetryPolicy::default()).await
    });
    store.control().until_called(Operation::Commit, 1).await;
    store.inner().put("key", "by another").await.unwrap();
    let reply = late.await.unwrap().unwrap();
    assert!(!reply.succeeded);
    assert_eq!(store.get("key").await.unwrap().unwrap().value, "by another");
    assert!(store.get("other").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_gone_leaves_the_doubt() {
    let (store, revision) = store().await;
    lose_answers(&store, 1);
    let writer = store.clone();
    let doubtful = tokio::spawn(async move {
        commit_once(&writer, guarded(revision), RetryPolicy::default()).await
    });
    store.control().until_called(Operation::Commit, 1).await;
    let last = store.inner().put("key", "by another").await.unwrap();
    store.inner().compact(last).await.unwrap();
    let error = doubtful.await.unwrap().unwrap_err();
    assert!(error.may_have_applied(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_another_compare_leaves_the_doubt() {
    let (store, revision) = store().await;
    let flag = store.inner().put("flag", "on").await.unwrap();
    let txn = guarded(revision).when(Compare::modified("flag", flag));
    store
        .control()
        .fail_next_of(Operation::Commit, 1, Fault::request_lost());
    let writer = store.clone();
    let doubtful =
        tokio::spawn(async move { commit_once(&writer, txn, RetryPolicy::default()).await });
    store.control().until_called(Operation::Commit, 1).await;
    store.inner().put("flag", "off").await.unwrap();
    // The first request may still be on its way, and the flag could come on again.
    assert!(doubtful.await.unwrap().unwrap_err().may_have_applied());
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_good_is_not_tried_again() {
    let (store, revision) = store().await;
    let denied = || {
        Fault::new(|| Error::Denied {
            message: "no".to_owned(),
        })
    };
    store.control().fail_next_of(Operation::Commit, 1, denied());
    let before = store.control().calls(Operation::Commit);
    let error = commit_once(&store, guarded(revision), RetryPolicy::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Denied { .. }));
    assert_eq!(store.control().calls(Operation::Commit) - before, 1);
    // Behind a lost answer it is the doubt that counts.
    lose_answers(&store, 1);
    store.control().fail_next_of(Operation::Commit, 1, denied());
    let error = commit_once(&store, guarded(revision), RetryPolicy::default())
        .await
        .unwrap_err();
    assert!(error.may_have_applied());
}

#[tokio::test]
async fn a_transaction_without_a_lasting_guard_is_refused() {
    let (store, revision) = store().await;
    let put = || Op::put("key", "second");
    for (txn, why) in [
        (Txn::new().then(put()), "no compare"),
        (
            Txn::new().when(Compare::absent("key")).then(put()),
            "a key can come back to absence",
        ),
        (
            Txn::new()
                .when(Compare::modified("key", Revision::ZERO))
                .then(put()),
            "absence again",
        ),
        (
            Txn::new()
                .when(Compare::modified("other", revision))
                .then(put()),
            "the guarded key is not put",
        ),
        (guarded(revision).then(Op::delete("third")), "a delete"),
        (
            guarded(revision).then(Op::Put(
                "third".into(),
                "v".into(),
                PutOptions::default().with_ttl(Duration::from_secs(9)),
            )),
            "a lease of its own",
        ),
    ] {
        let error = commit_once(&store, txn, RetryPolicy::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{why}: {error}");
    }
    assert_eq!(
        store.control().calls(Operation::Commit),
        0,
        "nothing was sent"
    );
}

#[tokio::test(start_paused = true)]
async fn a_put_takes_place_once_whatever_answers_are_lost() {
    for lost in 1..4 {
        let (store, _) = store().await;
        lose_answers(&store, lost);
        let reply = put(&store, "key", "second").await.unwrap();
        let entry = store.inner().get("key").await.unwrap().unwrap();
        assert_eq!(
            (entry.version, entry.modified),
            (2, reply.revision),
            "{lost}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_begins_anew_when_somebody_else_was_faster() {
    let (store, _) = store().await;
    store
        .control()
        .fail_next_of(Operation::Commit, 1, Fault::request_lost());
    let writer = store.clone();
    let put = tokio::spawn(async move { put(&writer, "key", "mine").await });
    store.control().until_called(Operation::Commit, 1).await;
    store.inner().put("key", "by another").await.unwrap();
    let reply = put.await.unwrap().unwrap();
    let entry = store.inner().get("key").await.unwrap().unwrap();
    assert_eq!((entry.version, entry.modified), (3, reply.revision));
    assert_eq!(entry.value, "mine");
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_in_the_history_and_not_put_again() {
    let (store, _) = store().await;
    lose_answers(&store, 1);
    let reply = put(&store, "new", "value").await.unwrap();
    let entry = store.inner().get("new").await.unwrap().unwrap();
    assert_eq!((entry.version, entry.modified), (1, reply.revision));
    assert_eq!(store.control().calls(Operation::Commit), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_without_a_trace_stays_in_doubt() {
    let store = Faulty::new(Memory::new());
    store
        .control()
        .fail_next_of(Operation::Commit, 1, Fault::request_lost());
    let error = put(&store, "new", "value").await.unwrap_err();
    assert!(error.may_have_applied());
    assert!(store.inner().get("new").await.unwrap().is_none());
    assert_eq!(store.control().calls(Operation::Commit), 1);
}

#[tokio::test(start_paused = true)]
async fn a_put_once_lives_as_long_as_its_lease() {
    let (store, _) = store().await;
    let lease = store
        .inner()
        .grant(Duration::from_secs(5))
        .await
        .unwrap()
        .id;
    let options = || PutOptions::default().with_lease(lease);
    lose_answers(&store, 2);
    put_once(&store, "key", "leased", options(), RetryPolicy::default())
        .await
        .unwrap();
    let entry = store.inner().get("key").await.unwrap().unwrap();
    assert_eq!(entry.lease, Some(lease));
    store.inner().revoke(lease).await.unwrap();
    let error = put_once(&store, "key", "leased", options(), RetryPolicy::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
}

#[tokio::test]
async fn an_option_that_cannot_be_proven_is_refused() {
    let (store, _) = store().await;
    let plain = PutOptions::default;
    for options in [
        plain().with_previous(),
        plain().keep_value(),
        plain().with_ttl(Duration::from_secs(2)),
        plain().with_lifetime(Lifetime::Keep),
        plain().only_if(keyval::Condition::Absent),
    ] {
        let value = if options.keep_value { "" } else { "value" };
        let error = put_once(&store, "key", value, options, RetryPolicy::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    let lease = LeaseId::new(7).unwrap();
    let options = plain().with_lease(lease);
    let error = put_once(&store, "", "value", options, RetryPolicy::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Invalid { .. }),
        "an empty key: {error}"
    );
}
