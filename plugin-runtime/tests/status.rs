//! The promises of the status: the agent is as its worst required plugin, states must last to be
//! shown, and readers wait for nobody.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Key, KeyName, Metadata, SharedString, Unit};
use plugin_runtime::{
    AgentLabel, AgentStatus, BuildInfo, ConfigDir, Context, Criticality, Host, Hysteresis, Phase,
    Plugin, PluginResult, Reporter, State, StatusHandle,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A plugin that lends its reporter to the test.
struct Lends {
    name: &'static str,
    criticality: Criticality,
    reporter: Option<oneshot::Sender<Reporter>>,
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
        let reporter = self.reporter.take().unwrap();
        reporter.send(cx.status().clone()).unwrap();
        Ok(())
    }
}

/// A host at work, with the reporters of its plugins.
struct Agent {
    status: StatusHandle,
    reporters: Vec<Reporter>,
    run: JoinHandle<plugin_runtime::Result<()>>,
    stop: oneshot::Sender<()>,
}

impl Agent {
    /// Brings up plugins of these names; those that begin with `-` are optional.
    async fn start(hysteresis: Hysteresis, names: &[&'static str]) -> Self {
        let mut host = host().with_hysteresis(hysteresis);
        let status = host.status();
        let mut lent = Vec::new();
        for name in names {
            let (reporter, borrowed) = oneshot::channel();
            let optional = name.strip_prefix('-');
            host.add(Lends {
                name: optional.unwrap_or(name),
                criticality: match optional {
                    Some(_) => Criticality::Optional,
                    None => Criticality::Required,
                },
                reporter: Some(reporter),
            });
            lent.push(borrowed);
        }
        let (stop, stopped) = oneshot::channel();
        let run = tokio::spawn(host.run(async move {
            stopped.await.unwrap();
        }));
        let mut reporters = Vec::new();
        for borrowed in lent {
            reporters.push(borrowed.await.unwrap());
        }
        status.wait_for(|agent| agent.phase == Phase::Running).await;
        Self {
            status,
            reporters,
            run,
            stop,
        }
    }

    fn state(&self) -> State {
        self.status.current().state()
    }

    /// Waits until the agent is in this state; returns how long that took.
    async fn becomes(&self, state: State) -> Duration {
        let began = Instant::now();
        self.status.wait_for(|agent| agent.state() == state).await;
        began.elapsed()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }
}

fn host() -> Host {
    Host::new(ConfigDir::new("/no/such/folder"))
}

#[tokio::test]
async fn the_agent_is_as_well_as_its_worst_plugin_whoever_reports_last() {
    let agent = Agent::start(Hysteresis::none(), &["store", "cache"]).await;
    let (store, cache) = (&agent.reporters[0], &agent.reporters[1]);
    store.error("unreachable");
    cache.ok();
    assert_eq!(agent.state(), State::Error);
    store.degraded("slow");
    assert_eq!(agent.state(), State::Degraded);
    store.disabled("no file");
    assert_eq!(agent.state(), State::Ok);
    agent.stop().await;
}

#[tokio::test]
async fn the_agent_is_well_without_an_optional_plugin_which_is_shown_all_the_same() {
    let agent = Agent::start(Hysteresis::none(), &["store", "-telemetry"]).await;
    agent.reporters[1].error("nobody listens");
    assert_eq!(agent.state(), State::Ok);
    let status = agent.status.current();
    assert!(status.is_ready());
    assert_eq!(status.plugin("telemetry").unwrap().state, State::Error);
    assert!(status.to_string().contains("nobody listens (optional)"));
    agent.reporters[0].error("unreachable");
    assert_eq!(agent.state(), State::Error);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_is_not_ready_before_all_plugins_are_up_although_those_that_are_say_ok() {
    struct Waits(oneshot::Receiver<()>);

    impl Plugin for Waits {
        type Handle = ();

        fn name(&self) -> &str {
            "waits"
        }

        fn handle(&self) {}

        async fn init(&mut self, cx: &mut Context) -> PluginResult {
            cx.status().ok();
            Ok(())
        }

        async fn after_init(&mut self, _cx: &mut Context) -> PluginResult {
            Ok((&mut self.0).await?)
        }
    }

    let (go_on, told) = oneshot::channel();
    let mut host = host();
    host.add(Waits(told));
    let status = host.status();
    let run = tokio::spawn(host.run(std::future::pending()));
    let is_ok = |agent: &AgentStatus| agent.plugin("waits").unwrap().state == State::Ok;
    let agent = status.wait_for(is_ok).await;
    assert_eq!((agent.phase, agent.state()), (Phase::Starting, State::Init));
    assert!(!agent.is_ready() && agent.up.is_none());
    go_on.send(()).unwrap();
    let agent = status.wait_for(AgentStatus::is_ready).await;
    assert_eq!(agent.phase, Phase::Running);
    assert!(agent.up.is_some());
    run.abort();
}

#[tokio::test]
async fn a_plugin_that_is_still_starting_says_so_and_the_agent_is_not_ready_before_it_is() {
    struct Loads(Option<oneshot::Sender<Reporter>>);

    impl Plugin for Loads {
        type Handle = ();

        fn name(&self) -> &str {
            "loads"
        }

        fn handle(&self) {}

        async fn init(&mut self, cx: &mut Context) -> PluginResult {
            cx.status().starting("1 of 3 read");
            let lend = self.0.take().unwrap();
            lend.send(cx.status().clone()).unwrap();
            Ok(())
        }
    }

    let (lend, lent) = oneshot::channel();
    let mut host = host();
    host.add(Loads(Some(lend)));
    let status = host.status();
    let run = tokio::spawn(host.run(std::future::pending()));
    let runs = |agent: &AgentStatus| agent.phase == Phase::Running;
    let agent = status.wait_for(runs).await;
    let loads = agent.plugin("loads").unwrap();
    assert_eq!(loads.state, State::Init);
    assert_eq!(loads.cause.as_deref(), Some("1 of 3 read"));
    assert_eq!(agent.state(), State::Init);
    assert!(!agent.is_ready() && agent.up.is_some());

    let reporter = lent.await.unwrap();
    reporter.starting("2 of 3 read");
    let loads = status.current().plugin("loads").unwrap().clone();
    assert_eq!(loads.cause.as_deref(), Some("2 of 3 read"));
    reporter.ok();
    let agent = status.current();
    assert!(agent.is_ready());
    run.abort();
}

#[tokio::test]
async fn an_agent_is_ready_without_an_optional_plugin_that_is_still_starting() {
    let agent = Agent::start(Hysteresis::none(), &["store", "-telemetry"]).await;
    agent.reporters[1].starting("nobody listens yet");
    let status = agent.status.current();
    assert_eq!(status.plugin("telemetry").unwrap().state, State::Init);
    assert!(status.is_ready());
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_is_not_ready_from_the_moment_it_is_told_to_shut_down() {
    struct Looks(StatusHandle, Option<oneshot::Sender<Arc<AgentStatus>>>);

    impl Plugin for Looks {
        type Handle = ();

        fn name(&self) -> &str {
            "looks"
        }

        fn handle(&self) {}

        async fn init(&mut self, _cx: &mut Context) -> PluginResult {
            Ok(())
        }

        async fn close(&mut self) -> PluginResult {
            let seen = self.0.current();
            self.1.take().unwrap().send(seen).unwrap();
            Ok(())
        }
    }

    let mut host = host();
    let (look, seen) = oneshot::channel();
    let status = host.status();
    host.add(Looks(status.clone(), Some(look)));
    let up = async { drop(status.wait_for(AgentStatus::is_ready).await) };
    host.run(up).await.unwrap();
    let seen = seen.await.unwrap();
    assert_eq!(seen.phase, Phase::Stopping);
    assert!(!seen.is_ready());
    assert_eq!(seen.plugin("looks").unwrap().state, State::Ok);
    let after = status.current();
    assert_eq!(
        (after.phase, after.state()),
        (Phase::Stopped, State::Stopped)
    );
}

#[tokio::test(start_paused = true)]
async fn trouble_is_shown_at_once_and_its_end_after_a_second() {
    let agent = Agent::start(Hysteresis::default(), &["store"]).await;
    let store = &agent.reporters[0];
    store.error("unreachable");
    assert_eq!(agent.state(), State::Error);
    store.ok();
    assert_eq!(agent.state(), State::Error);
    assert_eq!(agent.becomes(State::Ok).await, Duration::from_secs(1));
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_flaps_is_in_trouble_until_it_has_settled() {
    let agent = Agent::start(Hysteresis::default(), &["store"]).await;
    let store = &agent.reporters[0];
    store.error("unreachable");
    let since = agent.status.current().plugins[0].since;
    for _ in 0..20 {
        sleep(Duration::from_millis(400)).await;
        store.ok();
        assert_eq!(agent.state(), State::Error);
        sleep(Duration::from_millis(400)).await;
        store.error("unreachable again");
        assert_eq!(agent.state(), State::Error);
    }
    let plugin = agent.status.current().plugins[0].clone();
    assert_eq!(plugin.since, since);
    assert_eq!(plugin.cause.as_deref(), Some("unreachable again"));
    store.ok();
    assert_eq!(agent.becomes(State::Ok).await, Duration::from_secs(1));
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_way_up_by_steps_lasts_from_its_first_step() {
    let agent = Agent::start(Hysteresis::default(), &["store"]).await;
    let store = &agent.reporters[0];
    store.error("unreachable");
    store.degraded("catching up");
    sleep(Duration::from_millis(700)).await;
    store.ok();
    assert_eq!(agent.becomes(State::Ok).await, Duration::from_millis(300));
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn trouble_can_be_given_time_before_it_is_shown() {
    let patient = Hysteresis::default().with_worse_after(Duration::from_millis(200));
    let agent = Agent::start(patient, &["store"]).await;
    let store = &agent.reporters[0];
    store.error("unreachable");
    sleep(Duration::from_millis(199)).await;
    store.ok();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(agent.state(), State::Ok);
    store.error("unreachable");
    assert_eq!(
        agent.becomes(State::Error).await,
        Duration::from_millis(200)
    );
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_flapping_is_shown_at_once() {
    let slow = Duration::MAX;
    let slow = Hysteresis::default()
        .with_worse_after(slow)
        .with_better_after(slow);
    let agent = Agent::start(slow, &["store"]).await;
    let store = &agent.reporters[0];
    assert_eq!(agent.state(), State::Ok);
    store.disabled("no file");
    assert_eq!(agent.status.current().plugins[0].state, State::Disabled);
    store.error("a file, but a wrong one");
    assert_eq!(agent.state(), State::Error);
    let status = agent.status.clone();
    agent.stop().await;
    assert_eq!(status.current().plugins[0].state, State::Stopped);
}

#[tokio::test]
async fn a_state_lasts_since_it_began_whatever_its_causes() {
    let agent = Agent::start(Hysteresis::none(), &["store"]).await;
    let store = &agent.reporters[0];
    store.error("unreachable");
    let before = agent.status.current().plugins[0].clone();
    store.error("refused");
    let after = agent.status.current().plugins[0].clone();
    assert_eq!(after.since, before.since);
    assert_eq!(after.cause.as_deref(), Some("refused"));
    agent.stop().await;
}

#[tokio::test]
async fn a_closed_plugin_has_no_more_to_say() {
    let agent = Agent::start(Hysteresis::none(), &["store"]).await;
    let (store, status) = (agent.reporters[0].clone(), agent.status.clone());
    agent.stop().await;
    store.ok();
    assert_eq!(status.current().plugins[0].state, State::Stopped);
}

#[tokio::test]
async fn the_table_is_aligned() {
    let agent = Agent::start(Hysteresis::none(), &["store", "interfaces"]).await;
    agent.reporters[0].ok_with("memory 0.1.0\nand more");
    let table = agent.status.current().to_string();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert_eq!(lines[0], "plugin      state        for  cause");
    assert!(lines[1].starts_with("store       ok        "), "{table}");
    assert!(lines[1].ends_with("s  memory 0.1.0"), "{table}");
    assert_eq!(lines[3], "agent       ok");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_reports_keeps_no_reader_waiting_and_its_end_is_seen() {
    const REPORTS: usize = 20_000;
    let agent = Agent::start(Hysteresis::none(), &["store"]).await;
    let store = agent.reporters[0].clone();
    let flood = tokio::task::spawn_blocking(move || {
        for number in 0..REPORTS {
            store.degraded(format!("report {number}"));
        }
    });
    let mut reads = 0_u64;
    let last = format!("report {}", REPORTS - 1);
    while agent.status.current().plugins[0].cause.as_deref() != Some(&*last) {
        reads += 1;
        tokio::task::yield_now().await;
    }
    assert!(reads > 0);
    flood.await.unwrap();
    agent.stop().await;
}

#[test]
fn the_states_of_plugins_and_the_build_are_metrics() {
    let recorder = metrics_util::debugging::DebuggingRecorder::new();
    let seen = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let build = BuildInfo::new("vpp-agent", "1.2.3").with_commit("abc");
            let mut host = host().with_build(build);
            let (lend, _lent) = oneshot::channel();
            host.add(Lends {
                name: "store",
                criticality: Criticality::Required,
                reporter: Some(lend),
            });
            let status = host.status();
            let up = async move { drop(status.wait_for(AgentStatus::is_ready).await) };
            host.run(up).await.unwrap();
        });
    });
    let mut told = Vec::new();
    for (key, _, _, value) in seen.snapshot().into_vec() {
        let metrics_util::debugging::DebugValue::Gauge(value) = value else {
            panic!("{key:?} is no gauge");
        };
        let labels: Vec<&str> = key.key().labels().map(metrics::Label::value).collect();
        let name = format!("{} {}", key.key().name(), labels.join(" "));
        told.push((name, value.into_inner()));
    }
    let value = |name: &str| {
        let found = told.iter().find(|(gauge, _)| gauge == name);
        found.unwrap_or_else(|| panic!("no {name} in {told:?}")).1
    };
    for state in ["disabled", "ok", "degraded", "init", "error"] {
        assert_eq!(value(&format!("plugin_state store {state}")), 0.0);
    }
    assert_eq!(value("plugin_state store stopped"), 1.0);
    assert_eq!(value("agent_build_info vpp-agent 1.2.3 abc"), 1.0);
    let took = value("plugin_init_duration_seconds store");
    assert!((0.0..60.0).contains(&took), "{took}");
}

/// Shows each gauge as it is, with the values of its labels.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

impl Shown {
    /// Which are 1.
    fn ones(&self) -> Vec<String> {
        let gauges = self.0.lock().unwrap();
        let value = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        let ones = gauges.iter().filter(|(_, bits)| value(bits) == 1.0);
        ones.map(|(name, _)| name.clone()).collect()
    }

    /// Waits until these are 1, and no other.
    async fn shows(&self, expected: &[&str]) {
        let until = async {
            while self.ones() != expected {
                tokio::task::yield_now().await;
            }
        };
        let shown = tokio::time::timeout(Duration::from_secs(20), until).await;
        shown.unwrap_or_else(|_| panic!("it shows {:?}", self.ones()));
    }
}

impl metrics::Recorder for Shown {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> metrics::Counter {
        metrics::Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        let labels: Vec<&str> = key.labels().map(metrics::Label::value).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let mut gauges = self.0.lock().unwrap();
        metrics::Gauge::from_arc(Arc::clone(gauges.entry(name).or_default()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

/// A host with this label and one plugin, which lends its reporter.
fn labelled(label: &str) -> (Host, oneshot::Receiver<Reporter>) {
    let build = BuildInfo::new(label.to_owned(), "1");
    let mut host = host()
        .with_build(build)
        .with_label(AgentLabel::new(label).unwrap());
    let (lend, lent) = oneshot::channel();
    host.add(Lends {
        name: "store",
        criticality: Criticality::Required,
        reporter: Some(lend),
    });
    (host, lent)
}

#[test]
fn hosts_of_one_process_with_labels_of_their_own_keep_their_gauges_apart() {
    let recorder = Shown::default();
    let seen = recorder.clone();
    let shows = async |states: [&str; 2]| {
        let plugin = |agent: &str, state: &str| format!("plugin_state {agent} store {state}");
        let [left, right] = [plugin("left", states[0]), plugin("right", states[1])];
        let builds = [
            "agent_build_info left left 1 ",
            "agent_build_info right right 1 ",
        ];
        seen.shows(&[builds[0], builds[1], &left, &right]).await;
    };
    let work = async {
        let ((left, of_left), (right, of_right)) = (labelled("left"), labelled("right"));
        let (stop_left, left_stops) = oneshot::channel();
        let (stop_right, right_stops) = oneshot::channel();
        let play = async {
            let (_of_left, of_right) = (of_left.await.unwrap(), of_right.await.unwrap());
            shows(["ok", "ok"]).await;
            of_right.error("unreachable");
            shows(["ok", "error"]).await;
            stop_left.send(()).unwrap();
            shows(["stopped", "error"]).await;
            stop_right.send(()).unwrap();
            shows(["stopped", "stopped"]).await;
        };
        let left = left.run(async { left_stops.await.unwrap() });
        let right = right.run(async { right_stops.await.unwrap() });
        let (left, right, ()) = tokio::join!(left, right, play);
        left.unwrap();
        right.unwrap();
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work));
}
