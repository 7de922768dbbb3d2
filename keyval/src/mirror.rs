//! A local copy of a range, kept fresh by updates.

use std::cmp::Ordering;
use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use futures::stream::{Stream, StreamExt};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use tokio::sync::watch;

use crate::entry::{Change, Changes, Entry, ResyncCause, Snapshot, Update};
use crate::key::Key;
use crate::revision::Revision;

/// A local copy of a range and the one who keeps it fresh.
///
/// Feed the writer with the updates of [`follow`](crate::follow), raw or typed, and hand out clones
/// of the copy. Readers never wait for the store, and never see half of a revision or half of a
/// resync.
///
/// # Examples
/// ```
/// use futures::StreamExt;
/// use keyval::{BrokerExt, FollowOptions, KeyRange, Memory, follow, mirror};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// store.put("config/log", "info").await?;
///
/// let (config, writer) = mirror();
/// let updates = follow(store.clone(), KeyRange::prefix("config/"), FollowOptions::default());
/// let task = tokio::spawn(writer.run(updates));
///
/// let snapshot = config.ready().await.expect("the writer lives");
/// assert_eq!(snapshot.len(), 1);
///
/// let mine = store.put("config/log", "debug").await?;
/// config.caught_up(mine).await.expect("the store was not wiped");
/// assert_eq!(**config.get("config/log").unwrap().value, *b"debug");
/// # task.abort();
/// # Ok::<(), keyval::Error>(()) }).unwrap();
/// ```
#[must_use]
pub fn mirror<V: PartialEq + Send + Sync + 'static>() -> (Mirror<V>, MirrorWriter<V>) {
    let writer = MirrorWriter {
        state: watch::Sender::new(State {
            snapshot: Arc::new(MirrorSnapshot {
                revision: Revision::ZERO,
                entries: OrdMap::new(),
            }),
            ready: false,
            history: 0,
        }),
    };
    let mirror = Mirror {
        state: writer.state.subscribe(),
    };
    (mirror, writer)
}

/// A local copy of a range, for reading; clones share the copy.
///
/// It keeps its last state when the writer is gone.
pub struct Mirror<V> {
    state: watch::Receiver<State<V>>,
}

/// Keeps a [`Mirror`] fresh; there is one.
pub struct MirrorWriter<V> {
    state: watch::Sender<State<V>>,
}

/// The copy as it was at one revision; never changes.
pub struct MirrorSnapshot<V> {
    revision: Revision,
    entries: Entries<V>,
}

/// Values are shared between the copy, its snapshots and the changes that are handed out; entries
/// are shared between snapshots, so that a change copies pointers only.
type Entries<V> = OrdMap<Key, Arc<Entry<Arc<V>>>>;

/// Why a mirror will not show what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// The writer is gone: the copy will not change any more.
    #[error("the mirror is no longer kept fresh: its writer is gone")]
    WriterGone,
    /// The store was wiped or restored while this was waited for: the revision says nothing in the
    /// new history. Read what is there now, and write again what is missing.
    #[error("the history of the store has changed: the revision belongs to the old one")]
    HistoryChanged,
}

struct State<V> {
    snapshot: Arc<MirrorSnapshot<V>>,
    /// Whether a resync has been applied.
    ready: bool,
    /// How often the history has changed.
    history: u64,
}

impl<V> Mirror<V> {
    /// The entry of a key, as the copy has it now.
    #[must_use]
    pub fn get(&self, key: impl Into<Key>) -> Option<Entry<Arc<V>>> {
        self.state.borrow().snapshot.get(key).cloned()
    }

    /// The whole copy as it is now; costs the same at any size.
    #[must_use]
    pub fn snapshot(&self) -> Arc<MirrorSnapshot<V>> {
        Arc::clone(&self.state.borrow().snapshot)
    }

    /// The revision up to which the copy is known; zero before the first resync.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state.borrow().snapshot.revision
    }

    /// Whether the first resync has been applied.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state.borrow().ready
    }

    /// Whether the writer is gone, so that the copy will not change any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.state.has_changed().is_err()
    }

    /// Waits until the first resync has been applied.
    ///
    /// # Errors
    /// [`MirrorError::WriterGone`] if it will never be.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<Arc<MirrorSnapshot<V>>, MirrorError> {
        let mut state = self.state.clone();
        match state.wait_for(|state| state.ready).await {
            Ok(state) => Ok(Arc::clone(&state.snapshot)),
            Err(_) => Err(MirrorError::WriterGone),
        }
    }

    /// Waits until the copy is at least at this revision, so that one who has written sees what was
    /// written; returns the copy.
    ///
    /// On a range where nothing happens this waits for the store's word of progress. After a change
    /// of history revisions count anew: who waits when that happens is told so. Who asks only
    /// afterwards, with a revision of the old history, waits for the new one to come that far; and
    /// before the copy has noticed, a revision of the new history may seem to have been reached.
    ///
    /// # Errors
    /// [`MirrorError::HistoryChanged`] if the history of the store changes meanwhile;
    /// [`MirrorError::WriterGone`] if the copy will never come this far.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn caught_up(
        &self,
        revision: Revision,
    ) -> Result<Arc<MirrorSnapshot<V>>, MirrorError> {
        let mut state = self.state.clone();
        let history = state.borrow().history;
        let there = |state: &State<V>| {
            state.history != history || (state.ready && state.snapshot.revision >= revision)
        };
        let Ok(state) = state.wait_for(there).await else {
            return Err(MirrorError::WriterGone);
        };
        if state.history != history {
            return Err(MirrorError::HistoryChanged);
        }
        Ok(Arc::clone(&state.snapshot))
    }

    /// Waits until the copy is another than this handle has waited for before, and returns it.
    ///
    /// Copies that are replaced before they are waited for are passed over. A word of progress
    /// makes another copy too: its revision is new. A fresh handle waits for what comes after it was
    /// made; a clone has waited for what its original has.
    ///
    /// # Errors
    /// [`MirrorError::WriterGone`] if there will be no other.
    ///
    /// # Cancel safety
    /// If the future is dropped, the next call returns the same copy, or a newer one.
    pub async fn changed(&mut self) -> Result<Arc<MirrorSnapshot<V>>, MirrorError> {
        match self.state.changed().await {
            Ok(()) => Ok(Arc::clone(&self.state.borrow_and_update().snapshot)),
            Err(_) => Err(MirrorError::WriterGone),
        }
    }
}

impl<V: PartialEq + Send + Sync + 'static> MirrorWriter<V> {
    /// Another handle to the copy.
    #[must_use]
    pub fn mirror(&self) -> Mirror<V> {
        Mirror {
            state: self.state.subscribe(),
        }
    }

    /// Applies an update, and returns exactly the changes that it makes to the copy, in key order,
    /// each with what stood there before.
    ///
    /// A resync is compared with the copy: a key that is not in it is a delete, a new entry or one
    /// that differs in anything is a put, and the rest is nothing. What the copy has already, an
    /// update at or below its revision included, changes nothing.
    pub fn apply(&mut self, update: Update<V>) -> Changes<Arc<V>> {
        match update {
            Update::Resync(snapshot) => self.resync(snapshot),
            Update::Changes(changes) => self.change(changes),
        }
    }

    /// Applies each update of a stream, and passes on the changes that it makes to the copy; errors
    /// pass unchanged.
    ///
    /// # Examples
    /// ```
    /// use futures::StreamExt;
    /// use keyval::{BrokerExt, FollowOptions, KeyRange, Memory, follow, mirror};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// store.put("config/log", "info").await?;
    /// let (config, writer) = mirror();
    /// let updates = follow(store, KeyRange::prefix("config/"), FollowOptions::default());
    /// let mut changes = writer.feed(updates);
    ///
    /// let Some(first) = changes.next().await.transpose()? else { unreachable!() };
    /// assert_eq!(first.changes[0].key(), &"config/log");
    /// assert!(config.get("config/log").is_some());
    /// # Ok::<(), keyval::Error>(()) }).unwrap();
    /// ```
    pub fn feed<E>(
        mut self,
        updates: impl Stream<Item = Result<Update<V>, E>>,
    ) -> impl Stream<Item = Result<Changes<Arc<V>>, E>> {
        updates.map(move |update| update.map(|update| self.apply(update)))
    }

    /// Applies each update of a stream until it ends; errors on the way are logged.
    ///
    /// # Errors
    /// The error with which the stream ended, if its last item was one.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the copy as it is.
    pub async fn run<E: fmt::Display>(
        self,
        updates: impl Stream<Item = Result<Update<V>, E>>,
    ) -> Result<(), E> {
        let mut changes = std::pin::pin!(self.feed(updates));
        let mut last = Ok(());
        while let Some(item) = changes.next().await {
            if let Err(error) = &item {
                tracing::warn!(%error, "mirror not updated");
            }
            last = item.map(drop);
        }
        last
    }

    fn resync(&self, snapshot: Snapshot<V>) -> Changes<Arc<V>> {
        let (mut state, revision) = (self.state.borrow().clone(), snapshot.revision);
        let changes = difference(&state.snapshot.entries, snapshot.entries);
        let back = state.ready && revision < state.snapshot.revision;
        if snapshot.cause == ResyncCause::HistoryChanged || back {
            state.history += 1;
        }
        state.ready = true;
        let mut entries = state.snapshot.entries.clone();
        for change in &changes {
            match change {
                Change::Put { entry, .. } => {
                    entries.insert(entry.key.clone(), Arc::new(entry.clone()));
                }
                Change::Delete { key, .. } => {
                    entries.remove(key);
                }
            }
        }
        self.publish(state, revision, entries);
        Changes { revision, changes }
    }

    fn change(&self, changes: Changes<V>) -> Changes<Arc<V>> {
        let state = self.state.borrow().clone();
        let revision = changes.revision;
        if revision <= state.snapshot.revision {
            return Changes::progress(state.snapshot.revision);
        }
        let mut entries = state.snapshot.entries.clone();
        let changes = changes.changes.into_iter();
        let changes = changes
            .filter_map(|change| change_entry(&mut entries, change))
            .collect();
        self.publish(state, revision, entries);
        Changes { revision, changes }
    }

    fn publish(&self, mut state: State<V>, revision: Revision, entries: Entries<V>) {
        state.snapshot = Arc::new(MirrorSnapshot { revision, entries });
        self.state.send_replace(state);
    }
}

impl<V> MirrorSnapshot<V> {
    /// The revision up to which the copy is known.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The entry of a key.
    #[must_use]
    pub fn get(&self, key: impl Into<Key>) -> Option<&Entry<Arc<V>>> {
        self.entries.get(&key.into()).map(|entry| &**entry)
    }

    /// Every entry, in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry<Arc<V>>> {
        self.entries.values().map(|entry| &**entry)
    }

    /// The entries with keys in these bounds, in key order.
    ///
    /// # Examples
    /// ```
    /// # use keyval::{Key, mirror};
    /// let (copy, _writer) = mirror::<String>();
    /// let from = Key::from("a/");
    /// assert_eq!(copy.snapshot().range(from..).count(), 0);
    /// ```
    pub fn range(
        &self,
        bounds: impl RangeBounds<Key>,
    ) -> impl DoubleEndedIterator<Item = &Entry<Arc<V>>> {
        self.entries.range(bounds).map(|(_, entry)| &**entry)
    }

    /// The changes that lead from an earlier copy to this one, in key order, each with what stood
    /// there before.
    ///
    /// What two copies of one mirror share is not looked at, so that this is quick however large
    /// they are.
    ///
    /// # Examples
    /// ```
    /// # use futures::{StreamExt, TryStreamExt};
    /// # use keyval::{BrokerExt, Change, FollowOptions, KeyRange, Memory, follow, mirror};
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// let (copy, writer) = mirror();
    /// let mut feed = writer.feed(follow(store.clone(), KeyRange::all(), FollowOptions::default()));
    /// feed.try_next().await?;
    /// let earlier = copy.snapshot();
    /// for value in ["info", "debug"] {
    ///     store.put("config/log", value).await?;
    ///     feed.try_next().await?;
    /// }
    /// let changes = copy.snapshot().changes_since(&earlier);
    /// assert_eq!(changes.len(), 1, "two puts of one key are one change");
    /// assert!(changes[0].prev().is_none());
    /// # Ok::<(), keyval::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn changes_since(&self, earlier: &Self) -> Vec<Change<Arc<V>>>
    where
        V: PartialEq,
    {
        let changes = earlier.entries.diff(&self.entries);
        let changes = changes.filter_map(|change| match change {
            DiffItem::Add(_, entry) => Some(Change::Put {
                entry: (**entry).clone(),
                prev: None,
            }),
            // Also where a value does not even equal itself, as with a NaN in it.
            DiffItem::Update { old, new } if Arc::ptr_eq(old.1, new.1) => None,
            DiffItem::Update { old, new } => Some(Change::Put {
                entry: (**new.1).clone(),
                prev: Some((**old.1).clone()),
            }),
            DiffItem::Remove(key, entry) => Some(Change::Delete {
                key: key.clone(),
                prev: Some((**entry).clone()),
            }),
        });
        changes.collect()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// The changes that lead from what was there to what is there now, in key order.
fn difference<V: PartialEq>(before: &Entries<V>, mut after: Vec<Entry<V>>) -> Vec<Change<Arc<V>>> {
    // In order already, unless it was made by hand; the merge relies on it.
    after.sort_by(|a, b| a.key.cmp(&b.key));
    let mut before = before.values().peekable();
    let mut after = after.into_iter().peekable();
    let mut changes = Vec::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.key.cmp(&new.key),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        match (old, new) {
            (Some(old), None) => changes.push(Change::Delete {
                key: old.key.clone(),
                prev: Some((**old).clone()),
            }),
            (old, Some(new)) if old.is_none_or(|old| !same(old, &new)) => {
                changes.push(Change::Put {
                    entry: new.map(Arc::new),
                    prev: old.map(|old| (**old).clone()),
                });
            }
            _ => {}
        }
    }
}

/// Applies a change, and returns it as the copy has seen it; `None` if the copy has it already.
fn change_entry<V: PartialEq>(
    entries: &mut Entries<V>,
    change: Change<V>,
) -> Option<Change<Arc<V>>> {
    match change {
        Change::Put { entry, .. } => {
            if entries.get(&entry.key).is_some_and(|old| same(old, &entry)) {
                return None;
            }
            let entry = entry.map(Arc::new);
            let prev = entries.insert(entry.key.clone(), Arc::new(entry.clone()));
            let prev = prev.map(Arc::unwrap_or_clone);
            Some(Change::Put { entry, prev })
        }
        Change::Delete { key, .. } => {
            let prev = Arc::unwrap_or_clone(entries.remove(&key)?);
            let prev = Some(prev);
            Some(Change::Delete { key, prev })
        }
    }
}

/// Whether two entries are alike in everything.
fn same<V: PartialEq>(old: &Entry<Arc<V>>, new: &Entry<V>) -> bool {
    old.key == new.key
        && old.created == new.created
        && old.modified == new.modified
        && old.version == new.version
        && old.lease == new.lease
        && *old.value == new.value
}

impl<V> Clone for State<V> {
    fn clone(&self) -> Self {
        Self {
            snapshot: Arc::clone(&self.snapshot),
            ready: self.ready,
            history: self.history,
        }
    }
}

impl<V> Clone for Mirror<V> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
        }
    }
}

impl<V> fmt::Debug for Mirror<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        f.debug_struct("Mirror")
            .field("revision", &snapshot.revision)
            .field("entries", &snapshot.len())
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for MirrorWriter<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("MirrorWriter")
            .field("revision", &state.snapshot.revision)
            .field("entries", &state.snapshot.len())
            .finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for MirrorSnapshot<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorSnapshot")
            .field("revision", &self.revision)
            .field("entries", &self.len())
            .finish_non_exhaustive()
    }
}
