//! What watchers cost a writer, and how much they are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use futures::StreamExt;
use keyval::{ChangeStream, Key, KeyRange, Memory, WatchOptions, Watcher};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::baseline::{filled, picks, put, value};
use crate::report::{Report, Row};
use crate::rounds::{Clock, Scale, Sides, in_turn, median, rate};

/// Watchers on prefixes of their own.
const DISJOINT: usize = 10_000;

/// Watchers on one prefix.
const TOGETHER: usize = 1000;

pub(crate) fn measure(scale: &Scale, report: &mut Report) {
    // The writer has a thread of its own, so that what is measured is the put, and not how the
    // machine shares itself out between writer and readers.
    let readers = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let writer = Builder::new_current_thread().build().expect("a runtime");
    disjoint(&writer, &readers, scale, report);
    drop(readers);
    let both = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    together(&both, scale, report);
}

fn disjoint(writer: &Runtime, runtime: &Runtime, scale: &Scale, report: &mut Report) {
    let keys: Vec<Key> = (0..DISJOINT)
        .map(|i| Key::from(format!("w/{i:05}/key")))
        .collect();
    let plain = runtime.block_on(filled(&keys));

    // Watchers who have gone to do something else: registered, parked, not reading.
    let unread = runtime.block_on(filled(&keys));
    let streams: Vec<_> = keys
        .iter()
        .map(|key| runtime.block_on(watch(&unread, own_prefix(key))))
        .collect();
    let cost = against(writer, scale, &unread, &plain, &keys, || {});
    row(report, "put beside 10,000 unread watchers", &cost);
    drop(streams);

    // Watchers who read all they are told, as tasks beside the writer.
    let read = runtime.block_on(filled(&keys));
    let told = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = keys
        .iter()
        .map(|key| {
            let mut watch = runtime.block_on(watch(&read, own_prefix(key)));
            let told = told.clone();
            runtime.spawn(async move {
                while watch.next().await.is_some_and(|item| item.is_ok()) {
                    told.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let mut written = 0;
    let cost = against(writer, scale, &read, &plain, &keys, || {
        written += scale.operations as u64;
        // Until all is delivered, so that no round pays for another.
        while told.load(Relaxed) < written {
            std::thread::yield_now();
        }
    });
    row(report, "put beside 10,000 reading watchers", &cost);
    for reader in readers {
        reader.abort();
    }
}

fn row(report: &mut Report, name: &str, cost: &Sides) {
    report.add(
        &Row::new(name, cost.ours, "ns")
            .baseline(cost.theirs, cost.ratio)
            .target("ratio <= 2 to none", cost.ratio <= 2.0),
    );
}

fn own_prefix(key: &Key) -> KeyRange {
    KeyRange::prefix(&key.as_bytes()[..8])
}

async fn watch(store: &Memory, range: KeyRange) -> ChangeStream {
    store
        .watch_opts(&range, WatchOptions::default())
        .await
        .expect("a watch")
}

fn against(
    writer: &Runtime,
    scale: &Scale,
    watched: &Memory,
    plain: &Memory,
    keys: &[Key],
    mut settle: impl FnMut(),
) -> Sides {
    let time = |store: &Memory, seed: usize| {
        let work = picks(keys, scale.operations, seed as u64);
        let work: Vec<_> = work.iter().zip((0..).map(value)).collect();
        let count = work.len();
        let began = Clock::start();
        writer.block_on(async {
            for (key, value) in work {
                put(store, key, value).await;
            }
        });
        began.elapsed().as_nanos() as f64 / count as f64
    };
    in_turn(
        scale.rounds,
        |round| {
            let took = time(watched, round);
            settle();
            took
        },
        |round| time(plain, round),
    )
}

fn together(runtime: &Runtime, scale: &Scale, report: &mut Report) {
    let store = Memory::new();
    let told = Arc::new(AtomicUsize::new(0));
    let all = TOGETHER * scale.revisions;
    let done = Arc::new(Notify::new());
    let readers: Vec<_> = (0..TOGETHER)
        .map(|_| {
            let mut watch = runtime.block_on(watch(&store, KeyRange::prefix("one/")));
            let (told, done) = (told.clone(), done.clone());
            runtime.spawn(async move {
                while let Some(Ok(_)) = watch.next().await {
                    if (told.fetch_add(1, Relaxed) + 1).is_multiple_of(all) {
                        done.notify_one();
                    }
                }
            })
        })
        .collect();
    let keys: Vec<Key> = (0..100).map(|i| Key::from(format!("one/{i}"))).collect();
    let rates = (0..=scale.rounds).map(|_| {
        let began = Instant::now();
        let (store, keys, revisions) = (store.clone(), keys.clone(), scale.revisions);
        runtime.spawn(async move {
            for i in 0..revisions {
                put(&store, &keys[i % keys.len()], value(i)).await;
            }
        });
        runtime.block_on(done.notified());
        rate(all, began.elapsed())
    });
    // The first round warms up.
    let deliveries = median(rates.collect::<Vec<_>>().into_iter().skip(1));
    report.add(
        &Row::new("1,000 watchers on one prefix", deliveries, "deliveries/s")
            .target(">= 1,000,000", deliveries >= 1e6),
    );
    for reader in readers {
        reader.abort();
    }
}
