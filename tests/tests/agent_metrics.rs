//! What a scrape of an agent on a real etcd sees.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use futures::StreamExt;
use keyval::{BrokerExt, FollowOptions, KeyRange, StoreExt, Update, follow};
use keyval_etcd::EtcdConnector;
use keyval_tests::etcd::Etcd;
use keyval_tests::http;
use plugin_runtime::{ConfigDir, Host, KvPlugin, MetricsHandle, ProbePlugin, ProbeSettings, State};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_sees_the_store_its_watches_its_sessions_and_the_plugins() {
    // One test, as a process has one recorder.
    let metrics = MetricsHandle::install().unwrap();
    let etcd = Etcd::start();
    let folder = tempfile::tempdir().unwrap();
    let conf = format!("endpoints: [{:?}]\nsession-ttl: 3s\n", etcd.endpoint());
    std::fs::write(folder.path().join("store.yaml"), conf).unwrap();
    let mut host = Host::new(ConfigDir::new(folder.path()));
    let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
    let probes = ProbePlugin::new(host.status()).with_settings(any_port);
    let probe = host.add(probes.with_metrics(metrics));
    let store = host.add(KvPlugin::<EtcdConnector>::named("store"));
    let status = host.status();
    let endpoint = etcd.endpoint().trim_start_matches("http://").to_owned();
    let used = async move {
        let up = status.wait_for(|agent| agent.state() == State::Ok);
        timeout(SOON, up).await.unwrap();
        let options = FollowOptions::default().with_name("interfaces");
        let mut updates = follow(store.prefixed("agents/1/"), KeyRange::all(), options);
        let first = timeout(SOON, updates.next()).await.unwrap();
        assert!(matches!(first, Some(Ok(Update::Resync(_)))));
        store.put("agents/1/a", "1").await.unwrap();
        let changes = async {
            while let Some(Ok(update)) = updates.next().await {
                if matches!(&update, Update::Changes(changes) if !changes.is_progress()) {
                    return;
                }
            }
            panic!("it ended");
        };
        timeout(SOON, changes).await.unwrap();
        let session = store.session("agents/").await.unwrap();
        session.put("1/alive", "yes").await.unwrap();
        let address = probe.address().await;
        let wanted = [
            "keyval_client_operation_duration_seconds_bucket{backend=\"etcd\",op=\"put\",outcome=\"ok\",le=\"0.001\"}"
                .to_owned(),
            "keyval_watch_state{name=\"interfaces\",state=\"connected\"} 1".to_owned(),
            "keyval_watch_events_total{name=\"interfaces\",type=\"put\"} 1".to_owned(),
            "keyval_watch_resets_total{name=\"interfaces\",cause=\"initial\"} 1".to_owned(),
            "keyval_watch_last_progress_timestamp_seconds{name=\"interfaces\"}".to_owned(),
            "keyval_watch_queue_depth{".to_owned(),
            "keyval_watch_revision_lag{".to_owned(),
            format!("keyval_endpoint_up{{endpoint=\"{endpoint}\"}} 1"),
            // With the first renewal, at a third of the TTL.
            "keyval_lease_remaining_seconds_count".to_owned(),
            "plugin_state{plugin=\"store\",state=\"ok\"} 1".to_owned(),
            "plugin_init_duration_seconds{plugin=\"store\"}".to_owned(),
            "agent_build_info{".to_owned(),
        ];
        let scraped = async {
            loop {
                let text = tokio::task::block_in_place(|| http::get(address, "/metrics")).unwrap();
                let missing: Vec<_> = wanted.iter().filter(|line| !text.contains(*line)).collect();
                if missing.is_empty() {
                    return;
                }
                println!("still missing: {missing:#?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        timeout(SOON, scraped).await.unwrap();
    };
    timeout(4 * SOON, host.run(used)).await.unwrap().unwrap();
}
