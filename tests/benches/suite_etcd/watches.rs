//! Followers beside bare watches: how fast changes reach many, and how soon they reach one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use etcd_client::{Client, EventType, KvClient, Txn, TxnOp, WatchOptions, WatchStream};
use futures::StreamExt;
use keyval::{Follow, FollowOptions, KeyRange, Update, follow};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::report::{Report, Row};
use crate::rounds::{Clock, Scale, in_turn, median};
use crate::sides::{VALUE, client, raw, runtime};

const WATCHES: usize = 100;
/// Changes of one revision.
const PUTS: usize = 32;
const STACK: &str = "watch/stack/";
const PLAIN: &str = "watch/plain/";

pub(crate) fn measure(server: &mut Etcd, scale: &Scale, report: &mut Report) {
    let runtime = runtime();
    let store = runtime.block_on(server.store());
    let client = runtime.block_on(client(&server.endpoint()));
    let writer = runtime.block_on(raw(server));
    delay(&runtime, &store, &client, &writer, scale, report);
    rate(&runtime, &store, &client, &writer, scale, report);
}

/// Counts what arrives, and tells when it is as much as was written.
#[derive(Default)]
struct Count {
    arrived: AtomicUsize,
    expected: AtomicUsize,
    all: Notify,
}

impl Count {
    fn add(&self, changes: usize) {
        let arrived = self.arrived.fetch_add(changes, Relaxed) + changes;
        if arrived == self.expected.load(Relaxed) {
            self.all.notify_one();
        }
    }
}

fn rate(
    runtime: &Runtime,
    store: &EtcdStore,
    client: &Client,
    writer: &KvClient,
    scale: &Scale,
    report: &mut Report,
) {
    let (ours, theirs) = (Arc::new(Count::default()), Arc::new(Count::default()));
    for _ in 0..WATCHES {
        let mut updates = runtime.block_on(followed(store));
        let count = ours.clone();
        runtime.spawn(async move {
            while let Some(update) = updates.next().await {
                let Update::Changes(changes) = update.expect("it never fails") else {
                    panic!("nothing was lost");
                };
                count.add(changes.changes.len());
            }
        });
        let mut watch = runtime.block_on(watched(client));
        let count = theirs.clone();
        runtime.spawn(async move {
            while let Some(reply) = watch.message().await.expect("it never fails") {
                count.add(reply.events().len());
            }
        });
    }
    let round = |count: &Count, prefix: &'static str| {
        let changes = scale.revisions * PUTS * WATCHES;
        count.expected.fetch_add(changes, Relaxed);
        let clock = Clock::start();
        runtime.spawn(write(writer.clone(), prefix, scale.revisions));
        runtime.block_on(count.all.notified());
        clock.figures(changes as u64)
    };
    let cost = in_turn(
        scale.rounds,
        || round(&ours, STACK),
        || round(&theirs, PLAIN),
    );
    let [rate, work] = cost.ratio;
    report.add(
        &Row::new("changes to 100 followers", cost.ours[0], "change/s")
            .baseline(cost.theirs[0], rate)
            .target("ratio >= 1.0 to 100 bare watches", rate >= 1.0),
    );
    report.add(
        &Row::new(
            "changes to 100 followers, processor",
            cost.ours[1],
            "us/change",
        )
        .baseline(cost.theirs[1], work),
    );
}

async fn write(mut writer: KvClient, prefix: &str, revisions: usize) {
    for _ in 0..revisions {
        let puts: Vec<_> = (0..PUTS)
            .map(|n| TxnOp::put(format!("{prefix}{n:04}"), vec![b'.'; VALUE], None))
            .collect();
        let written = writer.txn(Txn::new().and_then(puts)).await;
        written.expect("a transaction");
    }
}

fn delay(
    runtime: &Runtime,
    store: &EtcdStore,
    client: &Client,
    writer: &KvClient,
    scale: &Scale,
    report: &mut Report,
) {
    let mut updates = runtime.block_on(followed(store));
    let mut watch = runtime.block_on(watched(client));
    let times = scale.puts;
    let ours = || {
        runtime.block_on(async {
            let mut took = Vec::new();
            for _ in 0..times {
                took.push(timed(writer, STACK, next_change(&mut updates)).await);
            }
            [median(took)]
        })
    };
    let theirs = || {
        runtime.block_on(async {
            let mut took = Vec::new();
            for _ in 0..times {
                took.push(timed(writer, PLAIN, next_event(&mut watch)).await);
            }
            [median(took)]
        })
    };
    let cost = in_turn(scale.rounds, ours, theirs);
    report.add(
        &Row::new("from a put to its change, median", cost.ours[0], "us")
            .baseline(cost.theirs[0], cost.ratio[0])
            .target("ratio <= 1.1 to a bare watch", cost.ratio[0] <= 1.1),
    );
}

/// Microseconds from before a put until something arrives.
async fn timed(writer: &KvClient, prefix: &str, arrival: impl Future<Output = Instant>) -> f64 {
    let (key, mut writer) = (format!("{prefix}key"), writer.clone());
    let began = Instant::now();
    let put = writer.put(key, vec![b'.'; VALUE], None);
    let (put, arrived) = futures::join!(put, arrival);
    put.expect("a put");
    (arrived - began).as_secs_f64() * 1e6
}

async fn next_change(updates: &mut Follow<EtcdStore>) -> Instant {
    loop {
        match updates.next().await {
            Some(Ok(Update::Changes(changes))) if !changes.changes.is_empty() => {
                return Instant::now();
            }
            Some(Ok(Update::Changes(_))) => {}
            _ => panic!("nothing is lost and nothing fails"),
        }
    }
}

async fn next_event(watch: &mut WatchStream) -> Instant {
    loop {
        let reply = watch.message().await.expect("it never fails");
        let reply = reply.expect("it never ends");
        if reply
            .events()
            .iter()
            .any(|event| event.event_type() == EventType::Put)
        {
            return Instant::now();
        }
    }
}

/// A follower that has had its snapshot.
async fn followed(store: &EtcdStore) -> Follow<EtcdStore> {
    let range = KeyRange::prefix(STACK);
    let mut updates = follow(store.clone(), range, FollowOptions::default());
    let first = updates.next().await.expect("it never ends");
    assert!(matches!(first, Ok(Update::Resync(_))));
    updates
}

async fn watched(client: &Client) -> WatchStream {
    let options = WatchOptions::new().with_prefix();
    let watch = client.watch_client().watch(PLAIN, Some(options)).await;
    watch.expect("a watch")
}
