//! The status of an agent, kept in a store for others to read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyval::{BackoffPolicy, Broker, Error, Op, Outcome, Result, Txn};
use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout};

use crate::context::Context;
use crate::plugin::{Plugin, PluginResult};
use crate::status::cn_infra::{self, Form};
use crate::status::{AgentStatus, Criticality, StatusHandle};

const AGENT_KEY: &str = "check/status/v1/agent";
const PLUGIN_KEYS: &str = "check/status/v1/plugin/";

/// How often everything is written although nothing has changed.
const REFRESH: Duration = Duration::from_secs(10);
/// The least time from one write to the next.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// How long the store may take for one write.
const WRITE_DEADLINE: Duration = Duration::from_secs(3);
/// Fewer than any store takes in one transaction.
const WRITES_AT_ONCE: usize = 100;

/// Keeps the status of an agent in a store: `check/status/v1/agent`, and `check/status/v1/plugin/<name>`
/// for each plugin, as JSON with the fields of cn-infra.
///
/// What has changed is written at once, but no more often than once a second; everything every 10 s;
/// and all of it is deleted when the agent shuts down in order. The writes are a task's of their own:
/// whoever reports or reads a status never waits for them, and what changes between two writes, or
/// while the store is slow, is written once, as it is in the end. A store that fails is asked again, ever
/// less often; this plugin is then degraded, and the agent as well as it was, since it is
/// [optional](Criticality::Optional). One that is closed for good, as one that
/// [is disabled](crate::KvHandle::is_disabled), is asked no more: this plugin is disabled too, with the cause.
///
/// Give it a store with the agent's [prefix](crate::AgentLabel::prefix).
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, StoreExt};
/// use plugin_runtime::{
///     AgentLabel, ConfigDir, Host, KvPlugin, MemoryBackend, State, StatusPublisher,
/// };
///
/// # tokio_test::block_on(async {
/// let label = AgentLabel::new("vpp1").expect("it is one");
/// let mut host = Host::new(ConfigDir::new("config"));
/// let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
/// let own = store.prefixed(label.prefix());
/// host.add(StatusPublisher::new(host.status(), own.clone()));
/// host.run(async move {
///     while own.get("check/status/v1/plugin/store").await.expect("it is up").is_none() {
///         tokio::task::yield_now().await;
///     }
/// })
/// .await?;
/// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
/// ```
#[doc(alias("statuscheck", "Transport"))]
pub struct StatusPublisher<B> {
    status: StatusHandle,
    broker: Arc<B>,
    refresh: Duration,
}

impl<B: Broker> StatusPublisher<B> {
    /// Keeps this status in this store.
    pub fn new(status: StatusHandle, broker: B) -> Self {
        Self {
            status,
            broker: Arc::new(broker),
            refresh: REFRESH,
        }
    }

    /// Sets how often everything is written although nothing has changed, so that a reader can tell
    /// an agent that is gone by `last_update`; every 10 s by default, at most once a second.
    #[must_use]
    pub fn with_refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh.max(Duration::from_secs(1));
        self
    }
}

impl<B: Broker> Plugin for StatusPublisher<B> {
    type Handle = ();

    fn name(&self) -> &str {
        "status-publisher"
    }

    fn handle(&self) {}

    fn criticality(&self) -> Criticality {
        Criticality::Optional
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let (status, broker, refresh) =
            (self.status.clone(), Arc::clone(&self.broker), self.refresh);
        let reporter = cx.status().clone();
        cx.spawn("publish", async move |stop| {
            let mut backoff = BackoffPolicy::default().start();
            let mut written: Option<Arc<AgentStatus>> = None;
            // A write that has begun is seen to its end: one that came after the deletes of the close
            // would stay.
            let mut next = Instant::now();
            while stop.run_until_cancelled(sleep_until(next)).await.is_some() {
                next = Instant::now() + LEAST_INTERVAL;
                let current = status.current();
                match write(&*broker, changes(&current, written.as_deref())).await {
                    Ok(()) => {
                        reporter.ok();
                        let changed = timeout(refresh, status.changed_from(&current));
                        let changed = stop.run_until_cancelled(changed).await;
                        written = matches!(changed, Some(Ok(_))).then_some(current);
                    }
                    Err(closed @ Error::Closed { .. }) => {
                        reporter.disabled(closed.to_string());
                        return Ok(());
                    }
                    Err(problem) => {
                        reporter.degraded(format!("cannot write the status: {problem}"));
                        let wait = tokio::time::sleep(backoff.next_wait());
                        stop.run_until_cancelled(wait).await;
                    }
                }
            }
            Ok(())
        });
        Ok(())
    }

    async fn close(&mut self) -> PluginResult {
        let plugins = &self.status.current().plugins;
        let keys = plugins.iter().map(|plugin| plugin_key(&plugin.plugin));
        let keys = keys.chain([AGENT_KEY.to_owned()]);
        match write(&*self.broker, keys.map(Op::delete).collect()).await {
            // What has been told of it already is not told again.
            Ok(()) | Err(Error::Closed { .. }) => {}
            // It is not worth a failure of the agent: readers see that `last_update` grows old.
            Err(problem) => tracing::warn!(%problem, "the status stays in the store"),
        }
        Ok(())
    }
}

impl<B: fmt::Display> fmt::Debug for StatusPublisher<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusPublisher")
            .field("store", &self.broker.to_string())
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}

/// The writes that make the store tell the current status, where it tells that older one.
fn changes(current: &AgentStatus, written: Option<&AgentStatus>) -> Vec<Op> {
    let mut writes = Vec::new();
    let agent = |agent: &AgentStatus| (agent.state(), agent.since, Arc::clone(&agent.build));
    if written.map(agent) != Some(agent(current)) {
        let fields = cn_infra::agent(current, Form::Stored);
        writes.push(Op::put(AGENT_KEY, Value::from(fields).to_string()));
    }
    for plugin in &current.plugins {
        if written.and_then(|written| written.plugin(&plugin.plugin)) != Some(plugin) {
            let fields = cn_infra::plugin(plugin, Form::Stored);
            let key = plugin_key(&plugin.plugin);
            writes.push(Op::put(key, Value::from(fields).to_string()));
        }
    }
    writes
}

fn plugin_key(plugin: &str) -> String {
    format!("{PLUGIN_KEYS}{plugin}")
}

async fn write(broker: &impl Broker, mut writes: Vec<Op>) -> Result<()> {
    while !writes.is_empty() {
        let rest = writes.split_off(writes.len().min(WRITES_AT_ONCE));
        let txn = writes.into_iter().fold(Txn::new(), Txn::then);
        let written = timeout(WRITE_DEADLINE, broker.commit(txn)).await;
        written.unwrap_or(Err(Error::timeout(
            "commit",
            WRITE_DEADLINE,
            Outcome::Unknown,
        )))?;
        writes = rest;
    }
    Ok(())
}
