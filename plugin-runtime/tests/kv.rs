//! The promises of a store as a plugin, and of handles that are older than their connection.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Connector, Error, FollowOptions, KeyRange, Leases, Maintenance, Memory,
    Outcome, Revision, StoreExt, Txn, Update, WatchOptions, Watcher, follow,
};
use keyval_config::{Validate, schemars};
use plugin_runtime::{
    Backends, ConfigDir, Context, Host, KvHandle, KvPlugin, MemoryBackend, Plugin, PluginResult,
    State, StatusHandle, WaitPolicy,
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// The stores that [`Known`] connects to, by the number that a test gives its own.
static KNOWN: Mutex<BTreeMap<u32, Server>> = Mutex::new(BTreeMap::new());

/// A store that a test holds in its hands, and that accepts connections when the test says so.
#[derive(Clone)]
struct Server {
    store: Memory,
    accepts: watch::Sender<Option<Result<(), &'static str>>>,
}

impl Server {
    /// A server of this number, which must be the test's own, and the folder of its configuration.
    fn new(number: u32) -> (Self, TempDir) {
        let server = Self {
            store: Memory::new(),
            accepts: watch::Sender::new(None),
        };
        let before = KNOWN.lock().unwrap().insert(number, server.clone());
        assert!(before.is_none(), "two tests have the number {number}");
        (
            server,
            folder(&[("store.yaml", &format!("number: {number}"))]),
        )
    }

    fn accept(&self) {
        self.accepts.send_replace(Some(Ok(())));
    }

    fn refuse(&self, why: &'static str) {
        self.accepts.send_replace(Some(Err(why)));
    }
}

/// Connects to the server of the number in its settings.
struct Known;

#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
struct KnownSettings {
    number: u32,
}

impl Validate for KnownSettings {}

impl Connector for Known {
    type Config = KnownSettings;
    type Store = Memory;
    const BACKEND: &'static str = "known";

    async fn connect(settings: &KnownSettings) -> keyval::Result<Memory> {
        let server = KNOWN.lock().unwrap()[&settings.number].clone();
        let mut accepts = server.accepts.subscribe();
        let accepted = accepts.wait_for(Option::is_some).await.unwrap().unwrap();
        match accepted {
            Ok(()) => Ok(server.store),
            Err(why) => Err(Error::unavailable(why, Outcome::NotApplied)),
        }
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn host(folder: &Path) -> Host {
    Host::new(ConfigDir::new(folder))
}

async fn up(status: StatusHandle) {
    status.wait_for(|agent| agent.state() == State::Ok).await;
}

/// Every operation of a store, by name, with its error if it fails.
async fn every_operation(store: &KvHandle) -> Vec<(&'static str, Option<Error>)> {
    let lease = keyval::LeaseId::new(7).unwrap();
    let second = Duration::from_secs(1);
    let range = KeyRange::all();
    vec![
        ("get", store.get("a").await.err()),
        ("list", store.list(range.clone()).await.err()),
        ("put", store.put("a", "1").await.err()),
        ("delete", store.delete("a").await.err()),
        ("commit", store.commit(Txn::new()).await.err()),
        (
            "watch",
            store
                .watch_opts(&range, WatchOptions::default())
                .await
                .err(),
        ),
        ("grant", store.grant(second).await.err()),
        ("keep_alive", store.keep_alive(lease).await.err()),
        ("revoke", store.revoke(lease).await.err()),
        ("time_to_live", store.time_to_live(lease).await.err()),
    ]
}

#[tokio::test]
async fn a_handle_used_before_the_host_runs_fails_by_name_and_does_not_panic() {
    let mut host = host(Path::new("/no/such/folder"));
    let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    let store = store.with_wait(WaitPolicy::FailFast);
    for (operation, error) in every_operation(&store).await {
        let error = error.unwrap_or_else(|| panic!("{operation} succeeded"));
        assert!(
            matches!(error, Error::Unavailable { .. }),
            "{operation}: {error}"
        );
        assert!(error.to_string().contains("plugin store"), "{error}");
        assert!(!error.may_have_applied(), "{operation}");
    }
    assert!(!store.is_connected());
    assert_eq!(store.to_string(), "not connected");
    assert_eq!(
        store.prefixed("a/").to_string(),
        "Prefixed(a/, not connected)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handle_waits_for_the_connection_no_longer_than_its_policy_says() {
    let (_server, folder) = Server::new(1);
    let mut host = host(folder.path());
    let wait = WaitPolicy::UpTo(Duration::from_millis(250));
    let store = host.add(KvPlugin::<Known>::named("store").with_wait(wait));
    let run = tokio::spawn(host.run(std::future::pending()));
    let began = Instant::now();
    let error = store.put("a", "1").await.unwrap_err();
    assert_eq!(began.elapsed().as_millis() / 10, 25);
    assert!(error.to_string().contains("plugin store"), "{error}");
    assert!(error.is_retryable() && !error.may_have_applied());
    run.abort();
}

#[tokio::test]
async fn what_was_asked_before_the_connection_is_done_after_it() {
    let (server, folder) = Server::new(2);
    let mut host = host(folder.path());
    let store = host.add(KvPlugin::<Known>::named("store"));
    let mine = store.prefixed("agents/1/");

    // Before anything runs: a watch, a follower and a put.
    let watching = tokio::spawn({
        let mine = mine.clone();
        async move {
            mine.watch_opts(&KeyRange::all(), WatchOptions::default())
                .await
        }
    });
    let mut updates = follow(mine.clone(), KeyRange::all(), FollowOptions::default());
    let following = tokio::spawn(async move { (updates.next().await, updates) });
    let (shut_down, told) = oneshot::channel::<()>();
    let run = tokio::spawn(host.run(async move {
        told.await.unwrap();
    }));
    tokio::task::yield_now().await;
    assert!(!watching.is_finished() && !following.is_finished());

    server.accept();
    let mut watch = watching.await.unwrap().unwrap();
    assert!(matches!(
        following.await.unwrap().0,
        Some(Ok(Update::Resync(_)))
    ));
    let revision = mine.put("name", "left").await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    assert!(server.store.get("agents/1/name").await.unwrap().is_some());
    assert!(store.is_connected());
    assert_eq!(store.to_string(), server.store.to_string());
    assert_eq!(store.capabilities(), server.store.capabilities());

    shut_down.send(()).unwrap();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn after_the_close_every_operation_and_every_watch_is_closed() {
    let (server, folder) = Server::new(3);
    server.accept();
    let mut host = host(folder.path());
    let store = host.add(KvPlugin::<Known>::named("store"));
    let opened = store.clone();
    let (pass, passed) = oneshot::channel();
    host.run(async move {
        let watch = opened
            .watch_opts(&KeyRange::all(), WatchOptions::default())
            .await;
        pass.send(watch.unwrap()).unwrap();
    })
    .await
    .unwrap();

    for (operation, error) in every_operation(&store).await {
        assert!(
            matches!(error, Some(Error::Closed { .. })),
            "{operation}: {error:?}"
        );
    }
    assert!(!store.is_connected());
    // The connection itself was closed, not just the handle.
    let error = server.store.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
    let mut watch = passed.await.unwrap();
    assert!(matches!(
        watch.next().await,
        Some(Err(Error::Closed { .. }))
    ));
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_refused_connection_names_plugin_and_stage_and_fails_whoever_waits() {
    let (server, folder) = Server::new(4);
    let mut host = host(folder.path());
    let store = host.add(KvPlugin::<Known>::named("store"));
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.get("a").await }
    });
    tokio::task::yield_now().await;
    server.refuse("nobody listens there");
    let error = host.run(std::future::pending()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin store failed in init: the store is unavailable: nobody listens there"
    );
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Unavailable { .. } | Error::Closed { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("plugin store"), "{error}");
}

#[tokio::test]
async fn a_handle_whose_host_is_gone_is_closed_and_does_not_wait() {
    let mut host = host(Path::new("/no/such/folder"));
    let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    drop(host);
    let error = store.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error}");
}

#[tokio::test]
async fn a_handle_of_a_plugin_that_was_never_added_says_so_and_does_not_wait() {
    let plugin = KvPlugin::<MemoryBackend>::named("store");
    let store = plugin.handle().with_wait(WaitPolicy::UntilConnected);
    drop(plugin);
    let error = store.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }));
    assert_eq!(
        error.to_string(),
        "the store of plugin store (its plugin never came up; was it added to the host?) is closed"
    );
}

#[tokio::test]
async fn plugins_that_come_later_find_the_store_connected() {
    struct User(KvHandle);

    impl Plugin for User {
        type Handle = ();

        fn name(&self) -> &str {
            "user"
        }

        fn handle(&self) {}

        async fn init(&mut self, _cx: &mut Context) -> PluginResult {
            assert!(self.0.is_connected());
            self.0.put("here", "yes").await?;
            Ok(())
        }

        async fn close(&mut self) -> PluginResult {
            // And at its close it is still open.
            assert!(self.0.delete("here").await?);
            Ok(())
        }
    }

    let mut host = host(Path::new("/no/such/folder"));
    let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    host.add(User(store));
    let status = host.status();
    host.run(up(status)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_when_the_store_is_gone_and_checking_stores_nothing() {
    let (server, folder) = Server::new(5);
    server.accept();
    let mut host = host(folder.path());
    host.add(KvPlugin::<Known>::named("store"));
    let status = host.status();
    let result = host
        .run(async move {
            up(status.clone()).await;
            let before = server.store.status().await.unwrap().revision;
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(server.store.status().await.unwrap().revision, before);
            assert_eq!(before, Some(Revision::new(1)));

            server.store.close().await.unwrap();
            let agent = status.wait_for(|agent| agent.state() == State::Error).await;
            let store = agent.plugin("store").unwrap();
            assert!(store.cause.as_deref().unwrap().contains("closed"));
        })
        .await;
    // Closing what is closed is harmless.
    result.unwrap();
}

#[tokio::test]
async fn the_status_tells_store_and_origin_of_its_settings() {
    let folder = folder(&[("store.yaml", "backend: memory")]);
    let mut host = host(folder.path());
    host.add(KvPlugin::chosen("store", Backends::new()));
    host.add(KvPlugin::<MemoryBackend>::named("cache"));
    let status = host.status();
    host.run(async move {
        let agent = status.wait_for(|agent| agent.state() == State::Ok).await;
        let cause = |name: &str| {
            agent
                .plugin(name)
                .unwrap()
                .cause
                .as_deref()
                .unwrap()
                .to_owned()
        };
        assert!(cause("store").starts_with("memory "));
        assert!(cause("store").ends_with("store.yaml"), "{}", cause("store"));
        assert!(
            cause("cache").ends_with("settings: defaults"),
            "{}",
            cause("cache")
        );
    })
    .await
    .unwrap();
}

/// The limit of operations in a transaction of the store that these files choose.
async fn chosen_limit(files: &[(&str, &str)]) -> Result<usize, String> {
    let folder = folder(files);
    let mut host = host(folder.path());
    let backends = Backends::new()
        .with::<Known>()
        .without("etcd", "rebuild with --features etcd");
    let store = host.add(KvPlugin::chosen("store", backends));
    let status = host.status();
    let (pass, passed) = oneshot::channel();
    let run = host.run(async move {
        up(status).await;
        pass.send(store.capabilities().max_txn_ops.unwrap())
            .unwrap();
    });
    match run.await {
        Ok(()) => Ok(passed.await.unwrap()),
        // Without the folder, which differs from run to run.
        Err(error) => Err(error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "..")),
    }
}

#[tokio::test]
async fn the_store_is_the_one_that_the_yaml_chooses() {
    let section = "backend: memory\nmemory: { max-txn-ops: 3 }";
    for (files, limit) in [
        (&[][..], 128),
        (&[("store.yaml", "")], 128),
        (&[("store.yaml", "backend: memory")], 128),
        (&[("store.yaml", section)], 3),
        (&[("store.yaml", "memory: { max-txn-ops: 3 }")], 3),
        // The sections of others are not looked at.
        (
            &[(
                "store.yaml",
                "backend: memory\nknown: { number: 9 }\netcd: {}",
            )],
            128,
        ),
        (&[("memory.yaml", "max-txn-ops: 4")], 4),
        (
            &[
                ("store.yaml", "backend: memory"),
                ("memory.yaml", "max-txn-ops: 4"),
            ],
            4,
        ),
    ] {
        assert_eq!(chosen_limit(files).await, Ok(limit), "{files:?}");
    }
}

#[tokio::test]
async fn another_backend_is_chosen_by_its_name() {
    let (server, _folder) = Server::new(6);
    server.accept();
    let yaml = "backend: known\nknown: { number: 6 }";
    assert_eq!(chosen_limit(&[("store.yaml", yaml)]).await, Ok(128));
    assert!(matches!(
        server.store.get("a").await,
        Err(Error::Closed { .. })
    ));
}

#[tokio::test]
async fn what_cannot_be_chosen_is_refused_with_what_can() {
    let two = [
        ("store.yaml", "memory: { max-txn-ops: 3 }"),
        ("memory.yaml", "max-txn-ops: 4"),
    ];
    for (files, told) in [
        (
            &[("store.yaml", "backend: redis")][..],
            "../store.yaml:1:10: backend: unknown value \"redis\", expected one of memory, known",
        ),
        (
            &[("store.yaml", "backend: etcd")],
            "../store.yaml:1:10: backend: \"etcd\" is not compiled in; \
             rebuild with --features etcd, or choose one of: memory, known",
        ),
        (
            &[("store.yaml", "beckend: memory")],
            "../store.yaml:1:1: unknown key \"beckend\", did you mean \"backend\"?",
        ),
        (
            &two,
            "the settings of memory stand both in ../store.yaml and in ../memory.yaml; \
             keep one of them",
        ),
    ] {
        let error = chosen_limit(files).await.unwrap_err();
        let told = format!("plugin store failed in init: {told}");
        assert_eq!(error.lines().next(), Some(&*told));
    }
}

#[tokio::test]
async fn a_typo_in_the_settings_is_told_with_its_place_and_what_was_meant() {
    let yaml = "backend: memory\nmemory:\n  max-txn-opps: 3";
    let error = chosen_limit(&[("store.yaml", yaml)]).await.unwrap_err();
    assert!(
        error.contains("../store.yaml:3:3: memory: unknown key")
            && error.contains("\"max-txn-ops\""),
        "{error}"
    );
    for (yaml, place) in [
        ("backend: memory\nbackend: memory", "store.yaml:2:1: "),
        ("backend: [memory]", "store.yaml:1:10: "),
        ("[memory]", "store.yaml:1:1: "),
        ("memory: 3", "store.yaml:1:9: "),
        ("memory: { min-ttl: soon }", "store.yaml:1:20: "),
    ] {
        let error = chosen_limit(&[("store.yaml", yaml)]).await.unwrap_err();
        assert!(error.contains(place), "{yaml:?}: {error}");
    }
}

#[tokio::test]
async fn two_stores_live_in_one_host() {
    let mut host = host(Path::new("/no/such/folder"));
    let one = host.add(KvPlugin::<MemoryBackend>::named("one"));
    let two = host.add(KvPlugin::<MemoryBackend>::named("two"));
    host.run(async move {
        one.put("a", "1").await.unwrap();
        assert!(two.get("a").await.unwrap().is_none());
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_handle_shares_its_connection_across_threads() {
    let mut host = host(Path::new("/no/such/folder"));
    let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
    let shared = Arc::new(store);
    host.run(async move {
        let puts = (0..50).map(|number| {
            let store = Arc::clone(&shared);
            tokio::spawn(async move { store.put(format!("key/{number}"), "x").await })
        });
        for put in futures::future::join_all(puts).await {
            put.unwrap().unwrap();
        }
        assert_eq!(shared.count(KeyRange::prefix("key/")).await.unwrap(), 50);
    })
    .await
    .unwrap();
}
