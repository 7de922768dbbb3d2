//! The sample configurations are real: each is loaded here as its program would.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use keyval_config::parse;
use plugin_runtime::{Backends, ConfigDir, Host, KvPlugin, MemorySettings, ResyncSettings, State};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples")
}

fn text(sample: &str) -> String {
    std::fs::read_to_string(samples().join(sample)).unwrap()
}

/// Every file below the samples, relative to them.
fn files(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let path = path.strip_prefix(samples()).unwrap();
            found.push(path.to_str().unwrap().replace('\\', "/"));
        }
    }
}

#[test]
fn every_sample_is_loaded_by_a_test_here() {
    let mut found = Vec::new();
    files(&samples(), &mut found);
    found.sort();
    // What etcd reads is loaded in schemas.rs.
    assert_eq!(
        found,
        [
            "cn-infra/etcd.conf",
            "etcd/store.yaml",
            "memory/probe.yaml",
            "memory/resync.yaml",
            "memory/store.yaml"
        ]
    );
}

#[tokio::test]
async fn the_memory_sample_runs_a_store() {
    let mut host = Host::new(ConfigDir::new(samples().join("memory")));
    host.add(KvPlugin::chosen("store", Backends::new()));
    let status = host.status();
    host.run(async move {
        let up = status.wait_for(|agent| agent.state() == State::Ok).await;
        let cause = up.plugin("store").unwrap().cause.clone().unwrap();
        assert!(
            cause.contains("memory") && cause.ends_with("store.yaml"),
            "{cause}"
        );
    })
    .await
    .unwrap();
}

#[test]
fn the_memory_sample_states_the_defaults() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        backend: String,
        memory: MemorySettings,
    }

    let sample: Sample = parse("store.yaml", &text("memory/store.yaml")).unwrap();
    assert_eq!(sample.backend, "memory");
    assert_eq!(sample.memory, MemorySettings::default());
}

#[test]
fn what_the_memory_sample_leaves_out_can_be_set_as_it_says() {
    let sample = text("memory/store.yaml")
        .replace("# retain-revisions", "retain-revisions")
        .replace("# retain-for", "retain-for");
    #[derive(serde::Deserialize)]
    struct Sample {
        memory: MemorySettings,
    }

    let sample: Sample = parse("store.yaml", &sample).unwrap();
    assert_eq!(sample.memory.retain_revisions, Some(10_000));
    assert_eq!(sample.memory.retain_for.map(|age| age.as_secs()), Some(600));
}

#[tokio::test]
async fn a_program_without_etcd_refuses_the_etcd_sample_with_the_remedy() {
    let mut host = Host::new(ConfigDir::new(samples().join("etcd")));
    let backends = Backends::new().without("etcd", "rebuild with --features etcd");
    host.add(KvPlugin::chosen("store", backends));
    let error = host
        .run(std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(
            "backend: \"etcd\" is not compiled in; \
             rebuild with --features etcd, or choose one of: memory"
        ),
        "{error}"
    );
}

#[cfg(feature = "etcd")]
#[test]
fn the_etcd_sample_states_the_defaults() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        backend: String,
        etcd: keyval_etcd::EtcdConfig,
    }

    let sample: Sample = parse("store.yaml", &text("etcd/store.yaml")).unwrap();
    assert_eq!(sample.backend, "etcd");
    let defaults = keyval_etcd::EtcdConfig::default();
    assert_eq!(sample.etcd, defaults);
}

#[test]
fn the_sample_of_resync_states_the_defaults() {
    let sample: ResyncSettings = parse("resync.yaml", &text("memory/resync.yaml")).unwrap();
    assert_eq!(sample, ResyncSettings::default());
}

#[cfg(feature = "probe")]
#[test]
fn the_sample_of_the_probes_states_the_defaults() {
    use plugin_runtime::ProbeSettings;

    let sample: ProbeSettings = parse("probe.yaml", &text("memory/probe.yaml")).unwrap();
    assert_eq!(sample, ProbeSettings::default());
}
