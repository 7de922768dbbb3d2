//! Promises about watches: whole revisions, in order, once each, of the range and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::{Broker, BrokerExt};
use crate::entry::{Change, Changes};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::options::{DeleteOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::conformance::gate::{
    has_transactions, has_watched_previous, has_watches, has_watches_from,
};
use crate::testing::conformance::subject::{Subject, refused_as_invalid};
use crate::txn::{Compare, Op, Txn};
use crate::watcher::Watcher;

/// All these changes in short words.
fn told(s: &Subject, all: &[Changes]) -> Vec<String> {
    all.iter().flat_map(|changes| s.told(changes)).collect()
}

/// A watch from now on sees every write that begins after it was accepted, and none before; it
/// says to which revision it is pinned.
pub async fn a_watch_from_now_sees_every_later_write(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    for i in 0..10 {
        let before = s.put("key", format!("before {i}")).await?;
        let mut events = s.watch().await?;
        assert!(events.after() >= before, "it is pinned to what it has seen");
        let after = s.put("key", format!("after {i}")).await?;
        assert!(
            events.after() < after,
            "it delivers all after {}",
            events.after()
        );
        let changes = events.next().await?;
        assert_eq!(changes.revision, after);
        assert_eq!(s.told(&changes), [format!("put key=after {i}")]);
    }
    Ok(())
}

/// A put is delivered with the whole entry, as a get shows it.
pub async fn a_put_is_delivered_with_its_whole_entry(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    for value in ["first", "second"] {
        s.put("key", value).await?;
        let entry = s.entry("key").await?;
        let changes = events.next().await?;
        let expected = Change::Put { entry, prev: None };
        assert_eq!(changes.changes, [expected]);
    }
    Ok(())
}

/// A deleted key is delivered as deleted, at the revision of the delete.
pub async fn a_delete_is_delivered(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    s.put("key", "x").await?;
    let mut events = s.watch().await?;
    let range = KeyRange::key(s.key("key"));
    let options = DeleteOptions::default();
    let reply = s.store().delete_opts(&range, options).await?;
    let changes = events.next().await?;
    assert_eq!(changes.revision, reply.revision);
    let expected = Change::Delete {
        key: s.key("key"),
        prev: None,
    };
    assert_eq!(changes.changes, [expected]);
    Ok(())
}

/// The put of an empty value is a change like any other.
pub async fn the_put_of_an_empty_value_is_a_change(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    s.put("key", "").await?;
    s.put("key", "x").await?;
    let last = s.put("key", "").await?;
    let all = events.until(last).await?;
    assert_eq!(told(s, &all), ["put key=", "put key=x", "put key="]);
    Ok(())
}

/// Putting the value that stands there already is a change too.
pub async fn the_put_of_the_same_value_is_a_change(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let mut last = Revision::ZERO;
    for _ in 0..5 {
        last = s.put("key", "same").await?;
    }
    assert_eq!(events.until(last).await?.len(), 5);
    Ok(())
}

/// What has no effect is no change: a delete of nothing, a lost race, a read.
pub async fn what_has_no_effect_is_no_change(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    s.put("key", "x").await?;
    let mut events = s.watch().await?;
    s.store().delete(s.key("nothing")).await?;
    s.store().delete_prefix(s.key("nothing/")).await?;
    s.store().put_if_absent(s.key("key"), "y").await?;
    s.get("key").await?;
    if has_transactions(s).await {
        let reading = Txn::new().then(Op::get(s.key("key")));
        s.store().commit(reading).await?;
        let failing = Txn::new()
            .when(Compare::absent(s.key("key")))
            .then(Op::delete(s.key("key")));
        s.store().commit(failing).await?;
    }
    let last = s.put("last", "x").await?;
    let all = events.until(last).await?;
    assert_eq!(told(s, &all), ["put last=x"]);
    Ok(())
}

/// Changes come in the order of their revisions, each exactly once.
pub async fn changes_come_in_order_exactly_once(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let mut written = Vec::new();
    for i in 0..100 {
        let name = format!("key {}", i % 7);
        let revision = s.put(&name, i.to_string()).await?;
        written.push((revision, vec![format!("put {name}={i}")]));
    }
    let last = written[99].0;
    let delivered: Vec<_> = events.until(last).await?;
    let delivered: Vec<_> = delivered
        .iter()
        .map(|changes| (changes.revision, s.told(changes)))
        .collect();
    assert_eq!(delivered, written);
    Ok(())
}

/// All changes of one transaction come together, in key order, under its revision.
pub async fn a_transaction_is_delivered_whole(s: &Subject) -> Result<()> {
    if !has_watches(s).await || !has_transactions(s).await {
        return Ok(());
    }
    for name in ["b", "d/1", "d/2"] {
        s.put(name, "old").await?;
    }
    let mut events = s.watch().await?;
    let txn = Txn::new()
        .then(Op::put(s.key("c"), "1"))
        .then(Op::delete_prefix(s.key("d/")))
        .then(Op::put(s.key("a"), "2"))
        .then(Op::put(s.key("b"), "3"));
    let reply = s.store().commit(txn).await?;
    let changes = events.next().await?;
    assert_eq!(changes.revision, reply.revision);
    let expected = ["put a=2", "put b=3", "put c=1", "delete d/1", "delete d/2"];
    assert_eq!(s.told(&changes), expected);
    Ok(())
}

/// A large transaction, of as many operations as the store takes, is delivered whole too.
pub async fn a_large_transaction_is_delivered_whole(s: &Subject) -> Result<()> {
    if !has_watches(s).await || !has_transactions(s).await {
        return Ok(());
    }
    let count = s.capabilities().max_txn_ops.unwrap_or(128).min(128);
    let value = Bytes::from(vec![b'x'; 4096]);
    let mut events = s.watch().await?;
    let mut txn = Txn::new();
    for i in 0..count {
        txn = txn.then(Op::put(s.key(format!("{i:04}")), value.clone()));
    }
    let reply = s.store().commit(txn).await?;
    let changes = events.next().await?;
    assert_eq!(changes.revision, reply.revision);
    assert_eq!(changes.changes.len(), count);
    let gone = s.store().delete_prefix(s.scope().clone()).await?;
    assert_eq!(gone, count as u64);
    let changes = events.next().await?;
    assert_eq!(
        changes.changes.len(),
        count,
        "a delete of a range is whole too"
    );
    Ok(())
}

/// A watch delivers the changes of its range and no others, also of those of one transaction.
pub async fn a_watch_is_filtered_to_its_range(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let ranges = [
        (KeyRange::key(s.key("b")), "b", &["put b=x", "delete b"][..]),
        (s.prefix("b/"), "b/9", &["put b/1=x", "delete b/1"]),
        (
            s.prefix("b"),
            "b9",
            &[
                "put b=x",
                "put b/1=x",
                "put b0=x",
                "delete b",
                "delete b/1",
                "delete b0",
            ],
        ),
        (
            s.span("a", "b/"),
            "a9",
            &["put a=x", "put b=x", "delete a", "delete b"],
        ),
        (s.prefix("z"), "z", &[]),
    ];
    let mut watches = Vec::new();
    for (range, last, expected) in ranges {
        let events = s.watch_opts(&range, WatchOptions::default()).await?;
        watches.push((events, last, expected));
    }
    let names = ["a", "b", "b/1", "b0", "c"];
    for name in names {
        s.put(name, "x").await?;
    }
    for name in names {
        s.store().delete(s.key(name)).await?;
    }
    let end = s.put("end", "x").await?;
    for (mut events, last, expected) in watches {
        let last = s.put(last, "last").await?;
        let mut all = events.until(last).await?;
        all.retain(|changes| changes.revision < end);
        assert_eq!(told(s, &all), expected, "{events:?}");
    }
    Ok(())
}

/// Of a transaction that also writes elsewhere, a watch delivers its own part.
pub async fn a_watch_sees_its_part_of_a_transaction(s: &Subject) -> Result<()> {
    if !has_watches(s).await || !has_transactions(s).await {
        return Ok(());
    }
    let options = WatchOptions::default();
    let mut events = s.watch_opts(&s.prefix("in/"), options).await?;
    let txn = |names: &[&str]| {
        let put = |txn: Txn, name: &&str| txn.then(Op::put(s.key(*name), "x"));
        names.iter().fold(Txn::new(), put)
    };
    let mixed = txn(&["in/a", "out/a", "in/b", "inside"]);
    let mixed = s.store().commit(mixed).await?.revision;
    s.store().commit(txn(&["out/a", "out/b"])).await?;
    let last = s.store().commit(txn(&["in/c"])).await?.revision;
    let first = events.next().await?;
    assert_eq!(first.revision, mixed);
    assert_eq!(s.told(&first), ["put in/a=x", "put in/b=x"]);
    let second = events.next().await?;
    assert_eq!(second.revision, last);
    assert_eq!(s.told(&second), ["put in/c=x"]);
    Ok(())
}

/// A watch from a past revision delivers everything from it on, and then what comes.
pub async fn a_watch_from_the_past_delivers_everything_since(s: &Subject) -> Result<()> {
    if !has_watches_from(s).await {
        return Ok(());
    }
    s.put("a", "too early").await?;
    let from = s.put("a", "1").await?;
    s.put("b", "2").await?;
    s.store().delete(s.key("a")).await?;
    let options = WatchOptions::default().starting_at(from);
    let mut events = s.watch_opts(&s.all(), options).await?;
    assert_eq!(events.after(), from.previous());
    let last = s.put("c", "3").await?;
    let all = events.until(last).await?;
    assert_eq!(told(s, &all), ["put a=1", "put b=2", "delete a", "put c=3"]);
    assert_eq!(all[0].revision, from);
    Ok(())
}

/// A watch that is resumed at the revision after the last one delivered leaves nothing out and
/// repeats nothing.
pub async fn a_watch_resumes_without_gap_or_repeat(s: &Subject) -> Result<()> {
    if !has_watches_from(s).await {
        return Ok(());
    }
    let mut written = Vec::new();
    for i in 0..5 {
        written.push(s.put("key", i.to_string()).await?);
        if has_transactions(s).await {
            let txn = Txn::new()
                .then(Op::put(s.key("a"), "x"))
                .then(Op::put(s.key("b"), "x"));
            written.push(s.store().commit(txn).await?.revision);
        }
    }
    let last = written[written.len() - 1];
    let from = |revision| WatchOptions::default().starting_at(revision);
    let mut whole = s.watch_opts(&s.all(), from(written[0])).await?;
    let whole = whole.until(last).await?;
    let mut resumed = Vec::new();
    let mut next = written[0];
    while resumed.len() < written.len() {
        let mut events = s.watch_opts(&s.all(), from(next)).await?;
        let changes = events.next().await?;
        next = changes.revision.next();
        resumed.push(changes);
    }
    assert_eq!(resumed, whole);
    Ok(())
}

/// A watch from a revision that is not reached yet waits for it, and delivers nothing below it.
pub async fn a_watch_from_the_future_waits(s: &Subject) -> Result<()> {
    if !has_watches_from(s).await {
        return Ok(());
    }
    let now = s.put("key", "now").await?;
    let from = Revision::new(now.get() + 5);
    let options = WatchOptions::default().starting_at(from);
    let mut events = s.watch_opts(&s.all(), options).await?;
    // Others may write in between, so that any of these may be the first at or above the start.
    let mut expected = Vec::new();
    while expected.len() < 3 {
        let revision = s.put("key", "later").await?;
        if revision >= from {
            expected.push(revision);
        }
    }
    let delivered = events.until(expected[2]).await?;
    let delivered: Vec<_> = delivered.iter().map(|changes| changes.revision).collect();
    assert_eq!(delivered, expected);
    Ok(())
}

/// The previous entry comes with a change if it was asked for: none for a new key.
pub async fn previous_entries_are_delivered_on_request(s: &Subject) -> Result<()> {
    if !has_watched_previous(s).await {
        return Ok(());
    }
    let options = WatchOptions::default().with_previous();
    let mut asking = s.watch_opts(&s.all(), options).await?;
    let mut silent = s.watch().await?;
    let first = s.put("key", "a").await?;
    let entry_a = s.entry("key").await?;
    s.put("key", "b").await?;
    let entry_b = s.entry("key").await?;
    s.store().delete(s.key("key")).await?;
    let last = s.put("key", "c").await?;
    let prev_of = |all: Vec<Changes>| -> Vec<_> {
        all.iter()
            .map(|changes| changes.changes[0].prev().cloned())
            .collect()
    };
    let expected = [None, Some(entry_a), Some(entry_b), None];
    assert_eq!(prev_of(asking.until(last).await?), expected);
    assert_eq!(prev_of(silent.until(last).await?), [None, None, None, None]);
    if has_watches_from(s).await {
        let options = options.starting_at(first);
        let mut late = s.watch_opts(&s.all(), options).await?;
        assert_eq!(prev_of(late.until(last).await?), expected);
    }
    Ok(())
}

/// Every key of a deleted range comes with its previous entry.
pub async fn a_deleted_range_is_delivered_with_previous_entries(s: &Subject) -> Result<()> {
    if !has_watched_previous(s).await {
        return Ok(());
    }
    s.fill(5, |i| i.to_string()).await?;
    let before = s.store().list(s.all()).await?.collect().await?;
    let options = WatchOptions::default().with_previous();
    let mut events = s.watch_opts(&s.all(), options).await?;
    s.store().delete_prefix(s.scope().clone()).await?;
    let changes = events.next().await?;
    let prev: Vec<_> = changes
        .changes
        .into_iter()
        .map(|change| match change {
            Change::Delete { prev, .. } => prev.expect("it was asked for"),
            Change::Put { .. } => panic!("{change:?} is no delete"),
        })
        .collect();
    assert_eq!(prev, before);
    Ok(())
}

/// A watch that asks for word gets progress while nothing happens to its range, and nothing that
/// the progress has passed comes after it. Where the store says that it cannot tell how far it has
/// come, the word is a sign of life.
pub async fn progress_is_told_on_request(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let options = WatchOptions::default().with_progress(Duration::from_secs(1));
    let mut events = s.watch_opts(&s.prefix("in/"), options).await?;
    let first = s.put("in/a", "x").await?;
    assert_eq!(events.next().await?.revision, first);
    let elsewhere = s.put("out", "x").await?;
    let told = if s.capabilities().progress {
        elsewhere
    } else {
        first
    };
    let progress = async {
        loop {
            match events.item().await? {
                Some(item) if item.is_progress() && item.revision >= told => return Ok(item),
                Some(item) => assert!(item.is_progress(), "nothing happened: {item:?}"),
                None => panic!("the watch ended without a word"),
            }
        }
    };
    let progress: Result<Changes> = s.within("progress past a write elsewhere", progress).await;
    let progress = progress?;
    // That progress outruns no change is checked with every item.
    let last = s.put("in/b", "x").await?;
    assert!(last > progress.revision);
    assert_eq!(events.next().await?.revision, last);
    Ok(())
}

/// Watches are independent: each gets everything, and when one is dropped the others go on.
pub async fn watches_are_independent(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut kept = s.watch().await?;
    let mut dropped = s.watch().await?;
    let unread = s.watch().await?;
    let narrow = KeyRange::key(s.key("a"));
    let mut narrow = s.watch_opts(&narrow, WatchOptions::default()).await?;
    let first = s.put("a", "1").await?;
    assert_eq!(dropped.next().await?.revision, first);
    drop(dropped);
    s.put("b", "2").await?;
    drop(unread);
    let last = s.put("a", "3").await?;
    let all = kept.until(last).await?;
    assert_eq!(told(s, &all), ["put a=1", "put b=2", "put a=3"]);
    let all = narrow.until(last).await?;
    assert_eq!(told(s, &all), ["put a=1", "put a=3"]);
    Ok(())
}

/// A great many watches can be opened and dropped, and writes go on.
pub async fn dropped_watches_leave_nothing_behind(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    for i in 0..200 {
        let events = s.watch().await?;
        if i % 2 == 0 {
            s.put("key", i.to_string()).await?;
        }
        drop(events);
    }
    let mut events = s.watch().await?;
    let last = s.put("key", "last").await?;
    assert_eq!(events.next().await?.revision, last);
    Ok(())
}

/// One who does not read for a long time gets everything all the same, or is told that the store
/// has gone on without: never a gap.
pub async fn a_slow_reader_gets_everything_or_is_told(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let value = "x".repeat(1024);
    let mut written = Vec::new();
    for i in 0..400 {
        written.push(s.put(format!("{}", i % 10), value.clone()).await?);
    }
    for expected in written {
        match events.next().await {
            Ok(changes) => assert_eq!(changes.revision, expected, "a gap"),
            Err(Error::Compacted { .. }) => {
                println!(
                    "{} told the slow reader that it has fallen behind",
                    s.store()
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Watches see the writes of other tasks as they happen, and in their order.
pub async fn a_watch_sees_concurrent_writers_in_order(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let writers = (0..4).map(|writer| async move {
        let mut written = Vec::new();
        for i in 0..25 {
            let name = format!("{writer}");
            let revision = s.put(&name, i.to_string()).await?;
            written.push((revision, format!("put {name}={i}")));
        }
        Result::Ok(written)
    });
    let written = futures::future::try_join_all(writers).await?;
    let written: BTreeMap<Revision, String> = written.into_iter().flatten().collect();
    assert_eq!(written.len(), 100, "every put has a revision of its own");
    let last = *written.keys().next_back().expect("a hundred were written");
    let all = events.until(last).await?;
    let delivered: BTreeMap<Revision, String> = all
        .iter()
        .map(|changes| (changes.revision, s.told(changes).concat()))
        .collect();
    assert_eq!(delivered, written);
    Ok(())
}

/// Odd keys and long values come through a watch as they are.
pub async fn a_watch_delivers_bytes_as_they_are(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let names: [&[u8]; 5] = [b"\0", b"\xff\xff", b"a//b/..", b"\xc3\x28", b"a\nb"];
    for name in names {
        let value = Bytes::from(name.repeat(100));
        s.put(name, value.clone()).await?;
        let changes = events.next().await?;
        let entry = changes.changes[0].entry().expect("it was put");
        assert_eq!((&entry.key, &entry.value), (&s.key(name), &value));
        assert!(s.store().delete(s.key(name)).await?);
        let changes = events.next().await?;
        assert_eq!(*changes.changes[0].key(), s.key(name));
    }
    Ok(())
}

/// A put that keeps its value is delivered with the value that was kept.
pub async fn a_kept_value_is_delivered(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    s.put("key", "kept").await?;
    let mut events = s.watch().await?;
    let options = PutOptions::default().keep_value();
    s.put_opts("key", "", options).await?;
    assert_eq!(s.told(&events.next().await?), ["put key=kept"]);
    Ok(())
}

/// A watch that makes no sense is refused: from revision zero, of no key, of an empty key, with
/// word at no interval.
pub async fn a_watch_that_makes_no_sense_is_refused(s: &Subject) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let options = WatchOptions::default();
    let zero = options.starting_at(Revision::ZERO);
    refused_as_invalid(s.store().watch_opts(&s.all(), zero).await);
    let never = options.with_progress(Duration::ZERO);
    refused_as_invalid(s.store().watch_opts(&s.all(), never).await);
    refused_as_invalid(s.store().watch_opts(&s.span("b", "a"), options).await);
    let empty = KeyRange::key(Key::default());
    refused_as_invalid(s.store().watch_opts(&empty, options).await);
    Ok(())
}

/// A watch that has megabytes to catch up on delivers them all.
pub async fn a_watch_catches_up_on_megabytes(s: &Subject) -> Result<()> {
    if !has_watches_from(s).await {
        return Ok(());
    }
    let limit = s.capabilities().max_request_bytes.unwrap_or(1 << 20);
    let value = Bytes::from(vec![b'x'; (limit / 2).min(1 << 20)]);
    let mut written = Vec::new();
    for i in 0..8 {
        written.push(s.put(i.to_string(), value.clone()).await?);
    }
    let options = WatchOptions::default().starting_at(written[0]);
    let mut events = s.watch_opts(&s.all(), options).await?;
    for revision in written {
        let changes = events.next().await?;
        assert_eq!(changes.revision, revision);
        let entry = changes.changes[0].entry().expect("it was put");
        assert!(entry.value == value, "the value differs");
    }
    Ok(())
}
