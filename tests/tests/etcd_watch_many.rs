//! Many watches on few streams: what one reader does or leaves undone concerns no other.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use keyval::{
    BrokerExt, Change, ChangeStream, Changes, Error, FollowOptions, KeyRange, Maintenance,
    Revision, Update, WatchOptions, Watcher, follow,
};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(60);
const WATCHES: &str = "etcd_debugging_mvcc_watcher_total";
const STREAMS: &str = "etcd_debugging_mvcc_watch_stream_total";
/// The stream without a watch that each store holds open for its pings.
const OWN: f64 = 1.0;

async fn item(watch: &mut ChangeStream) -> keyval::Result<Changes> {
    tokio::time::timeout(SOON, watch.next())
        .await
        .expect("it comes soon")
        .expect("the watch goes on")
}

async fn changes(watch: &mut ChangeStream) -> Changes {
    loop {
        let changes = item(watch).await.expect("nothing fails");
        if !changes.is_progress() {
            return changes;
        }
    }
}

async fn watch(store: &EtcdStore, prefix: &str) -> ChangeStream {
    store
        .watch_opts(&KeyRange::prefix(prefix), WatchOptions::default())
        .await
        .expect("the server is well")
}

async fn watch_many(store: &EtcdStore, prefixes: Vec<String>) -> Vec<ChangeStream> {
    let opening = prefixes
        .into_iter()
        .map(|prefix| async move { watch(store, &prefix).await });
    stream::iter(opening).buffered(64).collect().await
}

/// Puts many values, several at a time; returns the last revision.
async fn flood(store: &EtcdStore, prefix: &str, puts: usize, size: usize) -> Revision {
    let value = bytes::Bytes::from(vec![b'x'; size]);
    stream::iter(0..puts)
        .map(|n| store.put(format!("{prefix}{}", n % 100), value.clone()))
        .buffer_unordered(64)
        .map(|put| put.expect("the server is well"))
        .fold(Revision::ZERO, |last, put| async move { last.max(put) })
        .await
}

async fn until(server: &Etcd, metric: &str, what: impl Fn(f64) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let value = server.metric(metric).expect("the server counts it");
        if what(value) {
            return;
        }
        assert!(Instant::now() < deadline, "{metric} stays at {value}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The memory of this process, in bytes, where the system tells it.
fn memory() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_watches_open_fast_and_use_few_streams() {
    let server = Etcd::start();
    let store = server.store().await;
    let begun = Instant::now();
    let prefixes = (0..3000).map(|n| format!("w/{n:04}/")).collect();
    let mut all = watch_many(&store, prefixes).await;
    let took = begun.elapsed();
    println!("opened in {took:?}");
    assert!(took < SOON);
    assert_eq!(server.metric(WATCHES), Some(3000.0));
    let streams = server.metric(STREAMS).expect("the server counts them");
    assert!((1.0..=16.0 + OWN).contains(&streams), "{streams} streams");
    for n in (0..3000).step_by(100) {
        let put = store.put(format!("w/{n:04}/a"), "").await.unwrap();
        assert_eq!(changes(&mut all[n]).await.revision, put);
    }
    // Everything goes with the watches, the streams a little later.
    drop(all);
    until(&server, WATCHES, |watches| watches == 0.0).await;
    until(&server, STREAMS, |streams| streams <= OWN).await;
    let mut again = watch(&store, "w/").await;
    let put = store.put("w/again", "").await.unwrap();
    assert_eq!(changes(&mut again).await.revision, put);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_sleeps_costs_bounded_memory_and_misses_nothing() {
    const PUTS: usize = 20_000;
    const SIZE: usize = 2_000;
    const SLEEPERS: usize = 8;
    let server = Etcd::start();
    let store = server.store().await;
    let mut sleepers = watch_many(&store, vec!["s/".to_owned(); SLEEPERS]).await;
    let mut awake = watch(&store, "s/").await;
    let reader = tokio::spawn(async move {
        let mut seen = Vec::with_capacity(PUTS);
        while seen.len() < PUTS {
            seen.push(changes(&mut awake).await.revision);
        }
        seen
    });
    let before = memory();
    flood(&store, "s/", PUTS, SIZE).await;
    let seen = tokio::time::timeout(SOON, reader)
        .await
        .expect("nobody slows the one who reads")
        .unwrap();
    if let (Some(before), Some(after)) = (before, memory()) {
        let grown = after.saturating_sub(before);
        println!("{grown} bytes for {SLEEPERS} sleepers");
        assert!(grown < SLEEPERS * PUTS * SIZE / 4, "{grown} bytes");
    }
    // etcd keeps nothing ready for those who sleep.
    until(&server, WATCHES, |watches| watches == 0.0).await;
    for sleeper in &mut sleepers[..3] {
        for revision in &seen {
            assert_eq!(changes(sleeper).await.revision, *revision);
        }
    }
    // Once awake, they go on with the present.
    let put = store.put("s/now", "").await.unwrap();
    assert_eq!(changes(&mut sleepers[0]).await.revision, put);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleeper_learns_of_a_compaction_behind_what_it_had() {
    let server = Etcd::start();
    let store = server.store().await;
    let mut sleeper = watch(&store, "s/").await;
    let first = sleeper.after().next();
    let last = flood(&store, "s/", 5_000, 10).await;
    until(&server, WATCHES, |watches| watches == 0.0).await;
    store.compact(last).await.unwrap();
    let mut next = first;
    let error = loop {
        match item(&mut sleeper).await {
            Ok(changes) => {
                assert_eq!(changes.revision, next);
                next = next.next();
            }
            Err(error) => break error,
        }
    };
    assert!(next > first && next < last, "{next}");
    assert!(
        matches!(error, Error::Compacted { requested, .. } if requested == next),
        "{error} at {next}"
    );
    assert!(sleeper.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_watch_learns_once_that_the_server_has_died() {
    let mut server = Etcd::start();
    let store = server.store().await;
    let prefixes = (0..500).map(|n| format!("w/{n}/")).collect();
    let mut all = watch_many(&store, prefixes).await;
    let put = store.put("w/7/a", "").await.unwrap();
    assert_eq!(changes(&mut all[7]).await.revision, put);
    server.kill();
    for (n, mut watch) in all.into_iter().enumerate() {
        let mut delivered = if n == 7 { put } else { watch.after() };
        let error = loop {
            match item(&mut watch).await {
                Ok(changes) => delivered = changes.revision,
                Err(error) => break error.to_string(),
            }
        };
        let expected = format!("delivered up to revision {delivered}");
        assert!(error.contains(&expected), "{n}: {error}");
        assert!(error.contains(&format!("\"w/{n}/")), "{n}: {error}");
        assert!(watch.next().await.is_none());
    }
    // The same handle watches on when the server is back.
    server.restart();
    let deadline = Instant::now() + SOON;
    let options = WatchOptions::default().starting_at(put);
    let range = KeyRange::prefix("w/");
    let mut again = loop {
        match store.watch_opts(&range, options).await {
            Ok(watch) => break watch,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    assert_eq!(changes(&mut again).await.revision, put);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_replay_and_those_at_the_present_do_not_wait_for_each_other() {
    let server = Etcd::start();
    let store = server.store().await;
    let last = flood(&store, "h/", 12_000, 100).await;
    let mut present = watch(&store, "p/").await;
    let options = WatchOptions::default().starting_at(Revision::new(2));
    let range = KeyRange::prefix("h/");
    let mut replay = store.watch_opts(&range, options).await.unwrap();
    let streams = server.metric(STREAMS).expect("the server counts them");
    assert!((2.0..=2.0 + OWN).contains(&streams), "{streams} streams");
    for _ in 0..20 {
        let put = store.put("p/a", "").await.unwrap();
        assert_eq!(changes(&mut present).await.revision, put);
    }
    for revision in 2..=last.get() {
        let revision = Revision::new(revision);
        assert_eq!(changes(&mut replay).await.revision, revision);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_on_one_stream_lose_and_repeat_nothing_across_a_crash() {
    const FOLLOWERS: usize = 40;
    const PUTS: usize = 400;
    let mut server = Etcd::start();
    let store = server.store().await;
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        let mut updates = follow(
            store.clone(),
            KeyRange::prefix("f/"),
            FollowOptions::default(),
        );
        let begun = tokio::time::timeout(SOON, updates.next()).await;
        let first = begun.expect("it begins soon").unwrap().unwrap();
        assert!(matches!(first, Update::Resync(_)));
        followers.push(tokio::spawn(async move {
            let mut seen: Vec<(Revision, String)> = Vec::new();
            let last = (PUTS - 1).to_string();
            while seen.last().is_none_or(|(_, value)| *value != last) {
                let next = tokio::time::timeout(SOON, updates.next()).await;
                let changes = match next.expect("it goes on").unwrap().unwrap() {
                    Update::Changes(changes) => changes,
                    Update::Resync(again) => panic!("nothing was lost: {:?}", again.cause),
                };
                for change in changes.changes {
                    let Change::Put { entry, .. } = change else {
                        panic!("nothing is deleted");
                    };
                    let value = String::from_utf8(entry.value.to_vec()).unwrap();
                    seen.push((changes.revision, value));
                }
            }
            seen
        }));
    }
    for n in 0..PUTS {
        if n == PUTS / 2 {
            server.kill();
            server.restart();
        }
        while let Err(error) = store.put("f/a", n.to_string()).await {
            assert!(error.is_retryable(), "{error}");
        }
    }
    let mut all = Vec::new();
    for follower in followers {
        all.push(follower.await.unwrap());
    }
    assert!(all[0].len() >= PUTS);
    assert!(all[0].is_sorted_by(|a, b| a.0 < b.0));
    for seen in &all {
        assert_eq!(*seen, all[0]);
    }
}
