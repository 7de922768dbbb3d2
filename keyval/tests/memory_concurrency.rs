//! Many at once on one in-memory store: what anybody saw is what a replay of the history says.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Bytes, Change, Entry, GetOptions, Key, KeyRange, ListOptions, Maintenance,
    Memory, MemoryOptions, Op, Order, Revision, Txn, WatchOptions, Watcher,
};

type Model = BTreeMap<Key, Entry>;

/// Writes at random for a while.
async fn write(store: Memory, seed: u64, steps: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut key = move || format!("{}/{}", random.u8(..4), random.u8(..20));
    let mut random = fastrand::Rng::with_seed(!seed);
    for step in 0..steps {
        let value = || Bytes::from(format!("{seed}:{step}"));
        match random.u8(..10) {
            0 => drop(store.delete(key()).await.unwrap()),
            1 if random.u8(..10) == 0 => {
                let prefix = format!("{}/", random.u8(..4));
                store.delete_prefix(prefix).await.unwrap();
            }
            1 | 2 => {
                let (a, b) = (key(), key());
                if a != b {
                    let txn = Txn::new()
                        .then(Op::put(a, value()))
                        .then(Op::put(b, value()));
                    store.commit(txn).await.unwrap();
                }
            }
            _ => drop(store.put(key(), value()).await.unwrap()),
        }
        if random.u8(..32) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Every state there was, from the watch of everything.
async fn replay(store: &Memory, last: Revision) -> BTreeMap<Revision, Model> {
    let options = WatchOptions::default()
        .starting_at(Revision::new(2))
        .with_previous();
    let mut watch = store.watch_opts(&KeyRange::all(), options).await.unwrap();
    let mut states = BTreeMap::from([(Revision::new(1), Model::new())]);
    let mut model = Model::new();
    let mut at = Revision::new(1);
    while at < last {
        let changes = watch.next().await.unwrap().unwrap();
        assert_eq!(changes.revision, at.next(), "no revision is left out");
        at = changes.revision;
        for change in changes.changes {
            assert_eq!(change.prev(), model.get(change.key()));
            match change {
                Change::Put { entry, prev } => {
                    assert_eq!(entry.modified, at);
                    assert_eq!(entry.version, prev.map_or(1, |prev| prev.version + 1));
                    model.insert(entry.key.clone(), entry);
                }
                Change::Delete { key, prev } => {
                    assert!(prev.is_some());
                    model.remove(&key);
                }
            }
        }
        states.insert(at, model.clone());
    }
    states
}

fn within(model: &Model, range: &KeyRange) -> Vec<Entry> {
    let entries = model.iter().filter(|(key, _)| range.contains(key));
    entries.map(|(_, entry)| entry.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_list_beside_writers_is_the_state_of_one_revision() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let store = Memory::new();
    let stop = Arc::new(AtomicBool::new(false));
    let listers: Vec<_> = (0..3)
        .map(|i| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed ^ i);
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let range = match random.u8(..3) {
                        0 => KeyRange::all(),
                        1 => KeyRange::prefix(format!("{}/", random.u8(..4))),
                        _ => KeyRange::span("1/3", "2/5"),
                    };
                    // Small pages, so that writes fall between them.
                    let mut options = ListOptions::default().with_page(random.usize(1..8));
                    if random.bool() {
                        options = options.reverse();
                    }
                    let listing = store.list_opts(&range, options).await.unwrap();
                    let revision = listing.revision;
                    let mut entries = Vec::new();
                    let mut stream = listing.entries;
                    while let Some(entry) = stream.next().await {
                        entries.push(entry.unwrap());
                        if random.u8(..8) == 0 {
                            tokio::task::yield_now().await;
                        }
                    }
                    if options.order == Order::Descending {
                        entries.reverse();
                    }
                    seen.push((revision, range, entries));
                }
                seen
            })
        })
        .collect();
    let writers: Vec<_> = (0..3)
        .map(|i| tokio::spawn(write(store.clone(), seed.wrapping_add(i), 1500)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let last = store.status().await.unwrap().revision.unwrap();
    let states = replay(&store, last).await;
    let mut lists = 0;
    for lister in listers {
        for (revision, range, entries) in lister.await.unwrap() {
            lists += 1;
            assert_eq!(entries, within(&states[&revision], &range), "at {revision}");
        }
    }
    assert!(lists > 0);
    // The past can be read at every revision, by list and by key.
    for (revision, model) in states.iter().step_by(37) {
        let options = ListOptions::default().at(*revision);
        let listing = store.list_opts(&KeyRange::all(), options).await.unwrap();
        assert_eq!(
            listing.collect().await.unwrap(),
            within(model, &KeyRange::all())
        );
        let options = GetOptions::default().at(*revision);
        let key = Key::from("1/1");
        assert_eq!(
            store.get_opts(&key, options).await.unwrap().as_ref(),
            model.get(&key)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_beside_writers_miss_nothing_and_see_nothing_twice() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let store = Memory::new();
    let ranges = [
        KeyRange::all(),
        KeyRange::prefix("1/"),
        KeyRange::prefix("1/"),
        KeyRange::key("2/7"),
        KeyRange::span("0/5", "3/5"),
    ];
    let mut watchers = Vec::new();
    for (i, range) in ranges.into_iter().enumerate() {
        let mut watch = store
            .watch_opts(&range, WatchOptions::default())
            .await
            .unwrap();
        watchers.push(tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(i as u64);
            let mut seen = Vec::new();
            loop {
                let changes = watch.next().await.unwrap().unwrap();
                let entry = changes.changes[0].entry();
                if entry.is_some_and(|entry| entry.value == "end") {
                    return (range, seen);
                }
                seen.push(changes);
                // Readers of every speed.
                if random.usize(..i * 20 + 1) > 15 {
                    tokio::task::yield_now().await;
                }
            }
        }));
    }
    let writers: Vec<_> = (0..3)
        .map(|i| tokio::spawn(write(store.clone(), seed.wrapping_add(i), 3000)))
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let last = store.status().await.unwrap().revision.unwrap();
    // One revision for all of them, to tell them that it is over.
    let ends = ["0/6", "1/0", "2/7"];
    let txn = ends
        .into_iter()
        .fold(Txn::new(), |txn, key| txn.then(Op::put(key, "end")));
    store.commit(txn).await.unwrap();
    let mut all = BTreeMap::new();
    let options = WatchOptions::default().starting_at(Revision::new(2));
    let mut history = store.watch_opts(&KeyRange::all(), options).await.unwrap();
    while all.len() as u64 + 1 < last.get() {
        let changes = history.next().await.unwrap().unwrap();
        all.insert(changes.revision, changes.changes);
    }
    for watcher in watchers {
        let (range, seen) = watcher.await.unwrap();
        let expected: Vec<_> = all
            .iter()
            .filter_map(|(revision, changes)| {
                let mut changes = changes.clone();
                changes.retain(|change| range.contains(change.key()));
                (!changes.is_empty()).then_some((*revision, changes))
            })
            .collect();
        let seen: Vec<_> = seen
            .into_iter()
            .map(|changes| (changes.revision, changes.changes))
            .collect();
        assert_eq!(seen, expected, "{range:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn compaction_beside_readers_gives_the_truth_or_says_compacted() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let store = Memory::with_options(MemoryOptions::default().with_retain_revisions(20));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut whole, mut broken) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let options = ListOptions::default().with_page(3);
                    let range = KeyRange::prefix("all/");
                    let listing = store.list_opts(&range, options).await.unwrap();
                    match listing.collect().await {
                        // Every key is written in every revision, so one list has one value.
                        Ok(entries) => {
                            whole += 1;
                            assert_eq!(entries.len() % 32, 0);
                            assert!(entries.windows(2).all(|two| two[0].value == two[1].value));
                        }
                        Err(keyval::Error::Compacted { .. }) => broken += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (whole, broken)
            })
        })
        .collect();
    for i in 0..2000 {
        let txn = (0..32).fold(Txn::new(), |txn, key| {
            txn.then(Op::put(format!("all/{key}"), format!("{i}")))
        });
        store.commit(txn).await.unwrap();
        if i % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        let (whole, broken) = reader.await.unwrap();
        println!("{whole} whole lists, {broken} compacted ones");
        assert!(whole + broken > 0);
    }
}
