//! What is wrong with the configuration of an etcd is told before anything is connected, with its place.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use keyval_config::{ConfigDir, Environment, Section};
use keyval_etcd::EtcdConfig;
use tempfile::TempDir;

/// A folder with an `etcd.yaml` in it.
fn folder(text: &str) -> (TempDir, ConfigDir) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("etcd.yaml"), text).unwrap();
    let config = ConfigDir::new(folder.path());
    (folder, config)
}

fn section() -> Section {
    Section::of::<EtcdConfig>("etcd")
}

/// What a check tells, which must be what a start tells.
fn refused(folder: &TempDir, config: &ConfigDir) -> String {
    let error = section().check(config).unwrap_err().to_string();
    let at_start = config.load_valid::<EtcdConfig>("etcd").unwrap_err();
    assert_eq!(error, at_start.to_string());
    let path = format!("{}/", folder.path().display());
    error.replace(&path, "")
}

#[test]
fn what_is_no_endpoint_is_told_with_its_line_and_never_shown() {
    for (endpoint, why) in [
        ("", "it is empty"),
        ("http://", "it has no host"),
        ("localhost", "it has no port"),
        ("a:99999", "its port is not a number up to 65535"),
        ("unix://a:1", "it begins with an unknown scheme"),
        ("root:hunter2@a:2379", "it has a user"),
        ("https://root:hunter2@a:2379", "it has a user"),
        ("http://a:2379/?token=hunter2", "it has a query"),
        ("a:2379?token=hunter2", "it has a query"),
        ("http://a:2379/hunter2", "it has a path"),
        ("a:1,b:2", "it is more than one"),
        ("[a]:1", "no IPv6 address"),
    ] {
        for text in [
            format!("endpoints:\n  - ok:2379\n  - \"{endpoint}\"\n"),
            format!("endpoints: [\"ok:2379\",\n  \"{endpoint}\"]\n"),
            format!("endpoints: [\"hunter2@a:1\", \"{endpoint}\"]\n"),
        ] {
            let (folder, config) = folder(&text);
            let told = refused(&folder, &config);
            assert!(told.contains("etcd.yaml:"), "{told}");
            assert!(told.contains(": endpoints[1]: is of no use: "), "{told}");
            assert!(
                told.contains(why) && told.contains("write host:port"),
                "{told}"
            );
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
    let (folder, config) = folder("endpoints:\n- a:1\n- root:pw@b:2\n");
    assert_eq!(
        refused(&folder, &config),
        "etcd.yaml:3:3: endpoints[1]: is of no use: it has a user, who is named by username and \
         password instead; write host:port, http://host:port or https://host:port\n  \
           |\n\
         3 | - ***\n  \
           |   ^"
    );
}

#[test]
fn a_password_in_an_endpoint_shows_in_no_other_fault_either() {
    for text in [
        "endpoints: http://root:hunter2@a:1",
        "endpoints: {http://root:hunter2@a:1}",
        "endpionts: [http://root:hunter2@a:1]",
        "endpoints: [http://root:hunter2@a:1",
        "{endpoints: [http://root:hunter2@a:1], max-txn-ops: many}",
    ] {
        let (folder, config) = folder(text);
        let told = refused(&folder, &config);
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn an_endpoint_of_a_variable_is_told_by_the_variable() {
    let environment = Environment::from_iter([("ETCD_ENDPOINTS", "a:1,root:hunter2@b:2")]);
    let folder = TempDir::new().unwrap();
    let config = ConfigDir::new(folder.path()).with_environment(environment);
    let told = refused(&folder, &config);
    assert!(
        told.starts_with("ETCD_ENDPOINTS: endpoints[1]: is of no use"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn keys_that_go_against_the_endpoints_are_told_with_their_line() {
    for (text, place) in [
        (
            "endpoints: [\"http://a:1\", \"https://b:2\"]",
            ":1:27: endpoints[1]: ",
        ),
        (
            "insecure-transport: true\nendpoints: [\"https://a:1\"]",
            ":2:13: endpoints[0]: ",
        ),
        (
            "insecure-transport: false\nendpoints: [\"http://a:1\"]",
            ":2:13: endpoints[0]: ",
        ),
        (
            "endpoints: [\"http://a:1\"]\nca-file: /a.pem",
            ":1:13: endpoints[0]: ",
        ),
        (
            "endpoints: [a:1]\nusername: a\npassword: b",
            ":2:11: username: ",
        ),
    ] {
        let (folder, config) = folder(text);
        let told = refused(&folder, &config);
        assert!(
            told.starts_with(&format!("etcd.yaml{place}")),
            "{text}: {told}"
        );
    }
}

/// Every key of cn-infra's etcd.conf, as its own types spell the values.
const CN_INFRA: &str = "\
endpoints: [172.17.0.1:2379]
dial-timeout: 1000000000
operation-timeout: 3000000000
insecure-transport: true
insecure-skip-tls-verify: false
cert-file:
key-file: \"\"
ca-file: ~
auto-compact: 3600000000000
resync-after-reconnect: true
allow-delayed-start: true
reconnect-interval: 2000000000
session-ttl: 7
expand-env-variables: false
";

#[test]
fn every_key_of_cn_infra_is_read_unchanged() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("etcd.conf"), CN_INFRA).unwrap();
    let config = ConfigDir::new(folder.path());
    let loaded = config.load_valid::<EtcdConfig>("etcd").unwrap().value;
    let mut expected = EtcdConfig::default().with_endpoints(["172.17.0.1:2379"]);
    expected.insecure_transport = Some(true);
    expected.auto_compact = Duration::from_secs(3600);
    expected.resync_after_reconnect = true;
    expected.allow_delayed_start = true;
    expected.session_ttl = Duration::from_secs(7);
    assert_eq!(loaded, expected);

    // The sample has each of them, too.
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/samples/cn-infra");
    let text = fs::read_to_string(format!("{sample}/etcd.conf")).unwrap();
    for line in CN_INFRA.lines() {
        let key = line.split_once(':').unwrap().0;
        assert!(text.contains(&format!("\n{key}:")), "{key}");
    }
    section().check(&ConfigDir::new(sample)).unwrap();
}

#[test]
fn what_asks_for_expansion_is_told_what_to_do_instead() {
    let (folder, config) = folder("expand-env-variables: true");
    let told = refused(&folder, &config);
    assert!(
        told.starts_with("etcd.yaml:1:23: expand-env-variables: is true, and nothing"),
        "{told}"
    );
    assert!(told.contains("STORE__ETCD__ENDPOINTS"), "{told}");
}

#[test]
fn endpoints_are_those_of_the_configuration_and_its_own_environment() {
    let (folder, config) = folder("username: a\npassword: b");
    // Without any they are up to who connects, in an environment that may name others.
    section().check(&config).unwrap();
    let endpoints = [("ETCD_ENDPOINTS", "http://a:1")];
    let config = config.with_environment(Environment::from_iter(endpoints));
    let told = refused(&folder, &config);
    assert!(told.starts_with("etcd.yaml:1:11: username: "), "{told}");
}

#[cfg(feature = "tls")]
#[test]
fn files_of_no_use_are_told_with_the_key_that_names_them() {
    let (folder, config) = folder("");
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("text.pem"), "no certificate").unwrap();
    fs::write(at("empty"), "\n").unwrap();
    let (missing, text, empty) = (at("missing.pem"), at("text.pem"), at("empty"));
    for (key, yaml, why) in [
        ("ca-file", format!("ca-file: {missing}"), "No such file"),
        (
            "ca-file",
            format!("ca-file: {text}"),
            "it holds no certificate",
        ),
        (
            "cert-file",
            format!("insecure-skip-tls-verify: true\nkey-file: {text}\ncert-file: {text}"),
            "it holds no certificate",
        ),
        (
            "password-file",
            format!(
                "endpoints: [\"https://a:1\"]\nusername: a\ninsecure-skip-tls-verify: true\npassword-file: {missing}"
            ),
            "No such file",
        ),
        (
            "password-file",
            format!(
                "allow-plaintext-credentials: true\nendpoints: [a:1]\nusername: a\npassword-file: {empty}"
            ),
            "is empty: write the password into it",
        ),
    ] {
        fs::write(at("etcd.yaml"), &yaml).unwrap();
        let told = refused(&folder, &config);
        let line = yaml.lines().position(|line| line.starts_with(key)).unwrap() + 1;
        let place = format!("etcd.yaml:{line}:{}: {key}: ", key.len() + 3);
        assert!(
            told.starts_with(&place) && told.contains(why),
            "{yaml}: {told}"
        );
        // It can be shown all the same.
        section().print(&config).unwrap();
    }
    // All that is wrong is told at once.
    let yaml = format!("ca-file: {text}\ncert-file: {missing}\nkey-file: {text}");
    fs::write(at("etcd.yaml"), yaml).unwrap();
    let told = refused(&folder, &config);
    assert!(told.contains("etcd.yaml:1:10: ca-file: "), "{told}");
    assert!(told.contains("etcd.yaml:2:12: cert-file: "), "{told}");
    // What is not used need not be there.
    fs::write(
        at("etcd.yaml"),
        format!("insecure-transport: true\nca-file: {missing}"),
    )
    .unwrap();
    section().check(&config).unwrap();
}
