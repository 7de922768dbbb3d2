//! Following a store through outages: nothing lost, nothing repeated, no hot loop.

mod follow_support;

use std::time::Duration;

use follow_support::*;
use futures::StreamExt;
use keyval::{
    BackoffPolicy, BrokerExt, Changes, Error, FollowState, Maintenance, Memory, MemoryOptions,
    ResyncCause, Revision, Update,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_cut_watch_goes_on_where_it_ended() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    lab.store().put("a/1", "before").await?;
    assert_eq!(words(&next_changes(&mut updates).await), ["+a/1=before@2"]);

    for cut in [Lab::cut, Lab::end] {
        cut(&lab);
        let seen = lab.store().put("a/1", "during").await?;
        lab.store().delete("a/1").await?;
        let changes = next_changes(&mut updates).await;
        assert_eq!(words(&changes), [format!("+a/1=during@{seen}")]);
        assert!(changes.changes[0].entry().unwrap().is_new() == (seen.get() > 3));
        let changes = next_changes(&mut updates).await;
        assert_eq!(words(&changes), [format!("-a/1@{}", seen.next())]);
    }
    assert_eq!(lab.open_watches(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_change_written_while_the_store_is_away_comes_at_once_when_it_is_back()
-> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    lab.cut();
    lab.store().put("a/1", "x").await?;
    let begun = Instant::now();
    next_changes(&mut updates).await;
    assert!(begun.elapsed() <= Duration::from_millis(100));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_neither_a_hot_loop_nor_the_end() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    let before = lab.calls().len();
    lab.down(unavailable);
    nothing_for(&mut updates, 600 * SECOND).await;
    let calls = lab.calls().split_off(before);
    // Waits of 2.5 s on average, once they have grown.
    assert!((150..=400).contains(&calls.len()), "{}", calls.len());
    let waits: Vec<Duration> = calls.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert!(waits.iter().all(|wait| *wait >= Duration::from_millis(10)));
    assert!(
        waits
            .iter()
            .all(|wait| *wait <= 5 * SECOND + Duration::from_millis(1))
    );
    let late = &waits[waits.len() - 50..];
    assert!(
        late.iter().max() > Some(&(3 * SECOND)),
        "they grow: {late:?}"
    );
    let mut different = late.to_vec();
    different.sort();
    different.dedup();
    assert!(different.len() > 40, "they are jittered: {late:?}");

    lab.store().put("a/1", "x").await?;
    lab.up();
    assert_eq!(words(&next_changes(&mut updates).await), ["+a/1=x@2"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_again_and_again_is_not_a_hot_loop() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    let before = lab.count(Call::Watch);
    let mut state = updates.state();
    let breaker = lab.clone();
    let breaking = tokio::spawn(async move {
        while state.wait_for(FollowState::is_connected).await.is_ok() {
            breaker.cut();
            if state.changed().await.is_err() {
                break;
            }
        }
    });
    nothing_for(&mut updates, 100 * SECOND).await;
    breaking.abort();
    let opened = lab.count(Call::Watch) - before;
    assert!((10..100).contains(&opened), "{opened}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_at_the_start_is_waited_for() -> keyval::Result<()> {
    let lab = Lab::new();
    lab.store().put("a/1", "x").await?;
    lab.down(unavailable);
    let mut updates = lab.follow();
    let state = updates.state();
    assert_eq!(*state.borrow(), FollowState::Connecting);
    nothing_for(&mut updates, 5 * SECOND).await;
    assert_eq!(state.borrow().as_str(), "suspended");
    lab.up();
    let snapshot = next_resync(&mut updates).await;
    assert_eq!(snapshot.cause, ResyncCause::Initial);
    assert_eq!(keys(&snapshot), ["a/1"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_state_tells_of_the_outage() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    let state = updates.state();
    start(&mut updates).await;
    assert!(state.borrow().is_connected());
    let cut_at = Instant::now();
    lab.down(unavailable);

    nothing_for(&mut updates, 30 * SECOND).await;
    let shown = state.borrow().clone();
    let FollowState::Suspended(outage) = shown else {
        panic!("{shown:?}");
    };
    assert_eq!(outage.since, cut_at);
    assert!(outage.attempts > 3, "{outage:?}");
    assert!(outage.cause.contains("cut by the test"), "{outage:?}");

    nothing_for(&mut updates, 31 * SECOND).await;
    let shown = state.borrow().clone();
    let FollowState::Lost(outage) = shown else {
        panic!("{shown:?}");
    };
    assert_eq!(outage.since, cut_at);

    lab.up();
    nothing_for(&mut updates, 10 * SECOND).await;
    assert!(state.borrow().is_connected());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_lost_to_the_second() -> keyval::Result<()> {
    let lab = Lab::new();
    let patient = BackoffPolicy::default()
        .with_initial(600 * SECOND)
        .with_max(600 * SECOND);
    let mut updates = lab.follow_opts(options().with_backoff(patient));
    start(&mut updates).await;
    lab.down(unavailable);
    let begun = Instant::now();
    let mut state = updates.state();
    let lost = state.wait_for(|state| state.as_str() == "lost");
    tokio::select! {
        item = updates.next() => panic!("{item:?}"),
        lost = lost => { lost.unwrap(); }
    }
    assert!(begun.elapsed() < 61 * SECOND, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_replaced() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    let state = updates.state();
    start(&mut updates).await;
    lab.mute(true);
    lab.store().put("a/1", "x").await?;
    nothing_for(&mut updates, 29 * SECOND).await;
    assert!(state.borrow().is_connected());
    assert_eq!(lab.count(Call::Watch), 1);

    nothing_for(&mut updates, 5 * SECOND).await;
    assert_eq!(lab.count(Call::Watch), 2);
    assert_eq!(lab.open_watches(), 0, "the old one is closed");
    let outage = state.borrow().outage().cloned().unwrap();
    assert!(outage.cause.contains("silent"), "{outage:?}");

    // The new one is not answered either.
    nothing_for(&mut updates, 8 * SECOND).await;
    let outage = state.borrow().outage().cloned().unwrap();
    assert!(
        outage.cause.contains("watch did not end within"),
        "{outage:?}"
    );

    lab.mute(false);
    assert_eq!(words(&next_changes(&mut updates).await), ["+a/1=x@2"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_quiet_range_is_not_a_silent_watch() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    nothing_for(&mut updates, 3_600 * SECOND).await;
    assert_eq!(lab.count(Call::Watch), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_slow_consumer_has_not_found_the_store_silent() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    for n in 0..5 {
        tokio::time::sleep(300 * SECOND).await;
        lab.store().put("a/1", n.to_string()).await?;
        next_changes(&mut updates).await;
    }
    assert_eq!(lab.count(Call::Watch), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn no_answer_within_the_deadline_is_a_failure() -> keyval::Result<()> {
    let lab = Lab::new();
    lab.mute(true);
    let mut updates = lab.follow_opts(options().with_operation_timeout(2 * SECOND));
    let state = updates.state();
    nothing_for(&mut updates, 20 * SECOND).await;
    assert!(
        (4..=10).contains(&lab.count(Call::List)),
        "{:?}",
        lab.calls()
    );
    let outage = state.borrow().outage().cloned().unwrap();
    assert!(
        outage.cause.contains("list did not end within 2s"),
        "{outage:?}"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_is_never_a_short_snapshot() -> keyval::Result<()> {
    let lab = Lab::new();
    for n in 0..100 {
        lab.store().put(format!("a/{n:02}"), "x").await?;
    }
    lab.break_list_after(50);
    let mut updates = lab.follow();
    assert_eq!(start(&mut updates).await.entries.len(), 100);
    assert_eq!(lab.count(Call::List), 2);

    // Nor is a check that breaks off an answer to it.
    lab.break_list_after(50);
    lab.cut();
    lab.store().put("a/00", "y").await?;
    assert_eq!(words(&next_changes(&mut updates).await), ["+a/00=y@102"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_repeated_revision_is_dropped() -> keyval::Result<()> {
    for options in [options(), sampling()] {
        let lab = Lab::new();
        let mut updates = lab.follow_opts(options);
        start(&mut updates).await;
        lab.store().put("a/1", "x").await?;
        let changes = next_changes(&mut updates).await;
        lab.inject(changes.clone());
        lab.inject(changes);
        lab.inject(Changes::progress(Revision::new(2)));
        let before = lab.count(Call::List);
        nothing_for(&mut updates, 5 * SECOND).await;
        lab.store().put("a/2", "y").await?;
        assert_eq!(words(&next_changes(&mut updates).await), ["+a/2=y@3"]);
        assert_eq!(lab.count(Call::List), before);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_told_and_asked_for_again() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    lab.down(denied);
    let begun = Instant::now();
    for _ in 0..20 {
        let error = updates.next().await.unwrap().unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error}");
        assert_eq!(updates.state().borrow().as_str(), "suspended");
    }
    assert!(begun.elapsed() > 10 * SECOND, "{:?}", begun.elapsed());
    lab.store().put("a/1", "x").await?;
    lab.up();
    assert_eq!(words(&next_changes(&mut updates).await), ["+a/1=x@2"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn compaction_during_an_outage_is_one_resync() -> keyval::Result<()> {
    for options in [options(), sampling()] {
        let lab = Lab::new();
        let store = lab.store();
        store.put("a/1", "1").await?;
        store.put("a/2", "2").await?;
        let mut updates = lab.follow_opts(options);
        start(&mut updates).await;
        lab.cut();
        store.delete("a/1").await?;
        let last = store.put("a/3", "3").await?;
        store.compact(last).await?;

        let snapshot = next_resync(&mut updates).await;
        assert_eq!(snapshot.cause, ResyncCause::Compacted);
        assert_eq!(snapshot.after, Some(Revision::new(3)));
        assert_eq!(snapshot.revision, last);
        assert_eq!(keys(&snapshot), ["a/2", "a/3"]);
        store.put("a/4", "4").await?;
        assert_eq!(words(&next_changes(&mut updates).await), ["+a/4=4@6"]);
        nothing_for(&mut updates, 60 * SECOND).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn compaction_up_to_what_was_delivered_is_no_resync() -> keyval::Result<()> {
    for options in [options(), sampling()] {
        let lab = Lab::new();
        let store = lab.store();
        let mut updates = lab.follow_opts(options);
        start(&mut updates).await;
        for n in 0..5 {
            store.put("a/1", n.to_string()).await?;
            next_changes(&mut updates).await;
        }
        lab.cut();
        store.compact(Revision::new(6)).await?;
        store.put("a/1", "after").await?;
        assert_eq!(words(&next_changes(&mut updates).await), ["+a/1=after@7"]);
        assert_eq!(lab.count(Call::List), 1);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_busy_neighbour_does_not_push_a_quiet_range_out_of_the_history() -> keyval::Result<()> {
    let lab = Lab::new();
    let mut updates = lab.follow();
    start(&mut updates).await;
    for _ in 0..20 {
        for n in 0..100 {
            lab.store().put("b/1", n.to_string()).await?;
        }
        nothing_for(&mut updates, 20 * SECOND).await;
        let present = lab.store().status().await?.revision.unwrap();
        lab.store().compact(present).await?;
        lab.cut();
    }
    nothing_for(&mut updates, 60 * SECOND).await;
    assert_eq!(lab.count(Call::List), 1, "one resync, at the start");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_consumer_left_behind_gets_a_resync_and_slows_nobody() -> keyval::Result<()> {
    let lab = Lab::over(Memory::with_options(
        MemoryOptions::default().with_retain_revisions(10),
    ));
    let mut slow = lab.follow();
    let mut quick = lab.follow();
    start(&mut slow).await;
    start(&mut quick).await;
    for n in 0..1_000 {
        lab.store().put("a/1", n.to_string()).await?;
        let changes = next_changes(&mut quick).await;
        assert_eq!(changes.revision, Revision::new(n + 2));
    }
    let mut got = 0;
    let snapshot = loop {
        match next(&mut slow).await {
            Update::Resync(snapshot) => break snapshot,
            Update::Changes(_) => got += 1,
        }
    };
    assert!(got < 200, "{got}");
    assert_eq!(snapshot.cause, ResyncCause::Compacted);
    assert_eq!(snapshot.entries[0].value, "999");
    nothing_for(&mut slow, 60 * SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_refused_as_compacted_by_its_first_item_is_a_resync() -> keyval::Result<()> {
    for options in [options(), sampling()] {
        let lab = Lab::new();
        let mut updates = lab.follow_opts(options);
        start(&mut updates).await;
        lab.fail_watches(compacted);
        lab.store().put("a/1", "x").await?;
        // Perhaps it was only the past that is gone: that shows when it is opened again.
        match next(&mut updates).await {
            Update::Changes(changes) => assert_eq!(words(&changes), ["+a/1=x@2"]),
            Update::Resync(snapshot) => {
                assert_eq!(snapshot.cause, ResyncCause::Compacted);
                assert_eq!(keys(&snapshot), ["a/1"]);
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_check_the_store_cannot_answer_ends_in_a_resync() -> keyval::Result<()> {
    let lab = Lab::new();
    lab.store().put("a/1", "x").await?;
    let mut updates = lab.follow_opts(sampling());
    start(&mut updates).await;
    lab.fail_next(Call::Commit, || Error::TooLarge {
        size: 2,
        limit: Some(1),
    });
    lab.cut();
    let snapshot = next_resync(&mut updates).await;
    assert_eq!(snapshot.cause, ResyncCause::Unverified);
    nothing_for(&mut updates, 60 * SECOND).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_store_without_history_resyncs_after_each_outage() -> keyval::Result<()> {
    let lab = Lab::new();
    lab.set_capabilities(|can| can.history = false);
    let mut updates = lab.follow();
    start(&mut updates).await;
    assert_eq!(lab.count(Call::Past), 0);
    for n in 0..3 {
        lab.cut();
        lab.store().put("a/1", n.to_string()).await?;
        let snapshot = next_resync(&mut updates).await;
        assert_eq!(snapshot.cause, ResyncCause::Unverified);
        assert_eq!(snapshot.entries[0].value, n.to_string());
        nothing_for(&mut updates, 60 * SECOND).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn times_beyond_all_bounds_mean_never() -> keyval::Result<()> {
    let lab = Lab::new();
    let options = keyval::FollowOptions::default()
        .with_lost_after(Duration::MAX)
        .with_silence(Duration::MAX)
        .with_operation_timeout(Duration::MAX)
        .with_verify_every(Duration::MAX);
    let mut updates = lab.follow_opts(options);
    start(&mut updates).await;
    lab.cut();
    let seen = lab.store().put("a/1", "during").await?;
    assert_eq!(
        words(&next_changes(&mut updates).await),
        [format!("+a/1=during@{seen}")]
    );
    Ok(())
}
