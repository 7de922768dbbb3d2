//! No secret ever shows: in no error, no Debug, no Display, no log, at whatever level, and in nothing that
//! an agent says to those who ask it.

#![allow(clippy::unwrap_used)]

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use futures::{StreamExt, TryStreamExt};
use keyval::recipes::{Election, Lock, Session};
use keyval::{
    Broker, BrokerExt, KeyRange, Leases, Maintenance, Op, StoreExt, Txn, WatchOptions, Watcher,
    follow,
};
use keyval_config::{ConfigDir, Environment, Secret};
use keyval_etcd::{EtcdConfig, EtcdConnector, EtcdStore};
use keyval_tests::auth::{AuthEtcd, CHEAP};
use keyval_tests::certificates::{Valid, put};
use keyval_tests::fake::{self, FakeEtcd};
use keyval_tests::http;
use keyval_tests::name_server::NameServer;
use keyval_tests::tls::{Clients, TlsEtcd};
use parking_lot::Mutex;
use plugin_runtime::{
    AgentStatus, Host, Hysteresis, KvHandle, KvPlugin, MetricsHandle, ProbeHandle, ProbePlugin,
    ProbeSettings, StandardArgs, State, StatusHandle, StatusPublisher,
};
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Part of all that must not be seen.
const CANARY: &str = "canary7f3a91";
/// How long anything may take that should happen soon, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);
/// What an agent is asked over HTTP.
const PAGES: [&str; 7] = [
    "/livez?verbose",
    "/readyz?verbose",
    "/startupz?verbose",
    "/liveness",
    "/readiness",
    "/metrics",
    "/",
];

/// All that was shown in one way or another.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    fn show(&self, shown: impl Debug + Display) {
        self.add(format!("{shown} {shown:?} {shown:#?}\n"));
    }

    /// An error with all its causes, which must not be there without their reason.
    fn fail<T>(&self, result: Result<T, impl Into<Box<dyn StdError>>>) {
        let Err(error) = result else {
            panic!("this has to fail");
        };
        let error = error.into();
        let mut cause: Option<&dyn StdError> = Some(&*error);
        while let Some(error) = cause {
            self.show(error);
            cause = error.source();
        }
    }

    fn add(&self, text: impl AsRef<[u8]>) {
        self.0.lock().extend_from_slice(text.as_ref());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl io::Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Seen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn config(server: &TlsEtcd) -> EtcdConfig {
    let folder = server.folder();
    server
        .tls_config()
        .with_client_certificate(folder.join("agent.pem"), folder.join("agent-key.pem"))
        .with_login(user(), password())
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(Duration::from_secs(20))
}

fn user() -> String {
    format!("user-{CANARY}")
}

fn password() -> String {
    format!("password-{CANARY}")
}

fn value() -> String {
    format!("value-{CANARY}")
}

#[tokio::test]
async fn no_secret_is_ever_shown() {
    let seen = Seen::default();
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(seen.clone())
        .with_ansi(false)
        .init();
    // Of all that follows.
    let metrics = MetricsHandle::install().unwrap();

    let server = TlsEtcd::start(Clients::Certified, &[CHEAP]);
    let agent = server.authority().certify(&["agent"], Valid::Now);
    agent.write(server.folder(), "agent");
    let mut server = AuthEtcd::over(server, "app/").await;
    server.add_user(&user(), &password()).await;

    configurations(&seen, &server).await;
    let store = operations(&seen, &server).await;
    recipes(&seen, &store).await;
    administration(&seen, &server).await;
    snapshot(&seen, &server).await;
    in_step_with_the_members(&seen, &server).await;
    plain_text(&seen).await;
    flags(&seen, &server);
    refused_agents(&seen, &server).await;
    agents(&seen, &mut server, &metrics).await;
    outages(&seen, &mut server, &store).await;
    store.close().await.unwrap();
    seen.fail(store.get("app/a").await);

    let text = seen.text();
    assert!(text.contains("TRACE"), "the logs are there");
    assert!(text.contains("logged in to etcd"), "and ours among them");
    let secret = key_line(&agent.key);
    for secret in [CANARY, secret, fake::PASSWORD, fake::TOKEN] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(secret)).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
    // The same as bytes, as Debug shows them.
    let bytes = format!("{:?}", CANARY.as_bytes());
    assert!(!text.contains(bytes.trim_matches(['[', ']'])));
}

/// A line of the key itself.
fn key_line(key: &str) -> &str {
    key.lines().nth(1).expect("it has lines")
}

/// Configurations that are shown, and such as are of no use.
async fn configurations(seen: &Seen, server: &TlsEtcd) {
    let folder = server.folder();
    let good = config(server);
    seen.add(format!("{good:?} {good:#?}"));
    for text in [
        format!("username: [{CANARY}]"),
        format!("password: {{a: {CANARY}}}"),
        format!("password: file:{CANARY}"),
        format!("usernam: {CANARY}"),
    ] {
        seen.fail(keyval_config::parse::<EtcdConfig>("etcd.yaml", &text));
    }
    let damaged = put(
        folder,
        "damaged-key.pem",
        &format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n{CANARY}\n"),
    );
    let hollow = put(
        folder,
        "hollow-key.pem",
        &format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"),
    );
    let both = put(folder, "password", &password());
    let with = |change: &dyn Fn(&mut EtcdConfig)| {
        let mut config = good.clone();
        change(&mut config);
        config
    };
    for config in [
        with(&|config| config.key_file = Some(damaged.clone())),
        with(&|config| config.key_file = Some(hollow.clone())),
        with(&|config| config.key_file = config.ca_file.clone()),
        with(&|config| config.ca_file = config.key_file.clone()),
        with(&|config| config.password_file = Some(both.clone())),
        with(&|config| config.endpoints = vec![format!("https://{CANARY}:{CANARY}@a:1")]),
        with(&|config| config.endpoints = vec![format!("http://{}", server.endpoint())]),
        with(&|config| config.password = Secret::default()),
        good.clone().with_login(user(), format!("wrong-{CANARY}")),
        good.clone()
            .with_login(format!("nobody-{CANARY}"), password()),
    ] {
        seen.add(format!("{config:?}"));
        seen.fail(EtcdStore::connect(&config).await);
    }
}

/// Whatever a store does, and what it refuses.
async fn operations(seen: &Seen, server: &TlsEtcd) -> EtcdStore {
    let store = EtcdStore::connect(&config(server)).await.unwrap();
    seen.show(&store);
    let mut watch = store
        .watch_opts(&KeyRange::prefix("app/"), WatchOptions::default())
        .await
        .unwrap();
    store.put("app/a", value()).await.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    store.get("app/a").await.unwrap();
    let listed = store.list(KeyRange::prefix("app/")).await.unwrap();
    assert_eq!(listed.entries.count().await, 1);
    let txn = || Txn::new().then(Op::put("app/b", value()));
    store.commit(txn()).await.unwrap();
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    store.keep_alive(lease.id).await.unwrap();
    store.revoke(lease.id).await.unwrap();
    seen.fail(store.keep_alive(lease.id).await);
    store.status().await.unwrap();
    seen.fail(store.put("other", value()).await);
    seen.fail(store.get("other").await);
    seen.fail(
        store
            .commit(Txn::new().then(Op::put("other", value())))
            .await,
    );
    let twice = txn().then(Op::put("app/b", value()));
    seen.fail(store.commit(twice).await);
    seen.fail(store.put("app/large", value().repeat(100_000)).await);
    let all = KeyRange::all();
    seen.fail(store.watch_opts(&all, WatchOptions::default()).await);
    store.delete("app/b").await.unwrap();
    store
}

/// Locks and elections, whose keys hold values of their own.
async fn recipes(seen: &Seen, store: &EtcdStore) {
    let scope = store.prefixed("app/");
    let session = Session::open(scope, Duration::from_secs(60)).await.unwrap();
    session.put("alive", value()).await.unwrap();
    let lock = Lock::new(&session, "lock");
    let turn = lock.acquire().await.unwrap();
    seen.add(format!("{lock:?} {turn:?}"));
    turn.release().await.unwrap();
    let leadership = Election::new(&session, "election").campaign(value()).await;
    let leadership = leadership.unwrap();
    leadership.proclaim(value()).await.unwrap();
    seen.add(format!("{session:?} {leadership:?}"));
    session.close().await.unwrap();
    // Whether it fails or says no: it leads no more.
    let late = leadership.proclaim(value()).await;
    assert_ne!(late.ok(), Some(true));
}

/// A copy of everything, also to where it cannot be written.
async fn snapshot(seen: &Seen, server: &TlsEtcd) {
    let root = config(server).with_login("root", "root");
    let admin = EtcdStore::connect(&root).await.unwrap().admin();
    let endpoint = &admin.endpoints().unwrap()[0];
    let within = Duration::from_secs(30);
    let path = server.folder().join("copy.db");
    seen.add(format!(
        "{:?}",
        admin.snapshot(endpoint, &path, within).await.unwrap()
    ));
    let nowhere = server.folder().join("no/such/folder/copy.db");
    seen.fail(admin.snapshot(endpoint, &nowhere, within).await);
}

/// A store that asks for the members again and again.
async fn in_step_with_the_members(seen: &Seen, server: &TlsEtcd) {
    let mut config = config(server).with_login("root", "root");
    config.endpoint_sync = Duration::from_secs(1);
    let asked = Arc::new(Notify::new());
    let tell = asked.clone();
    let filter = move |url: &str| {
        tell.notify_one();
        Some(url.to_owned())
    };
    let environment = Environment::empty();
    let store = EtcdStore::connect_filtered(&config, &environment, filter).await;
    let store = store.unwrap();
    asked.notified().await;
    seen.show(&store);
    store.get("app/a").await.unwrap();
    store.close().await.unwrap();
}

/// Logins in plain text, where a yes to that was given: by address, by the DNS, and by a client that
/// was made elsewhere.
async fn plain_text(seen: &Seen) {
    let server = FakeEtcd::new("3.5.16").with_login();
    let address = server.serve_on_loopback().await;
    let login = |config: EtcdConfig| {
        let config = config.with_login(fake::USER, fake::PASSWORD);
        config.with_plaintext_credentials()
    };
    let config = login(EtcdConfig::default().with_endpoints([address.to_string()]));
    let store = EtcdStore::connect(&config).await.unwrap();
    store.put("a", value()).await.unwrap();
    server.end_tokens();
    // With a new token.
    store.put("a", value()).await.unwrap();
    assert!(server.logins() >= 2);
    seen.show(&store);
    store.close().await.unwrap();

    let mut wrong = config.clone();
    wrong.allow_plaintext_credentials = false;
    seen.add(format!("{wrong:?}"));
    seen.fail(EtcdStore::connect(&wrong).await);
    let wrong = config
        .clone()
        .with_login(fake::USER, format!("wrong-{CANARY}"));
    seen.fail(EtcdStore::connect(&wrong).await);

    let names = NameServer::start().await;
    let record = (
        "_etcd-client._tcp.example.org.",
        0,
        "localhost.",
        address.port(),
    );
    names.set(&[record]);
    let srv = format!(
        "{{discovery-srv: example.org, discovery-srv-server: \"{}\"}}",
        names.address()
    );
    let srv = login(keyval_config::parse("etcd.yaml", &srv).unwrap());
    let store = EtcdStore::connect(&srv).await.unwrap();
    store.put("a", value()).await.unwrap();
    store.close().await.unwrap();

    let options = etcd_client::ConnectOptions::new().with_user(fake::USER, fake::PASSWORD);
    let client = etcd_client::Client::connect([address.to_string()], Some(options)).await;
    let client = client.unwrap();
    let store = EtcdStore::from_client(&client, &EtcdConfig::default()).await;
    let store = store.unwrap();
    store.put("a", value()).await.unwrap();
    server.end_tokens();
    seen.fail(store.put("a", value()).await);
}

/// What an administrator does with the passwords of others.
async fn administration(seen: &Seen, server: &TlsEtcd) {
    let root = config(server).with_login("root", "root");
    let admin = EtcdStore::connect(&root).await.unwrap().admin();
    seen.show(&admin);
    let password = Secret::new(password());
    admin.add_user("other", &password).await.unwrap();
    admin.change_password("other", &password).await.unwrap();
    seen.fail(admin.add_user("other", &password).await);
    seen.fail(admin.change_password("nobody", &password).await);
    let endpoint = format!("https://{CANARY}@a:1");
    seen.fail(admin.defragment(&endpoint, Duration::from_secs(1)).await);
}

/// An agent that runs on a server.
struct Agent {
    store: KvHandle,
    status: StatusHandle,
    probe: ProbeHandle,
    shut_down: oneshot::Sender<()>,
    run: JoinHandle<plugin_runtime::Result<()>>,
    _folder: TempDir,
}

impl Agent {
    /// Starts one with these keys in its `etcd.conf`, which publishes its status.
    fn start(seen: &Seen, server: &TlsEtcd, keys: &str, metrics: &MetricsHandle) -> Self {
        let folder = with_conf(server, keys);
        let mut host = Host::new(ConfigDir::new(folder.path())).with_hysteresis(Hysteresis::none());
        let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
        let probes = ProbePlugin::new(host.status()).with_settings(any_port);
        let probe = host.add(probes.with_metrics(metrics.clone()));
        let store = host.add(KvPlugin::<EtcdConnector>::named("etcd"));
        let own = store.prefixed("app/agents/1/");
        host.add(StatusPublisher::new(host.status(), own));
        seen.add(format!("{host:#?} {store:#?} {probe:?}"));
        let status = host.status();
        let (shut_down, told) = oneshot::channel();
        let run = tokio::spawn(host.run(async move {
            // A test that failed has dropped the other end.
            let _ = told.await;
        }));
        Self {
            store,
            status,
            probe,
            shut_down,
            run,
            _folder: folder,
        }
    }

    async fn reaches(&self, there: impl Fn(&AgentStatus) -> bool) {
        let reached = timeout(SOON, self.status.wait_for(there)).await;
        assert!(reached.is_ok(), "{}", self.status.current());
    }

    /// Asks for everything that there is to see, and returns it.
    async fn shows(&self, seen: &Seen) -> String {
        let address = self.probe.address().await;
        let mut shown = String::new();
        for page in PAGES {
            let answer = tokio::task::spawn_blocking(move || http::get(address, page)).await;
            // The error has the status and what was said.
            let answer = answer.unwrap().unwrap_or_else(|error| error.to_string());
            shown += &format!("{page}: {answer}\n");
        }
        seen.add(&shown);
        seen.show(&*self.status.current());
        shown
    }

    /// What it keeps in the store for others to read.
    async fn published(&self, seen: &Seen) {
        let written = async {
            loop {
                let range = KeyRange::prefix("app/agents/1/check/status/v1/");
                let listed = self.store.list(range).await.unwrap().entries;
                let entries: Vec<_> = listed.try_collect().await.unwrap();
                if entries
                    .iter()
                    .any(|entry| entry.key.to_string().ends_with("/etcd"))
                {
                    return entries;
                }
            }
        };
        for entry in timeout(SOON, written).await.unwrap() {
            seen.add(format!("{entry:?} "));
            seen.add(&entry.value);
        }
    }

    async fn stop(self) {
        self.shut_down.send(()).unwrap();
        timeout(SOON, self.run).await.unwrap().unwrap().unwrap();
    }
}

/// A folder with an `etcd.conf` for a server, with these keys besides.
fn with_conf(server: &TlsEtcd, keys: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = |name| server.folder().join(name).display().to_string();
    let conf = format!(
        "endpoints: [{:?}]\nca-file: {:?}\ncert-file: {:?}\nkey-file: {:?}\nusername: {}\n\
         operation-timeout: 2s\n{keys}\n",
        server.tls_endpoint(),
        file("ca.pem"),
        file("agent.pem"),
        file("agent-key.pem"),
        user(),
    );
    put(folder.path(), "etcd.conf", &conf);
    folder
}

/// The key for a password in the file itself.
fn inline(password: &str) -> String {
    format!("password: {password}")
}

/// The key for a password in a file of its own.
fn in_file(file: &Path) -> String {
    format!("password-file: {:?}", file.display().to_string())
}

/// What an agent says by its flags, of a configuration that is in order and of such as are not.
fn flags(seen: &Seen, server: &TlsEtcd) {
    let kept = put(server.folder(), "agent-password", &password());
    let set = format!("--set=etcd.password={}", password());
    for (keys, flag, in_environment) in [
        (inline(&password()), None, false),
        (in_file(&kept), None, false),
        (String::new(), Some(&set), false),
        (String::new(), None, true),
    ] {
        let folder = with_conf(server, &keys);
        let environment = match in_environment {
            true => Environment::from_iter([("ETCD__PASSWORD", password())]),
            false => Environment::empty(),
        };
        for question in ["--check-config", "--print-config", "--print-schema=etcd"] {
            let flags = [question].into_iter().chain(flag.map(String::as_str));
            let said = answer(seen, folder.path(), &environment, flags).unwrap();
            assert_eq!(question == "--print-config", said.contains("***"), "{said}");
            seen.add(said);
        }
    }
    let good = with_conf(server, &inline(&password()));
    for keys in [
        format!("{}\n{}", inline(&password()), in_file(&kept)),
        format!("password: [{CANARY}]"),
        format!("password:\n  {CANARY}: {CANARY}"),
        format!("pasword: {CANARY}"),
        format!("password: \"{CANARY}"),
    ] {
        let bad = with_conf(server, &keys);
        seen.fail(answer(
            seen,
            bad.path(),
            &Environment::empty(),
            ["--check-config"],
        ));
    }
    for set in [
        format!("etcd.pasword={CANARY}"),
        format!("etc.password={CANARY}"),
        format!("password={CANARY}"),
    ] {
        let flags = ["--check-config", "--set", &set];
        seen.fail(answer(seen, good.path(), &Environment::empty(), flags));
    }
}

/// What an agent with these flags says instead of running.
fn answer<'a>(
    seen: &Seen,
    folder: &Path,
    environment: &Environment,
    flags: impl IntoIterator<Item = &'a str>,
) -> Result<String, Box<dyn StdError>> {
    let command = StandardArgs::augment_args(Command::new("agent"));
    let command = StandardArgs::with_plugins(command, ["etcd"]);
    let matches = command.try_get_matches_from(["agent"].into_iter().chain(flags))?;
    let args = StandardArgs::from_arg_matches(&matches)?;
    let mut host = Host::new(args.config_in(folder, environment.clone())?);
    host.add(KvPlugin::<EtcdConnector>::named("etcd"));
    seen.add(format!("{args:#?} {host:#?} {:#?}", host.config()));
    Ok(args.answer(&host)?.unwrap())
}

/// Agents that do not come up.
async fn refused_agents(seen: &Seen, server: &TlsEtcd) {
    for keys in [
        inline(&format!("wrong-{CANARY}")),
        format!("password: [{CANARY}]"),
        format!("pasword: {CANARY}"),
        String::new(),
    ] {
        let folder = with_conf(server, &keys);
        let mut host = Host::new(ConfigDir::new(folder.path()));
        host.add(KvPlugin::<EtcdConnector>::named("etcd"));
        let status = host.status();
        seen.fail(timeout(SOON, host.run(pending())).await.unwrap());
        seen.show(&*status.current());
    }
}

/// Agents, asked for all that they show while the server goes and comes back: one with the password in
/// its configuration, and one that waits until the file with it has the right one.
async fn agents(seen: &Seen, server: &mut AuthEtcd<TlsEtcd>, metrics: &MetricsHandle) {
    let file = put(server.folder(), "late-password", &format!("wrong-{CANARY}"));
    let late = format!(
        "allow-delayed-start: true\nreconnect-interval: 500ms\n{}",
        in_file(&file)
    );
    for (keys, waits) in [(inline(&password()), false), (late, true)] {
        let agent = Agent::start(seen, server, &keys, metrics);
        if waits {
            let cause = |agent: &AgentStatus| agent.plugin("etcd")?.cause.clone();
            let tries = |agent: &AgentStatus| {
                cause(agent).is_some_and(|cause| cause.starts_with("not connected yet: "))
            };
            agent.reaches(tries).await;
            let shown = agent.shows(seen).await;
            assert!(shown.contains("not connected yet: "), "{shown}");
            put(server.folder(), "late-password", &password());
        }
        agent.reaches(|agent| agent.state() == State::Ok).await;
        let scope = agent.store.prefixed("app/");
        scope.put("a", value()).await.unwrap();
        seen.fail(agent.store.put("other", value()).await);
        let session = agent.store.session("app/").await.unwrap();
        session.put("alive", value()).await.unwrap();
        let shown = agent.shows(seen).await;
        assert!(shown.contains("keyval_endpoint_up"), "{shown}");
        agent.published(seen).await;

        server.kill();
        let is =
            |state: State| move |agent: &AgentStatus| agent.plugin("etcd").unwrap().state == state;
        agent.reaches(is(State::Error)).await;
        let shown = agent.shows(seen).await;
        assert!(shown.contains("503: "), "{shown}");
        seen.fail(scope.put("a", value()).await);
        server.restart();
        agent.reaches(is(State::Ok)).await;
        agent.shows(seen).await;
        agent.published(seen).await;
        agent.stop().await;
    }
}

/// What is said while the server goes and comes back, and of files that change.
async fn outages(seen: &Seen, server: &mut AuthEtcd<TlsEtcd>, store: &EtcdStore) {
    let scope = store.prefixed("app/");
    let mut updates = follow(scope.clone(), KeyRange::all(), Default::default());
    updates.next().await.unwrap().unwrap();
    server.kill();
    loop {
        // The first may still find the old connection.
        match scope.put("a", value()).await {
            Err(error) => {
                let known = !error.may_have_applied();
                seen.fail::<()>(Err(error));
                if known {
                    break;
                }
            }
            Ok(_) => panic!("the server is gone"),
        }
    }
    broken_key(server.folder());
    server.restart();
    loop {
        match scope.put("a", value()).await {
            Ok(_) => break,
            Err(error) => seen.fail::<()>(Err(error)),
        }
    }
    updates.next().await.unwrap().unwrap();
}

fn broken_key(folder: &Path) {
    put(
        folder,
        "agent-key.pem",
        &format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n"),
    );
}
