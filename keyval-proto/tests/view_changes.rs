//! The promises of what a view tells of its changes, and when.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::FutureExt;
use keyval::{Broker, KeyRange, Memory, Op, Revision, Txn};
use keyval_proto::{Difference, Pace, Protobuf, Typed, View, ViewChanges};
use tokio::time::{Instant, sleep, timeout};

type Numbers = Typed<u64, Memory>;

const PACE: Pace = Pace::new(Duration::from_millis(50), Duration::from_millis(200));

/// An empty view, and its changes after the first, which tells that it is empty.
async fn empty(pace: Pace) -> (Numbers, View<u64, Memory>, ViewChanges<u64>) {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    let view = View::open(numbers.clone(), KeyRange::all()).unwrap();
    let mut changes = view.changes(pace);
    let first = changes.next().await.unwrap();
    assert!(first.changes.is_empty());
    (numbers, view, changes)
}

/// `+key=value`, `key=before>after` and `-key=value`.
fn words(told: &Difference<u64>) -> Vec<String> {
    let value = |entry: &keyval_proto::ViewEntry<u64>| *entry.value.as_ref().as_ref().unwrap();
    let added = told.added().map(|it| format!("+{}={}", it.key, value(it)));
    let changed = told
        .changed()
        .map(|(old, new)| format!("{}={}>{}", new.key, value(old), value(new)));
    let removed = told
        .removed()
        .map(|it| format!("-{}={}", it.key, value(it)));
    added.chain(changed).chain(removed).collect()
}

/// Waits until the view shows this revision, without letting the clock move.
async fn seen(view: &View<u64, Memory>, revision: Revision) {
    view.caught_up(revision).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_time_all_there_is_is_told_as_added_at_once() {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    numbers.put("a", &1).await.unwrap();
    numbers.put("b", &2).await.unwrap();
    let view = View::open(numbers, KeyRange::all()).unwrap();
    let began = Instant::now();
    let slow = Pace::new(Duration::from_secs(60), Duration::from_secs(600));
    let told = view.changes(slow).next().await.unwrap();
    assert_eq!(words(&told), ["+a=1", "+b=2"]);
    assert_eq!(told.revision(), view.revision());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_told_once_when_it_is_quiet() {
    let (numbers, view, mut changes) = empty(PACE).await;
    let began = Instant::now();
    for n in 1..=3 {
        numbers.put("a", &n).await.unwrap();
    }
    numbers.put("b", &7).await.unwrap();
    let txn = Txn::new()
        .then(Op::delete("b"))
        .then(numbers.put_op("c", &9).unwrap());
    let at = numbers.store().commit(txn).await.unwrap().revision;
    seen(&view, at).await;
    let told = changes.next().await.unwrap();
    assert_eq!(words(&told), ["+a=3", "+c=9"]);
    assert_eq!(told.revision(), at);
    let took = began.elapsed();
    assert!((PACE.quiet..PACE.quiet * 2).contains(&took), "{took:?}");

    numbers.put("a", &4).await.unwrap();
    numbers.delete("c").await.unwrap();
    assert_eq!(words(&changes.next().await.unwrap()), ["a=3>4", "-c=9"]);
}

#[tokio::test(start_paused = true)]
async fn changes_that_never_rest_are_told_after_the_longest_delay() {
    let (numbers, _view, mut changes) = empty(PACE).await;
    let writer = tokio::spawn(async move {
        for n in 1.. {
            numbers.put("a", &n).await.unwrap();
            sleep(Duration::from_millis(30)).await;
        }
    });
    let began = Instant::now();
    for round in 1..=5u32 {
        changes.next().await.unwrap();
        let (took, most) = (
            began.elapsed(),
            (PACE.longest + Duration::from_millis(35)) * round,
        );
        assert!(
            took >= PACE.longest * round && took <= most,
            "{round}: {took:?}"
        );
    }
    writer.abort();
}

#[tokio::test(start_paused = true)]
async fn what_came_and_went_in_between_is_not_told() {
    let (numbers, view, mut changes) = empty(PACE).await;
    numbers.put("a", &1).await.unwrap();
    numbers.delete("a").await.unwrap();
    let quiet = timeout(Duration::from_secs(5), changes.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    numbers.put("b", &1).await.unwrap();
    assert_eq!(words(&changes.next().await.unwrap()), ["+b=1"]);

    numbers.delete("b").await.unwrap();
    let at = numbers.put("b", &1).await.unwrap();
    seen(&view, at).await;
    let told = changes.next().await.unwrap();
    let (before, after) = told.changed().next().expect("made again is not unchanged");
    assert!(before.created < after.created);
}

#[tokio::test(start_paused = true)]
async fn word_of_progress_is_nothing_to_tell() {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    let view = View::open(numbers.clone(), KeyRange::prefix("in/")).unwrap();
    let mut changes = view.changes(Pace::AT_ONCE);
    assert!(changes.next().await.unwrap().changes.is_empty());
    for n in 1..=3 {
        let at = numbers.put("out/a", &n).await.unwrap();
        let quiet = timeout(Duration::from_secs(60), changes.next()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        assert!(view.revision() >= at, "the view has heard of it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_the_sum() {
    let (numbers, view, mut changes) = empty(Pace::AT_ONCE).await;
    for round in 1..=100 {
        for key in ["a", "b", "c"] {
            let at = numbers.put(key, &round).await.unwrap();
            seen(&view, at).await;
        }
    }
    assert_eq!(
        words(&changes.next().await.unwrap()),
        ["+a=100", "+b=100", "+c=100"]
    );
    assert!(changes.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn giving_up_a_wait_loses_neither_change_nor_time() {
    let (numbers, _view, mut changes) = empty(PACE).await;
    numbers.put("a", &1).await.unwrap();
    let began = Instant::now();
    let mut told = None;
    while told.is_none() {
        told = timeout(Duration::from_millis(1), changes.next()).await.ok();
    }
    assert_eq!(words(&told.unwrap().unwrap()), ["+a=1"]);
    let took = began.elapsed();
    assert!(took >= PACE.quiet && took < PACE.quiet * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_view_tells_what_was_waiting_and_then_nothing() {
    let never = Pace::new(Duration::MAX, Duration::MAX);
    let (numbers, view, mut changes) = empty(never).await;
    let at = numbers.put("a", &1).await.unwrap();
    seen(&view, at).await;
    assert!(changes.next().now_or_never().is_none());
    view.close().await;
    assert_eq!(words(&changes.next().await.unwrap()), ["+a=1"]);
    assert!(changes.next().await.is_none());
    assert!(changes.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn each_listener_has_its_own_pace() {
    let (numbers, view, mut slow) = empty(PACE).await;
    let mut fast = view.changes(Pace::AT_ONCE);
    fast.next().await.unwrap();
    let began = Instant::now();
    numbers.put("a", &1).await.unwrap();
    assert_eq!(words(&fast.next().await.unwrap()), ["+a=1"]);
    assert!(began.elapsed() < PACE.quiet);
    numbers.put("a", &2).await.unwrap();
    assert_eq!(words(&fast.next().await.unwrap()), ["a=1>2"]);
    assert_eq!(words(&slow.next().await.unwrap()), ["+a=2"]);
}
