//! A follower across crashes of the server: how soon it goes on, and that it tells everything once.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use etcd_client::KvClient;
use futures::StreamExt;
use keyval::{BrokerExt, FollowOptions, KeyRange, Update, follow};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::report::{Report, Row};
use crate::rounds::{Scale, median};
use crate::sides::{raw, runtime};

const PREFIX: &str = "recovery/";
/// How often the writer writes, and asks whether the server is back.
const PAUSE: Duration = Duration::from_millis(1);

/// When which key was written or told.
type Log = Arc<Mutex<Vec<(Instant, String)>>>;

pub(crate) fn measure(server: &mut Etcd, scale: &Scale, report: &mut Report) {
    let runtime = runtime();
    let store = runtime.block_on(server.store());
    let (written, told) = (Log::default(), Log::default());
    let stop = Arc::new(AtomicBool::new(false));
    let resyncs = Arc::new(Mutex::new(0_usize));
    let follower = runtime.spawn(tell(store.clone(), told.clone(), resyncs.clone()));
    wait(|| *resyncs.lock() == 1);
    let client = runtime.block_on(raw(server));
    let writer = runtime.spawn(write(client, written.clone(), stop.clone()));

    let (mut after_port, mut after_write) = (vec![], vec![]);
    for down in scale.outages {
        let before = told.lock().len();
        wait(|| told.lock().len() > before + 100);
        server.kill();
        std::thread::sleep(*down);
        let back = port_answers(server.endpoint());
        server.restart();
        let back = back.join().expect("the port answers");
        let after = |log: &Log| {
            wait(|| log.lock().last().is_some_and(|(at, _)| *at > back));
            let log = log.lock();
            log.iter()
                .find(|(at, _)| *at > back)
                .map(|(at, _)| *at)
                .expect("it was waited for")
        };
        let (first_write, first_change) = (after(&written), after(&told));
        after_port.push((first_change - back).as_secs_f64() * 1e3);
        let lag = first_change.saturating_duration_since(first_write);
        after_write.push(lag.as_secs_f64() * 1e3);
    }
    stop.store(true, Relaxed);
    runtime.block_on(writer).expect("the writer ends");
    let (lost, repeated) = faults(&runtime, &store, &told);
    follower.abort();
    let worst = after_write.iter().copied().fold(0.0, f64::max);
    report.add(&Row::new(
        "from the port that answers to the first change, median",
        median(after_port),
        "ms",
    ));
    report.add(
        &Row::new(
            "from the first write after a crash to the first change, worst",
            worst,
            "ms",
        )
        .target("<= 20 ms", worst <= 20.0),
    );
    for (name, count) in [("lost", lost), ("repeated", repeated)] {
        let name = format!("changes {name} in {} crashes", scale.outages.len());
        report.add(&Row::new(name, count as f64, "changes").target("0", count == 0));
    }
    let resyncs = *resyncs.lock() - 1;
    report.add(&Row::new(
        "resyncs in these crashes",
        resyncs as f64,
        "resyncs",
    ));
}

/// Notes what a follower is told.
async fn tell(store: EtcdStore, told: Log, resyncs: Arc<Mutex<usize>>) {
    let mut updates = follow(store, KeyRange::prefix(PREFIX), FollowOptions::default());
    while let Some(update) = updates.next().await {
        match update.expect("an outage is no error") {
            Update::Resync(_) => *resyncs.lock() += 1,
            Update::Changes(changes) => {
                let now = Instant::now();
                let keys = changes
                    .changes
                    .iter()
                    .map(|change| (now, change.key().to_string()));
                told.lock().extend(keys);
            }
        }
    }
}

/// Writes one new key after the other, whatever became of the last.
async fn write(mut client: KvClient, written: Log, stop: Arc<AtomicBool>) {
    let mut count = 0;
    while !stop.load(Relaxed) {
        let key = format!("{PREFIX}{count:08}");
        if client.put(key.clone(), "", None).await.is_ok() {
            written.lock().push((Instant::now(), key));
        }
        count += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says when the port answers again.
fn port_answers(endpoint: String) -> std::thread::JoinHandle<Instant> {
    std::thread::spawn(move || {
        while TcpStream::connect(&endpoint).is_err() {
            std::thread::sleep(PAUSE);
        }
        Instant::now()
    })
}

/// How many keys of the store were never told, and how many were told more than once.
fn faults(runtime: &Runtime, store: &EtcdStore, told: &Log) -> (usize, usize) {
    let list = async {
        store
            .put(format!("{PREFIX}the last"), "")
            .await
            .expect("a put");
        let keys = store.keys(KeyRange::prefix(PREFIX)).await;
        keys.expect("a listing").collect().await.expect("keys")
    };
    let keys = runtime.block_on(list);
    wait(|| told.lock().iter().any(|(_, key)| key.ends_with("the last")));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, key) in told.lock().iter() {
        *counts.entry(key.clone()).or_default() += 1;
    }
    let lost = keys
        .iter()
        .filter(|entry| !counts.contains_key(&entry.key.to_string()));
    let repeated = counts.values().filter(|count| **count > 1);
    (lost.count(), repeated.count())
}

fn wait(until: impl Fn() -> bool) {
    let began = Instant::now();
    while !until() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it does not come"
        );
        std::thread::sleep(PAUSE);
    }
}
