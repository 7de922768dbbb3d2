//! The metrics of a process, as Prometheus scrapes them.

#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used)]

mod http;

use keyval::{BrokerExt, Observe};
use plugin_runtime::{
    AgentStatus, BuildInfo, ConfigDir, Host, KvPlugin, MemoryBackend, MetricsHandle, ProbePlugin,
    ProbeSettings,
};

/// One test, as a process has one recorder.
#[tokio::test]
async fn a_scrape_shows_the_agent_its_plugins_and_its_stores() {
    let metrics = MetricsHandle::install().unwrap();
    let again = MetricsHandle::install().unwrap_err().to_string();
    assert!(again.starts_with("cannot gather metrics: "), "{again}");

    let build = BuildInfo::new("agent", "1.2.3").with_commit("abc");
    let mut host = Host::new(ConfigDir::new("/no/such/folder")).with_build(build);
    let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
    let probe = ProbePlugin::new(host.status())
        .with_settings(any_port)
        .with_metrics(metrics);
    let probe = host.add(probe);
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
    })
    .await
    .unwrap();
}
