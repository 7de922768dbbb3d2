//! Why wrappers stand in the order `Observe(Retry(Timeout(Prefixed(store))))`.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod wrap_support;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Error, KeyRange, ManagedStore, Memory, Outcome, Result, RetryPolicy, Store,
    StoreExt, Timeout, WatchOptions, Watcher,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tokio::time::Instant;

use crate::wrap_support::{Scripted, Step, refused};

const AFTER: Duration = Duration::from_secs(3);

/// The whole stack, as it should be.
fn stack<S: Store + Clone>(store: &S) -> impl Store + use<S> {
    store
        .prefixed("agents/1/")
        .timeout(AFTER)
        .retry(RetryPolicy::default())
        .observe("test")
        .with_namespace("agents/1/")
}

fn measured(snapshotter: &Snapshotter) -> Vec<(String, usize)> {
    let mut all = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let DebugValue::Histogram(samples) = value {
            let outcome = key
                .key()
                .labels()
                .find(|label| label.key() == "outcome")
                .unwrap();
            all.push((outcome.value().to_owned(), samples.len()));
        }
    }
    all
}

/// Runs under paused time, and says what was measured.
fn run<T>(test: impl Future<Output = T>) -> (T, Vec<(String, usize)>) {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let done = metrics::with_local_recorder(&recorder, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(test)
    });
    (done, measured(&snapshotter))
}

#[test]
fn each_attempt_has_a_deadline_of_its_own_and_the_whole_is_measured_once() {
    let scripted = Scripted::new([Step::Hang, Step::Fail(refused()), Step::Hang]);
    let store = stack(&scripted);
    let (took, measured) = run(async {
        let begun = Instant::now();
        assert!(store.get("k").await.unwrap().is_none());
        begun.elapsed()
    });
    assert_eq!(scripted.calls(), ["get"; 4]);
    assert!(took >= AFTER * 2 && took < AFTER * 3, "{took:?}");
    assert_eq!(measured, [("ok".to_owned(), 1)]);
}

#[test]
fn a_write_whose_answer_is_late_is_tried_once_and_may_have_been_applied() {
    let scripted = Scripted::new([Step::Late(AFTER * 2)]);
    let store = stack(&scripted);
    let (error, measured) = run(async { store.put("k", "v").await.unwrap_err() });
    assert!(error.may_have_applied());
    assert_eq!(scripted.calls(), ["put"]);
    assert_eq!(measured, [("timeout".to_owned(), 1)]);
}

#[test]
fn a_write_that_is_refused_at_first_is_applied_once() {
    let scripted = Scripted::new([Step::Fail(refused()), Step::Fail(refused())]);
    let store = stack(&scripted);
    let (entry, measured) = run(async {
        store.put("k", "v").await.unwrap();
        scripted.store.get("agents/1/k").await.unwrap().unwrap()
    });
    assert_eq!(entry.version, 1);
    assert_eq!(measured, [("ok".to_owned(), 1)]);
}

#[test]
fn a_timeout_around_the_retry_loses_what_is_known_of_a_write() {
    // The store refuses, in no hurry, until the deadline passes while the retry waits or tries.
    let step = || Step::FailLate(AFTER / 2, refused());
    let attempt = |steps: usize| Scripted::new((0..steps).map(|_| step()));
    let policy = RetryPolicy::default();
    let (wrong, _) = run(async {
        let store = attempt(5).retry(policy).timeout(AFTER);
        store.put("k", "v").await.unwrap_err()
    });
    assert!(wrong.may_have_applied(), "although nothing was");
    let (right, _) = run(async {
        let store = attempt(5).timeout(AFTER).retry(policy);
        store.put("k", "v").await.unwrap_err()
    });
    assert!(!right.may_have_applied());
}

#[test]
fn observing_inside_counts_attempts_and_takes_deadlines_for_callers_who_went_away() {
    let (_, measured) = run(async {
        let store = Scripted::new([Step::Hang, Step::Fail(refused())])
            .observe("test")
            .timeout(AFTER)
            .retry(RetryPolicy::default());
        store.get("k").await.unwrap();
    });
    let mut outcomes: Vec<_> = measured.into_iter().map(|(outcome, _)| outcome).collect();
    outcomes.sort();
    assert_eq!(outcomes, ["cancelled", "ok", "unavailable"]);
}

#[test]
fn what_a_scope_refuses_is_not_tried_again_wherever_the_scope_stands() {
    let scripted = Scripted::new([]);
    let inside = stack(&scripted);
    let outside = scripted
        .clone()
        .timeout(AFTER)
        .retry(RetryPolicy::default())
        .observe("test")
        .prefixed("agents/1/");
    let (_, measured) = run(async {
        for store in [&inside as &dyn Store, &outside] {
            let error = store.get("").await.unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }));
        }
    });
    assert_eq!(scripted.calls(), Vec::<String>::new());
    assert_eq!(
        measured,
        [("invalid".to_owned(), 1)],
        "outside, it never gets there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_go_away_at_any_moment() {
    // While it is tried, while it waits to be tried again, and while it is tried once more.
    for patience in [1, 2900, 3050, 4000, 5900] {
        let scripted = Scripted::new([Step::Hang, Step::Hang, Step::Pass]);
        let store = stack(&scripted);
        let patience = Duration::from_millis(patience);
        assert!(
            tokio::time::timeout(patience, store.get("k"))
                .await
                .is_err()
        );
        let calls = scripted.calls().len();
        tokio::time::sleep(AFTER * 10).await;
        assert_eq!(
            scripted.calls().len(),
            calls,
            "nothing goes on behind the caller's back"
        );
        // And the stack is as good as new.
        assert!(store.get("k").await.is_ok());
    }
}

#[tokio::test]
async fn the_whole_stack_is_a_store_of_every_kind() {
    let memory = Memory::new();
    let whole = memory
        .clone()
        .timeout(Timeout::<Memory>::DEFAULT)
        .retry(RetryPolicy::default())
        .observe("memory");
    let whole: Arc<dyn ManagedStore> = Arc::new(whole);
    let scoped: Arc<dyn Store> = Arc::new(stack(&whole));
    assert_eq!(
        scoped.to_string(),
        "Observe(Retry(5, Timeout(3s, Prefixed(agents/1/, \
         Observe(Retry(5, Timeout(3s, memory)))))))"
    );
    assert_eq!(scoped.capabilities(), memory.capabilities());

    let options = WatchOptions::default();
    let mut watch = scoped.watch_opts(&KeyRange::all(), options).await.unwrap();
    let revision = scoped.put("name", "left").await.unwrap();
    let changes = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (changes.revision, changes.changes[0].key()),
        (revision, &"name".into())
    );
    let entries = scoped
        .list(KeyRange::all())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(entries[0].key, "name");
    assert_eq!(whole.count(KeyRange::prefix("agents/1/")).await.unwrap(), 1);

    whole.close().await.unwrap();
    let closed: Result<_> = scoped.get("name").await;
    assert!(matches!(&closed, Err(Error::Closed { .. })));
    assert_eq!(closed.unwrap_err().outcome(), Outcome::NotApplied);
}
