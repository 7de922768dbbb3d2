//! The promises of the host while plugins block what it runs on: every worker of its runtime, or the reading of
//! what it starts with.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Condvar, Mutex, OnceLock, mpsc};
use std::time::Duration;

use keyval_config::{Validate, schemars};
use plugin_runtime::{
    AgentStatus, ConfigDir, Context, Host, Hysteresis, Plugin, PluginResult, Section,
};
use tokio::runtime::{Builder, Handle};

/// Threads that stay blocked until the test is over.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (open, opened) = &*self.0;
        let open = open.lock().unwrap();
        drop(opened.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// A plugin whose tasks block every worker by the end of its `init`.
struct BlocksAll(Gate);

impl Plugin for BlocksAll {
    type Handle = ();

    fn name(&self) -> &str {
        "blocks-all"
    }

    fn handle(&self) {}

    fn close_deadline(&self) -> Option<Duration> {
        Some(LATE_CLOSE)
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let (begin, begun) = mpsc::channel();
        let workers = Handle::current().metrics().num_workers();
        for number in 0..workers {
            let (gate, begin) = (self.0.clone(), begin.clone());
            cx.spawn(&format!("block {number}"), async move |_stop| {
                begin.send(())?;
                gate.wait();
                Ok(())
            });
        }
        for _ in 0..workers {
            begun.recv()?;
        }
        Ok(())
    }
}

/// A plugin that says in its `after_init` that it does not work, and that it does; or hangs.
struct Other {
    hangs: bool,
}

impl Plugin for Other {
    type Handle = ();

    fn name(&self) -> &str {
        "other"
    }

    fn handle(&self) {}

    fn start_deadline(&self) -> Option<Duration> {
        self.hangs.then_some(LATE_START)
    }

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn after_init(&mut self, cx: &mut Context) -> PluginResult {
        cx.status().error("not yet");
        cx.status().ok();
        Ok(())
    }
}

/// What is late is late soon, and what is not has all the time that a busy machine may take.
const LATE_START: Duration = Duration::from_millis(300);
const LATE_CLOSE: Duration = Duration::from_millis(200);
const GENEROUS: Duration = Duration::from_secs(20);

fn host() -> Host {
    Host::new(ConfigDir::new("/no/such/folder"))
        .with_start_deadline(GENEROUS)
        .with_close_deadline(GENEROUS)
}

/// Runs it as a program does: on a thread that is no worker of the runtime.
fn run(host: Host, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let result = runtime.block_on(host.run(shutdown));
        runtime.shutdown_background();
        let _ = end.send(result.map_err(|error| error.to_string()));
    });
    ended.recv_timeout(PATIENCE).expect("it ends")
}

const TASKS_LEFT: &str = "plugin blocks-all failed in close: \
                          these tasks did not end within 200ms: block 0, block 1";

#[test]
fn an_init_that_hangs_is_told_although_an_earlier_plugin_blocks_every_worker() {
    let gate = Gate::default();
    let mut host = host();
    host.add(BlocksAll(gate.clone()));
    host.add(Other { hangs: true });
    let told = run(host, std::future::pending()).unwrap_err();
    let late = "plugin other failed in init: it did not end within 300ms";
    assert_eq!(told, format!("{late}; also, {TASKS_LEFT}"));
    gate.open();
}

#[test]
fn the_end_of_trouble_is_shown_in_time_although_every_worker_is_blocked() {
    let gate = Gate::default();
    let better_after = Duration::from_millis(100);
    let hysteresis = Hysteresis::none().with_better_after(better_after);
    let mut host = host().with_hysteresis(hysteresis);
    host.add(BlocksAll(gate.clone()));
    host.add(Other { hangs: false });
    let status = host.status();
    let shown = async move { drop(status.wait_for(AgentStatus::is_ready).await) };
    assert_eq!(run(host, shown).unwrap_err(), TASKS_LEFT);
    gate.open();
}

/// A plugin that describes itself once the gate is open.
struct DescribesLate(Gate, mpsc::Sender<()>);

impl Plugin for DescribesLate {
    type Handle = ();

    fn name(&self) -> &str {
        "late"
    }

    fn handle(&self) {}

    fn close_deadline(&self) -> Option<Duration> {
        Some(LATE_CLOSE)
    }

    fn describe(&self, _config: &ConfigDir) -> Option<String> {
        self.1.send(()).unwrap();
        self.0.wait();
        None
    }

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        Ok(())
    }
}

#[test]
fn a_describe_that_blocks_does_not_keep_up_a_host_that_is_told_to_shut_down() {
    let gate = Gate::default();
    let (begin, begun) = mpsc::channel();
    let mut host = host().with_start_deadline(Duration::from_secs(60));
    host.add(DescribesLate(gate.clone(), begin));
    let shutdown = async {
        let describes = tokio::task::spawn_blocking(move || begun.recv());
        describes.await.unwrap().unwrap();
    };
    // It cannot be dropped while it describes itself.
    let told = "plugin late failed in close: it did not end within 200ms";
    assert_eq!(run(host, shutdown).unwrap_err(), told);
    gate.open();
}

/// Settings that take as long to read as a file system that hangs.
#[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
struct Slow {
    text: String,
}

static READING: OnceLock<()> = OnceLock::new();
static READ: OnceLock<()> = OnceLock::new();

impl Default for Slow {
    fn default() -> Self {
        // Others have begun to read it before.
        let _ = READING.set(());
        READ.wait();
        let text = String::new();
        Self { text }
    }
}

impl Validate for Slow {}

/// A plugin that tells what configures it, and reads none of it.
struct Configured;

impl Plugin for Configured {
    type Handle = ();

    fn name(&self) -> &str {
        "configured"
    }

    fn handle(&self) {}

    fn sections(&self) -> Vec<Section> {
        vec![Section::of::<Slow>("configured")]
    }

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        Ok(())
    }
}

#[test]
fn a_configuration_that_is_long_to_read_does_not_keep_up_a_host_that_is_told_to_shut_down() {
    let mut host = host().with_start_deadline(Duration::from_secs(60));
    host.add(Configured);
    let shutdown = async {
        let reading = tokio::task::spawn_blocking(|| READING.wait());
        reading.await.unwrap();
    };
    run(host, shutdown).unwrap();
    READ.set(()).unwrap();
}
