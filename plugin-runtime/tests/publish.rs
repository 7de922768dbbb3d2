//! The promises of the status in the store: it is told there, and nobody waits for that.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::StreamExt;
use keyval::testing::Faulty;
use keyval::{
    Broker, BrokerExt, Bytes, DeleteOptions, DeleteReply, Entry, GetOptions, Key, KeyRange,
    ListOptions, Listing, Memory, PutOptions, PutReply, Result, StoreExt, Txn, TxnReply,
    WatchOptions, Watcher,
};
use plugin_runtime::{
    AgentLabel, AgentStatus, BuildInfo, ConfigDir, Context, Host, Hysteresis, Plugin, PluginResult,
    Reporter, State, StatusPublisher,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// A plugin that lends its reporter to the test.
struct Lends(Option<oneshot::Sender<Reporter>>);

impl Plugin for Lends {
    type Handle = ();

    fn name(&self) -> &str {
        "store"
    }

    fn handle(&self) {}

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let lend = self.0.take().unwrap();
        lend.send(cx.status().clone()).unwrap();
        Ok(())
    }
}

/// A host whose status is kept in this store, and the reporter of its other plugin.
fn host(broker: impl Broker) -> (Host, oneshot::Receiver<Reporter>) {
    let mut host = Host::new(ConfigDir::new("/no/such/folder"))
        .with_hysteresis(Hysteresis::none())
        .with_build(
            BuildInfo::new("agent", "1.2.3")
                .with_commit("abc")
                .with_date("today"),
        );
    let (lend, lent) = oneshot::channel();
    host.add(Lends(Some(lend)));
    host.add(StatusPublisher::new(host.status(), broker));
    (host, lent)
}

/// Waits until the store has under this key what is asked for.
async fn reads(store: &Memory, key: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let range = KeyRange::key(key);
    let options = WatchOptions::default();
    let mut changes = store.watch_opts(&range, options).await.unwrap();
    loop {
        if let Some(entry) = store.get(key).await.unwrap() {
            let value = serde_json::from_slice(&entry.value).unwrap();
            if wanted(&value) {
                return value;
            }
        }
        changes.next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn the_status_is_in_the_store_with_the_keys_and_fields_of_cn_infra() {
    let store = Memory::new();
    let label = AgentLabel::new("vpp1").unwrap();
    let (host, lent) = host(store.clone().prefixed(label.prefix()));
    let seen = store.clone();
    host.run(async move {
        let key = "/vnf-agent/vpp1/check/status/v1/agent";
        let mut agent = reads(&seen, key, |agent| agent["state"] == "OK").await;
        // Canonical JSON of protobuf has whole numbers of 64 bits as text.
        for field in ["start_time", "last_change", "last_update"] {
            let time = agent.as_object_mut().unwrap().remove(field).unwrap();
            assert!(time.as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000);
        }
        assert_eq!(
            agent,
            json!({"build_version": "1.2.3", "build_date": "today", "commit_hash": "abc", "state": "OK"})
        );
        lent.await.unwrap().error("unreachable");
        let key = "/vnf-agent/vpp1/check/status/v1/plugin/store";
        let plugin = reads(&seen, key, |plugin| plugin["state"] == "ERROR").await;
        assert_eq!(plugin["name"], "store");
        assert_eq!(plugin["error"], "unreachable");
        let key = "/vnf-agent/vpp1/check/status/v1/agent";
        reads(&seen, key, |agent| agent["state"] == "ERROR").await;
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_orderly_shutdown_leaves_nothing_in_the_store() {
    let store = Memory::new();
    let (host, _lent) = host(store.clone());
    let seen = store.clone();
    host.run(async move {
        reads(&seen, "check/status/v1/plugin/store", |_| true).await;
    })
    .await
    .unwrap();
    for key in ["agent", "plugin/store", "plugin/status-publisher"] {
        let key = format!("check/status/v1/{key}");
        assert_eq!(store.get(key.as_str()).await.unwrap(), None, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_up_neither_reports_nor_readers_nor_the_end() {
    let store = Faulty::new(Memory::new());
    store.control().hang();
    let (host, lent) = host(store.clone());
    let status = host.status();
    host.run(async move {
        status.wait_for(AgentStatus::is_ready).await;
        let began = tokio::time::Instant::now();
        let reporter = lent.await.unwrap();
        reporter.error("unreachable");
        assert_eq!(status.current().state(), State::Error);
        reporter.ok();
        assert!(status.current().is_ready());
        assert_eq!(began.elapsed(), Duration::ZERO);
        // It tells of it, and the agent is as well as it was.
        let is_told = |agent: &AgentStatus| {
            agent.plugin("status-publisher").unwrap().state == State::Degraded
        };
        let agent = status.wait_for(is_told).await;
        assert!(agent.is_ready());
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_changed_while_the_store_was_away_is_written_once_as_it_is_in_the_end() {
    let memory = Memory::new();
    let store = Faulty::new(memory.clone());
    let (host, lent) = host(store.clone());
    let status = host.status();
    host.run(async move {
        reads(&memory, "check/status/v1/agent", |agent| {
            agent["state"] == "OK"
        })
        .await;
        let reporter = lent.await.unwrap();
        store.control().hang();
        reporter.error("the first");
        let is_told = |agent: &AgentStatus| {
            agent.plugin("status-publisher").unwrap().state == State::Degraded
        };
        status.wait_for(is_told).await;
        for number in 0..100 {
            reporter.degraded(format!("number {number}"));
        }
        reporter.error("the last");
        let before = memory
            .get("check/status/v1/plugin/store")
            .await
            .unwrap()
            .unwrap();
        store.control().heal();
        let key = "check/status/v1/plugin/store";
        reads(&memory, key, |plugin| plugin["error"] == "the last").await;
        let after = memory.get(key).await.unwrap().unwrap();
        assert_eq!(after.version, before.version + 1);
        // Well again, once a write has gone through.
        status
            .wait_for(|agent| agent.plugin("status-publisher").unwrap().state == State::Ok)
            .await;
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_can_tell_that_the_agent_lives_by_what_is_written_anew() {
    let store = Memory::new();
    let (host, _lent) = host(store.clone());
    let seen = store.clone();
    host.run(async move {
        let key = "check/status/v1/agent";
        reads(&seen, key, |agent| agent["state"] == "OK").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = seen.get(key).await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let after = seen.get(key).await.unwrap().unwrap();
        assert_eq!(after.version, before.version + 1);
    })
    .await
    .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_flaps_does_not_flood_the_store_and_its_last_state_is_told() {
    let store = Memory::new();
    let (host, lent) = host(store.clone());
    let seen = store.clone();
    host.run(async move {
        let key = "check/status/v1/plugin/store";
        reads(&seen, key, |plugin| plugin["state"] == "OK").await;
        let reporter = lent.await.unwrap();
        let before = seen.get(key).await.unwrap().unwrap().version;
        for number in 0..500 {
            reporter.error(format!("number {number}"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        reporter.error("the last");
        let began = tokio::time::Instant::now();
        reads(&seen, key, |plugin| plugin["error"] == "the last").await;
        assert!(began.elapsed() <= Duration::from_secs(1));
        let writes = seen.get(key).await.unwrap().unwrap().version - before;
        assert!((5..=7).contains(&writes), "{writes} writes in 5 s");
    })
    .await
    .unwrap();
}

/// A store whose first write arrives late, whether or not somebody waits for it.
#[derive(Clone, Debug)]
struct Late(Memory, std::sync::Arc<tokio::sync::Semaphore>);

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait::async_trait]
impl Broker for Late {
    fn capabilities(&self) -> keyval::Capabilities {
        self.0.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.0.get_opts(key, options).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        self.0.list_opts(range, options).await
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        self.0.put_opts(key, value, options).await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        self.0.delete_opts(range, options).await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let Ok(first) = self.1.try_acquire() else {
            return self.0.commit(txn).await;
        };
        first.forget();
        let store = self.0.clone();
        let late = async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            store.commit(txn).await
        };
        tokio::spawn(late).await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_has_begun_at_the_close_leaves_nothing_behind() {
    let store = Memory::new();
    let first = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    let (host, _lent) = host(Late(store.clone(), std::sync::Arc::clone(&first)));
    host.run(async move {
        // The write is on its way.
        while first.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let left = store.list(KeyRange::all()).await.unwrap();
    let left = left.collect().await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
