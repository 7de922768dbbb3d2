//! A reader that stops costs bounded memory, and nobody else anything.
//!
//! One test, since memory is counted for the whole program.

use bytes::Bytes;
use futures::StreamExt;
use keyval::{BrokerExt, ChangeStream, Error, KeyRange, Revision, WatchOptions, Watcher};
use keyval_tests::etcd::Etcd;
use keyval_tests::replica::soon;

/// How many values of a mebibyte are written: many times what may wait for a reader.
const VALUES: usize = 96;
/// How much more memory the program may hold meanwhile, in bytes.
const BOUND: usize = 32 << 20;

/// The memory that this program holds, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("there is Linux's /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes
        .and_then(|text| text.parse().ok())
        .unwrap_or(0_usize)
        << 10
}

/// Reads until this revision; returns those that came, and the error with which it ended if it did.
async fn read(watch: &mut ChangeStream, last: Revision) -> (Vec<Revision>, Option<Error>) {
    let mut revisions = Vec::new();
    while revisions.last() != Some(&last) {
        match watch.next().await {
            Some(Ok(changes)) if changes.is_progress() => {}
            Some(Ok(changes)) => revisions.push(changes.revision),
            Some(Err(error)) => return (revisions, Some(error)),
            None => panic!("it ended without a word"),
        }
    }
    (revisions, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_costs_bounded_memory_and_slows_nobody() {
    let server = Etcd::start();
    let (store, writer) = (server.store().await, server.store().await);
    let range = KeyRange::prefix("x/");
    let first = writer.put("x/a", "").await.unwrap();
    let options = WatchOptions::default().starting_at(first);
    let mut unread = store.watch_opts(&range, options.clone()).await.unwrap();
    let mut watch = store.watch_opts(&range, options).await.unwrap();
    let value = Bytes::from(vec![b'x'; 1 << 20]);
    for _ in 0..8 {
        // What a put takes for itself is not the reader's.
        writer.put("y/warm", value.clone()).await.unwrap();
    }
    let (before, mut most) = (resident(), 0);
    let mut puts = vec![first];
    for _ in 0..VALUES {
        let put = writer.put("x/a", value.clone()).await.unwrap();
        let (came, error) = soon("the change", read(&mut watch, put)).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(came.last(), Some(&put));
        store.get("y/none").await.unwrap();
        puts.push(put);
        most = most.max(resident().saturating_sub(before));
    }
    println!("at most {} KiB more", most >> 10);
    assert!(most < BOUND, "{} KiB more", most >> 10);

    // It gets all, or what came before it fell behind and a word that it did.
    let last = *puts.last().expect("there are puts");
    let (came, error) = soon("the rest", read(&mut unread, last)).await;
    println!("{} of {} came late, {error:?}", came.len(), puts.len());
    assert!(puts.starts_with(&came));
    assert_eq!(error.is_none(), came.len() == puts.len());
}
