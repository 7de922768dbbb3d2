//! The metrics of a process, as Prometheus scrapes them.

#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used)]

mod http;

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use keyval::{BrokerExt, Observe};
use plugin_runtime::{
    AgentLabel, AgentStatus, BuildInfo, ConfigDir, Context, Criticality, Host, Hysteresis,
    KvPlugin, MemoryBackend, MetricsHandle, Plugin, PluginResult, ProbeHandle, ProbePlugin,
    ProbeSettings, Reporter,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The metrics of all tests, as a process has one recorder.
fn metrics() -> MetricsHandle {
    static METRICS: OnceLock<MetricsHandle> = OnceLock::new();
    let installed = METRICS.get_or_init(|| MetricsHandle::install().unwrap());
    installed.clone()
}

/// Adds probes that show the metrics.
fn add_probe(host: &mut Host) -> ProbeHandle {
    let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
    let probe = ProbePlugin::new(host.status())
        .with_settings(any_port)
        .with_metrics(metrics());
    host.add(probe)
}

#[tokio::test]
async fn a_scrape_shows_the_agent_its_plugins_and_its_stores() {
    metrics();
    let again = MetricsHandle::install().unwrap_err().to_string();
    assert!(again.starts_with("cannot gather metrics: "), "{again}");

    let build = BuildInfo::new("agent", "1.2.3").with_commit("abc");
    let mut host = Host::new(ConfigDir::new("/no/such/folder")).with_build(build);
    let probe = add_probe(&mut host);
    let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    let status = host.status();
    host.run(async move {
        status.wait_for(AgentStatus::is_ready).await;
        // Observed by the plugin, and shown as the store that it is.
        store.put("name", "left").await.unwrap();
        assert_eq!(store.to_string(), "memory");
        let address = probe.address().await;
        // The gauges follow the status a moment later.
        let text = loop {
            let answer = http::get(address, "/metrics").await;
            assert_eq!(answer.code, 200);
            assert!(
                answer
                    .head
                    .contains("content-type: text/plain; version=0.0.4")
            );
            if answer
                .body
                .contains("plugin_state{plugin=\"store\",state=\"ok\"} 1")
            {
                break answer.body;
            }
        };
        for line in [
            "# TYPE plugin_state gauge",
            "plugin_state{plugin=\"store\",state=\"error\"} 0",
            "plugin_init_duration_seconds{plugin=\"store\"} ",
            "agent_build_info{name=\"agent\",version=\"1.2.3\",commit=\"abc\"} 1",
            "# TYPE keyval_client_operation_duration_seconds histogram",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
        let put = "backend=\"memory\",op=\"put\",outcome=\"ok\"";
        let count = format!("keyval_client_operation_duration_seconds_count{{{put}}} 1\n");
        assert!(text.contains(&count), "no {count} in {text}");
        for bucket in Observe::<()>::DURATION_BUCKETS {
            let bucket = format!("_bucket{{{put},le=\"{bucket}\"}} ");
            assert!(text.contains(&bucket), "no {bucket} in {text}");
        }
        // Those of cn-infra are there only for who asks for them.
        assert!(!text.contains("service=\"agent\""), "{text}");
    })
    .await
    .unwrap();
}

/// A plugin that lends its reporter to the test, and comes up when it hears so.
struct Lends {
    name: &'static str,
    criticality: Criticality,
    lend: Option<oneshot::Sender<Reporter>>,
    go: oneshot::Receiver<()>,
}

/// The other end of [`Lends`].
struct Lent {
    reporter: oneshot::Receiver<Reporter>,
    go: oneshot::Sender<()>,
}

impl Lends {
    fn new(name: &'static str, criticality: Criticality) -> (Self, Lent) {
        let ((lend, reporter), (go, goes)) = (oneshot::channel(), oneshot::channel());
        let lends = Self {
            name,
            criticality,
            lend: Some(lend),
            go: goes,
        };
        (lends, Lent { reporter, go })
    }
}

impl Plugin for Lends {
    type Handle = ();

    fn name(&self) -> &str {
        self.name
    }

    fn handle(&self) {}

    fn criticality(&self) -> Criticality {
        self.criticality
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let lend = self.lend.take().unwrap();
        drop(lend.send(cx.status().clone()));
        Ok((&mut self.go).await?)
    }
}

/// Waits until a scrape has each of these lines.
async fn scraped(address: SocketAddr, lines: &[&str]) {
    let mut last = String::new();
    let until = async {
        while !lines.iter().all(|line| last.lines().any(|it| it == *line)) {
            last = http::get(address, "/metrics").await.body;
        }
    };
    let seen = timeout(Duration::from_secs(20), until).await;
    assert!(seen.is_ok(), "not each of {lines:?} is in {last}");
}

#[tokio::test]
async fn what_scraped_cn_infra_finds_the_names_labels_and_values_it_knows_if_asked_to() {
    let mut host = Host::new(ConfigDir::new("/no/such/folder"))
        .with_hysteresis(Hysteresis::none())
        .with_label(AgentLabel::new("vpp1").unwrap())
        .with_cn_infra_metrics();
    let probe = add_probe(&mut host);
    let (store, of_store) = Lends::new("etcd", Criticality::Required);
    let (extra, of_extra) = Lends::new("extra", Criticality::Optional);
    host.add(store);
    host.add(extra);
    host.run(async move {
        let address = probe.address().await;
        let shows = async |agent: u8, store: u8, extra: u8| {
            let dependency = |name: &str, value: u8| {
                let labels = format!("service=\"vpp1\",dependency=\"{name}\"");
                format!("service_dependency_health{{{labels}}} {value}")
            };
            let agent = format!("service_health{{service=\"vpp1\"}} {agent}");
            let (store, extra) = (dependency("etcd", store), dependency("extra", extra));
            scraped(address, &[&agent, &store, &extra]).await;
        };
        let store = of_store.reporter.await.unwrap();
        shows(0, 0, 0).await;
        of_store.go.send(()).unwrap();
        of_extra.go.send(()).unwrap();
        shows(1, 1, 1).await;
        store.error("unreachable");
        shows(2, 2, 1).await;
        // What works, works: cn-infra knows no half.
        store.degraded("slow");
        shows(1, 1, 1).await;
        let extra = of_extra.reporter.await.unwrap();
        extra.error("gone");
        shows(1, 1, 2).await;
        store.starting("not there yet");
        shows(0, 0, 2).await;
        extra.disabled("nobody needs it");
        store.ok();
        shows(1, 1, 1).await;
    })
    .await
    .unwrap();
    // What was closed is well no more.
    let text = metrics().render();
    assert!(
        text.contains("service_health{service=\"vpp1\"} 2\n"),
        "{text}"
    );
}
