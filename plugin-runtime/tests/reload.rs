//! The promises of a reload: whole or not at all, told where it is refused, and never silent.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::Duration;

use keyval_config::{Findings, Section, Validate, schemars};
use plugin_runtime::{
    AgentStatus, Backends, ConfigDir, Context, Host, Hysteresis, KvPlugin, Live, Plugin,
    PluginResult, Reload, Reloader, State, StatusHandle,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default, PartialEq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
struct Settings {
    text: String,
    port: u16,
}

impl Validate for Settings {
    fn validate(&self, findings: &mut Findings) {
        if self.text.len() > 5 {
            findings.refuse("text", "must have at most 5 bytes");
        }
    }
}

impl Reload for Settings {
    fn check_change(&self, next: &Self, findings: &mut Findings) {
        findings.fixed("port", self.port == next.port);
    }
}

/// A plugin with a configuration that may change; says what it says of itself over and over.
struct Greeter {
    name: &'static str,
    live: watch::Sender<Option<Live<Settings>>>,
    says: watch::Receiver<&'static str>,
}

impl Plugin for Greeter {
    type Handle = watch::Receiver<Option<Live<Settings>>>;

    fn name(&self) -> &str {
        self.name
    }

    fn handle(&self) -> Self::Handle {
        self.live.subscribe()
    }

    fn sections(&self) -> Vec<Section> {
        vec![Section::of::<Settings>(self.name)]
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        self.live.send_replace(Some(cx.live()?));
        let (status, mut says) = (cx.status().clone(), self.says.clone());
        cx.spawn("talk", async move |stop| {
            loop {
                match *says.borrow_and_update() {
                    "ill" => status.error("ill"),
                    word => status.ok_with(word),
                }
                match stop.run_until_cancelled(says.changed()).await {
                    Some(Ok(())) => {}
                    _ => return Ok(()),
                }
            }
        });
        Ok(())
    }
}

/// An agent with a store and two greeters, left and right.
struct Agent {
    folder: TempDir,
    left: Live<Settings>,
    right: Live<Settings>,
    says: watch::Sender<&'static str>,
    reloader: Reloader,
    status: StatusHandle,
    shut_down: oneshot::Sender<()>,
    run: JoinHandle<plugin_runtime::Result<()>>,
}

impl Agent {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(more: impl FnOnce(&mut Host)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, yaml: &str| fs::write(folder.path().join(name), yaml).unwrap();
        write("store.yaml", "memory: { min-ttl: 2s }\n");
        write("left.yaml", "text: hi\nport: 1\n");
        write("right.yaml", "text: hi\n");
        let mut host = Host::new(ConfigDir::new(folder.path())).with_hysteresis(Hysteresis::none());
        host.add(KvPlugin::chosen("store", Backends::new()));
        let says = watch::Sender::new("well");
        let mut greeter = |name| {
            let (live, says) = (watch::Sender::default(), says.subscribe());
            host.add(Greeter { name, live, says })
        };
        let (mut left, mut right) = (greeter("left"), greeter("right"));
        more(&mut host);
        let (reloader, status) = (host.reloader(), host.status());
        let (shut_down, told) = oneshot::channel();
        let run = tokio::spawn(host.run(async move {
            // A test that failed has dropped the other end.
            let _ = told.await;
        }));
        let live = async |live: &mut watch::Receiver<Option<Live<Settings>>>| {
            live.wait_for(Option::is_some)
                .await
                .unwrap()
                .clone()
                .unwrap()
        };
        let agent = Self {
            left: live(&mut left).await,
            right: live(&mut right).await,
            folder,
            says,
            reloader,
            status,
            shut_down,
            run,
        };
        agent.until(|agent| agent.state() == State::Ok).await;
        agent
    }

    fn write(&self, name: &str, yaml: &str) {
        fs::write(self.folder.path().join(name), yaml).unwrap();
    }

    async fn until(&self, wanted: impl FnMut(&AgentStatus) -> bool) {
        let told = timeout(PATIENCE, self.status.wait_for(wanted)).await;
        assert!(told.is_ok(), "not as wanted:\n{}", self.status.current());
    }

    /// State and cause of a plugin.
    fn told(&self, plugin: &str) -> (State, String) {
        let agent = self.status.current();
        let plugin = agent.plugin(plugin).unwrap();
        (
            plugin.state,
            plugin.cause.as_deref().unwrap_or_default().to_owned(),
        )
    }

    async fn stop(self) {
        self.shut_down.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_new_configuration_reaches_the_plugin_that_asked_for_it_and_no_other() {
    let mut agent = Agent::start().await;
    agent.write("left.yaml", "text: ho\nport: 1\n");
    let reloaded = agent.reloader.reload().unwrap();
    assert_eq!(reloaded.to_string(), "changed: left");
    let changed = timeout(PATIENCE, agent.left.changed()).await.unwrap();
    assert_eq!(changed.text, "ho");
    assert_eq!(agent.right.current().text, "hi");
    let mut right = Box::pin(agent.right.changed());
    assert!(futures::poll!(right.as_mut()).is_pending());
    drop(right);
    // What is as before is no change.
    assert_eq!(
        agent.reloader.reload().unwrap().to_string(),
        "nothing changed"
    );
    agent.stop().await;
}

#[tokio::test]
async fn nothing_is_changed_anywhere_if_anything_is_wrong_anywhere() {
    for (file, wrong, plugin, told) in [
        (
            "left.yaml",
            "text: ho\nprot: 1\n",
            "left",
            "left.yaml:2:1: unknown key \"prot\"",
        ),
        (
            "left.yaml",
            "text: far too long\nport: 1\n",
            "left",
            "text: must have at most 5",
        ),
        (
            "left.yaml",
            "text: ho\nport: 2\n",
            "left",
            "left.yaml:2:7: port: cannot change",
        ),
        ("left.yaml", "text: [", "left", "left.yaml:"),
        // Of a plugin that reads its configuration only once, too: it would fail at the next start.
        (
            "store.yaml",
            "backend: redis\n",
            "store",
            "unknown value \"redis\"",
        ),
    ] {
        let agent = Agent::start().await;
        agent.write("right.yaml", "text: ho\n");
        agent.write(file, wrong);
        let error = agent.reloader.reload().unwrap_err();
        assert_eq!(error.refused.len(), 1, "{error}");
        assert_eq!(&*error.refused[0].0, plugin);
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(agent.right.current().text, "hi");
        assert_eq!(agent.left.current().text, "hi");
        let (state, cause) = agent.told(plugin);
        assert_eq!(state, State::Degraded, "{cause}");
        let beginning = "works as before; its new configuration is refused: ";
        assert!(
            cause.starts_with(beginning) && cause.contains(told),
            "{cause}"
        );
        assert!(!cause.contains('\n'), "{cause}");
        assert_eq!(agent.told("right").0, State::Ok);
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_refused_configuration_is_told_until_a_later_one_is_taken_whatever_the_plugin_says() {
    let agent = Agent::start().await;
    agent.write("left.yaml", "port: two");
    agent.reloader.reload().unwrap_err();
    assert_eq!(agent.told("left").0, State::Degraded);
    agent.says.send_replace("ill");
    agent.until(|agent| agent.state() == State::Error).await;
    // What is worse is told first; well again, it still has the old configuration.
    assert_eq!(agent.told("left").1, "ill");
    agent.says.send_replace("better");
    agent.until(|agent| agent.state() == State::Degraded).await;
    agent
        .until(|agent| agent.plugin("right").unwrap().state == State::Ok)
        .await;
    assert!(agent.told("left").1.contains("is refused"));
    agent.write("left.yaml", "text: ho\nport: 1\n");
    agent.reloader.reload().unwrap();
    assert_eq!(agent.told("left"), (State::Ok, "better".to_owned()));
    agent.stop().await;
}

#[tokio::test]
async fn what_only_a_restart_takes_up_is_named() {
    let agent = Agent::start().await;
    agent.write("store.yaml", "memory: { min-ttl: 3s }\nsession-ttl: 9s\n");
    let reloaded = agent.reloader.reload().unwrap();
    assert_eq!(
        reloaded.needs_restart,
        ["store.memory.min-ttl", "store.session-ttl"]
    );
    assert!(reloaded.changed.is_empty());
    agent.write("store.yaml", "memory: { min-ttl: 2s }\n");
    assert_eq!(
        agent.reloader.reload().unwrap().to_string(),
        "nothing changed"
    );
    agent.stop().await;
}

#[tokio::test]
async fn a_plugin_that_a_restart_would_enable_or_disable_is_named() {
    let agent = Agent::start_with(|host| {
        host.add(KvPlugin::chosen("other", Backends::new()).disabled_unless_configured());
    })
    .await;
    assert_eq!(agent.told("other").0, State::Disabled);
    agent.write("other.yaml", "");
    let reloaded = agent.reloader.reload().unwrap();
    assert_eq!(reloaded.needs_restart, ["other"]);
    agent.stop().await;
}

#[tokio::test]
async fn a_reload_before_the_start_or_after_the_end_changes_nothing() {
    let host = Host::new(ConfigDir::new("/no/such/folder"));
    assert_eq!(
        host.reloader().reload().unwrap().to_string(),
        "nothing changed"
    );
    let agent = Agent::start().await;
    let (reloader, status) = (agent.reloader.clone(), agent.status.clone());
    let folder = agent.folder.path().join("left.yaml");
    fs::write(folder, "port: two").unwrap();
    agent.stop().await;
    // The folder is gone with the agent, so all is at its defaults, and port is fixed.
    reloader.reload().unwrap_err();
    let left = status.current().plugin("left").unwrap().clone();
    assert_eq!((left.state, left.cause), (State::Stopped, None));
}

#[cfg(unix)]
#[tokio::test]
async fn sighup_reloads_and_what_came_of_it_is_in_the_status() {
    use plugin_runtime::ReloadPlugin;
    use std::process::Command;

    let hang_up = || {
        let pid = std::process::id().to_string();
        let sent = Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.unwrap().success());
    };
    let mut agent = Agent::start_with(|host| {
        host.add(ReloadPlugin::new(host.reloader()));
    })
    .await;
    assert_eq!(
        agent.told("reload"),
        (State::Ok, "waits for SIGHUP".to_owned())
    );
    agent.write("left.yaml", "text: ho\nport: 1\n");
    hang_up();
    let changed = timeout(PATIENCE, agent.left.changed()).await.unwrap();
    assert_eq!(changed.text, "ho");
    let reload = |agent: &AgentStatus| agent.plugin("reload").unwrap().clone();
    agent
        .until(|agent| reload(agent).cause.as_deref() == Some("changed: left"))
        .await;
    agent.write("left.yaml", "text: hu\nport: 2\n");
    hang_up();
    agent
        .until(|agent| reload(agent).state == State::Degraded)
        .await;
    let (_, cause) = agent.told("reload");
    assert!(
        cause.contains("left: ") && cause.contains("port: cannot change"),
        "{cause}"
    );
    assert_eq!(agent.left.current().text, "ho");
    agent.stop().await;
}
