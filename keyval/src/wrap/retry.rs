//! A store that tries again what can safely be tried again.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use crate::backoff::BackoffPolicy;
use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::entry::Entry;
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

/// How often and for how long to try again.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::RetryPolicy;
///
/// let patient = RetryPolicy::default().with_attempts(10).with_budget(Duration::from_secs(60));
/// assert_eq!(patient.attempts, 10);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How often an operation is tried at most, the first time included; 5 by default. With 0 or 1
    /// nothing is tried again.
    pub attempts: u32,
    /// How long to wait between two attempts: chance decides, between nothing and a bound that
    /// grows. By default the bounds are 100, 200, 400 and 800 ms, so that the waits of one
    /// operation make 1.5 s at most.
    pub backoff: BackoffPolicy,
    /// No attempt begins later than this after the first; 10 s by default. Attempts that are under
    /// way are not cut off: that is what a timeout within is for.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: BackoffPolicy::default(),
            budget: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// Sets how often an operation is tried at most, the first time included.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets how long to wait between two attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: BackoffPolicy) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the time after which no attempt begins.
    #[must_use]
    pub fn with_budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }
}

/// Tries again what failed and may succeed later, if that can do no harm.
///
/// - Reads are tried again if the error [is retryable](Error::is_retryable): `get`, opening a list
///   or a watch, read-only transactions, `time_to_live` and `status`. So is `keep_alive`: renewing
///   twice is renewing once.
/// - Writes are tried again only if, besides, they were certainly not applied
///   ([`Error::may_have_applied`]): `put`, `delete`, transactions that write, `revoke`, `compact`,
///   and `grant`, of which each repetition could leave one more lease behind.
/// - A list or a watch that is open and breaks is not repaired: the reader has to know. Use
///   [`follow`](crate::follow) to go on for ever. `close` is not tried again.
///
/// The last error is returned as it is.
///
/// It belongs outside of [`Timeout`](crate::Timeout), so that each attempt has a deadline of its
/// own, and inside of [`Observe`](crate::Observe).
///
/// # Cancel safety
/// If the future is dropped while it waits between two attempts, a write has not been applied; else
/// the store's own cancel safety holds. The retry keeps no state between operations.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Memory, RetryPolicy, StoreExt, Timeout};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new()
///     .timeout(Timeout::<Memory>::DEFAULT)
///     .retry(RetryPolicy::default());
/// store.put("name", "left").await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Retry<S> {
    policy: RetryPolicy,
    inner: S,
}

impl<S> Retry<S> {
    /// The store, tried again by this policy.
    pub fn new(inner: S, policy: RetryPolicy) -> Self {
        Self { policy, inner }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
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

    async fn read<T, F>(&self, operation: &'static str, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.repeat(operation, Error::is_retryable, attempt).await
    }

    async fn write<T, F>(&self, operation: &'static str, attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let harmless = |error: &Error| error.is_retryable() && !error.may_have_applied();
        self.repeat(operation, harmless, attempt).await
    }

    async fn repeat<T, F>(
        &self,
        operation: &'static str,
        harmless: impl Fn(&Error) -> bool,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let begun = Instant::now();
        let mut backoff = self.policy.backoff.start();
        // Counted here, because the backoff forgets its count after a time of calm.
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) if harmless(&error) => error,
                Err(error) => return Err(error),
            };
            let wait = backoff.next_wait();
            if attempts >= self.policy.attempts || begun.elapsed() + wait > self.policy.budget {
                return Err(error);
            }
            tracing::debug!(
                operation,
                attempts,
                ?wait,
                error = error.kind(),
                "trying again"
            );
            tokio::time::sleep(wait).await;
        }
    }
}

impl<S: fmt::Display> fmt::Display for Retry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retry({}, {})", self.policy.attempts, self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Broker> Broker for Retry<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.read("get", || self.inner.get_opts(key, options)).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        self.read("list", || self.inner.list_opts(range, options))
            .await
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        self.write("put", || {
            self.inner.put_opts(key, value.clone(), options.clone())
        })
        .await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        self.write("delete", || self.inner.delete_opts(range, options))
            .await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let attempt = || self.inner.commit(txn.clone());
        if txn.is_read_only() {
            self.read("commit", attempt).await
        } else {
            self.write("commit", attempt).await
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Watcher> Watcher for Retry<S> {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        self.read("watch", || self.inner.watch_opts(range, options))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Leases> Leases for Retry<S> {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        self.write("grant", || self.inner.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.read("keep_alive", || self.inner.keep_alive(lease))
            .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.write("revoke", || self.inner.revoke(lease)).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.read("time_to_live", || self.inner.time_to_live(lease))
            .await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Maintenance> Maintenance for Retry<S> {
    async fn status(&self) -> Result<StoreStatus> {
        self.read("status", || self.inner.status()).await
    }

    fn connection(&self) -> Option<Connection> {
        self.inner.connection()
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.write("compact", || self.inner.compact(to)).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
