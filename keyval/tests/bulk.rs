//! Promises of the bulk writer.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod wrap_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use keyval::{
    Broker, BrokerExt, BulkPut, BulkWriter, Capabilities, Error, KeyRange, Lifetime, Memory,
    PutOptions, Revision, Store, StoreExt, WatchOptions, Watcher, bulk_put,
};

use crate::wrap_support::{Scripted, Step, lost, refused};

fn numbered(count: usize) -> impl Iterator<Item = (String, String)> + Clone {
    (0..count).map(|n| (format!("n/{n:06}"), format!("{n}")))
}

#[tokio::test]
async fn everything_is_written_in_transactions_of_the_size_the_store_allows() {
    let store = Scripted::new([]);
    let report = bulk_put(&store, numbered(1000)).await.unwrap();
    assert_eq!(
        (report.written, report.unknown, report.complete),
        (1000, 0, 1000)
    );
    assert_eq!(report.transactions, 8, "7 of 128, and 1 of 104");
    assert_eq!(report.revision, Revision::new(9));
    assert_eq!(store.calls(), ["commit"; 8]);
    let entries = store
        .list(KeyRange::all())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert!(
        entries
            .iter()
            .zip(numbered(1000))
            .all(|(entry, (key, value))| {
                entry.key == *key && entry.value == value && entry.version == 1
            })
    );
}

#[tokio::test]
async fn nothing_to_write_is_nothing_written() {
    let store = Scripted::new([]);
    let report = bulk_put(&store, numbered(0)).await.unwrap();
    assert_eq!(report, keyval::BulkReport::default());
    assert_eq!(store.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn the_bytes_of_a_transaction_stay_within_the_limit_also_in_a_scope() {
    let store = Memory::new();
    let limit = store.capabilities().max_request_bytes.unwrap();
    let scoped = store.prefixed("p".repeat(1000));
    let value = vec![b'v'; limit / 100];
    let puts = (0..500).map(|n| (format!("{n}"), value.clone()));
    let report = bulk_put(&scoped, puts).await.unwrap();
    assert_eq!(report.written, 500);
    assert!((10..=12).contains(&report.transactions), "{report:?}");
}

#[tokio::test]
async fn a_value_beyond_half_the_limit_goes_alone() {
    let store = Scripted::new([]);
    let limit = store.capabilities().max_request_bytes.unwrap();
    let big = vec![b'v'; limit - 3];
    let report = bulk_put(&store, [("a", vec![1]), ("big", big), ("c", vec![2])])
        .await
        .unwrap();
    assert_eq!((report.written, report.transactions), (3, 3));
    assert_eq!(store.calls(), ["put"; 3]);
}

#[tokio::test]
async fn a_store_without_transactions_takes_one_put_at_a_time() {
    let mut capabilities = Capabilities::all();
    capabilities.txn = false;
    let store = Scripted::new([]).with_capabilities(capabilities);
    assert_eq!(
        bulk_put(&store, numbered(10)).await.unwrap().transactions,
        10
    );
    assert_eq!(store.calls(), ["put"; 10]);
}

#[tokio::test]
async fn of_two_puts_of_one_key_the_last_wins_in_the_order_given() {
    // The first transaction is slow, so the others would overtake it.
    let store = Scripted::new([Step::Late(Duration::from_millis(5))]);
    let puts = (0..400).map(|n| (format!("{}", n % 90), format!("{n}")));
    let report = BulkWriter::new(&store)
        .with_in_flight(8)
        .write(stream::iter(puts))
        .await
        .unwrap();
    assert_eq!(report.written, 400);
    for key in 0..90 {
        let last = (0..400).rev().find(|n| n % 90 == key).unwrap();
        let entry = store.get(format!("{key}")).await.unwrap().unwrap();
        assert_eq!(entry.value, format!("{last}"));
        assert_eq!(
            entry.version,
            if key < 40 { 5 } else { 4 },
            "each put is a version"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_transactions_are_under_way_than_were_allowed_and_no_fewer() {
    for in_flight in [1, 4, 16] {
        let late = || Step::Late(Duration::from_secs(1));
        let store = Scripted::new((0..32).map(|_| late()));
        let begun = tokio::time::Instant::now();
        let report = BulkWriter::new(&store)
            .with_in_flight(in_flight)
            .with_max_ops(10)
            .write(stream::iter(numbered(320)))
            .await
            .unwrap();
        assert_eq!(report.transactions, 32);
        let rounds = begun.elapsed().as_secs();
        assert_eq!(rounds, 32 / in_flight as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn the_input_is_read_no_faster_than_the_store_takes_it() {
    let store = Scripted::new([Step::Hang, Step::Hang, Step::Hang, Step::Hang]);
    let read = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&read);
    let puts = numbered(1_000_000).inspect(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let write = bulk_put(&store, puts);
    assert!(
        tokio::time::timeout(Duration::from_secs(60), write)
            .await
            .is_err()
    );
    assert_eq!(read.load(Ordering::Relaxed), 5 * 128 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_input_does_not_hold_up_what_is_under_way() {
    let late = || Step::Late(Duration::from_secs(1));
    let store = Scripted::new((0..4).map(|_| late()));
    let slow = store.store.clone();
    let puts = stream::iter(numbered(4)).then(move |put| {
        let store = slow.clone();
        async move {
            // The last put comes only when two before it have been applied.
            if put.0 == "n/000003" {
                let range = KeyRange::all();
                let options = WatchOptions::default().starting_at(Revision::new(2));
                let mut watch = store.watch_opts(&range, options).await.unwrap();
                for _ in 0..2 {
                    watch.next().await.unwrap().unwrap();
                }
            }
            put
        }
    });
    let report = BulkWriter::new(&store)
        .with_max_ops(1)
        .write(puts)
        .await
        .unwrap();
    assert_eq!(report.written, 4);
}

#[tokio::test]
async fn an_error_stops_the_writing_and_the_report_is_exact() {
    // Transactions of 10: written, lost on the way back, refused, and one beside them written.
    let store = Scripted::new([
        Step::Pass,
        Step::Lose(lost()),
        Step::Fail(refused()),
        Step::Late(Duration::from_millis(1)),
    ]);
    let error = BulkWriter::new(&store)
        .with_max_ops(10)
        .with_in_flight(4)
        .write(stream::iter(numbered(1000)))
        .await
        .unwrap_err();
    let entries = store.store.count(KeyRange::all()).await.unwrap();
    let report = error.report;
    assert!(
        error.error.may_have_applied(),
        "the first error is the one that is told"
    );
    assert!(report.complete >= 10 && report.complete <= report.written);
    assert!(report.written + report.unknown >= entries && report.written <= entries);
    assert!(
        store.calls().len() <= 4,
        "nothing more was sent: {:?}",
        store.calls()
    );
    for n in 0..report.complete {
        assert!(
            store
                .store
                .get(format!("n/{n:06}"))
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_beside_a_failure_is_waited_for_and_counted() {
    let late = Duration::from_secs(1);
    let store = Scripted::new([
        Step::Late(late * 3),
        Step::FailLate(late, refused()),
        Step::FailLate(late * 2, lost()),
        Step::Late(late * 4),
    ]);
    let error = BulkWriter::new(&store)
        .with_max_ops(10)
        .write(stream::iter(numbered(1000)))
        .await
        .unwrap_err();
    assert!(
        !error.error.may_have_applied(),
        "the first error is the one that is told"
    );
    let report = error.report;
    assert_eq!(
        (report.written, report.unknown, report.complete),
        (20, 10, 10)
    );
    assert_eq!(report.transactions, 2);
    assert_eq!(store.calls().len(), 4);
    assert_eq!(
        error.to_string(),
        "the bulk write stopped: 20 puts were written, 10 may have been"
    );
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("nobody listens")
    );
}

#[tokio::test]
async fn a_put_that_no_store_accepts_stops_the_writing() {
    let conditional = PutOptions::default().only_if(keyval::Condition::Absent);
    let short = PutOptions::default().with_ttl(Duration::from_millis(1));
    for bad in [
        BulkPut::from(("", "empty")),
        BulkPut::from(("k", "conditional", conditional)),
        BulkPut::from(("k", "short", short)),
    ] {
        let store = Memory::new();
        let good = numbered(128).map(BulkPut::from);
        let puts = good.clone().chain([bad]).chain(good);
        let error = bulk_put(&store, puts).await.unwrap_err();
        assert!(matches!(error.error, Error::Invalid { .. }));
        assert_eq!(error.report.unknown, 0);
        let count = store.count(KeyRange::all()).await.unwrap();
        assert_eq!(
            (error.report.written, error.report.complete),
            (count, count)
        );
    }
}

#[tokio::test]
async fn options_hold_in_a_bulk_write_as_elsewhere() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let lease = store.grant(Duration::from_secs(60)).await.unwrap().id;
    let with = PutOptions::default().with_lease(lease);
    let puts = (0..10).map(|n| (format!("{n}"), "v", with.clone()));
    bulk_put(&store, puts).await.unwrap();
    assert_eq!(with.lifetime, Lifetime::Lease(lease));
    store.revoke(lease).await.unwrap();
    assert_eq!(store.count(KeyRange::all()).await.unwrap(), 0);
}
