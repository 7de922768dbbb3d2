//! The promises of compaction: by one agent, with manners, or by hand.

#![allow(clippy::unwrap_used)]

mod kv_support;

use std::time::Duration;

use keyval::testing::{Fault, Operation};
use keyval::{Broker, BrokerExt, Error, GetOptions, Maintenance, Revision};
use kv_support::{Lab, Running};
use plugin_runtime::{Backends, KvPlugin};

const HOUR: Duration = Duration::from_secs(3600);

/// What is gone of the history of this lab.
async fn compacted(lab: &Lab) -> Revision {
    let status = lab.store.inner().status().await.unwrap();
    status.compacted.unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_of_many_agents_compacts_and_keeps_at_least_the_period() {
    let lab = Lab::new("auto-compact: 1h\nsession-ttl: 60");
    let mut host = lab.host();
    host.add(lab.plugin());
    for name in ["second", "third"] {
        let yaml = std::fs::read_to_string(lab.path("store.yaml")).unwrap();
        lab.write(&format!("{name}.yaml"), &yaml);
        let backends = Backends::new().with::<kv_support::ToLab>();
        host.add(KvPlugin::chosen(name, backends));
    }
    let agent = Running::start(host);
    for name in ["store", "second", "third"] {
        agent.ok(name).await;
    }
    let mut written = Vec::new();
    // A write in every minute of five hours.
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        written.push(lab.store.inner().put("a", "x").await.unwrap());
        let kept = written[written.len().saturating_sub(60)];
        let gone = compacted(&lab).await;
        assert!(gone < kept, "{gone} is younger than an hour");
    }
    // And it does compact: a tenth more than the period is kept at most.
    let gone = compacted(&lab).await;
    assert!(gone >= written[300 - 60 - 8], "only up to {gone}");
    let past = GetOptions::default().at(written[300 - 60]);
    assert!(lab.store.inner().get_opts(&"a".into(), past).await.is_ok());
    // One agent, ten times in each hour.
    let calls = lab.store.control().calls(Operation::Compact);
    assert!((30..=50).contains(&calls), "{calls}");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_compacted_unless_asked_for_and_nothing_is_stored_for_it() {
    let lab = Lab::new("");
    let mut host = lab.host();
    host.add(lab.plugin());
    let agent = Running::start(host);
    agent.ok("store").await;
    for _ in 0..10 {
        lab.store.inner().put("a", "x").await.unwrap();
        tokio::time::sleep(24 * HOUR).await;
    }
    assert_eq!(lab.store.control().calls(Operation::Compact), 0);
    let stored = lab.store.inner().keys(keyval::KeyRange::all()).await;
    assert_eq!(stored.unwrap().collect().await.unwrap().len(), 1);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_may_not_compact_says_so_and_goes_on_trying() {
    let lab = Lab::new("auto-compact: 1h");
    let mut host = lab.host();
    host.add(lab.plugin());
    let denied = Fault::new(|| Error::Denied {
        message: "permission denied".into(),
    });
    lab.store
        .control()
        .fail_next_of(Operation::Compact, 1, denied);
    let agent = Running::start(host);
    agent.ok("store").await;
    for _ in 0..10 {
        lab.store.inner().put("a", "x").await.unwrap();
    }
    let writing = async {
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            lab.store.inner().put("a", "x").await.unwrap();
        }
    };
    let told = async {
        let status = &agent.status;
        let degraded = |state: &str| {
            let state = state.to_owned();
            status.wait_for(move |agent| {
                let store = agent.plugin("store").unwrap();
                store.state.to_string() == state
            })
        };
        let agent = degraded("degraded").await;
        let cause = agent.plugin("store").unwrap().cause.clone().unwrap();
        degraded("ok").await;
        cause
    };
    let cause = tokio::select! {
        () = writing => unreachable!("it never ends"),
        cause = told => cause,
    };
    assert!(cause.contains("auto-compact"), "{cause}");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_owner_compacts_by_hand() {
    let lab = Lab::new("");
    let mut host = lab.host();
    let plugin = lab.plugin();
    let owner = plugin.owner();
    let store = host.add(plugin);
    let agent = Running::start(host);
    let first = store.put("a", "1").await.unwrap();
    let second = store.put("a", "2").await.unwrap();
    owner.compact(second).await.unwrap();
    let past = GetOptions::default().at(first);
    let error = store.get_opts(&"a".into(), past).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { .. }), "{error}");
    assert_eq!(owner.status().await.unwrap().revision, Some(second));
    agent.stop().await;
    assert!(matches!(
        owner.compact(second).await,
        Err(Error::Closed { .. })
    ));
}
