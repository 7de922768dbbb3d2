//! Stores with one flaw each, to prove that the conformance kit finds it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use keyval::{
    Broker, BrokerExt, Bytes, Capabilities, Change, ChangeStream, Changes, Condition,
    DeleteOptions, DeleteReply, Entry, Error, GetOptions, Key, KeyRange, LeaseGrant, LeaseId,
    LeaseStatus, Leases, Lifetime, ListOptions, Listing, Maintenance, Memory, Op, Prefix,
    PutOptions, PutReply, Result, Revision, StoreStatus, Txn, TxnReply, WatchOptions, Watcher,
};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Nothing.
    None,
    /// The seventh changes of a watch are never delivered.
    DropsAnEvent,
    /// The seventh changes of a watch are delivered twice.
    RepeatsAnEvent,
    /// The changes of one revision come one by one.
    SplitsRevisions,
    /// Two changes are delivered in the wrong order.
    ReordersEvents,
    /// A watch forgets the previous entries.
    ForgetsPrevious,
    /// A watch is registered only when it is first read.
    WatchesLate,
    /// A watch takes the put of an empty value for nothing.
    SkipsEmptyValues,
    /// A watch also tells of the keys beside its range.
    WatchesNeighbours,
    /// A watch that cannot go on ends without a word.
    EndsInSilence,
    /// A watch tells of progress before it has delivered what lies below.
    ProgressOutrunsChanges,
    /// A delete always says that nothing was there.
    CountsNoDeletes,
    /// An empty value is taken for an absent key.
    TakesEmptyForAbsent,
    /// A range that ends in a slash also shows what begins like it.
    LeaksNeighbours,
    /// Each entry of a list is read when it is asked for.
    ListsByAndBy,
    /// A list that breaks off looks like a short one.
    ShortensLists,
    /// A limit is applied before the order.
    LimitsBeforeOrder,
    /// A transaction that is too long is carried out in parts.
    SplitsTransactions,
    /// Of two puts of a key in a transaction the last one counts.
    LetsTheLastPutWin,
    /// A conditional put looks first and writes later.
    LooksBeforeItLeaps,
    /// A lost race is an error.
    FailsLostRaces,
    /// A lease is renewed by writing.
    RenewsByWriting,
    /// A plain put leaves the lease attached.
    NeverDetaches,
    /// A lease is said to be granted and never ends.
    NeverExpires,
    /// Any get never returns.
    HangsOnGet,
    /// Says that it has no history, and reads the present instead.
    IgnoresThePast,
    /// Can do no more than it must, says so beforehand, and says so when asked.
    IsModest,
    /// Says that it can do no more than it must, and does it all the same.
    IsTooModest,
    /// A compaction does nothing.
    NeverCompacts,
    /// A closed store answers as before.
    NeverCloses,
    /// Reads of the past show the present version of the entry.
    ForgetsVersions,
}

/// A store with one flaw.
#[derive(Clone, Debug)]
pub(super) struct Flawed {
    inner: Memory,
    flaw: Flaw,
}

impl Flawed {
    pub(super) fn new(flaw: Flaw) -> Self {
        Self {
            inner: Memory::new(),
            flaw,
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// Refuses what a modest store cannot do.
    fn modestly(&self, needed: bool, operation: &'static str) -> Result<()> {
        if needed && self.has(Flaw::IsModest) {
            return Err(Error::NotSupported {
                operation,
                store: self.to_string(),
            });
        }
        Ok(())
    }
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({})", self.flaw, self.inner)
    }
}

/// The range with a slash at the end of its prefix cut off.
fn widened(range: &KeyRange) -> KeyRange {
    let start = range.start().as_bytes();
    // All of a scope starts just above its prefix.
    let prefix = start.strip_suffix(b"\0").unwrap_or(start);
    match prefix.strip_suffix(b"/") {
        Some(short) if range.single().is_none() => KeyRange::prefix(Prefix::new(short)),
        _ => range.clone(),
    }
}

#[async_trait]
impl Broker for Flawed {
    fn capabilities(&self) -> Capabilities {
        if self.has(Flaw::IsModest) || self.has(Flaw::IsTooModest) {
            return Capabilities::default();
        }
        let mut capabilities = self.inner.capabilities();
        if self.has(Flaw::IgnoresThePast) {
            capabilities.history = false;
        }
        if self.has(Flaw::SplitsTransactions) {
            capabilities.max_txn_ops = Some(16);
        }
        capabilities
    }

    async fn get_opts(&self, key: &Key, mut options: GetOptions) -> Result<Option<Entry>> {
        match self.flaw {
            Flaw::HangsOnGet => std::future::pending().await,
            Flaw::IgnoresThePast => options.at = None,
            _ => self.modestly(options.at.is_some(), "reads of the past")?,
        }
        let mut entry = self.inner.get_opts(key, options).await?;
        if self.has(Flaw::TakesEmptyForAbsent) {
            entry = entry.filter(|entry| !entry.value.is_empty());
        }
        if self.has(Flaw::ForgetsVersions)
            && options.at.is_some()
            && let Some(entry) = &mut entry
            && let Some(present) = self.inner.get(key).await?
        {
            entry.version = present.version;
        }
        Ok(entry)
    }

    async fn list_opts(&self, range: &KeyRange, mut options: ListOptions) -> Result<Listing> {
        self.modestly(options.at.is_some(), "reads of the past")?;
        if self.has(Flaw::IgnoresThePast) {
            options.at = None;
        }
        let widened = if self.has(Flaw::LeaksNeighbours) {
            widened(range)
        } else {
            range.clone()
        };
        let limit = options.limit;
        if self.has(Flaw::LimitsBeforeOrder) && limit.is_some() {
            options.order = keyval::Order::Ascending;
        }
        let mut listing = self.inner.list_opts(&widened, options).await?;
        if self.has(Flaw::ListsByAndBy) {
            let store = self.inner.clone();
            listing.entries = listing
                .entries
                .filter_map(move |entry| {
                    let store = store.clone();
                    async move {
                        match entry {
                            Ok(entry) => store.get(&entry.key).await.transpose(),
                            Err(error) => Some(Err(error)),
                        }
                    }
                })
                .boxed();
        }
        if self.has(Flaw::ShortensLists) {
            listing.entries = listing.entries.take(20).boxed();
        }
        Ok(listing)
    }

    async fn put_opts(&self, key: &Key, value: Bytes, mut options: PutOptions) -> Result<PutReply> {
        self.modestly(options.previous, "previous entries")?;
        self.modestly(options.lifetime != Lifetime::Permanent, "lifetimes")?;
        if self.has(Flaw::LooksBeforeItLeaps)
            && let Some(Condition::Modified(expected)) = options.only_if
        {
            let stands = self.inner.get(key).await?;
            tokio::task::yield_now().await;
            if stands.map(|entry| entry.modified) == Some(expected) {
                options.only_if = None;
            }
        }
        if self.has(Flaw::NeverDetaches)
            && options.lifetime == Lifetime::Permanent
            && self.inner.get(key).await?.is_some()
        {
            options.lifetime = Lifetime::Keep;
        }
        let reply = self.inner.put_opts(key, value, options).await?;
        if self.has(Flaw::FailsLostRaces) && !reply.written {
            return Err(Error::invalid("the race is lost"));
        }
        Ok(reply)
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        self.modestly(options.previous, "previous entries")?;
        let mut reply = self.inner.delete_opts(range, options).await?;
        if self.has(Flaw::CountsNoDeletes) {
            reply.deleted = 0;
        }
        Ok(reply)
    }

    async fn commit(&self, mut txn: Txn) -> Result<TxnReply> {
        self.modestly(true, "transactions")?;
        let limit = 16;
        if self.has(Flaw::SplitsTransactions) && txn.then.len() > limit {
            let rest = txn.then.split_off(limit);
            let mut reply = self.inner.commit(txn).await?;
            for op in rest {
                let part = self.inner.commit(Txn::new().then(op)).await?;
                reply.replies.extend(part.replies);
                reply.revision = part.revision;
            }
            return Ok(reply);
        }
        if self.has(Flaw::LetsTheLastPutWin) {
            let mut seen = std::collections::BTreeSet::new();
            txn.then.reverse();
            txn.then.retain(|op| match op {
                Op::Put(key, ..) => seen.insert(key.clone()),
                Op::Get(..) | Op::Delete(..) => true,
            });
            txn.then.reverse();
        }
        self.inner.commit(txn).await
    }
}

#[async_trait]
impl Watcher for Flawed {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        self.modestly(true, "watches")?;
        let flaw = self.flaw;
        let range = if flaw == Flaw::WatchesNeighbours {
            widened(range)
        } else {
            range.clone()
        };
        let inner = self.inner.watch_opts(&range, options).await?;
        let after = inner.after();
        if flaw == Flaw::WatchesLate {
            drop(inner);
            let store = self.inner.clone();
            let late = async move {
                match store.watch_opts(&range, options).await {
                    Ok(stream) => stream.boxed(),
                    Err(error) => stream::iter([Err(error)]).boxed(),
                }
            };
            return Ok(ChangeStream::new(after, stream::once(late).flatten()));
        }
        let count = Arc::new(AtomicUsize::new(0));
        let mut held = None;
        let changes = inner
            .filter_map(move |item| {
                let kept = match item {
                    Err(_) if flaw == Flaw::EndsInSilence => None,
                    item => Some(item),
                };
                std::future::ready(kept)
            })
            .flat_map(move |item| {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let items: Vec<Result<Changes>> = match item {
                    Ok(changes) => flawed_changes(flaw, number, changes, &mut held)
                        .into_iter()
                        .map(Ok)
                        .collect(),
                    Err(error) => vec![Err(error)],
                };
                stream::iter(items)
            });
        Ok(ChangeStream::new(after, changes))
    }
}

fn flawed_changes(
    flaw: Flaw,
    number: usize,
    mut changes: Changes,
    held: &mut Option<Changes>,
) -> Vec<Changes> {
    let revision = changes.revision;
    match flaw {
        Flaw::DropsAnEvent if number == 7 => Vec::new(),
        Flaw::RepeatsAnEvent if number == 7 => vec![changes.clone(), changes],
        Flaw::ReordersEvents if number == 7 => {
            *held = Some(changes);
            Vec::new()
        }
        Flaw::ReordersEvents => std::iter::once(changes).chain(held.take()).collect(),
        Flaw::SplitsRevisions => changes
            .changes
            .into_iter()
            .map(|change| Changes {
                revision,
                changes: vec![change],
            })
            .collect(),
        Flaw::ForgetsPrevious => {
            for change in &mut changes.changes {
                match change {
                    Change::Put { prev, .. } | Change::Delete { prev, .. } => *prev = None,
                }
            }
            vec![changes]
        }
        Flaw::SkipsEmptyValues => {
            changes
                .changes
                .retain(|change| change.entry().is_none_or(|entry| !entry.value.is_empty()));
            vec![changes]
        }
        Flaw::ProgressOutrunsChanges => vec![Changes::progress(revision), changes],
        _ => vec![changes],
    }
}

#[async_trait]
impl Leases for Flawed {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        self.modestly(true, "leases")?;
        let mut grant = self.inner.grant(ttl).await?;
        if self.has(Flaw::NeverExpires) {
            let granted = grant.ttl;
            grant = self.inner.grant(Duration::from_secs(1_000_000)).await?;
            grant.ttl = granted;
        }
        Ok(grant)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.modestly(true, "leases")?;
        if self.has(Flaw::RenewsByWriting) {
            let options = PutOptions::default().with_lease(lease).keep_value();
            for key in self.inner.time_to_live(lease).await?.keys {
                let options = options.clone();
                self.inner.put_opts(&key, Bytes::new(), options).await?;
            }
        }
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.modestly(true, "leases")?;
        self.inner.revoke(lease).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.modestly(true, "leases")?;
        self.inner.time_to_live(lease).await
    }
}

#[async_trait]
impl Maintenance for Flawed {
    async fn status(&self) -> Result<StoreStatus> {
        self.inner.status().await
    }

    fn connection(&self) -> Option<keyval::Connection> {
        self.inner.connection()
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.modestly(true, "compaction")?;
        if self.has(Flaw::NeverCompacts) {
            return Ok(());
        }
        self.inner.compact(to).await
    }

    async fn close(&self) -> Result<()> {
        if self.has(Flaw::NeverCloses) {
            return Ok(());
        }
        self.inner.close().await
    }
}
