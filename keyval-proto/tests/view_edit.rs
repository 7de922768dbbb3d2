//! The promises of edits: nothing unseen is overwritten, and nothing is lost.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use keyval::testing::{Fault, Faulty, Operation};
use keyval::{
    BrokerExt, FollowState, KeyRange, LeaseId, Leases, Lifetime, Memory, PutOptions, Revision,
    Store, StoreExt,
};
use keyval_proto::{Draft, Edit, Error, Pace, Protobuf, Typed, View, ViewOptions};

type Numbers<S> = Typed<u64, S>;

/// No protobuf: a field of a wire type that does not exist.
const BROKEN: &[u8] = b"\xff\xff";

async fn open<S: Store + Clone>(numbers: &Numbers<S>) -> View<u64, S> {
    let view = View::open(numbers.clone(), KeyRange::all()).unwrap();
    view.ready().await.unwrap();
    view
}

async fn value<S: Store>(numbers: &Numbers<S>, key: &str) -> Option<u64> {
    numbers.get(key).await.unwrap().map(|entry| entry.value)
}

/// A store whose watches are silent, with a view that has seen `a=1` and not `a=5`.
async fn behind() -> (Numbers<Faulty<Memory>>, View<u64, Faulty<Memory>>) {
    let store = Faulty::new(Memory::new());
    let numbers = Numbers::new(store.clone(), Protobuf);
    numbers.put("a", &1).await.unwrap();
    let view = open(&numbers).await;
    view.state()
        .wait_for(FollowState::is_connected)
        .await
        .unwrap();
    store.control().silence();
    numbers.put("a", &5).await.unwrap();
    (numbers, view)
}

/// Many tasks count one number up, each through a view of its own or a shared one.
async fn race(store: impl Store + Clone) {
    const TASKS: u64 = 16;
    const TIMES: u64 = 15;
    let numbers = Numbers::new(store, Protobuf);
    let options = ViewOptions::default().with_attempts(u32::MAX);
    let open = || View::open_opts(numbers.clone(), KeyRange::all(), options.clone()).unwrap();
    let shared = open();
    let tasks = (0..TASKS).map(|n| {
        let view = if n % 2 == 0 { shared.clone() } else { open() };
        tokio::spawn(async move {
            for _ in 0..TIMES {
                let up = |old: Option<&u64>| old.copied().unwrap_or(0) + 1;
                view.update("count", up).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let count = numbers.get("count").await.unwrap().unwrap();
    assert_eq!((count.value, count.version), (TASKS * TIMES, TASKS * TIMES));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_is_lost_however_many_race() {
    race(Memory::new()).await;
    race(Memory::new().prefixed("agents/1/")).await;
    let slow = Faulty::new(Memory::new());
    slow.control().delay(Duration::from_micros(300));
    race(slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn edits_of_several_keys_take_place_together_or_not_at_all() {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    let accounts = ["a", "b", "c", "d"];
    for account in accounts {
        numbers.put(account, &100).await.unwrap();
    }
    let options = ViewOptions::default().with_attempts(u32::MAX);
    let view = View::open_opts(numbers, KeyRange::all(), options).unwrap();
    let mut changes = view.changes(Pace::AT_ONCE);
    changes.next().await.unwrap();
    let tasks = (0..8).map(|n| {
        let view = view.clone();
        tokio::spawn(async move {
            let mut last = Revision::ZERO;
            for i in 0..40 {
                let (from, to) = (accounts[(n + i) % 4], accounts[(n + 2 * i + 1) % 4]);
                match view.edit(|draft| transfer(draft, from, to)).await {
                    Ok(moved) => last = moved.revision,
                    Err(Error::Refused { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            last
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let watcher = tokio::spawn(async move {
        let mut last = Revision::ZERO;
        while let Some(told) = changes.next().await {
            let values = told.snapshot.iter();
            let values = values.map(|it| *it.value.as_ref().as_ref().unwrap());
            assert_eq!(values.sum::<u64>(), 400, "at revision {}", told.revision());
            last = told.revision();
        }
        last
    });
    let mut last = Revision::ZERO;
    for task in tasks {
        last = last.max(task.await.unwrap());
    }
    view.caught_up(last).await.unwrap();
    view.close().await;
    assert!(last > Revision::ZERO && watcher.await.unwrap() >= last);
}

fn transfer(draft: &mut Draft<'_, u64>, from: &str, to: &str) -> Result<(), Error> {
    if from == to {
        return Err(Error::refused("there is nothing to move"));
    }
    let (left, right) = (draft.get(from)?.copied(), draft.get(to)?.copied());
    let rest = left.unwrap_or(0).checked_sub(30);
    let rest = rest.ok_or_else(|| Error::refused("not enough"))?;
    draft.put(from, &rest)?;
    draft.put(to, &(right.unwrap_or(0) + 30))
}

#[tokio::test]
async fn what_the_view_has_not_seen_is_not_overwritten() {
    let (numbers, view) = behind().await;
    let mut seen = Vec::new();
    let edited = view.update("a", |old| {
        seen.extend(old);
        old.map(|old| old + 1)
    });
    let edited = edited.await.unwrap();
    assert_eq!((seen, edited.attempts), (vec![1, 5], 2));
    let entry = numbers.get("a").await.unwrap().unwrap();
    assert_eq!((entry.value, entry.modified), (6, edited.revision));
    assert_eq!(
        *view.get("a").unwrap().value,
        Ok(1),
        "the view is still behind"
    );
}

#[tokio::test]
async fn a_key_that_came_unseen_is_not_overwritten_and_one_that_went_is_not_made_again() {
    let (numbers, view) = behind().await;
    numbers.put("b", &7).await.unwrap();
    numbers.delete("a").await.unwrap();
    let mut seen = Vec::new();
    view.edit(|draft| {
        let (a, b) = (draft.get("a")?.copied(), draft.get("b")?.copied());
        seen.push((a, b));
        draft.put("sum", &(a.unwrap_or(0) + b.unwrap_or(0)))
    })
    .await
    .unwrap();
    assert_eq!(seen, [(Some(1), None), (None, Some(7))]);
    assert_eq!(value(&numbers, "sum").await, Some(7));
}

#[tokio::test]
async fn a_decision_that_writes_nothing_is_confirmed_too() {
    let (numbers, view) = behind().await;
    let edited = view.update("a", |old| match old {
        Some(1) => Edit::Keep,
        _ => Edit::Put(9),
    });
    assert_eq!(edited.await.unwrap().attempts, 2);
    assert_eq!(value(&numbers, "a").await, Some(9));

    let (numbers, view) = behind().await;
    let enough = view.edit(|draft| match draft.get("a")? {
        Some(1) => Err(Error::refused("too few")),
        other => Ok(other.copied()),
    });
    assert_eq!(enough.await.unwrap().value, Some(5));

    let before = numbers.get("a").await.unwrap().unwrap();
    let refused = view.edit(|draft| {
        draft.put("a", &77)?;
        draft.get("a")?;
        Err::<(), _>(Error::refused("changed my mind"))
    });
    let error = refused.await.unwrap_err();
    assert_eq!(error.to_string(), "the edit was refused: changed my mind");
    assert!(!error.may_have_applied() && !error.is_retryable());
    assert_eq!(numbers.get("a").await.unwrap().unwrap(), before);
}

#[tokio::test]
async fn an_edit_that_looks_at_nothing_asks_the_store_nothing() {
    let (numbers, view) = behind().await;
    let control = numbers.store().control();
    let commits = control.calls(Operation::Commit);
    assert_eq!(view.edit(|_| Ok(3)).await.unwrap().value, 3);
    assert_eq!(control.calls(Operation::Commit), commits);
}

#[tokio::test(start_paused = true)]
async fn an_edit_gives_up_after_as_many_attempts_as_it_may() {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    for attempts in [1, 2, 7] {
        let options = ViewOptions::default().with_attempts(attempts);
        let view = View::open_opts(numbers.clone(), KeyRange::all(), options).unwrap();
        view.ready().await.unwrap();
        let asked = AtomicU32::new(0);
        let lost = view.update("a", |_| {
            // Somebody is always faster.
            let put = numbers.store().put(
                "a",
                keyval_proto::Codec::<u64>::encode(&Protobuf, &1).unwrap(),
            );
            put.now_or_never().expect("memory answers at once").unwrap();
            asked.fetch_add(1, Ordering::Relaxed);
            2
        });
        let error = lost.await.unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), attempts);
        assert!(!error.may_have_applied() && error.is_retryable());
        assert_eq!(
            error.to_string(),
            format!(
                "the edit lost the race for \"a\" {attempts} times: try later, or allow more attempts"
            )
        );
        assert_eq!(value(&numbers, "a").await, Some(1));
    }
}

#[tokio::test]
async fn an_edit_whose_answer_is_lost_is_not_tried_again() {
    let store = Faulty::new(Memory::new());
    let numbers = Numbers::new(store.clone(), Protobuf);
    numbers.put("a", &1).await.unwrap();
    let view = open(&numbers).await;
    let up = |old: Option<&u64>| old.copied().unwrap_or(0) + 1;
    store
        .control()
        .fail_next_of(Operation::Commit, 1, Fault::answer_lost());
    let error = view.update("a", up).await.unwrap_err();
    assert!(error.may_have_applied());
    assert_eq!(value(&numbers, "a").await, Some(2), "once");

    store
        .control()
        .fail_next_of(Operation::Commit, 1, Fault::refused());
    let error = view.update("a", up).await.unwrap_err();
    assert!(!error.may_have_applied() && error.is_retryable());
    assert_eq!(value(&numbers, "a").await, Some(2));
}

#[tokio::test]
async fn a_key_keeps_its_lease_unless_told_otherwise() {
    async fn lease<S: Store>(numbers: &Numbers<S>) -> Option<LeaseId> {
        numbers.get("a").await.unwrap().unwrap().lease
    }
    let numbers = Numbers::new(Memory::new(), Protobuf);
    let grant = numbers
        .store()
        .grant(Duration::from_secs(60))
        .await
        .unwrap();
    let options = PutOptions::default().with_lease(grant.id);
    numbers.put_opts("a", &1, options).await.unwrap();
    let view = open(&numbers).await;
    view.update("a", |_| 2).await.unwrap();
    assert_eq!(lease(&numbers).await, Some(grant.id));
    view.edit(|draft| draft.put_for("a", &3, Lifetime::Permanent))
        .await
        .unwrap();
    assert_eq!(lease(&numbers).await, None);
    view.edit(|draft| draft.put_for("a", &4, Lifetime::Lease(grant.id)))
        .await
        .unwrap();
    assert_eq!(lease(&numbers).await, Some(grant.id));
}

#[tokio::test]
async fn none_deletes_and_deleting_what_is_not_there_does_nothing() {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    let put = numbers.put("a", &1).await.unwrap();
    let view = open(&numbers).await;
    let gone = view.update("a", |_| None).await.unwrap();
    assert!(gone.revision > put && value(&numbers, "a").await.is_none());
    let again = view.update("a", |_| None).await.unwrap();
    assert_eq!(again.revision, gone.revision);
    view.edit(|draft| {
        draft.put("a", &1)?;
        draft.delete("a")?;
        draft.delete("b")?;
        draft.put("b", &2)
    })
    .await
    .unwrap();
    assert_eq!(value(&numbers, "a").await, None, "the last word counts");
    assert_eq!(value(&numbers, "b").await, Some(2), "the last word counts");
}

#[tokio::test]
async fn a_value_that_cannot_be_decoded_is_replaced_on_purpose_only() {
    let store = Memory::new();
    let numbers = Numbers::new(store.clone(), Protobuf);
    let broken = store.put("a", BROKEN).await.unwrap();
    let view = open(&numbers).await;
    let error = view.update("a", |_| 1).await.unwrap_err();
    assert!(matches!(&error, Error::Decode(it) if it.key == "a" && it.revision == broken));
    assert_eq!(store.get("a").await.unwrap().unwrap().value, BROKEN);

    let repair = view.edit(|draft| {
        let entry = draft.entry("a")?.expect("it is there");
        match &*entry.value {
            Ok(_) => Ok(()),
            Err(_) => draft.put("a", &1),
        }
    });
    repair.await.unwrap();
    assert_eq!(value(&numbers, "a").await, Some(1));
}

#[tokio::test]
async fn keys_outside_of_the_view_are_refused() {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    let view = View::open(numbers.clone(), KeyRange::prefix("in/")).unwrap();
    let told = "invalid request: the key \"out/a\" is outside of in/*, which the view shows: open a \
                view that covers it";
    let error = view.update("out/a", |_| 1).await.unwrap_err();
    assert_eq!(error.to_string(), told);
    for refused in [
        view.edit(|draft| draft.put("in/a", &1).and_then(|()| draft.put("out/a", &1)))
            .await,
        view.edit(|draft| draft.delete("in/a").and_then(|()| draft.delete("out/a")))
            .await,
        view.edit(|draft| draft.get("out/a").map(drop)).await,
    ] {
        assert_eq!(refused.unwrap_err().to_string(), told);
    }
    assert!(numbers.get("in/a").await.unwrap().is_none());
}

#[tokio::test]
async fn more_keys_than_a_transaction_takes_are_refused_whole() {
    let numbers = Numbers::new(Memory::new(), Protobuf);
    let view = open(&numbers).await;
    let fill = |count: u64| {
        let view = view.clone();
        async move {
            view.edit(|draft| (0..count).try_for_each(|n| draft.put(format!("{n}"), &n)))
                .await
        }
    };
    let error = fill(129).await.unwrap_err();
    let expected = keyval::Error::TooManyOps {
        count: 129,
        limit: Some(128),
    }
    .to_string();
    assert_eq!(error.to_string(), expected);
    assert!(numbers.get("0").await.unwrap().is_none());
    fill(128).await.unwrap();
    assert_eq!(value(&numbers, "127").await, Some(127));
}

#[tokio::test]
async fn edits_need_no_watch() {
    let store = Faulty::new(Memory::new());
    let numbers = Numbers::new(store.clone(), Protobuf);
    numbers.put("a", &1).await.unwrap();
    let view = View::open(numbers.clone(), KeyRange::all()).unwrap();
    let up = |old: Option<&u64>| old.copied().unwrap_or(0) + 1;
    let early = view.update("a", up).await.unwrap();
    assert_eq!((early.attempts, value(&numbers, "a").await), (2, Some(2)));
    view.caught_up(early.revision).await.unwrap();
    view.close().await;
    assert_eq!(view.update("a", up).await.unwrap().attempts, 1);
    assert_eq!(view.update("a", up).await.unwrap().attempts, 2);
    assert_eq!(value(&numbers, "a").await, Some(4));
}
