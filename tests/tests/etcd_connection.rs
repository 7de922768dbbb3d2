//! What the connection to an etcd survives, and what it tells of itself.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use keyval::{
    BrokerExt, Connection, ConnectionState, Error, KeyRange, Leases, Maintenance, Outcome,
    WatchOptions, Watcher,
};
use keyval_config::Environment;
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody listens there.
const DEAD: &str = "127.0.0.1:1";

fn config(endpoints: &[&str]) -> EtcdConfig {
    EtcdConfig::default()
        .with_endpoints(endpoints.iter().copied())
        .with_dial_timeout(Duration::from_secs(5))
        .with_operation_timeout(Duration::from_secs(10))
}

async fn store(endpoints: &[&str]) -> EtcdStore {
    EtcdStore::connect(&config(endpoints))
        .await
        .expect("a server is there")
}

/// The next state that is as wanted.
async fn next(
    connection: &mut Connection,
    wanted: fn(&ConnectionState) -> bool,
) -> ConnectionState {
    let find = async {
        loop {
            let state = connection.next().await.expect("the store is open");
            if wanted(&state) {
                return state;
            }
        }
    };
    timeout(PATIENCE, find).await.expect("it comes in time")
}

async fn lost(connection: &mut Connection) -> ConnectionState {
    next(connection, |state| !state.is_connected()).await
}

async fn connected(connection: &mut Connection) -> (Arc<str>, u64) {
    match next(connection, ConnectionState::is_connected).await {
        ConnectionState::Connected {
            endpoint, outages, ..
        } => (endpoint, outages),
        state => unreachable!("{state}"),
    }
}

/// Where connections are accepted and ended at once, as by a proxy whose servers are gone.
fn listen_in_vain() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has ports");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    address
}

#[tokio::test]
async fn an_endpoint_that_dies_costs_no_put_wherever_it_stands() {
    let in_vain = listen_in_vain();
    let (mut a, mut b) = (Etcd::start(), Etcd::start());
    for place in 0..3 {
        let (own, other) = (a.endpoint(), b.endpoint());
        let mut endpoints = vec![DEAD, &in_vain, &other];
        endpoints.insert(place, &own);
        // Only one can be connected to.
        b.kill();
        let store = store(&endpoints).await;
        b.restart();
        let mut connection = store.connection();
        assert_eq!(*connected(&mut connection).await.0, *own);
        a.kill();
        lost(&mut connection).await;
        for n in 0..300 {
            store.put(n.to_string(), "x").await.unwrap();
        }
        assert_eq!(*connected(&mut connection).await.0, *other);
        a.restart();
    }
}

#[tokio::test]
async fn an_idle_store_tells_that_its_server_died_and_came_back() {
    let mut server = Etcd::start();
    let store = store(&[&server.endpoint()]).await;
    let mut connection = store.connection();
    assert_eq!(connected(&mut connection).await.1, 0);
    for outages in 1..=3 {
        server.kill();
        let ConnectionState::Disconnected { causes, .. } = lost(&mut connection).await else {
            panic!("the store is not closed");
        };
        assert_eq!(*causes[0].endpoint, *server.endpoint());
        assert!(!causes[0].cause.is_empty());
        server.restart();
        let (endpoint, counted) = connected(&mut connection).await;
        assert_eq!((&*endpoint, counted), (&*server.endpoint(), outages));
        store.put("a", "1").await.unwrap();
    }
}

#[tokio::test]
async fn an_outage_that_nobody_watched_is_counted() {
    let mut server = Etcd::start();
    let store = store(&[&server.endpoint()]).await;
    let connection = store.connection();
    let mut other = store.connection();
    connected(&mut other).await;
    server.kill();
    lost(&mut other).await;
    server.restart();
    connected(&mut other).await;
    assert!(
        matches!(
            connection.state(),
            ConnectionState::Connected { outages: 1, .. }
        ),
        "{connection:?}"
    );
}

#[tokio::test]
async fn an_idle_store_notices_that_its_server_is_silent() {
    let mut server = Etcd::start();
    let store = store(&[&server.endpoint()]).await;
    let mut connection = store.connection();
    connected(&mut connection).await;
    server.pause();
    let begun = Instant::now();
    lost(&mut connection).await;
    let took = begun.elapsed();
    server.resume();
    connected(&mut connection).await;
    // A ping every ten seconds, whose answer may take five.
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[tokio::test]
async fn a_read_survives_a_silent_endpoint() {
    let (mut a, mut b) = (Etcd::start(), Etcd::start());
    let store = store(&[&a.endpoint(), &b.endpoint()]).await;
    let mut connection = store.connection();
    let (used, _) = connected(&mut connection).await;
    let silent = if *used == *a.endpoint() {
        &mut a
    } else {
        &mut b
    };
    silent.pause();
    let read = store.get("a").await;
    // The endpoint is known to be silent now, so that a write does not go there either.
    let written = store.put("a", "1").await;
    silent.resume();
    assert!(read.unwrap().is_none());
    written.unwrap();
}

#[tokio::test]
async fn a_write_that_may_have_been_sent_goes_to_no_other_endpoint() {
    let (mut a, mut b) = (Etcd::start(), Etcd::start());
    let config =
        config(&[&a.endpoint(), &b.endpoint()]).with_operation_timeout(Duration::from_millis(1500));
    let store = EtcdStore::connect(&config).await.unwrap();
    let mut connection = store.connection();
    let (used, _) = connected(&mut connection).await;
    let (silent, other) = if *used == *a.endpoint() {
        (&mut a, &b)
    } else {
        (&mut b, &a)
    };
    silent.pause();
    let error = store.put("a", "1").await.unwrap_err();
    silent.resume();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    assert!(other.store().await.get("a").await.unwrap().is_none());
    let there = silent.store().await.get("a").await.unwrap();
    assert!(there.is_none_or(|entry| entry.version == 1));
}

#[tokio::test]
async fn an_error_lists_every_attempt_and_its_cause() {
    let in_vain = listen_in_vain();
    let mut server = Etcd::start();
    let endpoint = server.endpoint();
    let store = store(&[&endpoint, DEAD, &in_vain]).await;
    let mut connection = store.connection();
    connected(&mut connection).await;
    server.kill();
    lost(&mut connection).await;
    for error in [
        store.put("a", "1").await.unwrap_err(),
        store.get("a").await.unwrap_err(),
    ] {
        let told = error.to_string();
        assert!(matches!(error, Error::Unavailable { .. }), "{told}");
        assert_eq!(error.outcome(), Outcome::NotApplied, "{told}");
        assert!(told.contains("of \"a\""), "{told}");
        for part in [
            format!("{endpoint}: tcp connect error: Connection refused"),
            format!("{DEAD}: tcp connect error: Connection refused"),
            format!("{in_vain}: "),
        ] {
            assert!(told.contains(&part), "{part} is not in: {told}");
        }
    }
}

/// A store that reads the members each second, through this filter, and a word for each URL that
/// the filter saw.
async fn synced(
    server: &Etcd,
    filter: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (EtcdStore, mpsc::UnboundedReceiver<()>) {
    let (seen, sights) = mpsc::unbounded_channel();
    let filter = move |url: &str| {
        seen.send(()).ok()?;
        filter(url)
    };
    let mut config = config(&[&server.endpoint()]);
    config.endpoint_sync = Duration::from_secs(1);
    let store = EtcdStore::connect_filtered(&config, &Environment::empty(), filter)
        .await
        .expect("the server is there");
    (store, sights)
}

#[tokio::test]
async fn the_members_take_the_place_of_the_endpoints() {
    let server = Etcd::shared();
    let (store, _sights) = synced(server, |url| Some(url.replace("127.0.0.1", "localhost"))).await;
    let local = server.endpoint().replace("127.0.0.1", "localhost");
    let mut connection = store.connection();
    while *connected(&mut connection).await.0 != *local {}
    store.put("synced", "1").await.unwrap();
}

#[tokio::test]
async fn a_list_without_an_endpoint_that_answers_is_never_taken() {
    let server = Etcd::shared();
    let filters: [fn(&str) -> Option<String>; 3] = [
        |_| None,
        |_| Some(format!("http://{DEAD}")),
        |_| Some("no endpoint".to_owned()),
    ];
    for filter in filters {
        let (store, mut sights) = synced(server, filter).await;
        // The second reading begins where the first has been judged.
        for _ in 0..2 {
            let seen = timeout(PATIENCE, sights.recv()).await;
            assert_eq!(seen, Ok(Some(())));
        }
        let ConnectionState::Connected {
            endpoint, outages, ..
        } = store.connection().state()
        else {
            panic!("{:?}", store.connection());
        };
        assert_eq!((&*endpoint, outages), (&*server.endpoint(), 0));
        store.put("kept", "1").await.unwrap();
    }
}

#[tokio::test]
async fn closing_ends_the_state_the_tasks_and_the_connections() {
    let server = Etcd::shared();
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for closes in [true, false] {
        let store = store(&[&server.endpoint()]).await;
        store.put("closing", "1").await.unwrap();
        let mut connection = store.connection();
        assert!(tasks() > before);
        if closes {
            store.close().await.unwrap();
            assert_eq!(store.connection().state(), ConnectionState::Closed);
        }
        drop(store);
        assert_eq!(connection.next().await, Some(ConnectionState::Closed));
        assert_eq!(connection.next().await, None);
        // The transport ends its own tasks by itself, without a word.
        let ended = async {
            while tasks() > before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, ended).await.unwrap();
    }
}

#[tokio::test]
async fn a_store_over_a_given_client_tells_what_its_calls_show() {
    let mut server = Etcd::start();
    let mut given = etcd_client::Client::connect([server.endpoint()], None)
        .await
        .unwrap();
    let store = EtcdStore::from_client(&given, &EtcdConfig::default())
        .await
        .unwrap();
    let mut connection = store.connection();
    store.put("a", "1").await.unwrap();
    assert!(connected(&mut connection).await.0.contains("given"));
    server.kill();
    assert!(store.get("a").await.is_err());
    lost(&mut connection).await;
    server.restart();
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");
    assert_eq!(connected(&mut connection).await.1, 1);
    store.close().await.unwrap();
    assert!(matches!(store.get("a").await, Err(Error::Closed { .. })));
    assert_eq!(given.get("a", None).await.unwrap().kvs().len(), 1);
}

#[tokio::test]
async fn a_quiet_connection_is_pinged_no_oftener_than_servers_take_it() {
    // By default etcd takes a ping every 5 s. One that takes far fewer shows that there are pings.
    let strict = Etcd::start_with(&["--grpc-keepalive-min-time=30s"]);
    let usual = Etcd::start_with(&["--grpc-keepalive-min-time=9s"]);
    let (refused, store) = (strict.store().await, usual.store().await);
    let mut dropped = refused.connection();
    let cut = timeout(2 * PATIENCE, lost(&mut dropped)).await;
    println!("{}", cut.expect("the third ping is too many"));
    // As many pings later.
    match store.connection().state() {
        ConnectionState::Connected { outages: 0, .. } => {}
        state => panic!("{state}"),
    }
}

/// A runtime on a thread of its own that carries out one thing and then stands still.
fn on_a_runtime_that_stands_still<F: Future<Output: Send + 'static>>(
    work: impl FnOnce() -> F + Send + 'static,
) -> (F::Output, std::sync::mpsc::Sender<()>) {
    let (tell, told) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let output = runtime.block_on(work());
        tell.send(output).expect("the test waits");
        // Whether it is told or the test is over.
        let _ = released.recv();
    });
    (told.recv().expect("it is done"), release)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_serves_every_runtime_whichever_used_it_first_and_stands_still() {
    let server = Etcd::start();
    let store = store(&[&server.endpoint()]).await;
    let lease = store.grant(Duration::from_secs(60)).await.unwrap().id;
    let elsewhere = store.clone();
    let ((watch, renewed), _still) = on_a_runtime_that_stands_still(move || async move {
        let watch = elsewhere
            .watch_opts(&KeyRange::all(), WatchOptions::default())
            .await;
        (watch, elsewhere.keep_alive(lease).await)
    });
    renewed.unwrap();
    let mut first = watch.unwrap();
    let mut second = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    store.keep_alive(lease).await.unwrap();
    let revision = store.put("a", "1").await.unwrap();
    for watch in [&mut first, &mut second] {
        let changes = timeout(PATIENCE, watch.next()).await.expect("in time");
        assert_eq!(changes.unwrap().unwrap().revision, revision);
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn times_that_are_as_good_as_never_do_no_harm() {
    let server = Etcd::start();
    let mut config = config(&[&server.endpoint()]);
    config.keepalive_time = Duration::MAX;
    config.keepalive_timeout = Duration::MAX;
    let store = EtcdStore::connect(&config).await.unwrap();
    let mut watch = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    let revision = store.put("a", "1").await.unwrap();
    let changes = timeout(PATIENCE, watch.next()).await.expect("in time");
    assert_eq!(changes.unwrap().unwrap().revision, revision);
}
