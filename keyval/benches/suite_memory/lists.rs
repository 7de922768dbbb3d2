//! A writer beside one who lists without pause, and what a snapshot costs.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use keyval::{Broker, BrokerExt, Key, KeyRange, ListOptions, Memory};
use tokio::runtime::{Builder, Runtime};

use crate::baseline::{SIZES, filled, key, picks, prefix, put, value};
use crate::report::{Report, Row};
use crate::rounds::{Scale, median, rate};

pub(crate) fn measure(scale: &Scale, report: &mut Report) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut first = None;
    for (size, label) in SIZES {
        let keys: Vec<Key> = (0..size).map(key).collect();
        let store = runtime.block_on(filled(&keys));
        let cost = snapshot(&runtime, scale, &store);
        let first = *first.get_or_insert(cost);
        let ratio = cost / first;
        report.add(
            Row::new(format!("snapshot, {label} keys"), cost, "ns")
                .baseline(first, ratio)
                .target("ratio <= 1.5 to 10 k keys", ratio <= 1.5),
        );
        beside_lists(&runtime, scale, &store, &keys, label, report);
    }
}

/// What it costs to take a snapshot of everything, and to let go of it.
fn snapshot(runtime: &Runtime, scale: &Scale, store: &Memory) -> f64 {
    let times = scale.operations / 10;
    let all = KeyRange::all();
    median((0..scale.rounds).map(|_| {
        let began = Instant::now();
        runtime.block_on(async {
            for _ in 0..times {
                let listing = store.list_opts(&all, ListOptions::default());
                black_box(listing.await.expect("a listing"));
            }
        });
        began.elapsed().as_nanos() as f64 / times as f64
    }))
}

fn beside_lists(
    runtime: &Runtime,
    scale: &Scale,
    store: &Memory,
    keys: &[Key],
    label: &str,
    report: &mut Report,
) {
    let (mut alone, mut beside, mut shares, mut lists) = (vec![], vec![], vec![], vec![]);
    for round in 0..scale.rounds {
        let free = runtime.block_on(write(store, keys, scale.round, round as u64));
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let lister = runtime.spawn(list(
            store.clone(),
            keys.len() / 1000,
            stop.clone(),
            count.clone(),
        ));
        let slowed = runtime.block_on(write(store, keys, scale.round, 500 + round as u64));
        stop.store(true, Relaxed);
        runtime.block_on(lister).expect("the lister ends");
        shares.push(slowed.rate / free.rate);
        lists.push(count.load(Relaxed) as f64 / scale.round.as_secs_f64());
        alone.push(free);
        beside.push(slowed);
    }
    let share = median(shares);
    let rates = |writes: &[Writes]| median(writes.iter().map(|writes| writes.rate));
    report.add(
        Row::new(
            format!("put beside lists of 1,000 keys, {label} keys"),
            rates(&beside),
            "op/s",
        )
        .baseline(rates(&alone), share)
        .target("ratio >= 0.8 to the writer alone", share >= 0.8),
    );
    let p99 = median(beside.iter().map(|writes| writes.p99));
    let p99_alone = median(alone.iter().map(|writes| writes.p99));
    report.add(
        Row::new(format!("put p99 beside lists, {label} keys"), p99, "us")
            .baseline(p99_alone, p99 / p99_alone)
            .target("< 100 us", p99 < 100.0),
    );
    report.add(Row::new(
        format!("lists of 1,000 keys beside the writer, {label} keys"),
        median(lists),
        "list/s",
    ));
}

struct Writes {
    rate: f64,
    /// In microseconds.
    p99: f64,
}

/// Puts over random keys without pause for a time.
async fn write(store: &Memory, keys: &[Key], time: Duration, seed: u64) -> Writes {
    let store = store.clone();
    let picks = picks(keys, 1 << 16, seed);
    // On a worker of the runtime, where programs write.
    tokio::spawn(async move {
        let mut took = Vec::with_capacity(4_000_000);
        let began = Instant::now();
        let mut last = began;
        for (i, key) in picks.iter().cycle().enumerate() {
            put(&store, key, value(i)).await;
            let now = Instant::now();
            took.push((now - last).as_nanos() as u64);
            last = now;
            if now - began >= time {
                break;
            }
        }
        let rate = rate(took.len(), last - began);
        let at = took.len() * 99 / 100;
        let p99 = *took.select_nth_unstable(at).1 as f64 / 1000.0;
        Writes { rate, p99 }
    })
    .await
    .expect("the writer ends")
}

/// Lists one prefix after the other without pause.
async fn list(store: Memory, prefixes: usize, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let mut random = fastrand::Rng::with_seed(7);
    while !stop.load(Relaxed) {
        let range = KeyRange::prefix(prefix(random.usize(..prefixes)));
        let listing = store.list(range).await.expect("a listing");
        let entries = listing.collect().await.expect("entries");
        assert_eq!(entries.len(), 1000);
        count.fetch_add(1, Relaxed);
    }
}
