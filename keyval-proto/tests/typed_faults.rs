//! The promises of typed handles over a store that fails.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use keyval::testing::{Fault, Faulty, Operation};
use keyval::{
    BrokerExt, Change, FollowOptions, KeyRange, Memory, MirrorError, ResyncCause, StoreExt, Update,
    WatchOptions,
};
use keyval_proto::{Error, Protobuf, Typed};

type Numbers = Typed<u64, Faulty<Memory>>;

fn numbers() -> Numbers {
    Numbers::new(Faulty::new(Memory::new()), Protobuf)
}

#[tokio::test]
async fn whether_a_failed_write_may_have_been_applied_is_told() {
    let numbers = numbers();
    let control = numbers.store().control();
    for (fault, may, stands) in [
        (Fault::refused(), false, None),
        (Fault::request_lost(), true, None),
        (Fault::answer_lost(), true, Some(1)),
    ] {
        control.fail_next(1, fault);
        let error = numbers.put("a", &1).await.unwrap_err();
        assert!(matches!(
            error,
            Error::Store(keyval::Error::Unavailable { .. })
        ));
        assert_eq!(
            (error.may_have_applied(), error.is_retryable()),
            (may, true)
        );
        let value = numbers.get("a").await.unwrap().map(|entry| entry.value);
        assert_eq!(value, stands);
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_is_an_error_and_no_short_list() {
    let numbers = numbers();
    for n in 0..10 {
        numbers.put(format!("{n}"), &n).await.unwrap();
    }
    let mut entries = numbers.list(KeyRange::all()).await.unwrap().entries;
    assert_eq!(entries.try_next().await.unwrap().unwrap().value, Ok(0));
    numbers.store().control().cut();
    let error = entries.try_next().await.unwrap_err();
    assert!(matches!(error, keyval::Error::Unavailable { .. }));
    assert!(entries.next().await.is_none());
}

#[tokio::test]
async fn a_watch_that_is_cut_off_ends_with_its_cause() {
    let numbers = numbers();
    let watch = numbers
        .watch(KeyRange::all(), WatchOptions::default())
        .await;
    let mut watch = watch.unwrap();
    numbers.put("a", &1).await.unwrap();
    assert_eq!(watch.try_next().await.unwrap().unwrap().changes.len(), 1);
    numbers.store().control().cut();
    let error = watch.try_next().await.unwrap_err();
    assert!(matches!(error, keyval::Error::Unavailable { .. }));
    assert!(watch.next().await.is_none());
    drop(watch);
    assert_eq!(numbers.store().control().open_watches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_goes_on_where_it_was_cut_off_with_previous_values() {
    let numbers = numbers();
    let control = numbers.store().control();
    numbers.put("a", &1).await.unwrap();
    let options = FollowOptions::default().with_previous();
    let mut updates = numbers.follow_opts(KeyRange::all(), options);
    assert!(matches!(
        updates.try_next().await.unwrap(),
        Some(Update::Resync(_))
    ));
    control.cut();
    let behind = Typed::<u64, _>::new(numbers.store().inner().clone(), Protobuf);
    behind.put("a", &2).await.unwrap();
    behind.delete("a").await.unwrap();
    let healing = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        control.heal();
    };
    let told = async {
        let mut told = Vec::new();
        while told.len() < 2 {
            match updates.try_next().await.unwrap().unwrap() {
                Update::Changes(changes) => told.extend(changes.changes),
                Update::Resync(snapshot) => panic!("a resync: {:?}", snapshot.cause),
            }
        }
        told
    };
    let (told, ()) = tokio::join!(told, healing);
    let [
        Change::Put { entry, prev },
        Change::Delete { prev: last, .. },
    ] = &told[..]
    else {
        panic!("a put and a delete, not {told:?}");
    };
    assert_eq!(
        (&entry.value, &prev.as_ref().unwrap().value),
        (&Ok(2), &Ok(1))
    );
    assert_eq!(last.as_ref().unwrap().value, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_typed_copy_survives_an_outage_whose_history_is_lost() {
    let numbers = Typed::<u64, _>::new(Faulty::new(Memory::new()).prefixed("n/"), Protobuf);
    let store = numbers.store().inner().clone();
    for key in ["a", "b"] {
        numbers.put(key, &1).await.unwrap();
    }
    let (copy, work) = numbers.mirror(KeyRange::all(), FollowOptions::default());
    let task = tokio::spawn(work);
    copy.ready().await.unwrap();
    store.control().until_called(Operation::Watch, 1).await;
    store.control().cut();
    store.inner().delete("n/a").await.unwrap();
    let at = store
        .inner()
        .put("n/b", b"\xff\xff".as_slice())
        .await
        .unwrap();
    store.compact_now().await.unwrap();
    store.control().heal();
    let picture = copy.caught_up(at).await.unwrap();
    assert_eq!(picture.len(), 1);
    let broken = picture
        .get("b")
        .unwrap()
        .value
        .as_ref()
        .as_ref()
        .unwrap_err();
    assert_eq!((&broken.key, broken.revision), (&"b".into(), at));
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(
        copy.caught_up(at.next()).await.unwrap_err(),
        MirrorError::WriterGone
    );
}

#[tokio::test(start_paused = true)]
async fn a_resync_says_why_it_comes() {
    let numbers = numbers();
    let mut updates = numbers.follow(KeyRange::all());
    let mut causes = Vec::new();
    for _ in 0..2 {
        let update = updates.try_next().await.unwrap().unwrap();
        let Update::Resync(snapshot) = update else {
            panic!("changes at {}", update.revision());
        };
        causes.push(snapshot.cause);
        numbers.store().control().cut();
        numbers.store().inner().put("a", "").await.unwrap();
        numbers.store().inner().put("a", "").await.unwrap();
        numbers.store().compact_now().await.unwrap();
        numbers.store().control().heal();
    }
    assert_eq!(causes, [ResyncCause::Initial, ResyncCause::Compacted]);
}
