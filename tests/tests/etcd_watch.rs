//! The etcd backend's watches on a real server: whole revisions, limits, ends and their causes.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Change, ChangeStream, Changes, DeleteOptions, Error, Key, KeyRange,
    Maintenance, Op, Prefix, Revision, Txn, WatchOptions, Watcher,
};
use keyval_etcd::EtcdStore;
use keyval_tests::etcd::Etcd;

/// How long anything may take that should happen at once.
const SOON: Duration = Duration::from_secs(20);

fn scope() -> Prefix {
    Prefix::new(format!("test-{:016x}/", fastrand::u64(..)))
}

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

async fn end(watch: &mut ChangeStream) -> Error {
    loop {
        if let Err(error) = item(watch).await {
            return error;
        }
    }
}

async fn watch(store: &EtcdStore, scope: &Prefix, options: WatchOptions) -> ChangeStream {
    let range = KeyRange::prefix(scope.clone());
    store
        .watch_opts(&range, options)
        .await
        .expect("the server is well")
}

#[tokio::test]
async fn every_write_after_the_watch_is_seen_once_and_in_order() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let before = store.put(scope.join(&"0".into()), "before").await.unwrap();
    let mut watching = watch(&store, &scope, WatchOptions::default().with_previous()).await;
    assert!(watching.after() >= before);
    let key = scope.join(&"0".into());
    let put = store.put(&key, "").await.unwrap();
    let gone = store
        .delete_opts(&KeyRange::prefix(scope.clone()), DeleteOptions::default())
        .await
        .unwrap();
    let seen = changes(&mut watching).await;
    assert_eq!(seen.revision, put);
    let [
        Change::Put {
            entry,
            prev: Some(prev),
        },
    ] = &seen.changes[..]
    else {
        panic!("{seen:?}");
    };
    assert_eq!(
        (&entry.key, entry.version, &prev.value[..]),
        (&key, 2, &b"before"[..])
    );
    let seen = changes(&mut watching).await;
    assert_eq!(seen.revision, gone.revision);
    assert!(
        matches!(&seen.changes[..], [Change::Delete { prev: Some(prev), .. }] if prev.modified == put)
    );
}

#[tokio::test]
async fn a_revision_of_many_large_values_arrives_whole() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let large = Bytes::from(vec![b'x'; 1_000_000]);
    let keys: Vec<Key> = (0..12)
        .map(|n| scope.join(&format!("{n:02}").into()))
        .collect();
    for key in &keys {
        store.put(key, large.clone()).await.unwrap();
    }
    let mut watching = watch(&store, &scope, WatchOptions::default().with_previous()).await;
    // One delete of 12 MB of previous values, then 128 puts at once: both beyond a fragment.
    let gone = store
        .delete_opts(&KeyRange::prefix(scope.clone()), DeleteOptions::default())
        .await
        .unwrap();
    let txn = (0..128).fold(Txn::new(), |txn, n| {
        let key = scope.join(&format!("{n:03}").into());
        txn.then(Op::put(key, vec![b'y'; 12_000]))
    });
    let put = store.commit(txn).await.unwrap();

    let seen = changes(&mut watching).await;
    assert_eq!((seen.revision, seen.changes.len()), (gone.revision, 12));
    assert!(seen.changes.iter().zip(&keys).all(|(change, key)| {
        change.key() == key && change.prev().is_some_and(|prev| prev.value == large)
    }));
    let seen = changes(&mut watching).await;
    assert_eq!((seen.revision, seen.changes.len()), (put.revision, 128));
}

#[tokio::test]
async fn a_watch_goes_on_where_the_last_one_ended() {
    let mut server = Etcd::start();
    let store = server.store().await;
    let scope = scope();
    let key = scope.join(&"a".into());
    let mut first = watch(&store, &scope, WatchOptions::default()).await;
    let seen = store.put(&key, "1").await.unwrap();
    assert_eq!(changes(&mut first).await.revision, seen);
    server.kill();
    let error = end(&mut first).await;
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert!(told.contains(&server.endpoint()), "{told}");
    assert!(
        told.contains(&format!("delivered up to revision {seen}")),
        "{told}"
    );
    assert!(first.next().await.is_none());

    server.restart();
    let other = server.store().await;
    let missed = [
        other.put(&key, "2").await.unwrap(),
        other.put(&key, "3").await.unwrap(),
    ];
    let options = WatchOptions::default().starting_at(seen.next());
    let mut second = watch(&store, &scope, options).await;
    assert_eq!(second.after(), seen);
    for revision in missed {
        assert_eq!(changes(&mut second).await.revision, revision);
    }
    let later = store.put(&key, "4").await.unwrap();
    assert_eq!(changes(&mut second).await.revision, later);
}

#[tokio::test]
async fn a_watch_does_not_start_where_something_is_gone() {
    let server = Etcd::start();
    let store = server.store().await;
    for n in 0..5 {
        store.put("a", n.to_string()).await.unwrap();
    }
    let compacted = Revision::new(4);
    store.compact(compacted).await.unwrap();
    for from in [2, 4] {
        let options = WatchOptions::default().starting_at(Revision::new(from));
        let error = match store.watch_opts(&KeyRange::all(), options).await {
            Ok(mut watching) => end(&mut watching).await,
            Err(error) => error,
        };
        assert!(
            matches!(error, Error::Compacted { requested, .. }
                if requested == Revision::new(from)),
            "{from}: {error}"
        );
    }
    let options = WatchOptions::default().starting_at(compacted.next());
    let mut watching = store.watch_opts(&KeyRange::all(), options).await.unwrap();
    assert_eq!(changes(&mut watching).await.revision, compacted.next());
}

#[tokio::test]
async fn a_watch_opened_while_its_start_is_compacted_is_refused_or_complete() {
    let server = Etcd::start();
    let store = server.store().await;
    let range = KeyRange::key("a");
    let (mut complete, mut refused) = (0, 0);
    for _ in 0..20 {
        store.put("a", "").await.unwrap();
        let delete = store.delete_opts(&range, DeleteOptions::default()).await;
        let deleted = delete.unwrap().revision;
        let options = WatchOptions::default().starting_at(deleted);
        let (watch, compacted) =
            tokio::join!(store.watch_opts(&range, options), store.compact(deleted));
        compacted.unwrap();
        store.put("a", "").await.unwrap();
        let first = match watch {
            Ok(mut watching) => item(&mut watching).await,
            Err(error) => Err(error),
        };
        match first {
            Ok(changes) => {
                assert_eq!(changes.revision, deleted, "nothing is left out");
                complete += 1;
            }
            Err(Error::Compacted { requested, .. }) => {
                assert_eq!(requested, deleted);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    println!("{complete} complete, {refused} refused");
}

#[tokio::test]
async fn a_denied_watch_is_an_error_and_not_silence() {
    let server = Etcd::start();
    let store = server.store().await;
    let mut raw = etcd_client::Client::connect([server.endpoint()], None)
        .await
        .unwrap();
    raw.user_add("root", "secret", None).await.unwrap();
    raw.role_add("root").await.unwrap();
    raw.user_grant_role("root", "root").await.unwrap();
    raw.auth_enable().await.unwrap();

    let options = WatchOptions::default().starting_at(Revision::new(2));
    let error = store
        .watch_opts(&KeyRange::all(), options)
        .await
        .unwrap_err();
    // Which of the two depends on the version; what matters is that there is an answer.
    assert!(
        matches!(error, Error::Denied { .. } | Error::Unauthenticated { .. }),
        "{error}"
    );
    let error = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    let error = store.put("a", "b").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    assert!(!error.may_have_applied());
    // A user without a name may still ask how the store is.
    store.status().await.unwrap();
}

#[tokio::test]
async fn a_watch_from_the_future_is_silent_until_then() {
    let server = Etcd::start();
    let store = server.store().await;
    let options = WatchOptions::default()
        .starting_at(Revision::new(6))
        .with_progress(Duration::from_millis(50));
    let mut watching = store.watch_opts(&KeyRange::all(), options).await.unwrap();
    for _ in 0..6 {
        store.put("a", "x").await.unwrap();
    }
    let first = item(&mut watching).await.unwrap();
    assert_eq!(first.revision, Revision::new(6));
    assert_eq!(first.changes.len(), 1);
}

#[tokio::test]
async fn a_quiet_range_hears_of_progress_that_never_runs_ahead() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let options = WatchOptions::default().with_progress(Duration::from_millis(20));
    let mut watching = watch(&store, &scope, options).await;
    let writer = {
        let (store, scope) = (store.clone(), scope.clone());
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..300 {
                let key = scope.join(&"a".into());
                revisions.push(store.put(key, n.to_string()).await.unwrap());
            }
            revisions
        })
    };
    let (mut seen, mut reached) = (Vec::new(), watching.after());
    while seen.len() < 300 {
        let changes = item(&mut watching).await.unwrap();
        assert!(
            changes.revision >= reached,
            "back from {reached} to {}",
            changes.revision
        );
        if !changes.is_progress() {
            assert!(changes.revision > reached, "behind progress at {reached}");
            seen.push(changes.revision);
        }
        reached = changes.revision;
    }
    assert_eq!(seen, writer.await.unwrap());
    let quiet = item(&mut watching).await.unwrap();
    assert!(quiet.is_progress());
    assert!(quiet.revision >= reached);
}

#[tokio::test]
async fn unread_watches_slow_neither_writes_nor_other_watches() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(watch(&store, &scope, WatchOptions::default()).await);
    }
    // 20 watches of 12 MB each hold up far more than the windows of a connection.
    let value = Bytes::from(vec![b'x'; 500_000]);
    let key = scope.join(&"big".into());
    let mut revisions = Vec::new();
    for _ in 0..24 {
        let put = tokio::time::timeout(SOON, store.put(&key, value.clone()));
        revisions.push(put.await.expect("puts go on").unwrap());
    }
    let quiet = Prefix::new(format!("other-{scope}"));
    let mut read = watch(&store, &quiet, WatchOptions::default()).await;
    for n in 0..20 {
        let revision = store
            .put(quiet.join(&"small".into()), n.to_string())
            .await
            .unwrap();
        assert_eq!(changes(&mut read).await.revision, revision);
    }
    // And the slow ones have lost nothing.
    for watching in &mut unread {
        for revision in &revisions {
            assert_eq!(changes(watching).await.revision, *revision);
        }
    }
}

#[tokio::test]
async fn closing_ends_every_watch_read_or_not() {
    let store = Etcd::shared().store().await;
    let scope = scope();
    let mut read = watch(&store, &scope, WatchOptions::default()).await;
    let mut unread = watch(&store, &scope, WatchOptions::default()).await;
    let put = store.put(scope.join(&"a".into()), "b").await.unwrap();
    assert_eq!(changes(&mut read).await.revision, put);
    tokio::time::timeout(SOON, store.close())
        .await
        .expect("closing is bounded")
        .unwrap();
    assert!(matches!(end(&mut read).await, Error::Closed { .. }));
    assert!(matches!(end(&mut unread).await, Error::Closed { .. }));
    assert!(read.next().await.is_none());
}

#[tokio::test]
async fn dropping_a_watch_ends_it_on_the_server() {
    let server = Etcd::start();
    let store = server.store().await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(watch(&store, &scope(), WatchOptions::default()).await);
    }
    assert_eq!(
        server.metric("etcd_debugging_mvcc_watcher_total"),
        Some(10.0)
    );
    held.truncate(3);
    let deadline = std::time::Instant::now() + SOON;
    while server.metric("etcd_debugging_mvcc_watcher_total") != Some(3.0) {
        assert!(std::time::Instant::now() < deadline, "the watches stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
