//! What callers learn when the network fails at a moment of the test's choice.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use keyval::recipes::put_once;
use keyval::{
    BrokerExt, ConnectionState, KeyRange, Outcome, PutOptions, RetryPolicy, WatchOptions, Watcher,
};
use keyval_tests::proxy::Way;
use keyval_tests::simulation::{
    FOUND_OUT, Member, config, connect, moments, seed, simulate, works_again,
};
use tokio::time::{Instant, sleep};

const WAYS: [Way; 3] = [Way::ToServer, Way::ToClient, Way::Both];

/// How often this key was written.
async fn times(member: &Member, key: &str) -> u64 {
    let entry = member.data().get(key).await.unwrap();
    entry.map_or(0, |entry| entry.version)
}

#[test]
fn a_put_is_applied_at_most_once_at_whatever_moment_its_way_is_cut() {
    simulate(seed(), |[member]| async move {
        let store = connect(&config([&member])).await;
        let (mut done, mut lost, mut unheard) = (0, 0, 0);
        for way in WAYS {
            for moment in moments() {
                let key = format!("{way:?} {moment:?}");
                let (put, ()) = tokio::join!(store.put(key.as_str(), ""), async {
                    sleep(moment).await;
                    member.lose(way);
                });
                member.heal();
                works_again(&store).await;
                let times = times(&member, &key).await;
                match put {
                    Ok(_) => {
                        assert_eq!(times, 1, "{key}");
                        done += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.outcome(), Outcome::Unknown, "{key}: {error}");
                        assert!(times <= 1, "{key}: {times} times");
                        *(if times == 0 { &mut lost } else { &mut unheard }) += 1;
                    }
                }
            }
        }
        println!("{done} answered, {lost} lost, {unheard} applied without an answer");
        assert!(done > 0 && lost > 0 && unheard > 0, "no moment was met");
    });
}

#[test]
fn a_put_whose_answer_was_lost_with_its_connection_is_not_sent_to_another_member() {
    simulate(seed(), |members: [Member; 2]| async move {
        let store = connect(&config(&members)).await;
        let mut unheard = 0;
        for moment in moments().flat_map(|moment| [moment; 4]) {
            let ConnectionState::Connected { endpoint, .. } = store.connection().state() else {
                panic!("it was connected at the end of each round");
            };
            let used = members.iter().find(|member| member.endpoint() == *endpoint);
            let used = used.unwrap().clone();
            let key = format!("{moment:?}");
            let before = times(&used, &key).await;
            let (put, _) = tokio::join!(store.put(key.as_str(), ""), async {
                sleep(moment).await;
                used.lose(Way::ToClient);
                sleep(Duration::from_millis(50)).await;
                used.heal();
                used.crash();
                sleep(Duration::from_millis(20)).await;
                used.start();
                // What is sent is answered by a reset.
                store.get("elsewhere").await
            });
            let times = times(&used, &key).await - before;
            match put {
                Ok(_) => assert_eq!(times, 1, "{key}"),
                Err(error) => {
                    assert_eq!(error.outcome(), Outcome::Unknown, "{key}: {error}");
                    assert!(times <= 1, "{key}: {times} times");
                    unheard += times;
                }
            }
            works_again(&store).await;
            while !store.connection().state().is_connected() {
                sleep(Duration::from_millis(10)).await;
            }
        }
        println!("{unheard} applied without an answer");
        assert!(unheard > 0, "no moment was met");
    });
}

#[test]
fn a_put_that_proves_itself_is_applied_exactly_once_at_whatever_moment_the_server_crashes() {
    simulate(seed(), |[member]| async move {
        let store = connect(&config([&member])).await;
        // A put on a key that exists takes a read before.
        for moment in moments().chain(moments().map(|moment| moment * 2)) {
            let key = format!("{moment:?}");
            let before = member.data().put(key.as_str(), "").await.unwrap();
            let version = times(&member, &key).await;
            let policy = RetryPolicy::default();
            let put = put_once(&store, key.as_str(), "1", PutOptions::default(), policy);
            let (put, ()) = tokio::join!(put, async {
                sleep(moment).await;
                member.crash();
                sleep(Duration::from_millis(50)).await;
                member.start();
            });
            let put = put.unwrap_or_else(|error| panic!("{key}: {error}"));
            let entry = member.data().get(key.as_str()).await.unwrap().unwrap();
            assert_eq!(entry.version, version + 1, "{key}");
            assert_eq!(entry.modified, put.revision, "{key}");
            assert!(put.revision > before, "{key}");
            works_again(&store).await;
        }
    });
}

#[test]
fn what_is_not_answered_is_given_up_at_the_deadline_whichever_way_is_cut() {
    simulate(seed(), |[member]| async move {
        let config = config([&member]);
        let store = connect(&config).await;
        let cuts: [(&str, &dyn Fn()); 4] = [
            ("to the server", &|| member.lose(Way::ToServer)),
            ("to the client", &|| member.lose(Way::ToClient)),
            ("both", &|| member.lose(Way::Both)),
            ("held", &|| member.hold()),
        ];
        for (key, cut) in cuts {
            cut();
            let begun = Instant::now();
            let all = KeyRange::all();
            let (get, put, list, watch) = tokio::join!(
                store.get("elsewhere"),
                store.put(key, ""),
                async { store.list(KeyRange::all()).await?.collect().await },
                store.watch_opts(&all, WatchOptions::default()),
            );
            let took = begun.elapsed();
            assert!(took <= config.operation_timeout * 2, "{key}: {took:?}");
            let put = put.unwrap_err();
            assert_eq!(put.outcome(), Outcome::Unknown, "{key}: {put}");
            for error in [get.unwrap_err(), put, list.unwrap_err(), watch.unwrap_err()] {
                assert!(error.is_retryable(), "{key}: {error}");
            }
            member.heal();
            works_again(&store).await;
            let times = times(&member, key).await;
            println!("{key}: written {times} times");
            assert!(times <= 1, "{key}: {times} times");
        }
    });
}

#[test]
fn of_three_members_any_one_can_be_cut_off_and_no_reader_sees_an_error() {
    simulate(seed(), |members: [Member; 3]| async move {
        let store = connect(&config(&members)).await;
        for way in WAYS {
            for member in &members {
                member.lose(way);
                let mut failed = 0;
                for n in 0..100 {
                    let key = format!("{way:?} {member:?} {n}");
                    let put = store.put(key.as_str(), "").await;
                    let times = times(member, &key).await;
                    match put {
                        Ok(_) => assert_eq!(times, 1, "{key}"),
                        Err(error) => {
                            assert_eq!(error.outcome(), Outcome::Unknown, "{key}: {error}");
                            failed += 1;
                        }
                    }
                    let got = store.get(key.as_str()).await;
                    let got = got.unwrap_or_else(|error| panic!("{key}: {error}"));
                    assert_eq!(got.map_or(0, |entry| entry.version), times, "{key}");
                    sleep(Duration::from_millis(50)).await;
                }
                // The one that was on its way to that member, of which nobody can know.
                assert!(failed <= 1, "{way:?} {member:?}: {failed} failed");
                member.heal();
                // Its connection is no good until that is found out.
                sleep(FOUND_OUT).await;
            }
        }
    });
}

#[test]
fn of_three_members_any_one_can_crash_and_no_later_call_sees_an_error() {
    simulate(seed(), |members: [Member; 3]| async move {
        let store = connect(&config(&members)).await;
        for member in members.iter().cycle().take(9) {
            member.crash();
            // Until the end of the connection has come, a put may be on its way to that member.
            sleep(Duration::from_millis(50)).await;
            for n in 0..50 {
                let key = format!("{member:?} {n}");
                let put = store.put(key.as_str(), "").await;
                let put = put.unwrap_or_else(|error| panic!("{key}: {error}"));
                let got = store.get(key.as_str()).await;
                let got = got.unwrap_or_else(|error| panic!("{key}: {error}"));
                assert_eq!(got.unwrap().modified, put, "{key}");
            }
            member.start();
        }
    });
}

#[test]
fn a_put_behind_a_lost_connection_does_not_spend_its_time_on_one_that_cannot_be_opened() {
    simulate(seed(), |members: [Member; 2]| async move {
        // Connecting may take longer than the call.
        let config = config(&members)
            .with_dial_timeout(Duration::from_secs(6))
            .with_operation_timeout(Duration::from_secs(2));
        let store = connect(&config).await;
        for moment in moments() {
            let ConnectionState::Connected { endpoint, .. } = store.connection().state() else {
                panic!("it was connected at the end of each round");
            };
            let used = members.iter().find(|member| member.endpoint() == *endpoint);
            let used = used.unwrap();
            used.crash();
            while store.connection().state().is_connected() {
                sleep(Duration::from_millis(1)).await;
            }
            // Requests for a connection are neither accepted nor refused.
            used.hold();
            sleep(moment).await;
            let put = store.put("key", "").await;
            put.unwrap_or_else(|error| panic!("{moment:?}: {error}"));
            used.start();
            used.heal();
            while !store.connection().state().is_connected() {
                sleep(Duration::from_millis(10)).await;
            }
            sleep(FOUND_OUT).await;
        }
    });
}
