//! Locks and elections on a real etcd: with etcd's own command line in the same queue, and
//! through a crash of the server.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt;
use keyval::recipes::{Election, Lock, Session};
use keyval::{BrokerExt, KeyRange, StoreExt};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const TTL: Duration = Duration::from_secs(20);
/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

/// etcd's own command line, killed when it is dropped.
struct Etcdctl {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Etcdctl {
    fn start(etcd: &Etcd, arguments: &[&str]) -> Self {
        let mut process = Command::new(keyval_tests::etcdctl())
            .args(arguments)
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_ENDPOINTS", etcd.endpoint())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("etcdctl can be started");
        let output = process.stdout.take().expect("it was asked for");
        let lines = BufReader::new(output).lines();
        Self { process, lines }
    }

    async fn line(&mut self) -> String {
        let line = soon("a line of etcdctl", self.lines.next_line()).await;
        line.expect("it is text").expect("etcdctl goes on")
    }

    /// Ends it as a person does who has seen enough: it then tidies up.
    async fn interrupt(mut self) {
        let id = self.process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-s", "INT", &id]).status();
        assert!(sent.await.is_ok_and(|status| status.success()));
        let ended = soon("the end of etcdctl", self.process.wait()).await;
        ended.expect("it is our child");
    }
}

async fn session(store: &EtcdStore) -> Session {
    let session = Session::open(store.clone(), TTL).await;
    session.expect("the server grants leases")
}

/// Waits until so many are in the queue of this name.
async fn until_queued(store: &EtcdStore, name: &str, count: u64) {
    let range = KeyRange::prefix(format!("{name}/"));
    let mut updates = store.follow(range.clone());
    while store.count(range.clone()).await.unwrap() != count {
        soon("a change of the queue", updates.next()).await;
    }
}

#[tokio::test]
async fn etcdctl_waits_for_our_lock() {
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let lock = Lock::new(&session(&store).await, "lock");
    let held = lock.acquire().await.unwrap();
    let etcdctl = keyval_tests::etcdctl();
    let put = ["lock", "lock", etcdctl.to_str().unwrap(), "put", "ran", ""];
    let mut waiting = Etcdctl::start(&etcd, &put);
    until_queued(&store, "lock", 2).await;
    let before = store.put("before the release", "").await.unwrap();
    assert!(store.get("ran").await.unwrap().is_none());

    assert!(held.release().await.unwrap());
    assert_eq!(waiting.line().await, "OK", "its command was run");
    let ran = store.get("ran").await.unwrap().expect("it was put");
    assert!(ran.created > before);
    until_queued(&store, "lock", 0).await;
}

#[tokio::test]
async fn we_wait_for_the_lock_of_etcdctl_until_it_is_gone() {
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let mut holder = Etcdctl::start(&etcd, &["lock", "--ttl=2", "lock"]);
    let key = holder.line().await;
    let theirs = store.get(key.clone()).await.unwrap().expect("it is held");
    assert_eq!(key, format!("lock/{}", theirs.lease.expect("it has one")));

    let lock = Lock::new(&session(&store).await, "lock");
    assert!(lock.try_acquire().await.unwrap().is_none());
    let waiting = tokio::spawn(async move { lock.acquire().await });
    until_queued(&store, "lock", 2).await;
    assert!(!waiting.is_finished());
    // Killed, so that its lease has to expire.
    holder.process.kill().await.unwrap();
    let held = soon("our turn", waiting).await.unwrap().unwrap();
    assert!(held.fence().revision() > theirs.created);
    assert!(store.get(key).await.unwrap().is_none());
    assert!(held.release().await.unwrap());
}

#[tokio::test]
async fn etcdctl_sees_our_leader() {
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let election = Election::new(&session(&store).await, "election");
    let leading = election.campaign("ours").await.unwrap();
    let mut observer = Etcdctl::start(&etcd, &["elect", "--listen", "election"]);
    assert_eq!(observer.line().await, leading.key().to_string());
    assert_eq!(observer.line().await, "ours");
    assert!(leading.proclaim("changed").await.unwrap());
    assert_eq!(observer.line().await, leading.key().to_string());
    assert_eq!(observer.line().await, "changed");
}

#[tokio::test]
async fn we_see_the_leader_of_etcdctl_and_follow_it() {
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let election = Election::new(&session(&store).await, "election");
    let mut leaders = election.observe();
    let mut next = async || {
        let next = soon("the next leader", leaders.next()).await;
        next.expect("it goes on for ever").unwrap()
    };
    assert_eq!(next().await, None);
    let leading = election.campaign("ours").await.unwrap();
    assert_eq!(next().await.expect("we lead").value, "ours");

    let mut candidate = Etcdctl::start(&etcd, &["elect", "election", "theirs"]);
    until_queued(&store, "election", 2).await;
    assert!(leading.resign().await.unwrap());
    let theirs = next().await.expect("it leads");
    assert_eq!(theirs.value, "theirs");
    assert_eq!(candidate.line().await, theirs.key.to_string());
    assert_eq!(candidate.line().await, "theirs");
    assert_eq!(election.leader().await.unwrap(), Some(theirs.clone()));

    let standing = tokio::spawn(async move { election.campaign("ours again").await });
    until_queued(&store, "election", 2).await;
    candidate.interrupt().await;
    let leading = soon("our election", standing).await.unwrap().unwrap();
    assert!(leading.token() > theirs.token);
    assert_eq!(next().await.expect("we lead").value, "ours again");
}

#[tokio::test]
async fn a_crash_shorter_than_the_lease_costs_nobody_the_lock() {
    let mut etcd = Etcd::start();
    let store = etcd.store().await;
    let lock = Lock::new(&session(&store).await, "lock");
    let held = lock.acquire().await.unwrap();
    let lock = Lock::new(&session(&store).await, "lock");
    let waiting = tokio::spawn(async move { lock.acquire().await });
    until_queued(&store, "lock", 2).await;
    etcd.kill();
    // Asked for while nobody serves.
    let token = held.fence();
    let released = tokio::spawn(held.release());
    etcd.restart();
    let released = soon("the release", released).await.unwrap();
    assert!(released.unwrap(), "it was held until then");
    let held = soon("the next one", waiting).await.unwrap().unwrap();
    assert!(held.fence() > token);
    assert!(held.release().await.unwrap());
}

#[tokio::test]
async fn fifty_who_wait_cost_the_server_one_watch_each_and_are_served_in_order() {
    const WAITING: u32 = 50;
    const WATCHES: &str = "etcd_debugging_mvcc_watcher_total";
    let etcd = Etcd::start();
    let store = etcd.store().await;
    let mut held = Lock::new(&session(&store).await, "lock")
        .acquire()
        .await
        .unwrap();
    let mut waiting = Vec::new();
    for place in 0..WAITING {
        let lock = Lock::new(&session(&store).await, "lock");
        waiting.push(tokio::spawn(async move { lock.acquire().await }));
        until_queued(&store, "lock", u64::from(place) + 2).await;
    }
    let watches = etcd.metric(WATCHES).expect("etcd counts its watchers");
    assert!(watches <= f64::from(WAITING), "{watches} watches");
    for next in waiting {
        let token = held.fence();
        assert!(held.release().await.unwrap());
        held = soon("the next one", next).await.unwrap().unwrap();
        assert!(held.fence() > token, "they come in order");
    }
    assert!(held.release().await.unwrap());
}
