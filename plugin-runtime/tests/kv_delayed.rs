//! The promises of a start without the store: it comes later, or never.

#![allow(clippy::unwrap_used)]

mod kv_support;

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use keyval::{
    BrokerExt, Error, FollowOptions, KeyRange, StoreExt, Update, WatchOptions, Watcher, follow,
};
use kv_support::{Lab, Once, Running, soon};
use plugin_runtime::WaitPolicy;
use tokio::sync::oneshot;
use tokio::time::Instant;

const DELAYED: &str = "allow-delayed-start: true";

#[tokio::test(start_paused = true)]
async fn an_agent_starts_before_its_store_and_works_once_that_is_there() {
    let lab = Lab::new(DELAYED);
    lab.refuse_as_unavailable();
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let mine = store.prefixed("agents/1/");
    // All of this before anything is connected.
    let watching = tokio::spawn({
        let mine = mine.clone();
        async move {
            let all = KeyRange::all();
            mine.watch_opts(&all, WatchOptions::default()).await
        }
    });
    let mut updates = follow(mine.clone(), KeyRange::all(), FollowOptions::default());
    let following = tokio::spawn(async move { (updates.next().await, updates) });
    let agent = Running::start(host);
    let cause = agent
        .cause("store", |state, cause| {
            state == "init" && cause.contains("nobody listens there")
        })
        .await;
    assert!(cause.starts_with("not connected yet"), "{cause}");
    // Far longer than a start may take.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!watching.is_finished() && !following.is_finished());
    assert!(!store.is_connected());

    lab.accept();
    agent.ok("store").await;
    let connected = Instant::now();
    let mut watch = soon("the watch", watching).await.unwrap().unwrap();
    assert_eq!(Instant::now(), connected);
    let (first, _updates) = soon("the follower", following).await.unwrap();
    assert!(matches!(first, Some(Ok(Update::Resync(_)))));
    assert!(connected.elapsed() <= Duration::from_secs(5));
    let revision = mine.put("name", "left").await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_until_there_is_a_connection_goes_on_at_that_moment() {
    let lab = Lab::new(DELAYED);
    lab.hang();
    let mut host = lab.host();
    let store = host.add(lab.plugin().with_wait(WaitPolicy::UntilConnected));
    let mut updates = follow(store.clone(), KeyRange::all(), FollowOptions::default());
    let following = tokio::spawn(async move { updates.next().await });
    let putting = tokio::spawn(async move { store.put("a", "1").await });
    let agent = Running::start(host);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!following.is_finished() && !putting.is_finished());
    lab.accept();
    agent.ok("store").await;
    let connected = Instant::now();
    let first = soon("the follower", following).await.unwrap();
    assert!(matches!(first, Some(Ok(Update::Resync(_)))));
    soon("the put", putting).await.unwrap().unwrap();
    assert_eq!(Instant::now(), connected);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_plugin_waits_for_a_connection_that_hangs() {
    let lab = Lab::new(DELAYED);
    lab.hang();
    let mut host = lab.host();
    let store = host.add(lab.plugin().with_wait(WaitPolicy::FailFast));
    let (tell, told) = oneshot::channel();
    host.add(Once(Some(move || {
        let began = tell.send(Instant::now());
        async move { began.map_err(|_| "nobody listens".into()) }.boxed()
    })));
    let start = Instant::now();
    let agent = Running::start(host);
    assert_eq!(soon("the next plugin", told).await.unwrap(), start);
    let error = store.get("a").await.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable { .. }) && error.to_string().contains("plugin store"),
        "{error}"
    );
    agent.stop().await;
    // Nobody waited for the attempt either.
    assert_eq!(Instant::now(), start);
}

#[tokio::test(start_paused = true)]
async fn an_operation_before_the_connection_tells_why_there_is_none() {
    let lab = Lab::new(DELAYED);
    lab.refuse_as_unavailable();
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let agent = Running::start(host);
    let start = Instant::now();
    let error = store.put("a", "1").await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 5);
    let told = error.to_string();
    assert!(
        told.contains("not connected after 5s") && told.contains("nobody listens there"),
        "{told}"
    );
    assert!(error.is_retryable() && !error.may_have_applied());
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn attempts_to_connect_begin_soon_and_are_never_further_apart_than_the_interval() {
    let lab = Lab::new("allow-delayed-start: true\nreconnect-interval: 4s");
    lab.refuse_as_unavailable();
    let mut host = lab.host();
    host.add(lab.plugin());
    let agent = Running::start(host);
    tokio::time::sleep(Duration::from_secs(400)).await;
    let attempts = lab.attempts();
    let gaps = attempts.windows(2).map(|pair| pair[1] - pair[0]);
    let gaps: Vec<Duration> = gaps.collect();
    let longest = gaps.iter().max().unwrap();
    assert!(*longest <= Duration::from_secs(4), "{longest:?}");
    assert!(gaps[0] <= Duration::from_millis(101), "{gaps:?}");
    // Neither a hot loop nor asleep: two seconds apart on average, but for the first.
    assert!((100..400).contains(&gaps.len()), "{}", gaps.len());
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_never_ends_is_given_up_for_the_next() {
    let lab = Lab::new(DELAYED);
    lab.hang();
    let mut host = lab.host();
    host.add(lab.plugin());
    let agent = Running::start(host);
    let cause = agent.cause("store", |_, cause| cause.contains("30s")).await;
    assert!(cause.contains("connect"), "{cause}");
    assert!(!lab.attempts().is_empty());
    lab.accept();
    agent.ok("store").await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn settings_that_can_never_work_end_the_agent_also_at_a_delayed_start() {
    let lab = Lab::new(DELAYED);
    lab.refuse(|| Error::invalid("ca-file: /etc/ca.pem cannot be read"));
    let mut host = lab.host();
    let store = host.add(lab.plugin().with_wait(WaitPolicy::UntilConnected));
    let waiting = tokio::spawn(async move { store.get("a").await });
    let told = Running::start(host).error().await;
    assert!(
        told.starts_with("plugin store failed in run") && told.contains("ca-file"),
        "{told}"
    );
    let error = soon("the one who waits", waiting).await.unwrap();
    assert!(error.unwrap_err().to_string().contains("plugin store"));
}

#[tokio::test(start_paused = true)]
async fn without_delayed_start_the_first_failure_ends_the_start() {
    let lab = Lab::new("");
    lab.refuse_as_unavailable();
    let mut host = lab.host();
    host.add(lab.plugin());
    let told = Running::start(host).error().await;
    assert!(
        told.starts_with("plugin store failed in init") && told.contains("nobody listens there"),
        "{told}"
    );
    assert_eq!(lab.attempts().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_host_is_told_is_checked_at_the_start() {
    for (keys, told) in [
        (
            "session-ttl: 0s",
            "store.yaml:3:14: session-ttl: is 0ns: give it at least 1s",
        ),
        (
            "auto-compact: 5ms",
            "store.yaml:3:15: auto-compact: is 5ms: give it at least 1s",
        ),
        (
            "reconnect-interval: 0s",
            "store.yaml:3:21: reconnect-interval: is 0ns: give it at least 1ms",
        ),
        ("allow-delayed-start: maybe", "store.yaml:3:22"),
        ("session-ttl: 5s\nsession-ttl: 6s", "store.yaml:4:1"),
        (
            "allow-delayed-strat: true",
            "store.yaml:3:1: unknown key \"allow-delayed-strat\", did you mean \"allow-delayed-start\"?",
        ),
    ] {
        let lab = Lab::new(keys);
        let mut host = lab.host();
        host.add(lab.plugin());
        let error = Running::start(host).error().await;
        assert!(error.contains(told), "{keys}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_program_says_wins_over_the_file() {
    let lab = Lab::new("allow-delayed-start: false");
    lab.refuse_as_unavailable();
    let mut host = lab.host();
    host.add(
        lab.plugin()
            .with_hosting(|hosting| hosting.allow_delayed_start = true),
    );
    let agent = Running::start(host);
    let refused = |_: &str, cause: &str| cause.contains("nobody listens there");
    agent.cause("store", refused).await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn all_that_the_program_says_applies_in_its_order() {
    let lab = Lab::new("allow-delayed-start: false");
    lab.refuse_as_unavailable();
    let mut host = lab.host();
    let plugin = lab.plugin().with_hosting(|hosting| {
        hosting.allow_delayed_start = true;
        hosting.reconnect_interval = Duration::from_secs(60);
    });
    host.add(plugin.with_hosting(|hosting| {
        assert_eq!(hosting.reconnect_interval, Duration::from_secs(60));
        hosting.reconnect_interval = Duration::from_millis(10);
    }));
    let agent = Running::start(host);
    let refused = |_: &str, cause: &str| cause.contains("nobody listens there");
    agent.cause("store", refused).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(lab.attempts().len() > 50, "{:?}", lab.attempts());
    agent.stop().await;
}
