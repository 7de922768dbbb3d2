//! The committed schemas are those of the code, and the samples refer to them.

#![cfg(all(feature = "etcd", feature = "probe"))]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use keyval_config::{ConfigDir, Section};
use keyval_etcd::{EtcdConfig, EtcdConnector};
use plugin_runtime::{Backends, Host, KvPlugin, MemorySettings, ProbeSettings, ResyncSettings};

/// Set to anything, this variable makes the test write the files that it would refuse.
const WRITE: &str = "KEYVAL_WRITE_SCHEMAS";

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// The store of an agent that can have every backend.
fn store(folder: &Path) -> Host {
    let mut host = Host::new(ConfigDir::new(folder));
    let backends = Backends::new().with::<EtcdConnector>();
    host.add(KvPlugin::chosen("store", backends));
    host
}

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    let store = store(Path::new("/no/such/folder"));
    let sections = [
        store.sections()[0].clone(),
        Section::of::<EtcdConfig>("etcd"),
        Section::of::<MemorySettings>("memory"),
        Section::of::<ProbeSettings>("probe"),
        Section::of::<ResyncSettings>("resync"),
    ];
    for section in &sections {
        let path = config().join(format!("schemas/{}.json", section.name()));
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, section.schema()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == section.schema(),
            "{} is not what the code says: run this test once with {WRITE}=1",
            path.display()
        );
    }
    let files = std::fs::read_dir(config().join("schemas")).unwrap();
    assert_eq!(files.count(), sections.len());
}

/// Every YAML file below a folder.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
}

#[test]
fn every_sample_in_yaml_refers_to_the_schema_of_its_plugin() {
    let mut samples = Vec::new();
    yaml_files(&config().join("samples"), &mut samples);
    assert!(samples.len() >= 4, "{samples:?}");
    for sample in samples {
        let text = std::fs::read_to_string(&sample).unwrap();
        // An editor looks for it in the first line alone.
        let first = text.lines().next().unwrap();
        let schema = first.strip_prefix("# yaml-language-server: $schema=");
        let schema = schema.unwrap_or_else(|| panic!("{}: {first}", sample.display()));
        let named = sample.parent().unwrap().join(schema);
        let of_plugin = config()
            .join("schemas")
            .join(sample.with_extension("json").file_name().unwrap());
        assert_eq!(
            named.canonicalize().ok(),
            Some(of_plugin.canonicalize().unwrap()),
            "{}: {first}",
            sample.display()
        );
    }
}

#[test]
fn every_sample_of_a_store_is_in_order() {
    for sample in ["memory", "etcd"] {
        let folder = config().join("samples").join(sample);
        store(&folder).sections()[0]
            .check(&ConfigDir::new(&folder))
            .unwrap();
    }
}

#[test]
fn what_the_etcd_sample_leaves_out_can_be_set_as_it_says() {
    let text = std::fs::read_to_string(config().join("samples/etcd/store.yaml")).unwrap();
    // Every commented key, but for those of SRV records, which go with neither endpoints nor TLS.
    let keys: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix("  # ") {
            Some(key) if is_key(key) && !key.starts_with("discovery-srv") => format!("  {key}"),
            _ => line.to_owned(),
        })
        .filter(|line| !line.contains("password-file") || line.contains('#'))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store.yaml"), keys.join("\n")).unwrap();
    let printed = store(folder.path()).sections()[0]
        .print(&ConfigDir::new(folder.path()))
        .unwrap();
    for set in [
        "  insecure-transport: false  # ",
        "  cert-file: /etc/agent/etcd.pem  # ",
        "  # username: \"***\"  # ",
        "  # password: \"***\"  # ",
    ] {
        assert!(printed.contains(set), "{set} is not in\n{printed}");
    }
}

/// Whether a comment is a key with its value.
fn is_key(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(key, _)| {
        !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    })
}

#[test]
fn the_file_of_cn_infra_loads_as_it_stands() {
    let config = ConfigDir::new(config().join("samples/cn-infra"));
    let loaded = config.load_valid::<EtcdConfig>("etcd").unwrap().value;
    let mut expected = EtcdConfig::default().with_endpoints(["172.17.0.1:2379"]);
    expected.insecure_transport = Some(true);
    assert_eq!(loaded, expected);
}

/// Every key of etcd's configuration, as its schema has them.
fn keys() -> Vec<String> {
    let schema = Section::of::<EtcdConfig>("etcd").schema();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    properties.keys().cloned().collect()
}

#[test]
fn every_slip_in_a_key_is_told_with_the_key_that_was_meant() {
    let keys = keys();
    assert!(keys.len() > 20);
    for key in &keys {
        for slip in slips(key) {
            if keys.contains(&slip) {
                continue;
            }
            let text = format!("{slip}: 1");
            let error = keyval_config::parse::<EtcdConfig>("etcd.yaml", &text).unwrap_err();
            let keyval_config::Error::Invalid(invalid) = error else {
                panic!("{slip}: {error}");
            };
            assert_eq!(invalid.did_you_mean(), Some(&**key), "{slip}");
        }
    }
}

/// A key with one letter missing, doubled, changed, or swapped with its neighbour; and with underscores.
fn slips(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let mut slips = vec![key.to_uppercase(), key.replace('-', "_")];
    for at in 0..letters.len() {
        let (before, after) = letters.split_at(at);
        let slip = |parts: [&[char]; 3]| parts.concat().into_iter().collect::<String>();
        slips.push(slip([before, &[], &after[1..]]));
        slips.push(slip([before, &after[..1], after]));
        slips.push(slip([before, &['x'], &after[1..]]));
        if let [first, second, rest @ ..] = after {
            slips.push(slip([before, &[*second, *first], rest]));
        }
    }
    slips.retain(|slip| slip != key);
    slips
}
