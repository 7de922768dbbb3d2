//! What followers and watches learn when the network fails at a moment of the test's choice.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use futures::StreamExt;
use keyval::{
    BackoffPolicy, Broker, BrokerExt, DeleteOptions, Error, FollowOptions, FollowState, KeyRange,
    Maintenance, Memory, ResyncCause, Revision, WatchOptions, Watcher,
};
use keyval_etcd::EtcdStore;
use keyval_tests::fake::{FakeEtcd, PASSWORD, USER};
use keyval_tests::proxy::Way;
use keyval_tests::replica::{Replica, history, soon};
use keyval_tests::simulation::{
    FOUND_OUT, Member, VERSION, config, connect, moments, seed, simulate, works_again,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const WAYS: [Way; 3] = [Way::ToServer, Way::ToClient, Way::Both];

fn range() -> KeyRange {
    KeyRange::prefix("x/")
}

/// A follower of `x/` that waits for little between two attempts.
async fn replica(store: &EtcdStore) -> Replica {
    let backoff = BackoffPolicy::default().with_max(Duration::from_millis(250));
    let options = FollowOptions::default().with_backoff(backoff);
    Replica::start(store.clone(), range(), options).await
}

/// Puts and deletes below `x/` all the time, at the server itself, until it is dropped.
struct Writer(JoinHandle<()>);

impl Writer {
    fn start(data: Memory) -> Self {
        Self(tokio::spawn(async move {
            for n in 0_u64.. {
                let key = format!("x/{}", n % 5);
                if n % 3 == 0 {
                    data.delete(key).await.unwrap();
                } else {
                    data.put(key, n.to_string()).await.unwrap();
                }
                sleep(Duration::from_millis(7)).await;
            }
        }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Checks that a follower was told exactly what happened after this revision, one by one.
async fn is_the_truth(replica: &Replica, data: &Memory, after: Revision) {
    let last = data.put("x/last", "").await.unwrap();
    replica.reaches(last).await;
    replica.agrees_with(data, range()).await;
    let told = replica.told();
    let truth = history(data, &range(), after.next(), last).await;
    assert_eq!(told.losses(), 0, "{:?}", told.resyncs);
    assert!(told.changes == truth, "some was lost or told twice");
}

#[test]
fn a_follower_loses_and_repeats_nothing_whichever_way_is_cut() {
    simulate(seed(), |[member]| async move {
        let (store, data) = (connect(&config([&member])).await, member.data());
        let replica = replica(&store).await;
        let first = replica.local().revision();
        for way in WAYS {
            for outage in [1, 30, 1000, 17_000].map(Duration::from_millis) {
                let writer = Writer::start(data.clone());
                sleep(Duration::from_millis(200)).await;
                member.lose(way);
                sleep(outage).await;
                // What still came would hide that the server hears nothing. On a real network it
                // could not go on, for want of acknowledgements.
                drop(writer);
                member.heal();
                let marker = data.put("x/marker", "").await.unwrap();
                replica.reaches(marker).await;
            }
        }
        is_the_truth(&replica, &data, first).await;
    });
}

#[test]
fn a_follower_loses_and_repeats_nothing_at_whatever_moment_the_server_crashes() {
    simulate(seed(), |[member]| async move {
        let (store, data) = (connect(&config([&member])).await, member.data());
        let replica = replica(&store).await;
        let first = replica.local().revision();
        let writer = Writer::start(data.clone());
        for moment in moments() {
            member.crash();
            sleep(Duration::from_millis(100)).await;
            member.start();
            // While it connects, opens the watch or receives what it missed.
            sleep(moment * 3).await;
            member.crash();
            sleep(Duration::from_millis(20)).await;
            member.start();
            let marker = data.put("x/marker", "").await.unwrap();
            replica.reaches(marker).await;
        }
        drop(writer);
        is_the_truth(&replica, &data, first).await;
    });
}

#[test]
fn a_server_that_comes_back_without_its_data_costs_exactly_one_resync() {
    // The new history may have come less far than the old one, or farther.
    for revisions in [3, 30] {
        simulate(seed(), move |[member]| async move {
            let store = connect(&config([&member])).await;
            for n in 0..10 {
                let key = format!("x/{n}");
                member.data().put(key, "old").await.unwrap();
            }
            let replica = replica(&store).await;
            member.crash();
            sleep(Duration::from_millis(100)).await;
            member.replace(FakeEtcd::new(VERSION));
            for n in 0..revisions {
                let key = format!("x/{}", n % 3);
                member.data().put(key, "new").await.unwrap();
            }
            member.start();
            replica.agrees_with(&member.data(), range()).await;
            let later = member.data().put("x/later", "").await.unwrap();
            replica.reaches(later).await;
            replica.agrees_with(&member.data(), range()).await;
            let told = replica.told();
            assert_eq!(told.losses(), 1, "{revisions}: {:?}", told.resyncs);
            let gone: Vec<_> = (3..10).map(|n| format!("x/{n}")).collect();
            assert_eq!(told.implied_deletes(), gone, "{revisions}");
        });
    }
}

#[test]
fn a_compaction_during_an_outage_costs_exactly_one_resync_with_its_deletions() {
    simulate(seed(), |[member]| async move {
        let (store, data) = (connect(&config([&member])).await, member.data());
        for n in 0..10 {
            data.put(format!("x/{n}"), "old").await.unwrap();
        }
        let replica = replica(&store).await;
        for (n, way) in WAYS.into_iter().enumerate() {
            member.lose(way);
            data.delete(format!("x/{n}")).await.unwrap();
            data.put("x/9", n.to_string()).await.unwrap();
            let last = data.put("elsewhere", "").await.unwrap();
            data.compact(last).await.unwrap();
            member.heal();
            replica.agrees_with(&data, range()).await;
            works_again(&store).await;
        }
        let told = replica.told();
        assert_eq!(told.resyncs[1..], [ResyncCause::Compacted; 3]);
        assert_eq!(told.implied_deletes(), ["x/0", "x/1", "x/2"]);
        assert!(told.changes.is_empty(), "{:?}", told.changes);
    });
}

#[test]
fn a_watch_that_falls_silent_is_replaced_within_its_bound() {
    simulate(seed(), |[one, other]: [Member; 2]| async move {
        let config = config([&one, &other]);
        let (store, data) = (connect(&config).await, one.data());
        let silence = Duration::from_secs(3);
        let options = FollowOptions::default().with_silence(silence);
        let replica = Replica::start(store.clone(), range(), options).await;
        let first = replica.local().revision();
        for round in 0..6 {
            // What is sent to the server arrives, so that nothing but silence tells.
            one.lose(Way::ToClient);
            let missed = data.put("x/missed", round.to_string()).await.unwrap();
            let begun = Instant::now();
            replica.reaches(missed).await;
            let took = begun.elapsed();
            // The silence, a list or a watch that finds the member dead, and a pause before them.
            let bound = silence + config.operation_timeout * 2 + Duration::from_secs(1);
            assert!(took <= bound, "{took:?}");
            one.heal();
            sleep(FOUND_OUT).await;
            replica.stands(FollowState::is_connected).await;
        }
        is_the_truth(&replica, &data, first).await;
    });
}

#[test]
fn watches_that_are_given_up_at_any_moment_disturb_no_other() {
    simulate(seed(), |[member]| async move {
        let (store, data) = (connect(&config([&member])).await, member.data());
        let replica = replica(&store).await;
        let first = replica.local().revision();
        let writer = Writer::start(data.clone());
        let mut opened = 0;
        for round in 0..5 {
            for moment in moments() {
                let options = match round % 2 {
                    0 => WatchOptions::default(),
                    _ => WatchOptions::default().starting_at(first.next()),
                };
                let watched = range();
                let watching = store.watch_opts(&watched, options);
                // Given up while it is opened, or while it delivers.
                if let Ok(watch) = timeout(moment, watching).await {
                    let mut watch = watch.unwrap();
                    opened += 1;
                    let mut last = Revision::ZERO;
                    let reading = async {
                        while let Some(changes) = watch.next().await {
                            let at = changes.unwrap().revision;
                            assert!(at > last, "{at} after {last}");
                            last = at;
                        }
                        panic!("the watch ended");
                    };
                    drop(timeout(moment, reading).await);
                }
            }
        }
        assert!(opened > 0);
        drop(writer);
        is_the_truth(&replica, &data, first).await;
        store.close().await.unwrap();
    });
}

#[test]
fn changes_that_come_before_the_word_that_their_watch_was_created_are_delivered_once() {
    simulate(seed(), |[member]| async move {
        member.crash();
        member.replace(FakeEtcd::new(VERSION).announcing_late());
        member.start();
        sleep(Duration::from_millis(100)).await;
        let (store, data) = (connect(&config([&member])).await, member.data());
        for n in 0..20 {
            data.put(format!("x/{}", n % 3), "").await.unwrap();
        }
        let truth = history(&data, &range(), Revision::new(2), Revision::new(21)).await;
        assert_eq!(truth.len(), 20);
        let told = history(&store, &range(), Revision::new(2), Revision::new(21)).await;
        assert_eq!(told, truth);

        let replica = replica(&store).await;
        let first = replica.local().revision();
        let writer = Writer::start(data.clone());
        for moment in moments() {
            member.crash();
            sleep(moment).await;
            member.start();
            let marker = data.put("x/marker", "").await.unwrap();
            replica.reaches(marker).await;
        }
        drop(writer);
        is_the_truth(&replica, &data, first).await;
    });
}

#[test]
fn a_deletion_that_a_compaction_takes_with_it_at_whatever_moment_of_an_outage_is_told() {
    simulate(seed(), |[member]| async move {
        let (store, data) = (connect(&config([&member])).await, member.data());
        for n in 0..60 {
            data.put(format!("x/{n}"), "").await.unwrap();
        }
        let replica = replica(&store).await;
        for n in 0..60 {
            member.crash();
            sleep(Duration::from_millis(20)).await;
            member.start();
            // The follower goes on at the very revision of the deletion and of the compaction.
            sleep(Duration::from_millis(n * 5)).await;
            compacted_deletion(&data, &format!("x/{n}")).await;
            replica.agrees_with(&data, range()).await;
        }
        let told = replica.told();
        let deletions = told.implied.len() + told.changes.len();
        assert_eq!(deletions, 60, "{told:?}");
    });
}

#[test]
fn a_watch_that_is_opened_while_a_compaction_takes_a_deletion_with_it_tells_either() {
    simulate(seed(), |[member]| async move {
        let (store, data) = (connect(&config([&member])).await, member.data());
        let (mut told, mut compacted) = (0, 0);
        for moment in moments()
            .chain(moments().map(|moment| moment * 2))
            .cycle()
            .take(120)
        {
            let put = data.put("x/a", "").await.unwrap();
            let watched = range();
            let options = WatchOptions::default().starting_at(put.next());
            let (watch, deleted) = tokio::join!(store.watch_opts(&watched, options), async {
                sleep(moment).await;
                compacted_deletion(&data, "x/a").await
            });
            let first = match watch {
                Ok(mut watch) => soon("a word", watch.next())
                    .await
                    .expect("it ends with one"),
                Err(error) => Err(error),
            };
            match first {
                Ok(changes) => {
                    assert_eq!(changes.revision, deleted, "{moment:?}");
                    assert_eq!(changes.changes.len(), 1, "{moment:?}");
                    told += 1;
                }
                Err(Error::Compacted { .. }) => compacted += 1,
                Err(error) => panic!("{moment:?}: {error}"),
            }
        }
        println!("{told} told, {compacted} compacted");
        assert!(told > 0 && compacted > 0, "no moment was met");
    });
}

/// Deletes a key, and compacts to the very revision of that.
async fn compacted_deletion(data: &Memory, key: &str) -> Revision {
    let gone = KeyRange::key(key);
    let deleted = data.delete_opts(&gone, DeleteOptions::default()).await;
    let revision = deleted.expect("no network lies before it").revision;
    // Those who watch already are told before.
    sleep(Duration::from_millis(10)).await;
    let compacted = data.compact(revision).await;
    compacted.expect("no network lies before it");
    revision
}

#[test]
fn a_token_that_ends_at_any_moment_of_an_outage_costs_a_login_and_no_change() {
    simulate(seed(), |[member]| async move {
        let server = FakeEtcd::new(VERSION).with_login();
        member.replace(server.clone());
        member.crash();
        sleep(Duration::from_millis(100)).await;
        member.start();
        sleep(Duration::from_millis(100)).await;
        let config = config([&member])
            .with_login(USER, PASSWORD)
            .with_plaintext_credentials();
        let (store, data) = (connect(&config).await, member.data());
        let replica = replica(&store).await;
        let first = replica.local().revision();
        let writer = Writer::start(data.clone());
        for moment in moments() {
            let before = server.logins();
            member.crash();
            sleep(Duration::from_millis(100)).await;
            member.start();
            // While it connects, logs in, opens the watch or receives what it missed.
            sleep(moment * 3).await;
            server.end_tokens();
            let marker = data.put("x/marker", "").await.unwrap();
            replica.reaches(marker).await;
            store.put("y", "").await.unwrap();
            // The token may have ended before it was shown, and the next one after its login.
            let logins = server.logins() - before;
            assert!((1..=2).contains(&logins), "{moment:?}: {logins} logins");
        }
        drop(writer);
        is_the_truth(&replica, &data, first).await;
    });
}
