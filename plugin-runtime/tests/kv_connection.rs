//! The promises of the connection of a store plugin: its state, its hooks and its sessions.

#![allow(clippy::unwrap_used)]

mod kv_support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use keyval::recipes::{Election, SessionState};
use keyval::testing::Operation;
use keyval::{BoxError, BrokerExt, ConnectionState, Error};
use kv_support::{Lab, Running, soon};
use plugin_runtime::{KvHandle, WaitPolicy};
use tokio::sync::watch;
use tokio::time::Instant;

/// What happened, in order.
#[derive(Clone)]
struct Diary(watch::Sender<Vec<String>>);

impl Diary {
    fn new() -> Self {
        Self(watch::Sender::default())
    }

    fn note(&self, what: &str) {
        self.0.send_modify(|notes| notes.push(what.to_owned()));
    }

    async fn reads(&self, wanted: &[&str]) {
        let mut notes = self.0.subscribe();
        let there = notes.wait_for(|notes| notes.len() >= wanted.len());
        assert_eq!(*soon("the note", there).await.unwrap(), wanted);
    }

    /// A hook that notes its name.
    fn hook(&self, store: &KvHandle, name: &'static str) {
        let diary = self.clone();
        store.on_connect(name, move || {
            diary.note(name);
            async { Ok(()) }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn the_connection_is_told_from_the_first_attempt_to_the_close() {
    let lab = Lab::new("allow-delayed-start: true");
    lab.refuse_as_unavailable();
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let mut connection = store.connection();
    let mut told = Vec::new();
    let agent = Running::start(host);
    for step in 0..5 {
        let state = loop {
            let state = soon("a state", connection.next()).await.unwrap();
            if told.last() != Some(&state) && state.to_string() != "not connected yet" {
                break state;
            }
        };
        told.push(state);
        match step {
            0 => lab.accept(),
            1 => lab.store.control().cut(),
            2 => lab.store.control().heal(),
            3 => lab.store.control().cut(),
            _ => {}
        }
    }
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let (up, down) = (
        "connected to the store behind the faults",
        "disconnected: the store behind the faults: it was cut off",
    );
    let refused = "not connected yet: store: the store is unavailable: nobody listens there";
    assert_eq!(told, [refused, up, down, up, down]);
    agent.stop().await;
    assert_eq!(connection.next().await, Some(ConnectionState::Closed));
    assert_eq!(connection.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_status_follows_the_connection_at_once_and_not_by_the_next_check() {
    let lab = Lab::new("");
    let mut host = lab.host();
    host.add(lab.plugin());
    let agent = Running::start(host);
    agent.ok("store").await;
    let start = Instant::now();
    lab.store.control().cut();
    let cause = agent.cause("store", |state, _| state == "error").await;
    assert!(cause.contains("it was cut off"), "{cause}");
    lab.store.control().heal();
    agent.ok("store").await;
    assert_eq!(start, Instant::now());
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_an_error_although_its_connection_stands() {
    let lab = Lab::new("");
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let agent = Running::start(host);
    agent.ok("store").await;
    lab.store.control().hang();
    let cause = agent.cause("store", |state, _| state == "error").await;
    assert!(cause.contains("3s"), "{cause}");
    assert!(store.connection().state().is_connected());
    lab.store.control().heal();
    agent.ok("store").await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn hooks_run_in_order_at_each_connection_however_short_the_outage() {
    let lab = Lab::new("allow-delayed-start: true");
    lab.hang();
    let (mut host, diary) = (lab.host(), Diary::new());
    let store = host.add(lab.plugin());
    diary.hook(&store, "one");
    let agent = Running::start(host);
    diary.hook(&store, "two");
    tokio::time::sleep(Duration::from_secs(10)).await;
    diary.reads(&[]).await;
    lab.accept();
    diary.reads(&["one", "two"]).await;
    // Nobody can have seen this outage.
    lab.store.control().cut();
    lab.store.control().heal();
    diary.reads(&["one", "two", "one", "two"]).await;
    // Registered late, it runs at once, and the others do not run again.
    diary.hook(&store, "three");
    let so_far = ["one", "two", "one", "two", "three"];
    diary.reads(&so_far).await;
    // Registered during an outage, it runs with the others.
    lab.store.control().cut();
    diary.hook(&store, "four");
    tokio::time::sleep(Duration::from_secs(10)).await;
    diary.reads(&so_far).await;
    lab.store.control().heal();
    let all = [&so_far[..], &["one", "two", "three", "four"]].concat();
    diary.reads(&all).await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_panics_or_hangs_is_told_by_name_and_the_next_one_runs() {
    let lab = Lab::new("");
    let (mut host, diary) = (lab.host(), Diary::new());
    let store = host.add(lab.plugin());
    let well = Arc::new(Mutex::new(false));
    let is_well = Arc::clone(&well);
    store.on_connect("moody", move || {
        let well = *is_well.lock().unwrap();
        async move {
            if well {
                Ok(())
            } else {
                Err(BoxError::from("no such device"))
            }
        }
    });
    let is_well = Arc::clone(&well);
    store.on_connect("wild", move || {
        assert!(*is_well.lock().unwrap(), "wild indeed");
        async { Ok(()) }
    });
    let is_well = Arc::clone(&well);
    store.on_connect("stuck", move || {
        let well = *is_well.lock().unwrap();
        async move {
            if !well {
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    });
    diary.hook(&store, "last");
    let agent = Running::start(host);
    diary.reads(&["last"]).await;
    let cause = agent
        .cause("store", |state, cause| {
            state == "degraded" && cause.contains("stuck")
        })
        .await;
    for told in [
        "on_connect moody: no such device",
        "on_connect wild: it panicked: wild indeed",
        "on_connect stuck: it did not end within 30s",
    ] {
        assert!(cause.contains(told), "{cause}");
    }
    *well.lock().unwrap() = true;
    lab.store.control().cut();
    lab.store.control().heal();
    agent.ok("store").await;
    diary.reads(&["last", "last"]).await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_is_not_covered_by_another_of_its_name() {
    let lab = Lab::new("");
    let (mut host, diary) = (lab.host(), Diary::new());
    let store = host.add(lab.plugin());
    store.on_connect("register", || async {
        Err(BoxError::from("no such device"))
    });
    store.on_connect("register", || async { Ok(()) });
    diary.hook(&store, "last");
    let agent = Running::start(host);
    diary.reads(&["last"]).await;
    let cause = agent.cause("store", |state, _| state == "degraded").await;
    assert_eq!(cause, "on_connect register: no such device");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_holds_is_given_up_at_the_close() {
    let lab = Lab::new("");
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let held = Arc::new(());
    let (hold, own) = (Arc::clone(&held), store.clone());
    store.on_connect("holds", move || {
        // A hook may well hold the handle that it is registered with.
        let _both = (&hold, &own);
        async { Ok(()) }
    });
    let agent = Running::start(host);
    agent.ok("store").await;
    agent.stop().await;
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_is_registered_after_the_close_is_not_kept() {
    let lab = Lab::new("");
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let agent = Running::start(host);
    agent.ok("store").await;
    agent.stop().await;
    let held = Arc::new(());
    let hold = Arc::clone(&held);
    store.on_connect("late", move || {
        let _hold = &hold;
        async { Ok(()) }
    });
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_session_come_back_after_an_outage_that_outlasts_it() {
    let lab = Lab::new("session-ttl: 3s");
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let agent = Running::start(host);
    let session = store.session("agents/1/").await.unwrap();
    session.put("address", "10.0.0.7").await.unwrap();
    assert_eq!(session.ttl(), Duration::from_secs(3));
    let key = "agents/1/address";
    assert!(lab.store.inner().get(key).await.unwrap().is_some());

    lab.store.control().cut();
    let mut state = session.state();
    let lost = |state: &SessionState| matches!(state, SessionState::Lost { .. });
    soon("the loss", state.wait_for(lost)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(lab.store.inner().get(key).await.unwrap().is_none());
    lab.store.control().heal();
    let renewed = |state: &SessionState| matches!(state, SessionState::Renewed { .. });
    soon("the renewal", state.wait_for(renewed)).await.unwrap();
    assert!(lab.store.inner().get(key).await.unwrap().is_some());
    agent.stop().await;
    assert_eq!(*session.state().borrow(), SessionState::Closed);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_session_of_one_scope_gets_the_same() {
    let lab = Lab::new("allow-delayed-start: true");
    lab.hang();
    let mut host = lab.host();
    let store = host.add(lab.plugin().with_wait(WaitPolicy::UntilConnected));
    let agent = Running::start(host);
    let both = tokio::spawn({
        let store = store.clone();
        async move { tokio::join!(store.session("a/"), store.session("a/")) }
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    lab.accept();
    let (one, other) = both.await.unwrap();
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.lease(), other.lease());
    assert_ne!(store.session("b/").await.unwrap().lease(), one.lease());
    assert_eq!(lab.store.control().calls(Operation::Grant), 2);
    // One that somebody has closed is opened anew for the next.
    other.close().await.unwrap();
    assert!(store.session("a/").await.unwrap().is_alive());
    agent.stop().await;
    let error = store.session("a/").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_long_in_opening_holds_up_no_other_scope_nor_the_close() {
    let lab = Lab::new("");
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let agent = Running::start(host);
    agent.ok("store").await;
    let control = lab.store.control();
    let grants = control.calls(Operation::Grant);
    control.delay(Duration::from_secs(3600));
    let slow = tokio::spawn({
        let store = store.clone();
        async move { store.session("slow/").await }
    });
    control.until_called(Operation::Grant, grants + 1).await;
    control.delay(Duration::ZERO);
    let began = Instant::now();
    let session = store.session("a/").await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    agent.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(*session.state().borrow(), SessionState::Closed);
    slow.abort();
}

#[tokio::test(start_paused = true)]
async fn a_session_campaigns_and_its_leadership_ends_with_the_plugin() {
    let lab = Lab::new("");
    let mut host = lab.host();
    let store = host.add(lab.plugin());
    let agent = Running::start(host);
    let session = store.session("agents/").await.unwrap();
    let leadership = Election::new(&session, "leader").campaign("1").await;
    let leadership = leadership.unwrap();
    assert!(leadership.key().to_string().starts_with("leader/"));
    let lost = leadership.lost();
    agent.stop().await;
    soon("the loss", lost).await;
}
