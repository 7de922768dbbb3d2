//! The faulty store fails as it is told, and in no other way.

#![cfg(feature = "testing")]

use std::time::Duration;

use futures::StreamExt;
use keyval::testing::{Fault, Faulty, Operation};
use keyval::{
    Broker, BrokerExt, ChangeStream, Error, KeyRange, Leases, ListOptions, Maintenance, Memory, Op,
    Outcome, Result, RetryPolicy, Revision, StoreExt, Txn, WatchOptions, Watcher,
};
use tokio::time::{Instant, timeout};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

fn is_cut<T: std::fmt::Debug>(result: Result<T>, expected: Outcome) {
    match result {
        Err(Error::Unavailable { outcome, .. }) => assert_eq!(outcome, expected),
        other => panic!("{other:?}"),
    }
}

async fn watch(store: &Faulty<Memory>) -> Result<ChangeStream> {
    store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
}

async fn next_revision(stream: &mut ChangeStream) -> Revision {
    let item = timeout(LONG, stream.next()).await.expect("in time");
    item.expect("the watch goes on").expect("no error").revision
}

/// Calls every operation that can be cut off, and says how each ended.
async fn call_all(store: &Faulty<Memory>) -> Vec<(Operation, Result<()>)> {
    let lease = keyval::LeaseId::new(1).expect("it is not zero");
    let txn = Txn::new().then(Op::get("key"));
    vec![
        (Operation::Get, store.get("key").await.map(drop)),
        (Operation::List, store.list(KeyRange::all()).await.map(drop)),
        (Operation::Put, store.put("key", "x").await.map(drop)),
        (Operation::Delete, store.delete("key").await.map(drop)),
        (Operation::Commit, store.commit(txn).await.map(drop)),
        (Operation::Watch, watch(store).await.map(drop)),
        (Operation::Grant, store.grant(LONG).await.map(drop)),
        (
            Operation::KeepAlive,
            store.keep_alive(lease).await.map(drop),
        ),
        (Operation::Revoke, store.revoke(lease).await),
        (
            Operation::TimeToLive,
            store.time_to_live(lease).await.map(drop),
        ),
        (Operation::Status, store.status().await.map(drop)),
        (Operation::Compact, store.compact(Revision::new(1)).await),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_call_fails_while_the_store_is_cut_off() -> Result<()> {
    let store = Faulty::new(Memory::new());
    store.control().cut();
    for (operation, result) in call_all(&store).await {
        is_cut(result, Outcome::NotApplied);
        assert_eq!(store.control().calls(operation), 1, "{operation}");
    }
    assert_eq!(store.inner().count(KeyRange::all()).await?, 0);
    store.control().heal();
    store.put("key", "x").await?;
    assert_eq!(store.control().calls(Operation::Put), 2);
    assert_eq!(store.to_string(), "Faulty(memory)");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_every_open_watch_however_soon_it_heals() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    let mut before = watch(&store).await?;
    let read = store.put("key", "1").await?;
    assert_eq!(next_revision(&mut before).await, read);
    store.put("key", "2").await?;
    control.cut();
    control.heal();
    let mut after = watch(&store).await?;
    is_cut(before.next().await.transpose(), Outcome::NotApplied);
    assert!(before.next().await.is_none());
    let later = store.put("key", "3").await?;
    assert_eq!(next_revision(&mut after).await, later, "it is not touched");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_a_list_that_is_under_way() -> Result<()> {
    let store = Faulty::new(Memory::new());
    for i in 0..3 {
        store.put(i.to_string(), "x").await?;
    }
    let options = ListOptions::default().with_page(1);
    let mut listing = store.list_opts(&KeyRange::all(), options).await?;
    assert!(
        listing
            .entries
            .next()
            .await
            .is_some_and(|item| item.is_ok())
    );
    store.control().cut();
    is_cut(
        listing.entries.next().await.transpose(),
        Outcome::NotApplied,
    );
    assert!(listing.entries.next().await.is_none());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_for_so_many_calls_and_for_its_operation() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    control.fail_next_of(Operation::List, 2, Fault::refused());
    control.fail_next_of(
        Operation::Put,
        1,
        Fault::new(|| Error::invalid("so it was told")),
    );
    assert!(store.get("key").await?.is_none());
    assert!(matches!(
        store.put("key", "x").await,
        Err(Error::Invalid { .. })
    ));
    store.put("key", "y").await?;
    is_cut(store.list(KeyRange::all()).await, Outcome::NotApplied);
    is_cut(store.list(KeyRange::all()).await, Outcome::NotApplied);
    store.list(KeyRange::all()).await?;
    control.fail_next(1, Fault::refused());
    control.fail_next(0, Fault::refused());
    is_cut(store.get("key").await, Outcome::NotApplied);
    assert_eq!(store.get("key").await?.map(|entry| entry.version), Some(1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_was_applied_and_a_lost_request_was_not() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    control.fail_next(1, Fault::answer_lost());
    is_cut(store.put("answer", "x").await, Outcome::Unknown);
    control.fail_next(1, Fault::request_lost());
    is_cut(store.put("request", "x").await, Outcome::Unknown);
    assert!(store.get("answer").await?.is_some());
    assert!(store.get("request").await?.is_none());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_fail_by_itself_keeps_its_own_error() {
    let store = Faulty::new(Memory::new());
    store.control().fail_next(1, Fault::answer_lost());
    assert!(matches!(
        store.put("", "x").await,
        Err(Error::Invalid { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_delay_lies_before_every_call() -> Result<()> {
    let store = Faulty::new(Memory::new());
    store.control().delay(Duration::from_secs(3));
    let start = Instant::now();
    store.put("key", "x").await?;
    store.get("key").await?;
    assert_eq!(start.elapsed(), Duration::from_secs(6));
    store.control().heal();
    store.get("key").await?;
    assert_eq!(start.elapsed(), Duration::from_secs(6));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_the_wait_of_a_delayed_call() {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    control.delay(LONG * 10);
    let cut = async {
        control.until_called(Operation::Put, 1).await;
        control.cut();
    };
    let (result, ()) = tokio::join!(timeout(LONG, store.put("key", "x")), cut);
    is_cut(result.expect("in time"), Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_goes_on_once_healed() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    control.hang();
    assert!(timeout(LONG, store.put("given up", "x")).await.is_err());
    let heal = async {
        control.until_called(Operation::Put, 2).await;
        assert_eq!(store.inner().count(KeyRange::all()).await?, 0);
        control.heal();
        Ok::<_, Error>(())
    };
    let (put, heal) = tokio::join!(store.put("waited for", "x"), heal);
    heal?;
    put?;
    assert!(store.get("waited for").await?.is_some());
    assert!(store.get("given up").await?.is_none(), "it was never sent");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_hanging_call_fails_when_the_store_is_cut_off() {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    control.hang();
    let cut = async {
        control.until_called(Operation::Get, 1).await;
        control.cut();
    };
    let (get, ()) = tokio::join!(store.get("key"), cut);
    is_cut(get, Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn a_silenced_watch_delivers_later_what_it_held_back() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    let mut stream = watch(&store).await?;
    control.silence();
    let first = store.put("key", "1").await?;
    let second = store.put("key", "2").await?;
    assert!(timeout(LONG, stream.next()).await.is_err(), "not a word");
    control.heal();
    assert_eq!(next_revision(&mut stream).await, first);
    assert_eq!(next_revision(&mut stream).await, second);
    control.silence();
    control.cut();
    is_cut(stream.next().await.transpose(), Outcome::NotApplied);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn open_watches_are_counted_until_they_end_or_are_dropped() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    let dropped = watch(&store).await?;
    let mut ended = watch(&store).await?;
    assert_eq!(control.open_watches(), 2);
    drop(dropped);
    assert_eq!(control.open_watches(), 1);
    control.cut();
    is_cut(ended.next().await.transpose(), Outcome::NotApplied);
    assert_eq!(control.open_watches(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn compaction_at_will_reaches_the_present_revision() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let first = store.put("key", "1").await?;
    let second = store.put("key", "2").await?;
    store.control().cut();
    assert_eq!(store.compact_now().await?, second);
    store.control().heal();
    let options = WatchOptions::default().starting_at(first);
    let late = match store.watch_opts(&KeyRange::all(), options).await {
        Ok(mut stream) => stream.next().await.expect("an end with an error").err(),
        Err(error) => Some(error),
    };
    assert!(matches!(late, Some(Error::Compacted { .. })), "{late:?}");
    assert_eq!(store.status().await?.compacted, Some(second));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_cut_off_can_be_closed() -> Result<()> {
    let store = Faulty::new(Memory::new());
    store.control().cut();
    store.close().await?;
    assert_eq!(store.control().calls(Operation::Close), 1);
    store.control().heal();
    assert!(matches!(store.get("key").await, Err(Error::Closed { .. })));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_below_the_whole_stack_is_told_above_it() -> Result<()> {
    let faulty = Faulty::new(Memory::new());
    let control = faulty.control();
    let store = faulty
        .prefixed("agents/1/")
        .timeout(Duration::from_secs(5))
        .retry(RetryPolicy::default())
        .observe("memory");
    for i in 0..3 {
        store.put(i.to_string(), "x").await?;
    }
    let options = WatchOptions::default();
    let mut stream = store.watch_opts(&KeyRange::all(), options).await?;
    let options = ListOptions::default().with_page(1);
    let mut listing = store.list_opts(&KeyRange::all(), options).await?;
    assert!(
        listing
            .entries
            .next()
            .await
            .is_some_and(|item| item.is_ok())
    );
    control.cut();
    let collected = listing.collect().await;
    assert!(
        matches!(collected, Err(Error::Unavailable { .. })),
        "never a short list"
    );
    is_cut(stream.next().await.transpose(), Outcome::NotApplied);
    assert!(stream.next().await.is_none());
    let calls = control.calls(Operation::Put);
    assert!(store.put("key", "y").await.is_err());
    assert!(
        control.calls(Operation::Put) > calls + 1,
        "it was tried again"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_not_tried_again_by_the_stack() -> Result<()> {
    let faulty = Faulty::new(Memory::new());
    let control = faulty.control();
    let store = faulty.retry(RetryPolicy::default());
    control.fail_next_of(Operation::Put, 1, Fault::answer_lost());
    let error = store.put("key", "x").await.expect_err("nobody knows");
    assert!(error.may_have_applied());
    assert_eq!(control.calls(Operation::Put), 1);
    control.fail_next_of(Operation::Put, 1, Fault::refused());
    store.put("key", "y").await?;
    assert_eq!(store.get("key").await?.map(|entry| entry.version), Some(2));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_held_is_carried_out_when_it_is_delivered() -> Result<()> {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    store.put("gone", "x").await?;
    control.fail_next(4, Fault::request_held());
    let put = store.put("key", "1").await.map(drop);
    let commit = store.commit(Txn::new().then(Op::put("other", "1"))).await;
    let delete = store.delete("gone").await.map(drop);
    let get = store.get("key").await.map(drop);
    for failed in [put, commit.map(drop), delete, get] {
        is_cut(failed, Outcome::Unknown);
    }
    control.heal();
    assert_eq!(store.count(KeyRange::all()).await?, 1, "only \"gone\"");
    store.put("key", "2").await?;
    assert_eq!(store.deliver_held().await, 3, "reads are not held");
    assert_eq!(store.get("key").await?.expect("it came late").value, "1");
    assert!(store.get("other").await?.is_some());
    assert!(store.get("gone").await?.is_none());
    assert_eq!(store.deliver_held().await, 0, "each comes once");
    Ok(())
}
