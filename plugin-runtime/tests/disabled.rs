//! The promises of plugins that are disabled where nothing configures them.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use keyval::{BrokerExt, Error, KeyRange, Leases, StoreExt, Update, WatchOptions, Watcher};
use keyval_config::{Environment, Validate, schemars};
use plugin_runtime::{
    AgentStatus, Backends, ConfigDir, Context, Host, KvHandle, KvPlugin, MemoryBackend, Plugin,
    PluginResult, ResyncError, ResyncPlugin, State, StatusPublisher, WaitPolicy,
};
use tempfile::TempDir;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn plugin() -> KvPlugin<MemoryBackend> {
    KvPlugin::named("store").disabled_unless_configured()
}

/// Runs an agent until all of it is up, and a little longer; returns how it was then.
async fn run_with(host: Host, work: impl Future<Output = ()>) -> Arc<AgentStatus> {
    let status = host.status();
    let mut up = None;
    let shutdown = async {
        up = Some(status.wait_for(|agent| agent.up.is_some()).await);
        work.await;
        up = Some(status.current());
    };
    host.run(shutdown).await.unwrap();
    up.unwrap()
}

async fn run(host: Host) -> Arc<AgentStatus> {
    run_with(host, async {}).await
}

fn state(agent: &AgentStatus, plugin: &str) -> State {
    agent.plugin(plugin).unwrap().state
}

fn cause(agent: &AgentStatus, plugin: &str) -> String {
    let cause = &agent.plugin(plugin).unwrap().cause;
    cause.as_deref().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_store_that_nothing_configures_is_disabled_and_says_what_enables_it() {
    let folder = folder(&[]);
    let mut host = Host::new(ConfigDir::new(folder.path()));
    host.add(plugin());
    let agent = run(host).await;
    assert_eq!(state(&agent, "store"), State::Disabled);
    let file = folder.path().join("store.yaml");
    assert_eq!(
        cause(&agent, "store"),
        format!(
            "nothing configures it; write {} to enable it",
            file.display()
        )
    );
    assert!(agent.is_ready());
    assert_eq!(agent.state(), State::Ok);
}

#[tokio::test]
async fn without_being_told_so_a_store_runs_on_its_defaults() {
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    let agent = run(host).await;
    assert_eq!(state(&agent, "store"), State::Ok);
    assert!(!store.is_disabled());
}

/// Settings that have a variable of their own.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
struct Collector {
    address: String,
}

impl Validate for Collector {
    fn own_variables(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[("address", &["COLLECTOR_ADDRESS"])]
    }
}

/// A plugin that has nothing to do unless it is configured.
struct Exporter(Arc<Mutex<Option<String>>>);

impl Plugin for Exporter {
    type Handle = ();

    fn name(&self) -> &str {
        "exporter"
    }

    fn handle(&self) {}

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        if let Some(settings) = cx.load_if_configured::<Collector>()? {
            *self.0.lock().unwrap() = Some(settings.value.address);
        }
        Ok(())
    }
}

/// What an exporter was told, and how it was then.
async fn exporter(config: ConfigDir) -> (Option<String>, State, String) {
    let told = Arc::default();
    let mut host = Host::new(config);
    host.add(Exporter(Arc::clone(&told)));
    let agent = run(host).await;
    let told = told.lock().unwrap().clone();
    (told, state(&agent, "exporter"), cause(&agent, "exporter"))
}

#[tokio::test]
async fn any_plugin_can_be_disabled_where_nothing_configures_it() {
    let (told, state, cause) = exporter(ConfigDir::new("/no/such/folder")).await;
    assert_eq!((told, state), (None, State::Disabled));
    assert_eq!(
        cause,
        "nothing configures it; write /no/such/folder/exporter.yaml to enable it"
    );
}

#[tokio::test]
async fn a_file_even_an_empty_one_a_variable_or_a_flag_enables_a_plugin() {
    let empty = folder(&[("exporter.conf", "")]);
    let said = folder(&[("exporter.yaml", "address: a:1")]);
    let nothing = || ConfigDir::new("/no/such/folder");
    let variables = |variable| nothing().with_environment(Environment::from_iter([variable]));
    for (config, address) in [
        (ConfigDir::new(empty.path()), ""),
        (ConfigDir::new(said.path()), "a:1"),
        (variables(("EXPORTER__ADDRESS", "a:2")), "a:2"),
        (variables(("COLLECTOR_ADDRESS", "a:3")), "a:3"),
        (nothing().with_flag("exporter.address=a:4").unwrap(), "a:4"),
    ] {
        let (told, state, _) = exporter(config).await;
        assert_eq!((told.as_deref(), state), (Some(address), State::Ok));
    }
}

#[tokio::test]
async fn a_choice_of_a_backend_is_disabled_or_enabled_alike() {
    for (files, expected) in [
        (&[][..], State::Disabled),
        (&[("store.yaml", "allow-delayed-start: false")], State::Ok),
        (&[("store.yaml", "backend: memory")], State::Ok),
        (&[("memory.yaml", "min-ttl: 3s")], State::Ok),
    ] {
        let folder = folder(files);
        let mut host = Host::new(ConfigDir::new(folder.path()));
        host.add(KvPlugin::chosen("store", Backends::new()).disabled_unless_configured());
        assert_eq!(state(&*run(host).await, "store"), expected, "{files:?}");
    }
}

#[tokio::test]
async fn a_wrong_file_or_one_that_was_named_and_is_missing_is_an_error_and_disables_nothing() {
    let wrong = folder(&[("store.yaml", "min-tll: 2s")]);
    let named = Environment::from_iter([("STORE_CONFIG", "gone.yaml")]);
    for (config, words) in [
        (
            ConfigDir::new(wrong.path()),
            "unknown key \"min-tll\", did you mean \"min-ttl\"?",
        ),
        (
            ConfigDir::new(wrong.path()).with_environment(named),
            "STORE_CONFIG names gone.yaml",
        ),
    ] {
        let mut host = Host::new(config);
        host.add(plugin());
        let error = host.run(std::future::pending()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn every_operation_of_a_disabled_store_says_so_at_once_and_for_good() {
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let plugin = plugin().with_wait(WaitPolicy::UntilConnected);
    let owner = plugin.owner();
    let store = host.add(plugin);
    let asked = async {
        let (all, second) = (KeyRange::all(), Duration::from_secs(1));
        let watch = store.watch_opts(&all, WatchOptions::default()).await;
        let follow = store.follow(all.clone()).collect::<Vec<_>>();
        let follow = tokio::time::timeout(Duration::from_secs(20), follow).await;
        let follow = follow.expect("it ends");
        assert_eq!(follow.len(), 1, "{follow:?}");
        let mut follow = follow.into_iter().map(|update| update.map(drop::<Update>));
        for (operation, error) in [
            ("get", store.get("a").await.err()),
            ("list", store.list(all.clone()).await.err()),
            ("put", store.put("a", "1").await.err()),
            ("delete", store.delete("a").await.err()),
            ("scope", store.prefixed("b/").put("a", "1").await.err()),
            ("watch", watch.err()),
            ("follow", follow.next().unwrap().err()),
            ("grant", store.grant(second).await.err()),
            ("session", store.session("").await.err()),
            ("status", owner.status().await.err()),
        ] {
            let error = error.unwrap_or_else(|| panic!("{operation} works"));
            assert!(matches!(error, Error::Closed { .. }), "{operation}");
            assert_eq!(
                error.to_string(),
                "the store of plugin store (disabled: nothing configures it; \
                 write /no/such/folder/store.yaml to enable it) is closed",
                "{operation}"
            );
            assert!(!error.is_retryable() && !error.may_have_applied());
        }
        assert!(!store.is_connected());
        assert_eq!(store.to_string(), "disabled");
    };
    run_with(host, asked).await;
}

/// A plugin that uses the store if there is one.
struct User {
    store: KvHandle,
    seen: Arc<Mutex<Option<bool>>>,
}

impl Plugin for User {
    type Handle = ();

    fn name(&self) -> &str {
        "user"
    }

    fn handle(&self) {}

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        *self.seen.lock().unwrap() = Some(self.store.is_disabled());
        if !self.store.is_disabled() {
            self.store.put("user", "is here").await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn plugins_that_can_do_without_the_store_find_out_in_their_init() {
    for (files, disabled) in [(&[][..], true), (&[("store.yaml", "")], false)] {
        let folder = folder(files);
        let mut host = Host::new(ConfigDir::new(folder.path()));
        let store = host.add(plugin());
        let seen = Arc::default();
        host.add(User {
            store,
            seen: Arc::clone(&seen),
        });
        assert_eq!(run(host).await.state(), State::Ok);
        assert_eq!(*seen.lock().unwrap(), Some(disabled));
    }
}

#[tokio::test]
async fn the_status_of_an_agent_whose_store_is_disabled_is_kept_nowhere_and_says_so() {
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let store = host.add(plugin()).prefixed("agents/1/");
    host.add(StatusPublisher::new(host.status(), store));
    let status = host.status();
    let told = async {
        let disabled = |agent: &AgentStatus| state(agent, "status-publisher") == State::Disabled;
        let told = tokio::time::timeout(Duration::from_secs(20), status.wait_for(disabled)).await;
        assert_eq!(
            cause(&told.expect("it is told"), "status-publisher"),
            "the store of plugin store (disabled: nothing configures it; \
             write /no/such/folder/store.yaml to enable it) is closed"
        );
    };
    run_with(host, told).await;
}

#[tokio::test]
async fn what_stands_on_a_disabled_store_does_not_make_the_agent_worse() {
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let store = host.add(plugin());
    let resync = host.add(ResyncPlugin::new("resync", &store));
    host.add(StatusPublisher::new(host.status(), store.clone()));
    let updates = {
        let store = store.clone();
        move || store.follow(KeyRange::all())
    };
    let taken = resync.register("user", updates, async |_: Update| Ok(()));
    taken.unwrap();
    let ran = Arc::new(Mutex::new(false));
    let hook = Arc::clone(&ran);
    store.on_connect("greet", move || {
        *hook.lock().unwrap() = true;
        async { Ok(()) }
    });
    let asked = async {
        // Nobody waits for a round that never comes.
        assert_eq!(resync.resync().await.unwrap_err(), ResyncError::Ended);
    };
    let agent = run_with(host, asked).await;
    assert_eq!(state(&agent, "resync"), State::Disabled);
    assert_eq!(cause(&agent, "resync"), "the store is disabled");
    assert!(agent.is_ready());
    assert_eq!(agent.state(), State::Ok);
    assert!(!*ran.lock().unwrap());
}
