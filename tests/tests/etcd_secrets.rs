//! No secret ever shows: in no error, no Debug, no Display and no log, at whatever level.

#![allow(clippy::unwrap_used)]

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keyval::recipes::{Election, Lock, Session};
use keyval::{
    Broker, BrokerExt, KeyRange, Leases, Maintenance, Op, StoreExt, Txn, WatchOptions, Watcher,
    follow,
};
use keyval_config::Secret;
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::auth::{AuthEtcd, CHEAP};
use keyval_tests::certificates::{Valid, put};
use keyval_tests::fake::{self, FakeEtcd};
use keyval_tests::name_server::NameServer;
use keyval_tests::tls::{Clients, TlsEtcd};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Part of all that must not be seen.
const CANARY: &str = "canary7f3a91";

/// All that was shown in one way or another.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<u8>>>);

impl Seen {
    fn show(&self, shown: impl Debug + Display) {
        self.add(format!("{shown} {shown:?} {shown:#?}\n"));
    }

    /// An error with all its causes, which must not be there without their reason.
    fn fail<T, E: StdError>(&self, result: Result<T, E>) {
        let Err(error) = result else {
            panic!("this has to fail");
        };
        let mut cause: Option<&dyn StdError> = Some(&error);
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
    let environment = keyval_config::Environment::empty();
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
                seen.fail::<(), _>(Err(error));
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
            Err(error) => seen.fail::<(), _>(Err(error)),
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
