//! Promises about compaction, for a whole store that nobody else uses meanwhile.

use futures::StreamExt;

use crate::broker::{Broker, BrokerExt};
use crate::entry::Changes;
use crate::error::{Error, Result};
use crate::options::{GetOptions, ListOptions, WatchOptions};
use crate::revision::Revision;
use crate::store::{Maintenance, ManagedStore};
use crate::testing::conformance::gate::{
    has_compaction, has_history, has_watched_previous, has_watches, has_watches_from,
};
use crate::testing::conformance::subject::{Subject, refused};

type Whole = Subject<dyn ManagedStore>;

fn is_compacted<T: std::fmt::Debug>(result: Result<T>, expected: Revision, kept: Revision) {
    match refused(result) {
        Error::Compacted { requested, oldest } => {
            assert_eq!(requested, expected);
            assert!(oldest.is_none_or(|oldest| oldest == kept), "{oldest:?}");
        }
        error => panic!("{error:?}"),
    }
}

/// Below the compacted revision nothing can be read; at it and above everything can.
pub async fn what_is_compacted_cannot_be_read(s: &Whole) -> Result<()> {
    if !has_compaction(s).await || !has_history(s).await {
        return Ok(());
    }
    let first = s.put("key", "1").await?;
    let second = s.put("key", "2").await?;
    let third = s.put("key", "3").await?;
    s.store().compact(second).await?;
    let key = s.key("key");
    let at = |revision| GetOptions::default().at(revision);
    is_compacted(s.store().get_opts(&key, at(first)).await, first, second);
    let options = ListOptions::default().at(first);
    is_compacted(s.list(&s.all(), options).await, first, second);
    for (revision, value) in [(second, "2"), (third, "3")] {
        let entry = s.store().get_opts(&key, at(revision)).await?;
        assert_eq!(entry.expect("it is kept").value, value);
        let options = ListOptions::default().at(revision).with_page(1);
        let listed = s.list(&s.all(), options).await?;
        assert_eq!(listed[0].value, value);
    }
    assert_eq!(s.entry("key").await?.value, "3");
    Ok(())
}

/// The present state outlives a compaction, however old it is, with all its revisions.
pub async fn the_present_state_outlives_a_compaction(s: &Whole) -> Result<()> {
    if !has_compaction(s).await {
        return Ok(());
    }
    s.put("old", "1").await?;
    s.put("old", "2").await?;
    s.put("gone", "x").await?;
    s.store().delete(s.key("gone")).await?;
    for i in 0..20 {
        s.put("busy", i.to_string()).await?;
    }
    let before = s.list(&s.all(), ListOptions::default()).await?;
    let now = s.put("last", "x").await?;
    s.store().compact(now).await?;
    let mut after = s.list(&s.all(), ListOptions::default()).await?;
    after.retain(|entry| entry.modified < now);
    assert_eq!(after, before);
    assert_eq!(s.get("gone").await?, None);
    let again = s.put("gone", "y").await?;
    assert_eq!(s.entry("gone").await?.created, again);
    Ok(())
}

/// A watch cannot begin at what is compacted: it is told so, by the call or by its first item.
pub async fn a_watch_cannot_begin_at_what_is_compacted(s: &Whole) -> Result<()> {
    if !has_compaction(s).await || !has_watches_from(s).await {
        return Ok(());
    }
    let first = s.put("key", "1").await?;
    let second = s.put("key", "2").await?;
    let third = s.put("key", "3").await?;
    s.store().compact(second).await?;
    for from in [first, second] {
        let options = WatchOptions::default().starting_at(from);
        let error = match s.watch_opts(&s.all(), options).await {
            Ok(mut events) => events.failure().await,
            Err(error) => error,
        };
        is_compacted(Err::<(), _>(error), from, second);
    }
    let options = WatchOptions::default().starting_at(third);
    let mut events = s.watch_opts(&s.all(), options).await?;
    let last = s.put("key", "4").await?;
    let all = events.until(last).await?;
    let told: Vec<_> = all.iter().flat_map(|changes| s.told(changes)).collect();
    assert_eq!(told, ["put key=3", "put key=4"]);
    Ok(())
}

/// A watch that has kept up goes on through a compaction.
pub async fn a_watch_that_keeps_up_outlives_a_compaction(s: &Whole) -> Result<()> {
    if !has_compaction(s).await || !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    for _ in 0..5 {
        let revision = s.put("key", "x").await?;
        events.until(revision).await?;
        s.store().compact(revision).await?;
    }
    let last = s.put("key", "last").await?;
    assert_eq!(events.next().await?.revision, last);
    Ok(())
}

/// A watch that has fallen behind a compaction delivers everything, or says that it cannot: there
/// is no gap.
pub async fn a_watch_left_behind_is_told(s: &Whole) -> Result<()> {
    if !has_compaction(s).await || !has_watches(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let mut written = Vec::new();
    for i in 0..50 {
        written.push(s.put("key", i.to_string()).await?);
    }
    s.store().compact(written[49]).await?;
    for expected in written {
        match events.next().await {
            Ok(changes) => assert_eq!(changes.revision, expected, "a gap"),
            Err(Error::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A list that is under way when its revision is compacted is whole or fails, never short.
pub async fn a_list_under_way_is_whole_or_fails(s: &Whole) -> Result<()> {
    if !has_compaction(s).await {
        return Ok(());
    }
    s.fill(10, |i| i.to_string()).await?;
    let options = ListOptions::default().with_page(2);
    let mut listing = s.store().list_opts(&s.all(), options).await?;
    listing.entries.next().await.expect("ten were put")?;
    s.store().delete_prefix(s.scope().clone()).await?;
    let now = s.put("0", "new").await?;
    s.store().compact(now).await?;
    let mut read = 1;
    while let Some(item) = listing.entries.next().await {
        match item {
            Ok(entry) => {
                assert_eq!(s.name(&entry.key), read.to_string());
                read += 1;
            }
            Err(Error::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    assert_eq!(read, 10, "a list that broke off was taken for a short one");
    Ok(())
}

/// What is compacted already and what is not reached yet cannot be compacted, and nothing changes.
pub async fn a_compaction_out_of_range_is_refused(s: &Whole) -> Result<()> {
    if !has_compaction(s).await {
        return Ok(());
    }
    let first = s.put("key", "1").await?;
    let second = s.put("key", "2").await?;
    let third = s.put("key", "3").await?;
    s.store().compact(second).await?;
    for revision in [first, second] {
        let error = refused(s.store().compact(revision).await);
        assert!(matches!(error, Error::Compacted { .. }), "{error:?}");
    }
    let future = Revision::new(third.get() + 1000);
    let error = refused(s.store().compact(future).await);
    let told = matches!(&error, Error::FutureRevision { requested, .. } if *requested == future);
    assert!(told, "{error:?}");
    if has_history(s).await {
        let options = ListOptions::default().at(second);
        assert_eq!(s.list(&s.all(), options).await?[0].value, "2");
    }
    s.store().compact(third).await
}

/// A compaction makes no revision, and the status tells both revisions where it tells any.
pub async fn a_compaction_is_seen_in_the_status_alone(s: &Whole) -> Result<()> {
    if !has_compaction(s).await {
        return Ok(());
    }
    let first = s.put("key", "1").await?;
    let second = s.put("key", "2").await?;
    let mut watch = None;
    if has_watches(s).await {
        watch = Some(s.watch().await?);
    }
    s.store().compact(first).await?;
    let status = s.store().status().await?;
    assert!(
        status.revision.is_none_or(|now| now == second),
        "{status:?}"
    );
    assert!(status.compacted.is_none_or(|to| to == first), "{status:?}");
    let third = s.put("key", "3").await?;
    assert_eq!(third, second.next());
    if let Some(mut events) = watch {
        assert_eq!(events.next().await?.revision, third);
    }
    Ok(())
}

/// Previous entries that are compacted may be missing from a change; the change never is, and no
/// wrong entry stands in for it.
pub async fn a_compacted_previous_entry_hides_no_change(s: &Whole) -> Result<()> {
    if !has_compaction(s).await || !has_watches_from(s).await || !has_watched_previous(s).await {
        return Ok(());
    }
    s.put("key", "1").await?;
    let before = s.entry("key").await?;
    let second = s.put("key", "2").await?;
    let third = s.put("key", "3").await?;
    s.store().compact(second).await?;
    let options = WatchOptions::default().with_previous().starting_at(third);
    let mut events = s.watch_opts(&s.all(), options).await?;
    let last = s.put("key", "4").await?;
    let all: Vec<Changes> = events.until(last).await?;
    assert_eq!(all.len(), 2);
    for (changes, previous) in all.iter().zip(["2", "3"]) {
        if let Some(prev) = changes.changes[0].prev() {
            assert_eq!(prev.value, previous);
            assert_eq!(prev.created, before.created);
        }
    }
    Ok(())
}
