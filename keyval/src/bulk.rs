//! Writes many keys fast, as many transactions: plainly not atomic.

use std::collections::HashSet;
use std::ops::Range;
use std::pin::pin;

use bytes::Bytes;
use futures::future::{self, BoxFuture, Either, FutureExt};
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};

use crate::broker::Broker;
use crate::error::{Error, Outcome, Result};
use crate::key::Key;
use crate::options::PutOptions;
use crate::revision::Revision;
use crate::txn::{Op, Txn};

/// Operations in one transaction where the store has no limit.
const DEFAULT_OPS: usize = 128;

/// Bytes in one transaction where the store has no limit.
const DEFAULT_BYTES: usize = 1 << 20;

/// One put of a bulk write; made from `(key, value)` or `(key, value, options)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkPut {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Bytes,
    /// How to put it. A condition is refused, and the previous entry goes nowhere.
    pub options: PutOptions,
}

impl<K: Into<Key>, V: Into<Bytes>> From<(K, V)> for BulkPut {
    fn from((key, value): (K, V)) -> Self {
        Self::from((key, value, PutOptions::default()))
    }
}

impl<K: Into<Key>, V: Into<Bytes>> From<(K, V, PutOptions)> for BulkPut {
    fn from((key, value, options): (K, V, PutOptions)) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            options,
        }
    }
}

/// What a bulk write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkReport {
    /// How many puts were certainly applied.
    pub written: u64,
    /// How many puts may have been applied: they were sent, and no answer came. Zero after a write
    /// without error.
    pub unknown: u64,
    /// How many puts, counted from the first, were certainly applied without a gap: after an error,
    /// a repetition may leave these out.
    pub complete: u64,
    /// In how many transactions, each at a revision of its own, `written` was applied.
    pub transactions: u64,
    /// The highest revision made; zero if none was.
    pub revision: Revision,
}

/// A bulk write stopped at an error; part of it is written.
#[derive(Debug, thiserror::Error)]
#[error("the bulk write stopped: {} puts were written, {} may have been", .report.written, .report.unknown)]
#[non_exhaustive]
pub struct BulkError {
    /// What was written before, and beside, the failure.
    pub report: BulkReport,
    /// The first error.
    #[source]
    pub error: Error,
}

/// Puts many keys, as many transactions of the greatest size that suits the store.
///
/// See [`BulkWriter`], of which this is the short form.
///
/// # Errors
/// As [`BulkWriter::write`].
///
/// # Cancel safety
/// As [`BulkWriter::write`].
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, KeyRange, Memory, bulk_put};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let report = bulk_put(&store, (0..1000).map(|n| (format!("n/{n}"), format!("{n}")))).await?;
/// assert_eq!(report.written, 1000);
/// assert_eq!(store.count(KeyRange::prefix("n/")).await?, 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub async fn bulk_put<B, I>(broker: &B, puts: I) -> Result<BulkReport, BulkError>
where
    B: Broker + ?Sized,
    I: IntoIterator<Item: Into<BulkPut>>,
    I::IntoIter: Send,
{
    BulkWriter::new(broker).write(stream::iter(puts)).await
}

/// Writes many keys in many transactions, several at a time.
///
/// A bulk write is **not atomic**: readers and watchers see it in parts, and after an error a part
/// is written. Within each transaction, and only there, it is all or nothing. Two puts of one key
/// are applied in the order given, so the last wins; puts of different keys may be applied in any
/// order.
///
/// The transactions keep to the limits of the store: at most as many puts as it allows, and half
/// the bytes, because stores also count what surrounds keys and values, and scopes add their
/// prefix. A larger put goes alone. Without transactions every put goes alone.
///
/// It needs memory for the transactions under way, not for the whole input, which is only read as
/// fast as the store takes it.
///
/// # Examples
/// ```
/// use keyval::{BulkWriter, Memory, PutOptions};
/// use futures::stream;
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let report = BulkWriter::new(&store)
///     .with_in_flight(8)
///     .write(stream::iter([("a", "1"), ("b", "2"), ("a", "3")]))
///     .await?;
/// assert_eq!((report.written, report.transactions), (3, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct BulkWriter<'a, B: ?Sized> {
    broker: &'a B,
    in_flight: usize,
    max_ops: usize,
    max_bytes: usize,
}

impl<'a, B: Broker + ?Sized> BulkWriter<'a, B> {
    /// A bulk writer to this store, within its limits, with up to 4 transactions at a time.
    pub fn new(broker: &'a B) -> Self {
        let limits = broker.capabilities();
        let max_ops = if limits.txn {
            limits.max_txn_ops.unwrap_or(DEFAULT_OPS).max(1)
        } else {
            1
        };
        Self {
            broker,
            in_flight: 4,
            max_ops,
            max_bytes: limits
                .max_request_bytes
                .map_or(DEFAULT_BYTES, |max| max / 2),
        }
    }

    /// Sends up to this many transactions at a time, at least 1; 4 by default.
    #[must_use]
    pub fn with_in_flight(mut self, transactions: usize) -> Self {
        self.in_flight = transactions.max(1);
        self
    }

    /// Puts at most this many puts into a transaction, at least 1 and never more than the store
    /// allows, which is the default.
    #[must_use]
    pub fn with_max_ops(mut self, puts: usize) -> Self {
        self.max_ops = puts.clamp(1, self.max_ops);
        self
    }

    /// Writes everything that the stream yields, in order as far as one key is concerned.
    ///
    /// The first error stops the writing: nothing more is sent, but what is under way is waited
    /// for, so that the report is exact.
    ///
    /// # Errors
    /// The first error, with what was written all the same. A put that no store accepts, or with a
    /// condition, is [`Error::Invalid`]. Nothing is tried again here: wrap the store in a
    /// [`Retry`](crate::Retry) for that.
    ///
    /// # Cancel safety
    /// If the future is dropped, any part of what the stream yielded may have been applied.
    pub async fn write<P>(
        &self,
        puts: impl Stream<Item = P> + Send,
    ) -> Result<BulkReport, BulkError>
    where
        P: Into<BulkPut>,
    {
        let mut puts = pin!(puts.fuse());
        let mut flight = Flight::default();
        let mut batch = Batch::default();
        while flight.failure.is_none() {
            // The transactions under way go on while the next put is waited for.
            let put = match future::select(puts.next(), pin!(flight.landing())).await {
                Either::Left((put, _)) => Either::Left(put),
                Either::Right((landed, _)) => Either::Right(landed),
            };
            let put = match put {
                Either::Left(put) => put,
                Either::Right(landed) => {
                    flight.note(landed);
                    continue;
                }
            };
            let Some(put) = put.map(Into::into) else {
                self.launch(&mut flight, &mut batch).await;
                break;
            };
            if let Err(error) = check(&put) {
                flight.failure = Some(error);
                break;
            }
            if !batch.has_room_for(&put, self.max_ops, self.max_bytes) {
                self.launch(&mut flight, &mut batch).await;
            }
            batch.push(put);
        }
        while let Some(landed) = flight.under_way.next().await {
            flight.note(landed);
        }
        flight.finish()
    }

    /// Sends the batch, once there is room for it and none of its keys is under way; not at all if
    /// a failure comes first.
    async fn launch(&self, flight: &mut Flight<'a>, batch: &mut Batch) {
        while flight.under_way.len() >= self.in_flight || !flight.keys.is_disjoint(&batch.keys) {
            let landed = flight.landing().await;
            flight.note(landed);
        }
        let batch = std::mem::take(batch);
        if flight.failure.is_some() || batch.ops.is_empty() {
            return;
        }
        let begin = flight.launched;
        flight.launched += batch.ops.len() as u64;
        flight.keys.extend(batch.keys.iter().cloned());
        flight
            .under_way
            .push(send(self.broker, begin, batch).boxed());
        // Begins the sending; and lets others run, should input and store always be ready.
        if let Some(Some(landed)) = flight.under_way.next().now_or_never() {
            flight.note(landed);
        }
        tokio::task::yield_now().await;
    }
}

fn check(put: &BulkPut) -> Result<()> {
    put.options.check(&put.key, &put.value)?;
    if put.options.only_if.is_some() {
        return Err(Error::invalid(format!(
            "the put of \"{}\" in a bulk write has a condition: put it by itself",
            put.key
        )));
    }
    Ok(())
}

/// Puts that will be one transaction.
#[derive(Default)]
struct Batch {
    ops: Vec<Op>,
    keys: HashSet<Key>,
    bytes: usize,
}

impl Batch {
    fn has_room_for(&self, put: &BulkPut, max_ops: usize, max_bytes: usize) -> bool {
        self.ops.is_empty()
            || (self.ops.len() < max_ops
                && self.bytes + put.key.len() + put.value.len() <= max_bytes
                && !self.keys.contains(&put.key))
    }

    fn push(&mut self, put: BulkPut) {
        self.bytes += put.key.len() + put.value.len();
        self.keys.insert(put.key.clone());
        self.ops.push(Op::Put(put.key, put.value, put.options));
    }
}

/// A transaction that was answered.
struct Landed {
    /// The positions of its puts in the input.
    positions: Range<u64>,
    keys: HashSet<Key>,
    result: Result<Revision>,
}

async fn send<B: Broker + ?Sized>(broker: &B, begin: u64, mut batch: Batch) -> Landed {
    let positions = begin..begin + batch.ops.len() as u64;
    let alone = if batch.ops.len() == 1 {
        batch.ops.pop()
    } else {
        None
    };
    let result = if let Some(Op::Put(key, value, options)) = alone {
        broker
            .put_opts(&key, value, options)
            .await
            .map(|reply| reply.revision)
    } else {
        let txn = Txn {
            then: batch.ops,
            ..Txn::default()
        };
        broker.commit(txn).await.map(|reply| reply.revision)
    };
    Landed {
        positions,
        keys: batch.keys,
        result,
    }
}

/// The transactions under way, and what became of those before.
#[derive(Default)]
struct Flight<'a> {
    under_way: FuturesUnordered<BoxFuture<'a, Landed>>,
    keys: HashSet<Key>,
    /// How many puts were sent, answered or not.
    launched: u64,
    /// The position of the first put that was sent and not certainly applied.
    first_lost: Option<u64>,
    report: BulkReport,
    failure: Option<Error>,
}

impl Flight<'_> {
    /// Waits for an answer, for ever if nothing is under way.
    async fn landing(&mut self) -> Landed {
        match self.under_way.next().await {
            Some(landed) => landed,
            None => future::pending().await,
        }
    }

    fn note(&mut self, landed: Landed) {
        for key in &landed.keys {
            self.keys.remove(key);
        }
        let count = landed.positions.end - landed.positions.start;
        match landed.result {
            Ok(revision) => {
                self.report.written += count;
                self.report.transactions += 1;
                self.report.revision = self.report.revision.max(revision);
            }
            Err(error) => {
                if error.outcome() == Outcome::Unknown {
                    self.report.unknown += count;
                }
                let begin = landed.positions.start;
                self.first_lost = Some(self.first_lost.map_or(begin, |lost| lost.min(begin)));
                self.failure.get_or_insert(error);
            }
        }
    }

    fn finish(mut self) -> Result<BulkReport, BulkError> {
        self.report.complete = self.first_lost.unwrap_or(self.launched);
        match self.failure {
            None => Ok(self.report),
            Some(error) => Err(BulkError {
                report: self.report,
                error,
            }),
        }
    }
}
