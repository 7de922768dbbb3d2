//! A store that a test holds in its hands, and agents that use it.

// Each test program uses some of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use keyval::testing::Faulty;
use keyval::{Connector, Error, Memory, Outcome};
use keyval_config::{Validate, schemars};
use plugin_runtime::{
    AgentStatus, Backends, ConfigDir, Context, Host, Hysteresis, KvPlugin, Plugin, PluginResult,
    StatusHandle,
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// The labs by their numbers, since a connector is a type.
static LABS: Mutex<BTreeMap<u32, Lab>> = Mutex::new(BTreeMap::new());

/// A store that fails on command, and accepts connections when the test says so.
#[derive(Clone)]
pub(crate) struct Lab {
    pub(crate) store: Faulty<Memory>,
    accepts: watch::Sender<Accepts>,
    attempts: Arc<Mutex<Vec<Instant>>>,
    folder: Arc<TempDir>,
}

/// What becomes of attempts to connect.
#[derive(Clone)]
enum Accepts {
    /// They hang until there is another word.
    Nothing,
    Everything,
    Refuses(Arc<dyn Fn() -> Error + Send + Sync>),
}

impl Lab {
    /// A lab that accepts connections, and the keys that a configuration has for the host.
    pub(crate) fn new(keys: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!("backend: lab\nlab: {{ number: {number} }}\n{keys}\n");
        std::fs::write(folder.path().join("store.yaml"), yaml).unwrap();
        let lab = Self {
            store: Faulty::new(Memory::new()),
            accepts: watch::Sender::new(Accepts::Everything),
            attempts: Arc::default(),
            folder: Arc::new(folder),
        };
        LABS.lock().unwrap().insert(number, lab.clone());
        lab
    }

    pub(crate) fn accept(&self) {
        self.accepts.send_replace(Accepts::Everything);
    }

    /// From now on attempts to connect hang.
    pub(crate) fn hang(&self) {
        self.accepts.send_replace(Accepts::Nothing);
    }

    pub(crate) fn refuse(&self, error: impl Fn() -> Error + Send + Sync + 'static) {
        self.accepts.send_replace(Accepts::Refuses(Arc::new(error)));
    }

    pub(crate) fn refuse_as_unavailable(&self) {
        self.refuse(|| Error::unavailable("nobody listens there", Outcome::NotApplied));
    }

    /// When connections were attempted.
    pub(crate) fn attempts(&self) -> Vec<Instant> {
        self.attempts.lock().unwrap().clone()
    }

    /// A file of the configuration.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A second file of the configuration.
    pub(crate) fn write(&self, name: &str, yaml: &str) {
        std::fs::write(self.path(name), yaml).unwrap();
    }

    pub(crate) fn host(&self) -> Host {
        Host::new(ConfigDir::new(self.folder.path())).with_hysteresis(Hysteresis::none())
    }

    pub(crate) fn plugin(&self) -> KvPlugin<Backends> {
        KvPlugin::chosen("store", Backends::new().with::<ToLab>())
    }
}

/// Connects to the lab of the number in its settings.
pub(crate) struct ToLab;

#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
pub(crate) struct Settings {
    number: u32,
}

impl Validate for Settings {}

impl Connector for ToLab {
    type Config = Settings;
    type Store = Faulty<Memory>;
    const BACKEND: &'static str = "lab";

    async fn connect(settings: &Settings) -> keyval::Result<Faulty<Memory>> {
        let lab = LABS.lock().unwrap()[&settings.number].clone();
        lab.attempts.lock().unwrap().push(Instant::now());
        let mut accepts = lab.accepts.subscribe();
        let answer = accepts.wait_for(|accepts| !matches!(accepts, Accepts::Nothing));
        match &*answer.await.unwrap() {
            Accepts::Refuses(error) => Err(error()),
            Accepts::Nothing | Accepts::Everything => Ok(lab.store),
        }
    }
}

/// A host that runs.
pub(crate) struct Running {
    pub(crate) status: StatusHandle,
    shut_down: oneshot::Sender<()>,
    run: JoinHandle<plugin_runtime::Result<()>>,
}

impl Running {
    pub(crate) fn start(host: Host) -> Self {
        let status = host.status();
        let (shut_down, told) = oneshot::channel();
        let run = tokio::spawn(host.run(async move {
            // A test that failed has dropped the other end.
            let _ = told.await;
        }));
        Self {
            status,
            shut_down,
            run,
        }
    }

    pub(crate) async fn stop(self) {
        self.shut_down.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }

    /// The error with which it ends by itself.
    pub(crate) async fn error(self) -> String {
        let ended = soon("the end of the host", self.run).await.unwrap();
        ended.unwrap_err().to_string()
    }

    /// Waits until a plugin's status is as wanted, and returns the cause.
    pub(crate) async fn cause(&self, plugin: &str, wanted: impl Fn(&str, &str) -> bool) -> String {
        let told = |agent: &AgentStatus| {
            let status = agent.plugin(plugin).unwrap();
            let cause = status.cause.as_deref().unwrap_or_default().to_owned();
            (status.state.to_string(), cause)
        };
        let there = self.status.wait_for(|agent| {
            let (state, cause) = told(agent);
            wanted(&state, &cause)
        });
        match timeout(SOON, there).await {
            Ok(agent) => told(&agent).1,
            Err(_) => panic!("not as wanted:\n{}", self.status.current()),
        }
    }

    pub(crate) async fn ok(&self, plugin: &str) {
        self.cause(plugin, |state, _| state == "ok").await;
    }
}

/// Long enough for anything that should happen, in time that flies when all wait.
pub(crate) const SOON: Duration = Duration::from_secs(600);

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = timeout(SOON, work).await;
    done.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// A plugin that does one thing in its `init`.
pub(crate) struct Once<F>(pub(crate) Option<F>);

impl<F: FnOnce() -> BoxFuture<'static, PluginResult> + Send + 'static> Plugin for Once<F> {
    type Handle = ();

    fn name(&self) -> &str {
        "once"
    }

    fn handle(&self) {}

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        self.0.take().unwrap()().await
    }
}
