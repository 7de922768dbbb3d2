//! Single operations of the in-memory store, for a closer look: `cargo bench --bench memory`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Bytes, GetOptions, Key, KeyRange, Memory, Op, PutOptions, Txn, WatchOptions,
    Watcher,
};
use tokio::runtime::{Builder, Runtime};

const KEYS: usize = 100_000;

fn key(i: usize) -> Key {
    Key::from(format!("cfg/{:04}/{i:08}", i / 1000))
}

fn value() -> Bytes {
    Bytes::from(vec![b'.'; 64])
}

fn filled(runtime: &Runtime) -> Memory {
    let store = Memory::new();
    runtime.block_on(async {
        for i in 0..KEYS {
            store.put(key(i), value()).await.expect("a put");
        }
    });
    store
}

fn operations(c: &mut Criterion) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let store = filled(&runtime);
    let keys: Vec<Key> = (0..KEYS).map(key).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let mut pick = || keys[random.usize(..KEYS)].clone();

    c.bench_function("get", |bench| {
        bench.to_async(&runtime).iter_batched(
            &mut pick,
            |key| {
                let store = &store;
                async move { black_box(store.get_opts(&key, GetOptions::default()).await) }
            },
            BatchSize::SmallInput,
        );
    });
    c.bench_function("put over a key", |bench| {
        bench.to_async(&runtime).iter_batched(
            || (pick(), value()),
            |(key, value)| {
                let store = &store;
                async move { black_box(store.put_opts(&key, value, PutOptions::default()).await) }
            },
            BatchSize::SmallInput,
        );
    });
    c.bench_function("commit of two puts", |bench| {
        bench.to_async(&runtime).iter_batched(
            || {
                Txn::new()
                    .then(Op::put("pair/a", value()))
                    .then(Op::put("pair/b", value()))
            },
            |txn| {
                let store = &store;
                async move { black_box(store.commit(txn).await) }
            },
            BatchSize::SmallInput,
        );
    });
    c.bench_function("list of 1,000 keys", |bench| {
        bench.to_async(&runtime).iter(|| async {
            let listing = store.list(KeyRange::prefix("cfg/0042/")).await?;
            black_box(listing.collect().await)
        });
    });
    c.bench_function("put and its delivery", |bench| {
        bench.to_async(&runtime).iter_custom(|times| {
            let store = Memory::new();
            async move {
                let range = KeyRange::prefix("a/");
                let options = WatchOptions::default();
                let mut watch = store.watch_opts(&range, options).await.expect("a watch");
                let value = value();
                let began = std::time::Instant::now();
                for _ in 0..times {
                    store.put("a/b", value.clone()).await.expect("a put");
                    black_box(watch.next().await);
                }
                began.elapsed()
            }
        });
    });
}

criterion_group!(benches, operations);
criterion_main!(benches);
