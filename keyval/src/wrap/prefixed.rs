//! A handle that sees one prefix, and no key outside it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::entry::{Change, Changes, Entry};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::{LeaseGrant, LeaseStatus, Leases};
use crate::lease_id::LeaseId;
use crate::options::{DeleteOptions, GetOptions, Lifetime, ListOptions, PutOptions, WatchOptions};
use crate::range::{KeyRange, Prefix};
use crate::reply::{DeleteReply, Listing, OpReply, PutReply, TxnReply};
use crate::txn::{Op, Txn};
use crate::watcher::{ChangeStream, Watcher};
use crate::wrap::lease_book::LeaseBook;

/// Scopes a store to one prefix: keys go in short and come out short.
///
/// Every key and range of every operation lies within the scope, and every key that comes back is
/// checked: one outside is [`Error::OutOfScope`], counts in the metric
/// `keyval_scope_violations_total`, and is never delivered. Values are never copied, and keys that
/// come back are slices of what came.
///
/// The prefix is bytes; end it with `/`, or use [`Prefix::segment`], so that `agents/1/` does not
/// cover `agents/10/`. Scopes nest: `prefixed("a/").prefixed("b/")` is `prefixed("a/b/")`. The key
/// that is exactly the prefix is not in the scope: nothing of it would remain.
///
/// A scope has no [`Maintenance`](crate::Maintenance): nobody can compact or close the store with
/// it. It confines mistakes, not malice: who holds the concrete type can ask for its
/// [`inner`](Self::inner) store, so hand it to others as an `impl Store` or an `Arc<dyn Store>`.
///
/// # Leases
/// A scope renews, ends and inspects the leases that were granted through it, its clones and the
/// scopes within it, those of a put with a TTL included. Any other lease is [`Error::Denied`], also
/// as the lifetime of a put, and nothing is sent. A lease shows only its keys within the scope. A
/// lease that ended more than a minute ago may be forgotten if there are thousands, and is
/// [`Error::Denied`] from then on, no longer [`Error::LeaseLost`].
///
/// # Limits
/// The capabilities are those of the store. The prefix counts towards
/// [`Capabilities::max_request_bytes`], so a request that just fits without it may be
/// [`Error::TooLarge`], with the whole size.
///
/// # Cancel safety
/// That of the store. A lease whose grant is dropped before it is answered is not known to the
/// scope, as it is not to the caller; it ends by itself.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Memory, StoreExt};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// store.prefixed("agents/1/").put("name", "left").await?;
/// store.prefixed("agents/10/").put("name", "right").await?;
///
/// let entry = store.get("agents/1/name").await?.expect("it was just put");
/// assert_eq!(entry.value, "left");
/// assert_eq!(store.prefixed("agents/").count(keyval::KeyRange::all()).await?, 2);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Prefixed<S> {
    scope: Prefix,
    leases: LeaseBook,
    inner: S,
}

impl<S> Prefixed<S> {
    /// The store, scoped to this prefix.
    pub fn new(inner: S, scope: impl Into<Prefix>) -> Self {
        // So that the metric is there, at zero, to be alerted on.
        violations().increment(0);
        Self {
            scope: scope.into(),
            leases: LeaseBook::default(),
            inner,
        }
    }

    /// The prefix of every key of this handle.
    #[must_use]
    pub fn scope(&self) -> &Prefix {
        &self.scope
    }

    /// The store below, which is not confined.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The store below, which is not confined.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Refuses a lease that was not granted here.
    fn check_lease(&self, lease: LeaseId) -> Result<()> {
        if self.leases.has(lease) {
            return Ok(());
        }
        Err(Error::Denied {
            message: format!(
                "lease {lease} was not granted through the scope \"{}\", or ended long ago: \
                 use the handle that granted it, or grant a new one here",
                self.scope
            ),
        })
    }

    fn check_lifetime(&self, lifetime: Lifetime) -> Result<()> {
        match lifetime {
            Lifetime::Lease(lease) => self.check_lease(lease),
            Lifetime::Permanent | Lifetime::Ttl(_) | Lifetime::Keep => Ok(()),
        }
    }

    /// Notes how an operation on a lease of this scope ended.
    fn note_loss<T>(&self, lease: LeaseId, result: Result<T>) -> Result<T> {
        if matches!(result, Err(Error::LeaseLost { .. })) {
            self.leases.note_end(lease);
        }
        result
    }

    /// Strips the entries of a put's reply, and notes the lease made for it.
    fn strip_put(
        &self,
        reply: &mut PutReply,
        ttl: Duration,
        operation: &'static str,
    ) -> Result<()> {
        if let Some(lease) = reply.lease {
            self.leases.note(lease, ttl);
        }
        strip_entries(&self.scope, &mut reply.prev, operation)
    }
}

impl<S: fmt::Display> fmt::Display for Prefixed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefixed({}, {})", self.scope, self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Broker> Broker for Prefixed<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        key.check()?;
        let mut found = strip_error(
            &self.scope,
            self.inner.get_opts(&self.scope.join(key), options).await,
        )?;
        strip_entries(&self.scope, &mut found, "get")?;
        Ok(found)
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        range.check()?;
        options.check()?;
        let listing = strip_error(
            &self.scope,
            self.inner
                .list_opts(&self.scope.shift(range), options)
                .await,
        )?;
        let scope = self.scope.clone();
        Ok(listing.map_items(move |item| {
            let mut entry = strip_error(&scope, item)?;
            strip_key(&scope, &mut entry.key, "list")?;
            Ok(entry)
        }))
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        options.check(key, &value)?;
        self.check_lifetime(options.lifetime)?;
        let ttl = own_ttl(options.lifetime);
        let mut reply = strip_error(
            &self.scope,
            self.inner
                .put_opts(&self.scope.join(key), value, options)
                .await,
        )?;
        self.strip_put(&mut reply, ttl, "put")?;
        Ok(reply)
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        range.check()?;
        let mut reply = strip_error(
            &self.scope,
            self.inner
                .delete_opts(&self.scope.shift(range), options)
                .await,
        )?;
        strip_entries(&self.scope, &mut reply.prev, "delete")?;
        Ok(reply)
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        // Here, where keys are still short, so that errors name them as the caller does.
        txn.check(&self.inner.capabilities())?;
        let mut ttl = Duration::ZERO;
        for op in txn.then.iter().chain(&txn.otherwise) {
            if let Op::Put(_, _, options) = op {
                self.check_lifetime(options.lifetime)?;
                ttl = ttl.max(own_ttl(options.lifetime));
            }
        }
        let reply = self.inner.commit(txn.under(&self.scope)).await;
        let mut reply = strip_error(&self.scope, reply)?;
        let mut stripped = Ok(());
        for reply in &mut reply.replies {
            // To the end even after an error: every lease made is to be noted.
            let one = match reply {
                OpReply::Get(reply) => strip_entries(&self.scope, &mut reply.entries, "commit"),
                OpReply::Put(reply) => self.strip_put(reply, ttl, "commit"),
                OpReply::Delete(reply) => strip_entries(&self.scope, &mut reply.prev, "commit"),
            };
            stripped = stripped.and(one);
        }
        stripped.map(|()| reply)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Watcher> Watcher for Prefixed<S> {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        range.check()?;
        options.check()?;
        let stream = strip_error(
            &self.scope,
            self.inner
                .watch_opts(&self.scope.shift(range), options)
                .await,
        )?;
        let scope = self.scope.clone();
        Ok(stream.map_items(move |item| {
            let mut changes = strip_error(&scope, item)?;
            strip_changes(&scope, &mut changes)?;
            Ok(changes)
        }))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: Leases> Leases for Prefixed<S> {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        let grant = strip_error(&self.scope, self.inner.grant(ttl).await)?;
        self.leases.note(grant.id, grant.ttl);
        Ok(grant)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.check_lease(lease)?;
        let ttl = self.note_loss(lease, self.inner.keep_alive(lease).await)?;
        self.leases.note(lease, ttl);
        Ok(ttl)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.check_lease(lease)?;
        self.note_loss(lease, self.inner.revoke(lease).await)?;
        self.leases.note_end(lease);
        Ok(())
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.check_lease(lease)?;
        let mut status = self.note_loss(lease, self.inner.time_to_live(lease).await)?;
        // A key outside is no violation here: a wider handle may have put it under this lease.
        let keys = status.keys.iter().filter_map(|key| self.scope.strip(key));
        status.keys = keys.collect();
        Ok(status)
    }
}

/// The TTL of the lease that a put makes for itself, if it makes one.
fn own_ttl(lifetime: Lifetime) -> Duration {
    match lifetime {
        Lifetime::Ttl(ttl) => ttl,
        Lifetime::Permanent | Lifetime::Lease(_) | Lifetime::Keep => Duration::ZERO,
    }
}

fn strip_key(scope: &Prefix, key: &mut Key, operation: &'static str) -> Result<()> {
    match scope.strip(key) {
        Some(short) => {
            *key = short;
            Ok(())
        }
        None => Err(violation(scope, operation)),
    }
}

fn strip_entries<'a>(
    scope: &Prefix,
    entries: impl IntoIterator<Item = &'a mut Entry>,
    operation: &'static str,
) -> Result<()> {
    entries
        .into_iter()
        .try_for_each(|entry| strip_key(scope, &mut entry.key, operation))
}

fn strip_changes(scope: &Prefix, changes: &mut Changes) -> Result<()> {
    changes.changes.iter_mut().try_for_each(|change| {
        let prev = match change {
            Change::Put { entry, prev } => {
                strip_key(scope, &mut entry.key, "watch")?;
                prev
            }
            Change::Delete { key, prev } => {
                strip_key(scope, key, "watch")?;
                prev
            }
        };
        strip_entries(scope, prev, "watch")
    })
}

/// The same result, its error naming keys as the caller does.
fn strip_error<T>(scope: &Prefix, result: Result<T>) -> Result<T> {
    let mut error = match result {
        Err(error) => error,
        done => return done,
    };
    match &mut error {
        Error::DuplicateKey { key } => strip_key(scope, key, "commit")?,
        // Stores quote the keys and ranges that they name.
        Error::Unavailable { message, .. }
        | Error::Timeout { message, .. }
        | Error::Denied { message }
        | Error::Unauthenticated { message }
        | Error::StorageFull { message }
        | Error::Invalid { message }
        | Error::Backend { message, .. }
            if !scope.is_empty() =>
        {
            *message = message.replace(&format!("\"{scope}"), "\"");
        }
        _ => {}
    }
    Err(error)
}

/// The foreign key is not named: what lies outside the scope is not shown, not even in an error.
#[cold]
fn violation(scope: &Prefix, operation: &'static str) -> Error {
    violations().increment(1);
    tracing::error!(%scope, operation, "the store sent a key outside the scope");
    Error::OutOfScope {
        what: format!("a key in the answer to {operation}"),
        scope: scope.to_string(),
    }
}

fn violations() -> metrics::Counter {
    metrics::counter!("keyval_scope_violations_total")
}
