//! A store plugin and rounds of resync on a real etcd that comes late, fails, and comes back, while
//! the probes are asked every 50 ms.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::collections::BTreeMap;
use std::time::Duration;

use keyval::recipes::Election;
use keyval::{
    Broker, BrokerExt, Bytes, Change, Error, GetOptions, KeyRange, Maintenance, ResyncCause,
    StoreExt, Update,
};
use keyval_etcd::{EtcdConnector, EtcdStore};
use keyval_tests::auth::{APP, AuthEtcd, PASSWORD};
use keyval_tests::cluster::Cluster;
use keyval_tests::etcd::Etcd;
use keyval_tests::probes::Polled;
use keyval_tests::proxy::{Admit, Proxy};
use plugin_runtime::{
    AgentStatus, ConfigDir, Host, Hysteresis, KvHandle, KvPlugin, ProbeHandle, ProbePlugin,
    ProbeSettings, Resync, ResyncPlugin, ResyncStatus, RoundCause, State, StatusHandle,
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long anything may take that should happen soon, on a machine that is busy.
const SOON: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(10);

type Picture = BTreeMap<String, Bytes>;

/// An agent whose one participant brings a picture into line with `agents/1/`.
struct Agent {
    store: KvHandle,
    resync: Resync,
    status: StatusHandle,
    probe: ProbeHandle,
    picture: watch::Receiver<Picture>,
    /// Why each snapshot came.
    causes: watch::Receiver<Vec<ResyncCause>>,
    shut_down: oneshot::Sender<()>,
    run: JoinHandle<plugin_runtime::Result<()>>,
    _folder: TempDir,
}

impl Agent {
    /// Starts one with this `etcd.conf`, as cn-infra's agents have it.
    fn start(endpoint: &str, keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conf = format!("endpoints:\n  - {endpoint:?}\noperation-timeout: 2s\n{keys}\n");
        std::fs::write(folder.path().join("etcd.conf"), conf).unwrap();
        let mut host = Host::new(ConfigDir::new(folder.path())).with_hysteresis(Hysteresis::none());
        let any_port = ProbeSettings::default().with_listen("127.0.0.1:0".parse().unwrap());
        let probe = host.add(ProbePlugin::new(host.status()).with_settings(any_port));
        let store = host.add(KvPlugin::<EtcdConnector>::named("etcd"));
        let resync = host.add(ResyncPlugin::new("resync", &store));
        let (tell_picture, picture) = watch::channel(Picture::new());
        let (tell_cause, causes) = watch::channel(Vec::new());
        let scope = store.prefixed("agents/1/");
        let updates = move || scope.follow(KeyRange::all());
        let reconcile = move |update: Update| {
            if let Update::Resync(snapshot) = &update {
                tell_cause.send_modify(|causes| causes.push(snapshot.cause));
            }
            tell_picture.send_modify(|picture| apply(picture, update));
            async { Ok(()) }
        };
        resync.register("picture", updates, reconcile).unwrap();
        let status = host.status();
        let (shut_down, told) = oneshot::channel();
        let run = tokio::spawn(host.run(async move {
            // A test that failed has dropped the other end.
            let _ = told.await;
        }));
        Self {
            store,
            resync,
            status,
            probe,
            picture,
            causes,
            shut_down,
            run,
            _folder: folder,
        }
    }

    async fn stop(self) {
        self.shut_down.send(()).unwrap();
        self.run.await.unwrap().unwrap();
    }

    /// Waits until a plugin is in this state, and returns the cause.
    async fn reaches(&self, plugin: &str, state: &str) -> String {
        let there = self.status.wait_for(|agent| {
            let status = agent.plugin(plugin).unwrap();
            status.state.to_string() == state
        });
        let Ok(agent) = timeout(SOON, there).await else {
            panic!("not {state}:\n{}", self.status.current());
        };
        let cause = &agent.plugin(plugin).unwrap().cause;
        cause.as_deref().unwrap_or_default().to_owned()
    }

    async fn is_up(&self) {
        self.reaches("etcd", "ok").await;
        self.reaches("resync", "ok").await;
    }

    /// Begins to ask the probes.
    async fn polled(&self) -> Polled {
        Polled::start(self.probe.address().await)
    }

    /// Waits until the picture is what this store holds, which nobody changes meanwhile.
    async fn agrees_with(&self, direct: &EtcdStore) {
        let truth = truth(direct).await;
        let mut picture = self.picture.clone();
        let agreed = picture.wait_for(|picture| *picture == truth);
        if timeout(SOON, agreed).await.is_err() {
            let picture = self.picture.borrow().clone();
            panic!("{picture:?} is not {truth:?}; {:#?}", self.resync);
        }
    }

    async fn round(&self, wanted: impl Fn(&RoundCause) -> bool) {
        let mut status = self.resync.status();
        let there = |status: &ResyncStatus| {
            let mut rounds = status.rounds.iter();
            rounds.any(|round| round.causes.iter().any(&wanted))
        };
        let reached = timeout(SOON, status.wait_for(there)).await;
        assert!(reached.is_ok(), "{:#?}", self.resync);
    }
}

/// That whoever asks is told so at present.
async fn is_ready(polled: &Polled, status: u16) {
    for told in polled.now("/readyz").await {
        assert_eq!(told.status, Ok(status), "{}", told.body);
        let names_it = told.body.contains("etcd");
        assert!(names_it || status == 200, "no cause: {}", told.body);
    }
}

/// That the process was alive and started all the time, and was ready, then not, and so on, exactly as
/// it is said here.
fn were(polled: &Polled, ready: &[u16]) {
    for path in ["/livez", "/startupz"] {
        for told in polled.all(path) {
            assert_eq!(told.status, Ok(200), "{path}: {}", told.body);
        }
    }
    let told = polled.all("/readyz").into_iter();
    let mut told: Vec<_> = told.map(|told| told.status).collect();
    told.dedup();
    let ready: Vec<_> = ready.iter().copied().map(Ok).collect();
    assert_eq!(told, ready);
}

fn apply(picture: &mut Picture, update: Update) {
    match update {
        Update::Resync(snapshot) => {
            let entries = snapshot.entries.into_iter();
            *picture = entries
                .map(|entry| (entry.key.to_string(), entry.value))
                .collect();
        }
        Update::Changes(changes) => {
            for change in changes.changes {
                match change {
                    Change::Put { entry, .. } => {
                        picture.insert(entry.key.to_string(), entry.value);
                    }
                    Change::Delete { key, .. } => {
                        picture.remove(&key.to_string());
                    }
                }
            }
        }
    }
}

async fn truth(direct: &EtcdStore) -> Picture {
    let scope = direct.prefixed("agents/1/");
    let listing = scope.list(KeyRange::all()).await.unwrap();
    let entries = listing.collect().await.unwrap().into_iter();
    entries
        .map(|entry| (entry.key.to_string(), entry.value))
        .collect()
}

async fn put(direct: &EtcdStore, key: &str, value: &str) {
    direct
        .put(format!("agents/1/{key}"), value.to_owned())
        .await
        .unwrap();
}

/// A server with some keys, and an agent that has seen them.
async fn started(keys: &str) -> (Etcd, EtcdStore, Agent) {
    let etcd = Etcd::start();
    let direct = etcd.store().await;
    for key in ["a", "b", "c"] {
        put(&direct, key, "old").await;
    }
    let agent = Agent::start(&etcd.endpoint(), keys);
    agent.is_up().await;
    agent.agrees_with(&direct).await;
    (etcd, direct, agent)
}

/// What happens behind an outage: a key comes, one changes, one goes.
async fn change(direct: &EtcdStore) {
    put(direct, "new", "new").await;
    put(direct, "b", "changed").await;
    direct.delete("agents/1/c").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_starts_before_its_etcd_works_once_that_is_there() {
    let mut etcd = Etcd::start();
    put(&etcd.store().await, "a", "old").await;
    etcd.kill();
    let agent = Agent::start(
        &etcd.endpoint(),
        "dial-timeout: 1000000000\nallow-delayed-start: true\nreconnect-interval: 500ms\n\
         resync-after-reconnect: true\nauto-compact: 0\nsession-ttl: 7",
    );
    let tries = |agent: &AgentStatus| {
        let etcd = agent.plugin("etcd").unwrap();
        let cause = etcd.cause.as_deref().unwrap_or_default();
        cause.starts_with("not connected yet: ")
    };
    let tries = timeout(SOON, agent.status.wait_for(tries)).await.unwrap();
    // Not an error: it is still starting.
    assert_eq!(tries.state(), State::Init);
    let polled = agent.polled().await;
    is_ready(&polled, 503).await;
    let error = agent.store.get("a").await.unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
    etcd.restart();
    agent.is_up().await;
    agent.agrees_with(&etcd.store().await).await;
    is_ready(&polled, 200).await;
    were(&polled, &[503, 200]);
    agent.stop().await;
}

async fn after_a_kill(length: Duration) {
    let (mut etcd, direct, agent) = started("resync-after-reconnect: true").await;
    let polled = agent.polled().await;
    is_ready(&polled, 200).await;
    etcd.kill();
    let cause = agent.reaches("etcd", "error").await;
    assert!(cause.starts_with("disconnected"), "{cause}");
    is_ready(&polled, 503).await;
    sleep(length).await;
    is_ready(&polled, 503).await;
    etcd.restart();
    change(&direct).await;
    agent.round(|cause| *cause == RoundCause::Reconnected).await;
    agent.agrees_with(&direct).await;
    agent.is_up().await;
    is_ready(&polled, 200).await;
    were(&polled, &[200, 503, 200]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_and_a_short_outage_the_picture_is_the_stores() {
    after_a_kill(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_and_a_long_outage_the_picture_is_the_stores() {
    after_a_kill(LONG).await;
}

async fn after_a_stop(length: Duration) {
    let (mut etcd, direct, agent) = started("resync-after-reconnect: true").await;
    let polled = agent.polled().await;
    is_ready(&polled, 200).await;
    etcd.pause();
    sleep(length).await;
    if length == LONG {
        agent.reaches("etcd", "error").await;
        is_ready(&polled, 503).await;
    }
    etcd.resume();
    change(&direct).await;
    agent.agrees_with(&direct).await;
    agent.is_up().await;
    is_ready(&polled, 200).await;
    if length == LONG {
        were(&polled, &[200, 503, 200]);
    } else {
        // Too short for anybody to notice.
        were(&polled, &[200]);
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_short_stop_the_picture_is_the_stores() {
    after_a_stop(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_long_stop_the_picture_is_the_stores() {
    after_a_stop(LONG).await;
}

/// Also without a round for each outage: the history itself tells.
async fn after_a_wipe(length: Duration) {
    let (mut etcd, direct, agent) = started("").await;
    let polled = agent.polled().await;
    is_ready(&polled, 200).await;
    etcd.kill();
    agent.reaches("etcd", "error").await;
    is_ready(&polled, 503).await;
    sleep(length).await;
    etcd.wipe();
    put(&direct, "b", "of another history").await;
    agent.agrees_with(&direct).await;
    let lost = |cause: &RoundCause| {
        matches!(
            cause,
            RoundCause::Lost {
                cause: ResyncCause::HistoryChanged,
                ..
            }
        )
    };
    agent.round(lost).await;
    agent.is_up().await;
    is_ready(&polled, 200).await;
    were(&polled, &[200, 503, 200]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_wipe_in_a_short_outage_the_picture_is_the_stores() {
    after_a_wipe(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_wipe_in_a_long_outage_the_picture_is_the_stores() {
    after_a_wipe(LONG).await;
}

/// The agent is cut off, and the history that it would need is given up meanwhile.
async fn after_a_compaction(length: Duration) {
    let etcd = Etcd::start();
    let proxy = Proxy::before(etcd.address());
    let direct = etcd.store().await;
    for key in ["a", "b", "c"] {
        put(&direct, key, "old").await;
    }
    let agent = Agent::start(&proxy.endpoint(), "");
    agent.is_up().await;
    agent.agrees_with(&direct).await;
    let polled = agent.polled().await;
    is_ready(&polled, 200).await;
    proxy.admit(Admit::Refuse);
    proxy.cut();
    agent.reaches("etcd", "error").await;
    is_ready(&polled, 503).await;
    change(&direct).await;
    let last = direct.put("elsewhere", "").await.unwrap();
    direct.compact(last).await.unwrap();
    sleep(length).await;
    proxy.heal();
    agent.agrees_with(&direct).await;
    let lost = |cause: &RoundCause| {
        matches!(
            cause,
            RoundCause::Lost {
                cause: ResyncCause::Compacted,
                ..
            }
        )
    };
    agent.round(lost).await;
    assert_eq!(
        *agent.causes.borrow(),
        [ResyncCause::Initial, ResyncCause::Compacted]
    );
    agent.is_up().await;
    is_ready(&polled, 200).await;
    were(&polled, &[200, 503, 200]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_compaction_in_a_short_outage_the_picture_is_the_stores() {
    after_a_compaction(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_compaction_in_a_long_outage_the_picture_is_the_stores() {
    after_a_compaction(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_the_agent_is_unready_and_names_it() {
    let mut cluster = Cluster::start(3);
    let direct = cluster.store().await;
    put(&direct, "a", "old").await;
    let alone = cluster.follower();
    // At the one that stays, so that its connection does not tell first.
    let agent = Agent::start(&cluster.address(alone).to_string(), "");
    agent.is_up().await;
    let polled = agent.polled().await;
    is_ready(&polled, 200).await;
    let others: Vec<usize> = (0..3).filter(|&member| member != alone).collect();
    for &member in &others {
        cluster.kill(member);
    }
    let no_leader = agent.status.wait_for(|agent| {
        let etcd = agent.plugin("etcd").unwrap();
        let cause = etcd.cause.as_deref().unwrap_or_default();
        etcd.state == State::Error && cause.contains("no leader")
    });
    let told = timeout(SOON, no_leader).await;
    assert!(told.is_ok(), "{}", agent.status.current());
    is_ready(&polled, 503).await;
    cluster.restart_all(others);
    put(&direct, "a", "new").await;
    agent.is_up().await;
    agent.agrees_with(&direct).await;
    is_ready(&polled, 200).await;
    were(&polled, &[200, 503, 200]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_store_the_agent_is_ready_and_degraded_until_there_is_room() {
    let etcd = Etcd::start_with(&["--quota-backend-bytes=4194304"]);
    let direct = etcd.store().await;
    put(&direct, "a", "old").await;
    let agent = Agent::start(&etcd.endpoint(), "");
    agent.is_up().await;
    let polled = agent.polled().await;
    let value = Bytes::from(vec![0; 256 * 1024]);
    let mut puts = 0;
    let full = loop {
        if let Err(error) = direct.put("filling", value.clone()).await {
            break error;
        }
        puts += 1;
        assert!(puts < 100, "it takes more than its quota");
    };
    assert!(matches!(full, Error::StorageFull { .. }), "{full}");
    let cause = agent.reaches("etcd", "degraded").await;
    assert!(cause.contains("NOSPACE"), "{cause}");
    is_ready(&polled, 200).await;
    let last = direct.delete_prefix("filling").await;
    assert_eq!(last.unwrap(), 1);
    let now = direct.status().await.unwrap().revision.unwrap();
    direct.compact(now).await.unwrap();
    etcd.defragment();
    etcd.disarm();
    agent.is_up().await;
    put(&direct, "a", "new").await;
    agent.agrees_with(&direct).await;
    were(&polled, &[200]);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_role_is_limited_to_a_prefix_is_well_and_stores_nothing() {
    let etcd = AuthEtcd::start("agents/1/", &[]).await;
    let keys = format!(
        "username: {APP}\npassword: {PASSWORD}\nallow-plaintext-credentials: true\nsession-ttl: 3s"
    );
    let agent = Agent::start(&etcd.endpoint(), &keys);
    agent.is_up().await;
    let scope = agent.store.prefixed("agents/1/");
    let before = scope.put("a", "1").await.unwrap();
    // Two checks and more.
    sleep(Duration::from_secs(11)).await;
    agent.is_up().await;
    assert_eq!(scope.put("a", "2").await.unwrap().get(), before.get() + 1);
    // A session of its scope is within its rights.
    let session = agent.store.session("agents/1/").await.unwrap();
    session.put("alive", "yes").await.unwrap();
    let error = agent
        .store
        .session("")
        .await
        .unwrap()
        .put("alive", "yes")
        .await;
    assert!(matches!(error, Err(Error::Denied { .. })), "{error:?}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_session_holds_goes_with_its_agent_at_once_and_the_next_one_leads() {
    let etcd = Etcd::start();
    let direct = etcd.store().await;
    // A TTL that no test waits for.
    let keys = "session-ttl: 600";
    let (one, two) = (
        Agent::start(&etcd.endpoint(), keys),
        Agent::start(&etcd.endpoint(), keys),
    );
    let session = one.store.session("agents/").await.unwrap();
    session.put("1/address", "10.0.0.7").await.unwrap();
    let leads = Election::new(&session, "leader").campaign("1").await;
    let first = leads.unwrap();
    let stands = two.store.session("agents/").await.unwrap();
    let campaign =
        tokio::spawn(async move { Election::new(&stands, "leader").campaign("2").await });
    assert!(direct.get("agents/1/address").await.unwrap().is_some());
    let token = first.token();
    one.stop().await;
    assert!(direct.get("agents/1/address").await.unwrap().is_none());
    let second = timeout(SOON, campaign).await.unwrap().unwrap().unwrap();
    assert!(second.token() > token);
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_elected_agent_gives_up_old_history_and_keeps_the_young() {
    let etcd = Etcd::start();
    let direct = etcd.store().await;
    let old = direct.put("agents/1/a", "1").await.unwrap();
    let keys = "auto-compact: 2s";
    let (one, two) = (
        Agent::start(&etcd.endpoint(), keys),
        Agent::start(&etcd.endpoint(), keys),
    );
    one.is_up().await;
    two.is_up().await;
    let past = GetOptions::default().at(old);
    let compacted = async {
        loop {
            let put = direct.put("agents/1/a", "2").await.unwrap();
            let young = GetOptions::default().at(put);
            // However busy the machine is, this is not two seconds old.
            let asked = tokio::time::Instant::now();
            let read = direct.get_opts(&"agents/1/a".into(), young).await;
            assert!(read.is_ok() || asked.elapsed() > Duration::from_secs(2));
            let read = direct.get_opts(&"agents/1/a".into(), past).await;
            if let Err(error) = read {
                return error;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let error = timeout(SOON, compacted).await.unwrap();
    assert!(matches!(error, Error::Compacted { .. }), "{error}");
    one.is_up().await;
    two.is_up().await;
    one.stop().await;
    two.stop().await;
}
