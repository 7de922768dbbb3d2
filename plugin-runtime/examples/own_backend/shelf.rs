//! A store of one's own: all that the traits ask for, over a map and a log.
//!
//! It keeps the present and its latest changes; it has neither the past nor leases nor compaction, and says so, so that what
//! needs them is refused and not half done. `plugin-runtime/tests/own_backend.rs` runs the conformance
//! kit on it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use keyval::{
    Broker, Bytes, Capabilities, Change, ChangeStream, Changes, Compare, Connection, DeleteOptions,
    DeleteReply, Entry, Error, GetOptions, Key, KeyRange, LeaseGrant, LeaseId, LeaseStatus, Leases,
    Lifetime, ListOptions, Listing, Maintenance, Op, OpReply, Order, Projection, PutOptions,
    PutReply, RangeReply, Result, Revision, StoreStatus, Target, Txn, TxnReply, WatchOptions,
    Watcher,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How many revisions are kept for watches that lag behind or resume.
const KEPT: usize = 10_000;

/// A store on a shelf in this process. Clones are the same store.
#[derive(Clone)]
pub(crate) struct Shelf(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Told after each write: watches wait for it.
    written: watch::Sender<()>,
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    revision: u64,
    /// What the latest revisions did, the oldest first.
    log: VecDeque<Changes>,
    closed: bool,
}

impl Shelf {
    /// An empty shelf, on which nothing larger than this may be put.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::default(),
            written: watch::Sender::default(),
            max_bytes,
        }))
    }

    /// The state, unless the store is closed. A writer that panicked has changed nothing.
    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.closed {
            true => Err(Error::Closed {
                store: self.to_string(),
            }),
            false => Ok(state),
        }
    }

    /// Refuses what the capabilities rule out.
    fn has_no(&self, operation: &'static str, is_asked_for: bool) -> Result<()> {
        match is_asked_for {
            true => Err(Error::NotSupported {
                operation,
                store: self.to_string(),
            }),
            false => Ok(()),
        }
    }

    /// A serializable read may be older than the present; it need not.
    fn check_read(&self, at: Option<Revision>) -> Result<()> {
        self.has_no("reading the past", at.is_some())
    }

    fn check_op(&self, op: &Op) -> Result<()> {
        match op {
            Op::Get(_, options) => self.check_read(options.at),
            Op::Put(_, _, options) => {
                self.has_no("leases", options.lifetime != Lifetime::Permanent)
            }
            Op::Delete(..) => Ok(()),
        }
    }

    /// What was written from the cursor on; none if nothing was yet.
    fn next(&self, cursor: &mut u64) -> Result<Option<Changes>> {
        let state = self.state()?;
        let oldest = state.revision + 1 - state.log.len() as u64;
        if *cursor < oldest {
            return Err(Error::Compacted {
                requested: Revision::new(*cursor),
                oldest: Some(Revision::new(oldest)),
            });
        }
        let found = state.log.get((*cursor - oldest) as usize).cloned();
        *cursor += u64::from(found.is_some());
        Ok(found)
    }
}

#[async_trait]
impl Broker for Shelf {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default()
            .with_max_txn_ops(Some(128))
            .with_max_request_bytes(Some(self.0.max_bytes));
        capabilities.txn = true;
        capabilities.watch = true;
        capabilities.watch_from = true;
        capabilities.previous = true;
        capabilities.progress = true;
        capabilities.serializable = true;
        capabilities
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        key.check()?;
        self.check_read(options.at)?;
        Ok(self.state()?.entries.get(key).cloned())
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        range.check()?;
        options.check()?;
        self.check_read(options.at)?;
        let state = self.state()?;
        let found = state.read(range, &options);
        Ok(Listing {
            revision: Revision::new(state.revision),
            count: found.count,
            entries: stream::iter(found.entries.into_iter().map(Ok)).boxed(),
        })
    }

    /// A put is a transaction of one, and its condition is the compare.
    async fn put_opts(&self, key: &Key, value: Bytes, mut options: PutOptions) -> Result<PutReply> {
        let mut txn = Txn::new();
        if let Some(condition) = options.only_if.take() {
            txn = txn.when(condition.compare(key)).otherwise(Op::get(key));
        }
        let put = Op::Put(key.clone(), value, options);
        let mut reply = self.commit(txn.then(put)).await?;
        match reply.replies.pop() {
            Some(OpReply::Put(put)) => Ok(put),
            lost => Ok(PutReply {
                revision: reply.revision,
                written: false,
                prev: lost.and_then(|found| found.into_entries().pop()),
                lease: None,
            }),
        }
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        let txn = Txn::new().then(Op::Delete(range.clone(), options));
        match self.commit(txn).await?.replies.pop() {
            Some(OpReply::Delete(deleted)) => Ok(deleted),
            _ => unreachable!("a delete is answered by what was deleted"),
        }
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        txn.check(&self.capabilities())?;
        for op in txn.then.iter().chain(&txn.otherwise) {
            self.check_op(op)?;
        }
        let mut state = self.state()?;
        let succeeded = txn.compares.iter().all(|compare| state.holds(compare));
        let ops = if succeeded { txn.then } else { txn.otherwise };
        // Before anything is done, so that nothing is half done.
        for op in &ops {
            state.check_kept_value(op)?;
        }
        let mut changes = Vec::new();
        let ops = ops.into_iter();
        let mut replies: Vec<OpReply> = ops.map(|op| state.apply(op, &mut changes)).collect();
        let wrote = !changes.is_empty();
        let revision = state.finish(changes);
        // Only now is it known whether there is a new revision.
        for reply in &mut replies {
            if let OpReply::Delete(deleted) = reply {
                deleted.revision = revision;
            }
        }
        drop(state);
        if wrote {
            self.0.written.send_replace(());
        }
        Ok(TxnReply {
            revision,
            succeeded,
            replies,
        })
    }
}

impl State {
    fn next_revision(&self) -> Revision {
        Revision::new(self.revision + 1)
    }

    fn holds(&self, compare: &Compare) -> bool {
        let (relation, entry) = (compare.relation, self.entries.get(&compare.key));
        let revision = |of: fn(&Entry) -> Revision| entry.map_or(Revision::ZERO, of);
        match &compare.target {
            Target::Version(given) => relation.holds(&entry.map_or(0, |it| it.version), given),
            Target::Created(given) => relation.holds(&revision(|it| it.created), given),
            Target::Modified(given) => relation.holds(&revision(|it| it.modified), given),
            // A missing key has no value, not even an empty one.
            Target::Value(given) => entry.is_some_and(|it| relation.holds(&it.value, given)),
            // No key has a lease.
            Target::Lease(given) => relation.holds(&0, &given.map_or(0, LeaseId::get)),
        }
    }

    fn check_kept_value(&self, op: &Op) -> Result<()> {
        match op {
            Op::Put(key, _, options) if options.keep_value && !self.entries.contains_key(key) => {
                Err(Error::invalid(format!(
                    "the put is to keep the value of \"{key}\", which does not exist"
                )))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, range: &KeyRange, options: &ListOptions) -> RangeReply {
        let within = self.entries.range::<Key, _>(range.start()..);
        let within = within.take_while(|(key, _)| range.contains(key));
        let mut entries: Vec<Entry> = within.map(|(_, entry)| entry.clone()).collect();
        let count = entries.len() as u64;
        if options.order == Order::Descending {
            entries.reverse();
        }
        entries.truncate(options.limit.unwrap_or(usize::MAX));
        match options.projection {
            Projection::Entries => {}
            Projection::Keys => entries.iter_mut().for_each(|it| it.value = Bytes::new()),
            Projection::Count => entries.clear(),
        }
        RangeReply {
            entries,
            count: (options.projection == Projection::Count).then_some(count),
        }
    }

    fn apply(&mut self, op: Op, changes: &mut Vec<Change>) -> OpReply {
        let revision = self.next_revision();
        match op {
            Op::Get(range, options) => OpReply::Get(self.read(&range, &options)),
            Op::Put(key, value, options) => {
                let prev = self.entries.get(&key).cloned();
                let before = prev.as_ref();
                let kept = before.filter(|_| options.keep_value);
                let entry = Entry {
                    value: kept.map_or(value, |kept| kept.value.clone()),
                    created: before.map_or(revision, |before| before.created),
                    modified: revision,
                    version: before.map_or(0, |before| before.version) + 1,
                    lease: None,
                    key: key.clone(),
                };
                self.entries.insert(key, entry.clone());
                let told = prev.clone().filter(|_| options.previous);
                changes.push(Change::Put { entry, prev });
                OpReply::Put(PutReply {
                    revision,
                    written: true,
                    prev: told,
                    lease: None,
                })
            }
            Op::Delete(range, options) => {
                let mut prev = self.read(&range, &ListOptions::default()).entries;
                let deleted = prev.len() as u64;
                for entry in &prev {
                    self.entries.remove(&entry.key);
                    let (key, prev) = (entry.key.clone(), Some(entry.clone()));
                    changes.push(Change::Delete { key, prev });
                }
                if !options.previous {
                    prev.clear();
                }
                OpReply::Delete(DeleteReply {
                    revision,
                    deleted,
                    prev,
                })
            }
        }
    }

    /// Makes the changes a revision, in the order of their keys, if there are any.
    fn finish(&mut self, mut changes: Vec<Change>) -> Revision {
        if !changes.is_empty() {
            changes.sort_by(|a, b| a.key().cmp(b.key()));
            self.revision += 1;
            let revision = Revision::new(self.revision);
            self.log.push_back(Changes { revision, changes });
            if self.log.len() > KEPT {
                self.log.pop_front();
            }
        }
        Revision::new(self.revision)
    }
}

#[async_trait]
impl Watcher for Shelf {
    /// A watch is a place in the log: a slow reader keeps nobody else, and is told if the log leaves it behind.
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        range.check()?;
        options.check()?;
        let written = self.0.written.subscribe();
        let now = self.state()?.revision;
        let cursor = options.from.map_or(now + 1, Revision::get);
        let after = Revision::new(cursor - 1);
        if cursor <= now {
            // What is gone is told at once.
            let mut first = cursor;
            self.next(&mut first)?;
        }
        let place = Place {
            shelf: self.clone(),
            range: range.clone(),
            previous: options.previous,
            progress: options.progress,
            cursor,
            written,
        };
        let changes = stream::unfold(place, async |mut place| {
            let changes = place.next().await;
            Some((changes, place))
        });
        Ok(ChangeStream::new(after, changes))
    }
}

/// A watch: how far it has come.
struct Place {
    shelf: Shelf,
    range: KeyRange,
    previous: bool,
    progress: Option<Duration>,
    cursor: u64,
    written: watch::Receiver<()>,
}

impl Place {
    /// The next revision that did something to the range. The stream ends with the first error.
    async fn next(&mut self) -> Result<Changes> {
        let deadline = self.progress.map(|every| Instant::now() + every);
        loop {
            // Before looking, so that what is written from here on is not missed.
            self.written.mark_unchanged();
            match self.shelf.next(&mut self.cursor)? {
                Some(changes) => {
                    if let Some(changes) = within(changes, &self.range, self.previous) {
                        return Ok(changes);
                    }
                }
                None => {
                    // The sender is in the shelf, which is ours.
                    let written = self.written.changed();
                    let Some(deadline) = deadline else {
                        drop(written.await);
                        continue;
                    };
                    if timeout_at(deadline, written).await.is_err() {
                        // Nothing more happened up to here.
                        return Ok(Changes::progress(Revision::new(self.cursor - 1)));
                    }
                }
            }
        }
    }
}

/// What a revision did to a range, if anything.
fn within(mut changes: Changes, range: &KeyRange, previous: bool) -> Option<Changes> {
    changes
        .changes
        .retain(|change| range.contains(change.key()));
    if !previous {
        for change in &mut changes.changes {
            let (Change::Put { prev, .. } | Change::Delete { prev, .. }) = change;
            *prev = None;
        }
    }
    (!changes.is_progress()).then_some(changes)
}

/// There are no leases, and so neither sessions nor locks.
#[async_trait]
impl Leases for Shelf {
    async fn grant(&self, _ttl: Duration) -> Result<LeaseGrant> {
        Err(self.no_leases())
    }

    async fn keep_alive(&self, _lease: LeaseId) -> Result<Duration> {
        Err(self.no_leases())
    }

    async fn revoke(&self, _lease: LeaseId) -> Result<()> {
        Err(self.no_leases())
    }

    async fn time_to_live(&self, _lease: LeaseId) -> Result<LeaseStatus> {
        Err(self.no_leases())
    }
}

impl Shelf {
    fn no_leases(&self) -> Error {
        Error::NotSupported {
            operation: "leases",
            store: self.to_string(),
        }
    }
}

#[async_trait]
impl Maintenance for Shelf {
    async fn status(&self) -> Result<StoreStatus> {
        let mut status = StoreStatus::new("shelf 1");
        status.revision = Some(Revision::new(self.state()?.revision));
        Ok(status)
    }

    /// It is in this process: it cannot be cut off.
    fn connection(&self) -> Option<Connection> {
        None
    }

    async fn compact(&self, _to: Revision) -> Result<()> {
        self.has_no("compaction", true)
    }

    async fn close(&self) -> Result<()> {
        if let Ok(mut state) = self.state() {
            state.closed = true;
        }
        self.0.written.send_replace(());
        Ok(())
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shelf")
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf")
    }
}
