//! A store whose operations are traced and measured.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use metrics::{Counter, Histogram, SharedString};
use tracing::{Instrument, Span};

use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::entry::{Change, Changes, Entry};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::{LeaseGrant, LeaseStatus, Leases};
use crate::lease_id::LeaseId;
use crate::options::{DeleteOptions, GetOptions, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, Listing, PutReply, TxnReply};
use crate::revision::Revision;
use crate::store::{Maintenance, StoreStatus};
use crate::txn::Txn;
use crate::watcher::{ChangeStream, Watcher};

const DURATION: &str = "keyval_client_operation_duration_seconds";
const STREAM_ERRORS: &str = "keyval_client_stream_errors_total";
const WATCH_EVENTS: &str = "keyval_watch_events_total";

/// Traces and measures every operation of a store. Keys and values are never shown.
///
/// # Spans
/// One span for each operation, on level `DEBUG`, with the fields of OpenTelemetry's conventions:
/// `otel.name` (the operation and the namespace), `otel.kind`, `db.system.name` (the backend),
/// `db.namespace` (if given), `db.operation.name`, and after a failure
/// `db.response.status_code` ([`Error::code`]) and `error.type` ([`Error::kind`]). The span of a
/// watch or a list lasts as long as its stream, and has what the stream delivers as events on level
/// `TRACE`.
///
/// # Metrics
/// Through the [`metrics`] facade:
///
/// | name | kind | labels |
/// |---|---|---|
/// | `keyval_client_operation_duration_seconds` | histogram | `backend`, `op`, `outcome` |
/// | `keyval_client_stream_errors_total` | counter | `backend`, `op`, `outcome` |
/// | `keyval_watch_events_total` | counter | `type`: `put`, `delete`, `progress` |
///
/// `op` is `get`, `list`, `put`, `delete`, `commit`, `watch`, `grant`, `keep_alive`, `revoke`,
/// `time_to_live`, `status`, `compact` or `close`. `outcome` is `ok`, the [`Error::kind`], or
/// `cancelled` where the caller dropped the operation. A list and a watch are measured until they
/// are open; if they break off later, that is a stream error. Suitable buckets are
/// [`DURATION_BUCKETS`](Self::DURATION_BUCKETS).
///
/// Each metric is looked up once, at the first operation that needs it, so install the recorder
/// before the store is used.
///
/// It belongs outside of everything, so that it measures what the caller lives through.
///
/// # Cancel safety
/// That of the store. An operation that is dropped is counted all the same.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Memory, StoreExt};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new()
///     .prefixed("agents/1/")
///     .observe("memory")
///     .with_namespace("agents/1/");
/// store.put("name", "left").await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Observe<S> {
    meter: Arc<Meter>,
    inner: S,
}

impl<S> Observe<S> {
    /// Bounds, in seconds, for the buckets of the durations.
    pub const DURATION_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

    /// The store, observed under the name of its backend: `memory`, `etcd`.
    pub fn new(inner: S, backend: impl Into<Cow<'static, str>>) -> Self {
        let backend = SharedString::from(backend.into());
        Self {
            meter: Arc::new(Meter::new(backend, String::new())),
            inner,
        }
    }

    /// Names the scope of the store in its spans. It is not a label of metrics.
    #[must_use]
    pub fn with_namespace(self, namespace: impl Into<String>) -> Self {
        let meter = Meter::new(self.meter.backend.clone(), namespace.into());
        Self {
            meter: Arc::new(meter),
            inner: self.inner,
        }
    }

    /// The store below.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The store below.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    async fn measure<T>(
        &self,
        operation: Operation,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let span = self.meter.span(operation);
        self.measure_in(&span, operation, future).await
    }

    async fn measure_in<T>(
        &self,
        span: &Span,
        operation: Operation,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let timer = Timer::start(&self.meter, operation);
        let result = if span.is_disabled() {
            future.await
        } else {
            future.instrument(span.clone()).await
        };
        timer.stop(result.as_ref().err());
        if let Err(error) = &result {
            note_error(span, error);
        }
        result
    }
}

impl<S: fmt::Display> fmt::Display for Observe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Observe({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Broker> Broker for Observe<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.measure(Operation::Get, self.inner.get_opts(key, options))
            .await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let operation = Operation::List;
        let span = self.meter.span(operation);
        let opening = self.inner.list_opts(range, options);
        let listing = self.measure_in(&span, operation, opening).await?;
        let meter = Arc::clone(&self.meter);
        Ok(listing.map_items(move |item| {
            if let Err(error) = &item {
                meter.stream_broke(&span, operation, error);
            }
            item
        }))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        self.measure(Operation::Put, self.inner.put_opts(key, value, options))
            .await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        self.measure(Operation::Delete, self.inner.delete_opts(range, options))
            .await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        self.measure(Operation::Commit, self.inner.commit(txn))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Watcher> Watcher for Observe<S> {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let operation = Operation::Watch;
        let span = self.meter.span(operation);
        let opening = self.inner.watch_opts(range, options);
        let stream = self.measure_in(&span, operation, opening).await?;
        let meter = Arc::clone(&self.meter);
        Ok(stream.map_items(move |item| {
            match &item {
                Ok(changes) => meter.delivered(&span, changes),
                Err(error) => meter.stream_broke(&span, operation, error),
            }
            item
        }))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Leases> Leases for Observe<S> {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        self.measure(Operation::Grant, self.inner.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.measure(Operation::KeepAlive, self.inner.keep_alive(lease))
            .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.measure(Operation::Revoke, self.inner.revoke(lease))
            .await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.measure(Operation::TimeToLive, self.inner.time_to_live(lease))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Maintenance> Maintenance for Observe<S> {
    async fn status(&self) -> Result<StoreStatus> {
        self.measure(Operation::Status, self.inner.status()).await
    }

    fn connection(&self) -> Option<Connection> {
        self.inner.connection()
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.measure(Operation::Compact, self.inner.compact(to))
            .await
    }

    async fn close(&self) -> Result<()> {
        self.measure(Operation::Close, self.inner.close()).await
    }
}

/// The operations of a store, as spans and metrics name them.
#[derive(Clone, Copy, Debug)]
enum Operation {
    Get,
    List,
    Put,
    Delete,
    Commit,
    Watch,
    Grant,
    KeepAlive,
    Revoke,
    TimeToLive,
    Status,
    Compact,
    Close,
}

impl Operation {
    const COUNT: usize = Self::Close as usize + 1;

    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Commit => "commit",
            Self::Watch => "watch",
            Self::Grant => "grant",
            Self::KeepAlive => "keep_alive",
            Self::Revoke => "revoke",
            Self::TimeToLive => "time_to_live",
            Self::Status => "status",
            Self::Compact => "compact",
            Self::Close => "close",
        }
    }
}

/// The names of one observed store, and the handles of its metrics that are used all the time.
///
/// Failures look their metric up each time: they are rare, and there are many kinds.
struct Meter {
    backend: SharedString,
    namespace: String,
    succeeded: [OnceLock<Histogram>; Operation::COUNT],
    events: OnceLock<Events>,
}

struct Events {
    put: Counter,
    delete: Counter,
    progress: Counter,
}

impl Meter {
    fn new(backend: SharedString, namespace: String) -> Self {
        Self {
            backend,
            namespace,
            succeeded: [const { OnceLock::new() }; Operation::COUNT],
            events: OnceLock::new(),
        }
    }

    fn span(&self, operation: Operation) -> Span {
        let name = operation.as_str();
        let namespace = self.namespace.as_str();
        let space = if namespace.is_empty() { "" } else { " " };
        tracing::debug_span!(
            "keyval",
            otel.name = %format_args!("{name}{space}{namespace}"),
            otel.kind = "client",
            db.system.name = &*self.backend,
            db.namespace = (!namespace.is_empty()).then_some(namespace),
            db.operation.name = name,
            db.response.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
        )
    }

    fn record(&self, operation: Operation, outcome: &'static str, after: Duration) {
        if outcome == "ok" {
            self.succeeded[operation as usize]
                .get_or_init(|| self.duration(operation, outcome))
                .record(after);
        } else {
            self.duration(operation, outcome).record(after);
        }
    }

    fn duration(&self, operation: Operation, outcome: &'static str) -> Histogram {
        metrics::describe_histogram!(
            DURATION,
            metrics::Unit::Seconds,
            "How long the operations of the store took, as their caller saw it."
        );
        metrics::histogram!(
            DURATION,
            "backend" => self.backend.clone(),
            "op" => operation.as_str(),
            "outcome" => outcome,
        )
    }

    fn stream_broke(&self, span: &Span, operation: Operation, error: &Error) {
        note_error(span, error);
        metrics::describe_counter!(STREAM_ERRORS, "Lists and watches that broke off when open.");
        metrics::counter!(
            STREAM_ERRORS,
            "backend" => self.backend.clone(),
            "op" => Operation::as_str(operation),
            "outcome" => error.kind(),
        )
        .increment(1);
    }

    fn delivered(&self, span: &Span, changes: &Changes) {
        let events = self.events.get_or_init(Events::new);
        let all = changes.changes.len() as u64;
        let puts = changes.changes.iter();
        let puts = puts.filter(|c| matches!(c, Change::Put { .. })).count() as u64;
        if all == 0 {
            events.progress.increment(1);
        }
        if puts > 0 {
            events.put.increment(puts);
        }
        if all > puts {
            events.delete.increment(all - puts);
        }
        tracing::trace!(parent: span, revision = changes.revision.get(), changes = all, "changes");
    }
}

impl Events {
    fn new() -> Self {
        metrics::describe_counter!(WATCH_EVENTS, "What watches delivered.");
        Self {
            put: metrics::counter!(WATCH_EVENTS, "type" => "put"),
            delete: metrics::counter!(WATCH_EVENTS, "type" => "delete"),
            progress: metrics::counter!(WATCH_EVENTS, "type" => "progress"),
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("backend", &self.backend)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

fn note_error(span: &Span, error: &Error) {
    span.record("db.response.status_code", error.code());
    span.record("error.type", error.kind());
}

/// Measures one operation; one that is dropped before its end counts as cancelled.
struct Timer<'a> {
    meter: &'a Meter,
    operation: Operation,
    begun: Instant,
    outcome: &'static str,
}

impl<'a> Timer<'a> {
    fn start(meter: &'a Meter, operation: Operation) -> Self {
        Self {
            meter,
            operation,
            begun: Instant::now(),
            outcome: "cancelled",
        }
    }

    fn stop(mut self, error: Option<&Error>) {
        self.outcome = error.map_or("ok", Error::kind);
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.meter
            .record(self.operation, self.outcome, self.begun.elapsed());
    }
}
