//! The files in `deploy/` fit the code: configurations load, and the paths of the probes answer.

#![cfg(all(feature = "etcd", feature = "probe"))]
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "only the code is looked at")]
mod http;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keyval_config::{Environment, parse};
use plugin_runtime::{
    AgentLabel, Backends, ConfigDir, Host, KvPlugin, ProbePlugin, ProbeSettings, State,
};
use serde::Deserialize;

fn text(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    fs::read_to_string(folder.join(file)).unwrap()
}

#[derive(Deserialize)]
struct ConfigMap {
    data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Deployment {
    spec: Outer,
}

#[derive(Deserialize)]
struct Outer {
    template: Template,
}

#[derive(Deserialize)]
struct Template {
    spec: Pod,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pod {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    ports: Vec<Port>,
    startup_probe: Probe,
    liveness_probe: Probe,
    readiness_probe: Probe,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    container_port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    http_get: HttpGet,
}

#[derive(Deserialize)]
struct HttpGet {
    path: String,
}

/// A program as the files in `deploy/` have it.
fn host(config: ConfigDir) -> Host {
    let mut host = Host::new(config);
    host.add(ProbePlugin::new(host.status()));
    let backends = Backends::new().with::<keyval_etcd::EtcdConnector>();
    host.add(KvPlugin::chosen("store", backends));
    host
}

#[test]
fn the_config_map_is_a_configuration_that_loads() {
    let map: ConfigMap = parse("configmap.yaml", &text("kubernetes/configmap.yaml")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, yaml) in &map.data {
        fs::write(folder.path().join(name), yaml).unwrap();
    }
    let host = host(ConfigDir::new(folder.path()));
    let mut read = Vec::new();
    for section in host.sections() {
        // Without the files that are mounted beside it, which `check` would look at.
        section.print(host.config()).unwrap();
        read.push(format!("{}.yaml", section.name()));
    }
    read.sort();
    assert_eq!(map.data.into_keys().collect::<Vec<_>>(), read);
}

#[tokio::test]
async fn the_probes_of_the_deployment_are_answered() {
    let deployment: Deployment =
        parse("deployment.yaml", &text("kubernetes/deployment.yaml")).unwrap();
    let container = &deployment.spec.template.spec.containers[0];
    assert_eq!(
        container.ports[0].container_port,
        ProbeSettings::default().listen.port()
    );
    let probes = [
        (&container.startup_probe, "/startupz"),
        (&container.liveness_probe, "/livez"),
        (&container.readiness_probe, "/readyz"),
    ];
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let settings = ProbeSettings::default().with_listen(([127, 0, 0, 1], 0).into());
    let probe = host.add(ProbePlugin::new(host.status()).with_settings(settings));
    let status = host.status();
    host.run(async move {
        status.wait_for(|agent| agent.state() == State::Ok).await;
        let address = probe.address().await;
        for (probe, path) in probes {
            assert_eq!(probe.http_get.path, path);
            assert_eq!(http::get(address, path).await.code, 200, "{path}");
        }
    })
    .await
    .unwrap();
}

#[test]
fn the_variables_of_the_unit_are_ones_that_the_agent_reads() {
    let unit = text("systemd/agent.service");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let variables = unit.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("Environment=")?.split_once('=')?;
        // What systemd puts in their place.
        let value = value.replace("%d", "/run/credentials/agent.service");
        let value = value.replace("%H", "node-1").replace("/etc/agent", path);
        Some((name.to_owned(), value))
    });
    let environment = Environment::from_iter(variables);
    let label = AgentLabel::from_env(&environment).unwrap().unwrap();
    assert_eq!(label.as_str(), "node-1");
    fs::write(
        folder.path().join("store.yaml"),
        "backend: etcd\netcd: { username: agent }\n",
    )
    .unwrap();
    let config = ConfigDir::from_environment("/no/such/folder", environment).unwrap();
    let host = host(config);
    let store = host
        .sections()
        .iter()
        .find(|it| it.name() == "store")
        .unwrap();
    let shown = store.print(host.config()).unwrap();
    let password = "password-file: /run/credentials/agent.service/etcd-password";
    assert!(shown.contains(password), "{shown}");
}

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
}

#[test]
fn the_alerts_ask_for_metrics_and_states_that_there_are() {
    const SOURCES: [&str; 7] = [
        include_str!("../src/status/gauges.rs"),
        include_str!("../src/status/agent.rs"),
        include_str!("../../keyval/src/entry.rs"),
        include_str!("../../keyval/src/follow/report.rs"),
        include_str!("../../keyval/src/follow/state.rs"),
        include_str!("../../keyval/src/recipes/session/shared.rs"),
        include_str!("../../keyval/src/wrap/prefixed.rs"),
    ];
    let rules: Rules = parse("alerts.yaml", &text("prometheus/alerts.yaml")).unwrap();
    let rules = &rules.groups[0].rules;
    assert_eq!(rules.len(), 6);
    for Rule { alert, expr } in rules {
        let metrics = expr
            .split(|c: char| !c.is_ascii_lowercase() && c != '_')
            .filter(|word| word.starts_with("keyval_") || word.starts_with("plugin_"));
        let values = expr.split('"').skip(1).step_by(2);
        let words: Vec<&str> = metrics.chain(values).collect();
        assert!(!words.is_empty(), "{alert}");
        for word in words {
            let quoted = format!("\"{word}\"");
            assert!(
                SOURCES.iter().any(|source| source.contains(&quoted)),
                "{alert}: {word}"
            );
        }
    }
}
