//! The local copy: what a resync implies, what readers see, and reading one's own writes.

mod follow_support;

use std::time::Duration;

use follow_support::*;
use futures::StreamExt;
use keyval::{
    BrokerExt, Change, Changes, Entry, Key, KeyRange, Maintenance, Memory, Mirror, MirrorError,
    ResyncCause, Revision, Snapshot, Update, follow, mirror,
};

fn entry(key: &str, value: &str, modified: u64) -> Entry<String> {
    Entry {
        key: Key::from(key),
        value: value.into(),
        created: Revision::new(modified),
        modified: Revision::new(modified),
        version: 1,
        lease: None,
    }
}

fn resync(revision: u64, cause: ResyncCause, entries: Vec<Entry<String>>) -> Update<String> {
    Update::Resync(Snapshot {
        revision: Revision::new(revision),
        after: None,
        cause,
        entries,
    })
}

fn put(key: &str, value: &str, at: u64) -> Update<String> {
    Update::Changes(Changes {
        revision: Revision::new(at),
        changes: vec![Change::Put {
            entry: entry(key, value, at),
            prev: None,
        }],
    })
}

/// `+key=value<before` and `-key<before`.
fn implied(changes: &Changes<std::sync::Arc<String>>) -> Vec<String> {
    let word = |change: &Change<std::sync::Arc<String>>| {
        let prev = change.prev().map_or("", |entry| entry.value.as_str());
        match change {
            Change::Put { entry, .. } => format!("+{}={}<{prev}", entry.key, entry.value),
            Change::Delete { key, .. } => format!("-{key}<{prev}"),
        }
    };
    changes.changes.iter().map(word).collect()
}

fn contents(copy: &Mirror<String>) -> Vec<String> {
    let snapshot = copy.snapshot();
    let words = snapshot
        .iter()
        .map(|entry| format!("{}={}", entry.key, entry.value));
    words.collect()
}

#[test]
fn a_resync_implies_exactly_what_differs() {
    let (copy, mut writer) = mirror();
    let first = vec![entry("a", "1", 2), entry("b", "2", 3), entry("d", "4", 4)];
    let changes = writer.apply(resync(4, ResyncCause::Initial, first.clone()));
    assert_eq!(implied(&changes), ["+a=1<", "+b=2<", "+d=4<"]);
    assert_eq!(changes.revision, Revision::new(4));

    let again = writer.apply(resync(9, ResyncCause::Compacted, first));
    assert_eq!(again, Changes::progress(Revision::new(9)));

    let second = vec![
        entry("a", "1", 2),
        entry("b", "two", 7),
        entry("c", "3", 8),
        entry("e", "5", 9),
    ];
    let changes = writer.apply(resync(9, ResyncCause::Compacted, second));
    assert_eq!(implied(&changes), ["+b=two<2", "+c=3<", "-d<4", "+e=5<"]);
    assert_eq!(contents(&copy), ["a=1", "b=two", "c=3", "e=5"]);
}

#[test]
fn an_entry_that_was_made_again_is_a_change_even_with_the_same_value() {
    let (_copy, mut writer) = mirror();
    writer.apply(resync(4, ResyncCause::Initial, vec![entry("a", "1", 2)]));
    let changes = writer.apply(resync(9, ResyncCause::Compacted, vec![entry("a", "1", 7)]));
    assert_eq!(implied(&changes), ["+a=1<1"]);
}

#[test]
fn a_resync_in_any_order_is_understood() {
    let (copy, mut writer) = mirror();
    let entries = vec![entry("c", "3", 2), entry("a", "1", 3), entry("b", "2", 4)];
    let changes = writer.apply(resync(4, ResyncCause::Initial, entries));
    assert_eq!(implied(&changes), ["+a=1<", "+b=2<", "+c=3<"]);
    assert_eq!(contents(&copy), ["a=1", "b=2", "c=3"]);
}

#[test]
fn changes_are_passed_on_with_what_stood_there_before() {
    let (copy, mut writer) = mirror();
    writer.apply(resync(2, ResyncCause::Initial, vec![entry("a", "1", 2)]));
    assert_eq!(implied(&writer.apply(put("a", "2", 3))), ["+a=2<1"]);
    let delete = |key: &str, at| {
        Update::Changes(Changes {
            revision: Revision::new(at),
            changes: vec![Change::Delete {
                key: key.into(),
                prev: None,
            }],
        })
    };
    assert_eq!(implied(&writer.apply(delete("a", 4))), ["-a<2"]);
    assert_eq!(implied(&writer.apply(delete("a", 5))), [""; 0]);
    assert!(copy.snapshot().is_empty());
    assert_eq!(copy.revision(), Revision::new(5));
}

#[test]
fn what_is_not_newer_changes_nothing() {
    let (copy, mut writer) = mirror();
    writer.apply(resync(5, ResyncCause::Initial, vec![entry("a", "1", 2)]));
    for at in [1, 4, 5] {
        let changes = writer.apply(put("a", "old", at));
        assert_eq!(changes, Changes::progress(Revision::new(5)));
    }
    assert_eq!(contents(&copy), ["a=1"]);
}

#[test]
fn a_snapshot_never_changes() {
    let (copy, mut writer) = mirror();
    writer.apply(resync(2, ResyncCause::Initial, vec![entry("a", "1", 2)]));
    let before = copy.snapshot();
    writer.apply(put("a", "2", 3));
    writer.apply(resync(9, ResyncCause::Compacted, vec![]));
    assert_eq!(before.get("a").unwrap().value.as_str(), "1");
    assert_eq!(before.revision(), Revision::new(2));
    assert_eq!(before.range(Key::from("a")..Key::from("b")).count(), 1);
    assert!(copy.get("a").is_none());
}

#[test]
fn the_changes_between_two_snapshots_are_exactly_what_differs() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (copy, mut writer) = mirror();
    let many = (0..500).map(|i| entry(&format!("{i:04}"), "0", 1));
    writer.apply(resync(1, ResyncCause::Initial, many.collect()));
    let mut earlier = copy.snapshot();
    for at in 2..1000 {
        let key = format!("{:04}", random.u32(..600));
        writer.apply(match random.bool() {
            true => put(&key, &at.to_string(), at),
            false => Update::Changes(Changes {
                revision: Revision::new(at),
                changes: vec![Change::Delete {
                    key: Key::from(key),
                    prev: None,
                }],
            }),
        });
        if random.u32(..10) > 0 {
            continue;
        }
        let now = copy.snapshot();
        let mut expected = Vec::new();
        for key in (0..600).map(|i| Key::from(format!("{i:04}"))) {
            let (old, new) = (earlier.get(&key).cloned(), now.get(&key).cloned());
            match (old, new) {
                (old, new) if old == new => {}
                (prev, Some(entry)) => expected.push(Change::Put { entry, prev }),
                (prev, None) => expected.push(Change::Delete { key, prev }),
            }
        }
        assert_eq!(now.changes_since(&earlier), expected, "at {at}");
        earlier = now;
    }
}

#[test]
fn a_value_that_does_not_equal_itself_is_no_change_where_nothing_happened() {
    let (copy, mut writer) = mirror();
    let not_a_number = |key: &str, at: u64| entry(key, "", at).map(|_| f64::NAN);
    let change = |entry: Entry<f64>| Changes {
        revision: entry.modified,
        changes: vec![Change::Put { entry, prev: None }],
    };
    writer.apply(Update::Changes(change(not_a_number("a", 1))));
    let earlier = copy.snapshot();
    writer.apply(Update::Changes(change(not_a_number("b", 2))));
    let changes = copy.snapshot().changes_since(&earlier);
    let keys: Vec<_> = changes.iter().map(Change::key).collect();
    assert_eq!(keys, [&"b"]);
}

#[test]
fn readers_never_see_half_of_a_resync() {
    let (copy, mut writer) = mirror();
    let all =
        |value: u64| (0..200).map(move |n| entry(&format!("{n:03}"), &value.to_string(), value));
    writer.apply(resync(1, ResyncCause::Initial, all(1).collect()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let copy = copy.clone();
            scope.spawn(move || {
                loop {
                    let snapshot = copy.snapshot();
                    let revision = snapshot.revision();
                    assert_eq!(snapshot.len(), 200);
                    assert!(snapshot.iter().all(|entry| entry.modified == revision));
                    if revision == Revision::new(300) {
                        break;
                    }
                }
            });
        }
        for value in 2..=300 {
            writer.apply(resync(value, ResyncCause::Compacted, all(value).collect()));
        }
    });
}

#[tokio::test(start_paused = true)]
async fn one_who_has_written_reads_what_was_written() -> keyval::Result<()> {
    let store = Memory::new();
    let (copy, writer) = mirror();
    let updates = follow(store.clone(), range(), options());
    let task = tokio::spawn(writer.run(updates));
    assert!(copy.ready().await.unwrap().is_empty());
    for n in 0..100 {
        let mine = store.put("a/1", n.to_string()).await?;
        let snapshot = copy.caught_up(mine).await.unwrap();
        assert!(snapshot.revision() >= mine);
        assert_eq!(*snapshot.get("a/1").unwrap().value, n.to_string());
    }
    // Also where the write was elsewhere: the word of progress says so.
    let elsewhere = store.put("b/1", "x").await?;
    copy.caught_up(elsewhere).await.unwrap();
    task.abort();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn deletions_during_an_outage_are_reported() -> keyval::Result<()> {
    for options in [options(), sampling()] {
        let lab = Lab::new();
        let store = lab.store();
        for key in ["a/1", "a/2", "a/3"] {
            store.put(key, "x").await?;
        }
        let (copy, writer) = mirror();
        let mut changes = writer.feed(lab.follow_opts(options));
        assert_eq!(changes.next().await.unwrap()?.changes.len(), 3);

        lab.down(unavailable);
        store.delete("a/1").await?;
        let at = store.put("a/2", "y").await?;
        store.delete("a/3").await?;
        store.put("a/3", "x").await?;
        store.compact(at.next().next()).await?;
        lab.up();

        let found = changes.next().await.unwrap()?;
        let words = words_of(&found);
        assert_eq!(words, ["-a/1", "+a/2=y", "+a/3=x"]);
        assert!(found.changes.iter().all(|change| change.prev().is_some()));
        assert_eq!(copy.snapshot().len(), 2);
    }
    Ok(())
}

fn words_of(changes: &Changes<std::sync::Arc<keyval::Bytes>>) -> Vec<String> {
    let word = |change: &Change<std::sync::Arc<keyval::Bytes>>| match change.entry() {
        Some(entry) => format!("+{}={}", entry.key, entry.value.escape_ascii()),
        None => format!("-{}", change.key()),
    };
    changes.changes.iter().map(word).collect()
}

#[tokio::test(start_paused = true)]
async fn a_wiped_store_is_deletions_and_reverted_values() -> keyval::Result<()> {
    let lab = Lab::new();
    for key in ["a/1", "a/2", "a/3"] {
        lab.store().put(key, "new").await?;
    }
    let (_copy, writer) = mirror();
    let mut changes = writer.feed(lab.follow());
    changes.next().await.unwrap()?;
    let restored = Memory::new();
    restored.put("a/1", "new").await?;
    restored.put("a/2", "old").await?;
    lab.replace(restored);
    let found = changes.next().await.unwrap()?;
    assert_eq!(words_of(&found), ["+a/2=old", "-a/3"]);
    assert_eq!(found.revision, Revision::new(3));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_of_history_is_told_to_those_who_wait() {
    let (copy, mut writer) = mirror();
    writer.apply(resync(100, ResyncCause::Initial, vec![]));
    let waiting = tokio::spawn({
        let copy = copy.clone();
        async move { copy.caught_up(Revision::new(101)).await.map(drop) }
    });
    tokio::task::yield_now().await;
    writer.apply(resync(5, ResyncCause::HistoryChanged, vec![]));
    assert_eq!(waiting.await.unwrap(), Err(MirrorError::HistoryChanged));
    assert_eq!(copy.revision(), Revision::new(5));

    // In the new history revisions count anew, also past the old ones.
    assert!(copy.caught_up(Revision::new(5)).await.is_ok());
    let waiting = copy.caught_up(Revision::new(6));
    writer.apply(put("a", "1", 6));
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let (mut copy, mut writer) = mirror();
    let early = copy.clone();
    assert!(!copy.is_ready() && !copy.is_abandoned());
    writer.apply(resync(5, ResyncCause::Initial, vec![entry("a", "1", 2)]));
    drop(writer);
    assert!(copy.is_abandoned());
    assert!(early.ready().await.is_ok());
    assert!(copy.caught_up(Revision::new(5)).await.is_ok());
    let late = copy.caught_up(Revision::new(6)).await;
    assert_eq!(late.map(drop), Err(MirrorError::WriterGone));
    let _ = copy.changed().await;
    assert_eq!(copy.changed().await.map(drop), Err(MirrorError::WriterGone));
    assert_eq!(contents(&copy), ["a=1"], "the copy stays");

    let (never, writer) = mirror::<String>();
    drop(writer);
    assert_eq!(never.ready().await.map(drop), Err(MirrorError::WriterGone));
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_told_of_each_change_it_has_not_seen() {
    let (mut copy, mut writer) = mirror();
    let wait = Duration::from_secs(1);
    assert!(tokio::time::timeout(wait, copy.changed()).await.is_err());
    writer.apply(resync(2, ResyncCause::Initial, vec![entry("a", "1", 2)]));
    writer.apply(put("a", "2", 3));
    assert_eq!(copy.changed().await.unwrap().revision(), Revision::new(3));
    assert!(tokio::time::timeout(wait, copy.changed()).await.is_err());
    let mut other = writer.mirror();
    writer.apply(put("a", "3", 4));
    for copy in [&mut copy, &mut other] {
        assert_eq!(copy.changed().await.unwrap().revision(), Revision::new(4));
    }
}

#[tokio::test(start_paused = true)]
async fn running_ends_with_the_error_that_ended_the_stream() {
    let lab = Lab::new();
    let (copy, writer) = mirror();
    let run = tokio::spawn(writer.run(lab.follow()));
    copy.ready().await.unwrap();
    lab.store().close().await.unwrap();
    let error = run.await.unwrap().unwrap_err();
    assert!(matches!(error, keyval::Error::Closed { .. }), "{error}");
    assert!(copy.is_abandoned());

    let (_copy, writer) = mirror();
    let refused = follow(Memory::new(), KeyRange::span("b", "a"), options());
    assert!(writer.run(refused).await.is_err());
}
