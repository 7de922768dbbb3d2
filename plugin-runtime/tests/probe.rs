//! The promises of the probes: the truth, at once, whatever plugins do.

#![cfg(feature = "probe")]
#![allow(clippy::unwrap_used)]

mod http;

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;

use http::{get, request};
use plugin_runtime::{
    AgentStatus, BuildInfo, ConfigDir, Context, Criticality, Host, Hysteresis, Phase, Plugin,
    PluginResult, ProbeHandle, ProbePlugin, ProbeSettings, Reporter, StatusHandle,
};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A plugin whose life the test holds in its hands.
struct Puppet {
    name: &'static str,
    reporter: Option<oneshot::Sender<Reporter>>,
    init_ends: Option<oneshot::Receiver<()>>,
    close_ends: Option<oneshot::Receiver<()>>,
}

impl Plugin for Puppet {
    type Handle = ();

    fn name(&self) -> &str {
        self.name
    }

    fn handle(&self) {}

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        self.reporter
            .take()
            .unwrap()
            .send(cx.status().clone())
            .unwrap();
        Ok(self.init_ends.take().unwrap().await?)
    }

    async fn close(&mut self) -> PluginResult {
        Ok(self.close_ends.take().unwrap().await?)
    }
}

/// The strings of a puppet.
struct Strings {
    reporter: Reporter,
    init_ends: Option<oneshot::Sender<()>>,
    close_ends: Option<oneshot::Sender<()>>,
}

impl Strings {
    fn end_init(&mut self) {
        self.init_ends.take().unwrap().send(()).unwrap();
    }
}

/// An agent with probes on a port of its own.
struct Agent {
    address: SocketAddr,
    status: StatusHandle,
    run: JoinHandle<plugin_runtime::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Agent {
    fn run(host: Host, probe: ProbeHandle) -> impl Future<Output = Self> {
        let status = host.status();
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(host.run(async move {
            stopped.await.unwrap();
        }));
        async move {
            Self {
                address: probe.address().await,
                status,
                run,
                stop,
            }
        }
    }

    /// An agent with a plugin `store`, which is up.
    async fn with_store(prepare: impl FnOnce(ProbePlugin) -> ProbePlugin) -> (Self, Strings) {
        let mut host = host();
        let probe = host.add(prepare(probe(&host)));
        let store = puppet(&mut host, "store");
        let agent = Self::run(host, probe).await;
        let mut store = store.await;
        store.end_init();
        agent.status.wait_for(AgentStatus::is_ready).await;
        (agent, store)
    }

    async fn code(&self, path: &str) -> u16 {
        get(self.address, path).await.code
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let answer = get(self.address, path).await;
        assert!(answer.head.contains("content-type: application/json"));
        (answer.code, serde_json::from_str(&answer.body).unwrap())
    }
}

fn host() -> Host {
    Host::new(ConfigDir::new("/no/such/folder"))
        .with_hysteresis(Hysteresis::none())
        .with_build(BuildInfo::new("agent", "1.2.3").with_commit("abc"))
}

fn any_port() -> ProbeSettings {
    ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap())
}

fn probe(host: &Host) -> ProbePlugin {
    ProbePlugin::new(host.status()).with_settings(any_port())
}

/// Adds a puppet; its strings are there once its init has begun.
fn puppet(host: &mut Host, name: &'static str) -> impl Future<Output = Strings> + use<> {
    let (reporter, lent) = oneshot::channel();
    let (init_ends, init_told) = oneshot::channel();
    let (close_ends, close_told) = oneshot::channel();
    host.add(Puppet {
        name,
        reporter: Some(reporter),
        init_ends: Some(init_told),
        close_ends: Some(close_told),
    });
    async move {
        Strings {
            reporter: lent.await.unwrap(),
            init_ends: Some(init_ends),
            close_ends: Some(close_ends),
        }
    }
}

#[tokio::test]
async fn probes_tell_the_truth_from_the_start_to_the_end() {
    let mut host = host();
    let probe = host.add(probe(&host));
    let store = puppet(&mut host, "store");
    let agent = Agent::run(host, probe).await;
    let mut store = store.await;
    for (path, code) in [("/livez", 200), ("/readyz", 503), ("/startupz", 503)] {
        assert_eq!(agent.code(path).await, code, "while it starts: {path}");
    }
    store.end_init();
    agent.status.wait_for(AgentStatus::is_ready).await;
    for path in ["/livez", "/readyz", "/startupz"] {
        let answer = get(agent.address, path).await;
        assert_eq!((answer.code, &*answer.body), (200, "ok\n"), "{path}");
    }
    agent.stop.send(()).unwrap();
    agent.status.wait_for(|agent| !agent.is_ready()).await;
    for (path, code) in [("/livez", 200), ("/readyz", 503), ("/startupz", 200)] {
        let answer = get(agent.address, path).await;
        assert_eq!(answer.code, code, "while it closes: {path}");
    }
    store.close_ends.take().unwrap().send(()).unwrap();
    agent.run.await.unwrap().unwrap();
    let gone = tokio::net::TcpStream::connect(agent.address).await;
    assert!(gone.is_err(), "the probes are still there");
}

#[tokio::test]
async fn an_agent_whose_store_is_still_starting_has_started_and_is_not_ready() {
    let mut host = host();
    let probe = host.add(probe(&host));
    let store = puppet(&mut host, "store");
    let agent = Agent::run(host, probe).await;
    let mut store = store.await;
    store.reporter.starting("not connected yet: nobody listens");
    store.end_init();
    let runs = |agent: &AgentStatus| agent.phase == Phase::Running;
    agent.status.wait_for(runs).await;
    let answer = get(agent.address, "/readyz").await;
    assert_eq!(answer.code, 503);
    let mut lines = answer.body.lines();
    let told = lines.find(|it| it.starts_with("[-]store: init for "));
    assert!(
        told.unwrap()
            .ends_with(": not connected yet: nobody listens")
    );
    // Whoever restarts what does not start would do so for ever.
    assert_eq!(agent.code("/startupz").await, 200);
    let (code, json) = agent.json("/readiness").await;
    assert_eq!((code, &json["state"]), (503, &0.into()));
    assert_eq!(agent.code("/livez").await, 200);
    store.reporter.ok();
    for path in ["/readyz", "/readiness"] {
        assert_eq!(agent.code(path).await, 200, "{path}");
    }
    agent.run.abort();
}

#[tokio::test]
async fn a_store_out_of_reach_makes_the_agent_unready_and_never_dead() {
    let (agent, store) = Agent::with_store(|probe| probe).await;
    store.reporter.error("no answer within 3s");
    for (path, code) in [
        ("/livez", 200),
        ("/liveness", 200),
        ("/readyz", 503),
        ("/readiness", 503),
    ] {
        assert_eq!(agent.code(path).await, code, "{path}");
    }
    store.reporter.degraded("slow");
    for path in ["/livez", "/liveness", "/readyz", "/readiness", "/startupz"] {
        assert_eq!(agent.code(path).await, 200, "{path}");
    }
    agent.run.abort();
}

#[tokio::test]
async fn the_agent_is_unready_whoever_reports_last() {
    let mut host = host();
    let probe = host.add(probe(&host));
    let (store, cache) = (puppet(&mut host, "store"), puppet(&mut host, "cache"));
    let agent = Agent::run(host, probe).await;
    let mut store = store.await;
    store.end_init();
    let mut cache = cache.await;
    cache.end_init();
    agent.status.wait_for(AgentStatus::is_ready).await;
    store.reporter.error("unreachable");
    cache.reporter.ok();
    assert_eq!(agent.code("/readyz").await, 503);
    store.reporter.ok();
    assert_eq!(agent.code("/readyz").await, 200);
    agent.run.abort();
}

#[tokio::test]
async fn a_failed_probe_says_why_and_a_verbose_one_says_it_all() {
    let (agent, store) = Agent::with_store(|probe| probe).await;
    for query in ["?verbose", "?verbose=1", "?a&verbose"] {
        let told = get(agent.address, &format!("/readyz{query}")).await.body;
        assert!(told.starts_with("[+]agent: running, ok\n"), "{told}");
        assert!(told.contains("\n[+]store: ok for "), "{told}");
        assert!(told.ends_with("\nreadyz passed\n"), "{told}");
    }
    store.reporter.error("unreachable\nand more");
    let answer = get(agent.address, "/readyz").await;
    assert_eq!(answer.code, 503);
    assert!(
        answer.body.starts_with("[-]agent: running, error\n"),
        "{}",
        answer.body
    );
    let store = answer
        .body
        .lines()
        .find(|line| line.starts_with("[-]store: error for "));
    assert!(store.unwrap().ends_with(": unreachable"), "{}", answer.body);
    assert!(
        answer.body.ends_with("\nreadyz failed\n"),
        "{}",
        answer.body
    );
    let live = get(agent.address, "/livez?verbose").await.body;
    assert!(live.starts_with("[+]runtime: it went on "), "{live}");
    agent.run.abort();
}

#[tokio::test]
async fn cn_infras_probes_keep_their_fields() {
    let (agent, store) = Agent::with_store(|probe| probe).await;
    let (code, json) = agent.json("/readiness").await;
    assert_eq!(code, 200);
    assert_eq!(json["build_version"], "1.2.3");
    assert_eq!(json["commit_hash"], "abc");
    assert_eq!(json["state"], 1);
    for time in ["start_time", "last_change", "last_update"] {
        assert!(json[time].as_u64().unwrap() > 1_700_000_000, "{time}");
    }
    assert_eq!(json["plugins"][1]["name"], "store");
    assert_eq!(json["plugins"][1]["state"], 1);
    assert_eq!(json["NonFatalPlugins"], Value::Array(Vec::new()));

    store.reporter.error("unreachable");
    for (path, code) in [("/readiness", 503), ("/liveness", 200)] {
        let (told, json) = agent.json(path).await;
        assert_eq!(told, code);
        assert_eq!(json["state"], 2);
        assert_eq!(json["plugins"][1]["error"], "unreachable");
        let store = &json["PluginStatus"]["store"];
        assert_eq!(store["state"], 2);
        assert_eq!(store["error"], "unreachable");
        assert!(store["last_change"].is_u64() && store["last_update"].is_u64());
    }
    agent.run.abort();
}

#[tokio::test]
async fn the_agent_is_ready_without_the_plugins_that_are_listed_as_non_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "listen: 127.0.0.1:0\nnon-fatal-plugins: [telemetry]\n";
    std::fs::write(folder.path().join("probe.yaml"), yaml).unwrap();
    let mut host = Host::new(ConfigDir::new(folder.path())).with_hysteresis(Hysteresis::none());
    let probe = ProbePlugin::new(host.status()).with_non_fatal_plugins(["tracing"]);
    let probe = host.add(probe);
    let (one, two) = (puppet(&mut host, "telemetry"), puppet(&mut host, "tracing"));
    let agent = Agent::run(host, probe).await;
    let mut one = one.await;
    one.end_init();
    let mut two = two.await;
    two.end_init();
    agent.status.wait_for(AgentStatus::is_ready).await;
    one.reporter.error("nobody listens");
    two.reporter.error("nobody either");
    let (code, json) = agent.json("/readiness").await;
    assert_eq!((code, &json["state"]), (200, &Value::from(1)));
    assert_eq!(
        json["NonFatalPlugins"],
        serde_json::json!(["telemetry", "tracing"])
    );
    let told = get(agent.address, "/readyz?verbose").await;
    assert_eq!(told.code, 200);
    let is_told =
        |line: &str| line.starts_with("[-]telemetry: error") && line.contains(", optional: ");
    assert!(told.body.lines().any(is_told), "{}", told.body);
    let telemetry = agent
        .status
        .current()
        .plugin("telemetry")
        .unwrap()
        .criticality;
    assert_eq!(telemetry, Criticality::Optional);
    agent.run.abort();
}

#[tokio::test]
async fn a_non_fatal_plugin_that_does_not_exist_is_an_error_at_the_start() {
    let mut host = host();
    host.add(probe(&host).with_non_fatal_plugins(["telemetri"]));
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin probe failed in init: non-fatal-plugins names \"telemetri\", \
         which is no plugin of this agent; it has probe"
    );
}

#[tokio::test]
async fn a_port_in_use_is_an_error_at_the_start_that_says_what_to_change() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut host = host();
    let settings = ProbeSettings::default().with_listen(address);
    host.add(ProbePlugin::new(host.status()).with_settings(settings));
    let error = host
        .run(std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    let told = format!("plugin probe failed in init: cannot listen on {address}: ");
    assert!(error.starts_with(&told), "{error}");
    assert!(error.contains("another program listens there: set another port as `listen`"));
}

#[tokio::test]
async fn a_wrong_setting_is_an_error_that_points_at_it() {
    for (yaml, told) in [
        ("listen: 9191", "listen"),
        ("listen: localhost:9191", "probe.yaml"),
        ("non-fatal-plugin: [a]", "non-fatal-plugins"),
        ("stalled-after: soon", "stalled-after"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("probe.yaml"), yaml).unwrap();
        let mut host = Host::new(ConfigDir::new(folder.path()));
        host.add(ProbePlugin::new(host.status()));
        let error = host
            .run(std::future::pending())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(told) && error.contains("probe.yaml"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn two_agents_in_one_process_have_probes_of_their_own() {
    let (one, store) = Agent::with_store(|probe| probe).await;
    let (two, _strings) = Agent::with_store(|probe| probe).await;
    assert_ne!(one.address.port(), two.address.port());
    store.reporter.error("unreachable");
    assert_eq!(one.code("/readyz").await, 503);
    assert_eq!(two.code("/readyz").await, 200);
    one.run.abort();
    two.run.abort();
}

#[tokio::test]
async fn what_there_is_not_is_said_so() {
    let (agent, _store) = Agent::with_store(|probe| probe).await;
    let unknown = get(agent.address, "/healthy").await;
    assert_eq!(unknown.code, 404);
    assert!(unknown.body.contains("/readyz"), "{}", unknown.body);
    assert_eq!(agent.code("/log").await, 404);
    assert_eq!(agent.code("/metrics").await, 404);
    assert_eq!(
        request(agent.address, "POST", "/readyz", "").await.code,
        405
    );
    let head = request(agent.address, "HEAD", "/readyz", "").await;
    assert_eq!((head.code, &*head.body), (200, ""));
    agent.run.abort();
}

/// An agent on a runtime with one thread, which its plugin blocks until it is told otherwise.
#[test]
fn probes_answer_while_every_thread_of_the_agent_is_blocked_and_say_that_it_stands_still() {
    struct Blocks(Option<mpsc::Receiver<()>>);

    impl Plugin for Blocks {
        type Handle = ();

        fn name(&self) -> &str {
            "blocks"
        }

        fn handle(&self) {}

        async fn init(&mut self, _cx: &mut Context) -> PluginResult {
            Ok(())
        }

        async fn after_init(&mut self, cx: &mut Context) -> PluginResult {
            let release = self.0.take().unwrap();
            cx.status().ok();
            cx.spawn("block", async move |_stop| Ok(release.recv()?));
            Ok(())
        }
    }

    let (release, released) = mpsc::channel();
    let mut host = host();
    let settings = any_port().with_stalled_after(Duration::from_secs(2));
    let probe = host.add(ProbePlugin::new(host.status()).with_settings(settings));
    host.add(Blocks(Some(released)));
    let status = host.status();
    let (stop, stopped) = oneshot::channel::<()>();
    let agent = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(host.run(async move { stopped.await.unwrap() }))
    });
    // The client has a runtime of its own.
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    client.block_on(async {
        let address = probe.address().await;
        let mut answer = get(address, "/livez").await;
        while answer.code == 200 {
            answer = get(address, "/livez").await;
        }
        assert_eq!(answer.code, 503);
        assert!(
            answer.body.starts_with("[-]runtime: it went on 2"),
            "{}",
            answer.body
        );
        assert_eq!(get(address, "/liveness").await.code, 503);
        let ready = get(address, "/readyz?verbose").await;
        assert!(ready.body.contains("[+]blocks: ok for "), "{}", ready.body);
        release.send(()).unwrap();
        status.wait_for(AgentStatus::is_ready).await;
        while get(address, "/livez").await.code != 200 {}
    });
    stop.send(()).unwrap();
    agent.join().unwrap().unwrap();
}
