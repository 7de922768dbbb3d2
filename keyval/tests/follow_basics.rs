//! Following a store that works: a snapshot, then every change.

mod follow_support;

use std::time::Duration;

use follow_support::*;
use futures::StreamExt;
use futures::stream::FusedStream;
use keyval::{
    Broker, BrokerExt, Error, FollowOptions, KeyRange, Maintenance, Op, ResyncCause, Revision, Txn,
    Update, follow,
};

#[tokio::test(start_paused = true)]
async fn a_snapshot_comes_first_and_then_every_change() -> keyval::Result<()> {
    let lab = Lab::new();
    let store = lab.store();
    store.put("a/1", "one").await?;
    store.put("b/1", "not ours").await?;
    let mut updates = lab.follow();
    is_a_stream(&updates);

    let snapshot = next_resync(&mut updates).await;
    assert_eq!(keys(&snapshot), ["a/1"]);
    assert_eq!(snapshot.cause, ResyncCause::Initial);
    assert_eq!(snapshot.after, None);
    assert_eq!(snapshot.revision, Revision::new(3));

    // Also what happens between the snapshot and the opening of the watch.
    store.put("a/2", "").await?;
    assert_eq!(words(&next_changes(&mut updates).await), ["+a/2=@4"]);
    store.put("b/2", "not ours").await?;
    store.delete("a/1").await?;
    assert_eq!(words(&next_changes(&mut updates).await), ["-a/1@6"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_revision_is_delivered_whole() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    let txn = Txn::new()
        .then(Op::put("a/2", "2"))
        .then(Op::put("b/1", "no"))
        .then(Op::put("a/1", "1"));
    lab.store().commit(txn).await?;
    let changes = next_changes(&mut updates).await;
    assert_eq!(words(&changes), ["+a/1=1@2", "+a/2=2@2"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn progress_is_delivered_where_nothing_happens_to_the_range() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    let elsewhere = lab.store().put("b/1", "x").await?;
    let Update::Changes(changes) = next(&mut updates).await else {
        panic!("no resync was expected");
    };
    assert!(changes.is_progress());
    assert_eq!(changes.revision, elsewhere);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_previous_entry_comes_along_if_asked_for() -> keyval::Result<()> {
    let lab = Lab::new();
    lab.store().put("a/1", "old").await?;
    let mut updates = lab.follow_opts(options().with_previous());
    start(&mut updates).await;
    lab.store().put("a/1", "new").await?;
    let changes = next_changes(&mut updates).await;
    assert_eq!(changes.changes[0].prev().unwrap().value, "old");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_many_pages_is_whole() -> keyval::Result<()> {
    let lab = Lab::new();
    for n in 0..2_500 {
        lab.store().put(format!("a/{n:04}"), "x").await?;
    }
    let mut updates = lab.follow_opts(options().with_page(100));
    assert_eq!(start(&mut updates).await.entries.len(), 2_500);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_follower_leaves_nothing_behind() {
    let lab = Lab::new();
    let mut updates = lab.follow();
    let state = updates.state();
    start(&mut updates).await;
    assert_eq!(lab.open_watches(), 1);
    drop(updates);
    assert_eq!(lab.open_watches(), 0);
    assert!(state.has_changed().is_err(), "no state will come any more");
    assert!(state.borrow().is_connected(), "it shows the last state");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_nothing() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    for n in 0..20 {
        let waited = tokio::time::timeout(Duration::from_millis(1), updates.next()).await;
        assert!(waited.is_err());
        lab.store().put("a/1", n.to_string()).await?;
        let _ = futures::poll!(updates.next()).map(|item| {
            let Some(Ok(Update::Changes(changes))) = item else {
                panic!("changes were expected");
            };
            assert_eq!(changes.revision, Revision::new(n + 2));
        });
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_impossible_request_is_one_error_and_the_end() {
    let refused = [
        follow(Lab::new(), KeyRange::span("b", "a"), options()),
        follow(Lab::new(), range(), options().with_silence(Duration::ZERO)),
        follow(Lab::new(), range(), options().with_page(0)),
    ];
    for mut updates in refused {
        let error = updates.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(updates.next().await.is_none());
        assert!(updates.is_terminated());
        assert_eq!(updates.state().borrow().as_str(), "lost");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_watched_is_one_error_and_the_end() {
    let lab = Lab::new();
    lab.set_capabilities(|can| can.watch_from = false);
    let mut updates = lab.follow();
    let error = updates.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::NotSupported { .. }), "{error}");
    assert!(updates.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_is_one_error_and_the_end() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    lab.store().close().await?;
    let error = updates.next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    assert!(updates.next().await.is_none());
    assert_eq!(lab.open_watches(), 0);
    Ok(())
}

#[test]
fn a_follower_can_be_made_outside_a_runtime() {
    let updates = follow(Lab::new(), range(), FollowOptions::default());
    assert_eq!(updates.range(), &range());
    assert!(format!("{updates:?}").contains("Connecting"));
}
