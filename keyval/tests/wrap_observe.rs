//! Promises of a store that is traced and measured.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod wrap_support;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Error, KeyRange, LeaseId, Leases, Listing, Memory, Observe, Op, Outcome,
    Revision, StoreExt, Txn, WatchOptions, Watcher,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::wrap_support::{Scripted, Step, refused};

/// What was measured: `name{label=value,..}` and a count.
type Measured = BTreeMap<String, u64>;

fn measure<F: Future<Output = ()>>(test: impl FnOnce() -> F) -> Measured {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    let mut measured = Measured::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels = key.key().labels();
        let labels: Vec<_> = labels
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(_) => panic!("no gauge is expected"),
        };
        let name = key.key().name();
        measured.insert(format!("{name}{{{}}}", labels.join(",")), count);
    }
    measured
}

fn duration(op: &str, outcome: &str) -> String {
    format!("keyval_client_operation_duration_seconds{{backend=test,op={op},outcome={outcome}}}")
}

/// Does everything once.
async fn everything<S: keyval::ManagedStore>(store: &S) {
    let all = KeyRange::all();
    store.put("KEY", "VALUE").await.unwrap();
    store.get("KEY").await.unwrap();
    store
        .list(all.clone())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let options = WatchOptions::default().starting_at(Revision::new(2));
    let mut watch = store.watch_opts(&all, options).await.unwrap();
    watch.next().await.unwrap().unwrap();
    store.commit(Txn::new().then(Op::get("KEY"))).await.unwrap();
    store.delete("KEY").await.unwrap();
    let lease = store.grant(Duration::from_secs(9)).await.unwrap().id;
    store.keep_alive(lease).await.unwrap();
    store.time_to_live(lease).await.unwrap();
    store.revoke(lease).await.unwrap();
    store.status().await.unwrap();
    store.compact(Revision::new(2)).await.unwrap();
    store.close().await.unwrap();
}

const OPERATIONS: [&str; 13] = [
    "close",
    "commit",
    "compact",
    "delete",
    "get",
    "grant",
    "keep_alive",
    "list",
    "put",
    "revoke",
    "status",
    "time_to_live",
    "watch",
];

#[test]
fn every_operation_is_measured_once() {
    let measured = measure(|| async { everything(&Memory::new().observe("test")).await });
    for operation in OPERATIONS {
        assert_eq!(
            measured.get(&duration(operation, "ok")),
            Some(&1),
            "{operation}: {measured:?}"
        );
    }
    // Besides, only what the watch brought.
    assert_eq!(measured["keyval_watch_events_total{type=put}"], 1);
    assert_eq!(measured["keyval_watch_events_total{type=delete}"], 0);
    assert_eq!(measured["keyval_watch_events_total{type=progress}"], 0);
    assert_eq!(measured.len(), OPERATIONS.len() + 3);
}

#[test]
fn failures_are_told_apart_by_their_kind() {
    let measured = measure(|| async {
        let store = Scripted::new([
            Step::Fail(refused()),
            Step::Fail(refused()),
            Step::Fail(Error::backend("?", Outcome::Unknown)),
        ])
        .observe("test");
        store.get("k").await.unwrap_err();
        store.get("k").await.unwrap_err();
        store.get("k").await.unwrap_err();
        store.get("").await.unwrap_err();
        store
            .keep_alive(LeaseId::new(5).unwrap())
            .await
            .unwrap_err();
    });
    let expected = [
        (duration("get", "backend"), 1),
        (duration("get", "invalid"), 1),
        (duration("get", "unavailable"), 2),
        (duration("keep_alive", "lease_lost"), 1),
    ];
    assert_eq!(measured, Measured::from(expected));
}

#[test]
fn an_operation_that_its_caller_drops_is_counted() {
    let measured = measure(|| async {
        let store = Scripted::new([Step::Hang]).observe("test");
        let get = tokio::time::timeout(Duration::from_secs(1), store.get("k"));
        get.await.unwrap_err();
    });
    assert_eq!(
        measured,
        Measured::from([(duration("get", "cancelled"), 1)])
    );
}

#[test]
fn lists_and_watches_that_break_when_open_are_counted() {
    let measured = measure(|| async {
        let store = Scripted::new([])
            .with_lists(|listing| Listing {
                revision: listing.revision,
                count: None,
                entries: futures::stream::iter([Err(refused())]).boxed(),
            })
            .with_watches(|watch| {
                keyval::ChangeStream::new(
                    watch.after(),
                    futures::stream::iter([Err(Error::backend("?", Outcome::NotApplied))]),
                )
            })
            .observe("test");
        store
            .list(KeyRange::all())
            .await
            .unwrap()
            .collect()
            .await
            .unwrap_err();
        let all = KeyRange::all();
        let mut watch = store
            .watch_opts(&all, WatchOptions::default())
            .await
            .unwrap();
        watch.next().await.unwrap().unwrap_err();
        assert!(watch.next().await.is_none());
    });
    let broke = |op, outcome| {
        format!("keyval_client_stream_errors_total{{backend=test,op={op},outcome={outcome}}}")
    };
    let expected = [
        (duration("list", "ok"), 1),
        (duration("watch", "ok"), 1),
        (broke("list", "unavailable"), 1),
        (broke("watch", "backend"), 1),
    ];
    assert_eq!(measured, Measured::from(expected));
}

#[test]
fn what_watches_bring_is_counted_by_its_type() {
    let measured = measure(|| async {
        let store = Memory::new().observe("test");
        let options = WatchOptions::default().with_progress(Duration::from_secs(1));
        let mut watch = store.watch_opts(&KeyRange::all(), options).await.unwrap();
        let txn = Txn::new().then(Op::put("a", "")).then(Op::put("b", ""));
        store.commit(txn).await.unwrap();
        store.delete_prefix("").await.unwrap();
        store.put("c", "").await.unwrap();
        for _ in 0..3 {
            watch.next().await.unwrap().unwrap();
        }
        assert!(watch.next().await.unwrap().unwrap().changes.is_empty());
    });
    assert_eq!(measured["keyval_watch_events_total{type=put}"], 3);
    assert_eq!(measured["keyval_watch_events_total{type=delete}"], 2);
    assert_eq!(measured["keyval_watch_events_total{type=progress}"], 1);
}

/// Writes down every span and event with all its fields.
#[derive(Clone, Default)]
struct Writer(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!(" {field}={value:?}"));
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Writer {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        id: &tracing::span::Id,
        context: Context<'_, S>,
    ) {
        let mut text = Text(String::new());
        attributes.record(&mut text);
        context.span(id).unwrap().extensions_mut().insert(text);
    }

    fn on_record(
        &self,
        id: &tracing::span::Id,
        values: &tracing::span::Record<'_>,
        context: Context<'_, S>,
    ) {
        let span = context.span(id).unwrap();
        let mut extensions = span.extensions_mut();
        values.record(extensions.get_mut::<Text>().unwrap());
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let span = context.event_span(event).map(|span| span.name());
        self.0
            .lock()
            .unwrap()
            .push(format!("event in {span:?}{}", text.0));
    }

    fn on_close(&self, id: tracing::span::Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        let text = span.extensions().get::<Text>().unwrap().0.clone();
        self.0
            .lock()
            .unwrap()
            .push(format!("{}{text}", span.name()));
    }
}

/// Held for as long as the tests run: where there is one subscriber alone, a span or event that a test
/// without any meets first is switched off for that one, too.
static ANOTHER: LazyLock<Dispatch> =
    LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

async fn traced<F: Future<Output = ()>>(test: F) -> Vec<String> {
    use tracing::instrument::WithSubscriber;
    LazyLock::force(&ANOTHER);
    let writer = Writer::default();
    let subscriber = tracing_subscriber::registry().with(writer.clone());
    test.with_subscriber(subscriber).await;
    writer.0.lock().unwrap().clone()
}

#[tokio::test]
async fn every_operation_is_one_span_without_keys_and_values() {
    let spans = traced(async {
        let store = Memory::new()
            .prefixed("a/")
            .observe("test")
            .with_namespace("a/");
        store.put("KEY", "VALUE").await.unwrap();
        store.get("KEY").await.unwrap();
    })
    .await;
    assert_eq!(
        spans,
        [
            "keyval otel.name=put a/ otel.kind=\"client\" db.system.name=\"test\" \
             db.namespace=\"a/\" db.operation.name=\"put\"",
            "keyval otel.name=get a/ otel.kind=\"client\" db.system.name=\"test\" \
             db.namespace=\"a/\" db.operation.name=\"get\"",
        ]
    );
    let all = traced(async { everything(&Memory::new().observe("test")).await }).await;
    for operation in OPERATIONS {
        let name = format!("db.operation.name=\"{operation}\"");
        assert_eq!(
            all.iter().filter(|span| span.contains(&name)).count(),
            1,
            "{operation}"
        );
    }
    assert!(
        all.iter()
            .all(|span| !span.contains("KEY") && !span.contains("VALUE")),
        "{all:?}"
    );
}

#[tokio::test]
async fn a_failed_span_says_what_kind_of_error_it_was() {
    let spans = traced(async {
        let store = Scripted::new([Step::Fail(refused())]).observe("test");
        store.get("k").await.unwrap_err();
    })
    .await;
    assert_eq!(spans.len(), 1);
    assert!(
        spans[0].ends_with("db.response.status_code=\"KV0101\" error.type=\"unavailable\""),
        "{spans:?}"
    );
}

#[tokio::test]
async fn the_span_of_a_watch_lasts_as_long_as_its_stream_and_holds_its_events() {
    let spans = traced(async {
        let store = Memory::new().observe("test");
        let mut watch = store
            .watch_opts(&KeyRange::all(), WatchOptions::default())
            .await
            .unwrap();
        store.inner().put("KEY", "VALUE").await.unwrap();
        watch.next().await.unwrap().unwrap();
    })
    .await;
    let of_watch: Vec<_> = spans
        .iter()
        .filter(|span| span.contains("keyval"))
        .collect();
    assert_eq!(of_watch.len(), 2, "{spans:?}");
    assert_eq!(
        of_watch[0],
        "event in Some(\"keyval\") message=changes revision=2 changes=1"
    );
    assert!(
        of_watch[1].starts_with("keyval otel.name=watch "),
        "{spans:?}"
    );
}

#[tokio::test]
async fn the_store_below_can_be_had() {
    let store = Observe::new(Memory::new(), "memory".to_owned());
    assert_eq!(store.to_string(), "Observe(memory)");
    assert_eq!(store.capabilities(), store.inner().capabilities());
    store.put("k", "v").await.unwrap();
    assert!(store.into_inner().get("k").await.unwrap().is_some());
}
