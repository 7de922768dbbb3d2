//! A writer beside one who lists without pause, and what a snapshot costs.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use keyval::{Broker, BrokerExt, Key, KeyRange, ListOptions, Memory};
use tokio::runtime::{Builder, Runtime};

use crate::baseline::{SIZES, filled, key, picks, prefix, put, value};
use crate::report::{Report, Row};
use crate::rounds::{Clock, Scale, median, rate};

pub(crate) fn measure(scale: &Scale, report: &mut Report) {
    // One thread for the writer and one for the lister, so that the two only meet in the store.
    let writer = Builder::new_current_thread().build().expect("a runtime");
    let lister = Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let mut first = None;
    for (size, label) in SIZES {
        let keys: Vec<Key> = (0..size).map(key).collect();
        let store = writer.block_on(filled(&keys));
        // As large as the store, and nothing to do with it.
        let other = writer.block_on(filled(&keys));
        let cost = snapshot(&writer, scale, &store);
        let first = *first.get_or_insert(cost);
        let ratio = cost / first;
        report.add(
            &Row::new(format!("snapshot, {label} keys"), cost, "ns")
                .baseline(first, ratio)
                .target("ratio <= 1.5 to 10 k keys", ratio <= 1.5),
        );
        beside_lists(
            &writer,
            &lister,
            scale,
            [&store, &other],
            &keys,
            label,
            report,
        );
    }
}

/// What it costs to take a snapshot of everything, and to let go of it.
fn snapshot(runtime: &Runtime, scale: &Scale, store: &Memory) -> f64 {
    let times = scale.operations / 10;
    let all = KeyRange::all();
    median((0..scale.rounds).map(|_| {
        let began = Clock::start();
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
    writer: &Runtime,
    lister: &Runtime,
    scale: &Scale,
    [store, other]: [&Memory; 2],
    keys: &[Key],
    label: &str,
    report: &mut Report,
) {
    let mut lists = vec![];
    let mut beside = |listed: &Memory, seed| {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let task = list(
            listed.clone(),
            keys.len() / 1000,
            stop.clone(),
            count.clone(),
        );
        let task = lister.spawn(task);
        let writes = writer.block_on(write(store, keys, scale.round, seed));
        stop.store(true, Relaxed);
        writer.block_on(task).expect("the lister ends");
        lists.push(count.load(Relaxed) as f64 / scale.round.as_secs_f64());
        writes
    };
    let mut rounds = vec![];
    for round in 0..scale.rounds as u64 {
        rounds.push([
            writer.block_on(write(store, keys, scale.round, round)),
            beside(store, 100 + round),
            beside(other, 200 + round),
        ]);
    }
    let middle = |figure: fn(&[Writes; 3]) -> f64| median(rounds.iter().map(figure));
    let alone = middle(|[alone, ..]| alone.rate);
    let share = middle(|[alone, beside, _]| beside.rate / alone.rate);
    report.add(
        &Row::new(
            format!("put beside lists of 1,000 keys, {label} keys"),
            middle(|[_, beside, _]| beside.rate),
            "op/s",
        )
        .baseline(alone, share)
        .target("ratio >= 0.8 to the writer alone", share >= 0.8),
    );
    // What the two threads cost each other although they share nothing: caches, memory, and
    // whatever else the machine does.
    report.add(
        &Row::new(
            format!("put beside lists of another store, {label} keys"),
            middle(|[_, _, other]| other.rate),
            "op/s",
        )
        .baseline(alone, middle(|[alone, _, other]| other.rate / alone.rate)),
    );
    let p99 = middle(|[_, beside, _]| beside.p99);
    report.add(
        &Row::new(format!("put p99 beside lists, {label} keys"), p99, "us")
            .baseline(
                middle(|[alone, ..]| alone.p99),
                middle(|[alone, beside, _]| beside.p99 / alone.p99),
            )
            .target("< 100 us", p99 < 100.0),
    );
    report.add(&Row::new(
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
    let picks = picks(keys, 1 << 16, seed);
    let mut took = Vec::with_capacity(4_000_000);
    let clock = Clock::start();
    let began = Instant::now();
    let mut last = began;
    for (i, key) in picks.iter().cycle().enumerate() {
        put(store, key, value(i)).await;
        let now = Instant::now();
        took.push((now - last).as_nanos() as u64);
        last = now;
        if now - began >= time {
            break;
        }
    }
    let rate = rate(took.len(), clock.elapsed());
    let at = took.len() * 99 / 100;
    let p99 = *took.select_nth_unstable(at).1 as f64 / 1000.0;
    Writes { rate, p99 }
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
