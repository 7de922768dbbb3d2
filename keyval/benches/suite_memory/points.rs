//! Single gets and puts, against a bare map behind a lock.

use std::hint::black_box;

use keyval::{Broker, Bytes, GetOptions, Key, Memory};
use tokio::runtime::Builder;

use crate::baseline::{Bare, SIZES, bare, filled, key, picks, put, value};
use crate::report::{Report, Row};
use crate::rounds::{Clock, Scale, in_turn, rate};

pub(crate) fn measure(scale: &Scale, report: &mut Report) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for (size, label) in SIZES {
        let keys: Vec<Key> = (0..size).map(key).collect();
        let map = bare(&keys);
        let store = runtime.block_on(filled(&keys));

        let gets = in_turn(
            scale.rounds,
            |round| {
                let picks = picks(&keys, scale.operations, round as u64);
                let began = Clock::start();
                runtime.block_on(get_all(&store, &picks));
                rate(picks.len(), began.elapsed())
            },
            |round| {
                let picks = picks(&keys, scale.operations, round as u64);
                let began = Clock::start();
                for key in &picks {
                    black_box(map.read().get(key.as_bytes()).cloned());
                }
                rate(picks.len(), began.elapsed())
            },
        );
        report.add(
            &Row::new(format!("get, {label} keys"), gets.ours, "op/s")
                .baseline(gets.theirs, gets.ratio)
                .target("ratio >= 0.7", gets.ratio >= 0.7),
        );

        let puts = in_turn(
            scale.rounds,
            |round| {
                let work = writes(&keys, scale.operations, round);
                let count = work.len();
                let began = Clock::start();
                runtime.block_on(async {
                    for (key, value) in work {
                        put(&store, &key, value).await;
                    }
                });
                rate(count, began.elapsed())
            },
            |round| {
                let work = writes(&keys, scale.operations, round);
                let count = work.len();
                let began = Clock::start();
                put_bare(&map, work);
                rate(count, began.elapsed())
            },
        );
        report.add(
            &Row::new(format!("put over a key, {label} keys"), puts.ours, "op/s")
                .baseline(puts.theirs, puts.ratio)
                .target("ratio >= 0.4", puts.ratio >= 0.4),
        );
    }
    fill(scale, report);
}

/// Keys that are not there yet, up to a million.
fn fill(scale: &Scale, report: &mut Report) {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let size = 200_000;
    let mut order: Vec<usize> = (0..size).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut order);
    let work = || -> Vec<(Key, Bytes)> { order.iter().map(|i| (key(*i), value(*i))).collect() };
    let puts = in_turn(
        scale.rounds.min(3),
        |_| {
            let (store, work) = (Memory::new(), work());
            let began = Clock::start();
            runtime.block_on(async {
                for (key, value) in work {
                    put(&store, &key, value).await;
                }
            });
            rate(size, began.elapsed())
        },
        |_| {
            let (map, work) = (Bare::default(), work());
            let began = Clock::start();
            put_bare(&map, work);
            rate(size, began.elapsed())
        },
    );
    report.add(
        &Row::new("put of a new key, up to 200 k keys", puts.ours, "op/s")
            .baseline(puts.theirs, puts.ratio)
            .target("ratio >= 0.4", puts.ratio >= 0.4),
    );
}

async fn get_all<B: Broker>(store: &B, picks: &[Key]) {
    for key in picks {
        let entry = store.get_opts(key, GetOptions::default()).await;
        black_box(entry.expect("the store answers"));
    }
}

fn put_bare(map: &Bare, work: Vec<(Key, Bytes)>) {
    for (key, value) in work {
        black_box(map.write().insert(key.into_bytes(), value));
    }
}

/// Keys in random order with new values, made before the clock starts.
fn writes(keys: &[Key], count: usize, round: usize) -> Vec<(Key, Bytes)> {
    picks(keys, count, 1000 + round as u64)
        .into_iter()
        .enumerate()
        .map(|(i, key)| (key, value(i)))
        .collect()
}
