//! A store between the follower and the memory store, where everything can go wrong on command.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use keyval::{
    Broker, Bytes, Capabilities, Change, ChangeStream, Changes, DeleteOptions, DeleteReply, Entry,
    Error, Follow, FollowOptions, FollowState, GetOptions, Key, KeyRange, LeaseGrant, LeaseId,
    LeaseStatus, Leases, ListOptions, Listing, Memory, Outcome, PutOptions, PutReply, Result,
    ResyncCause, Revision, Snapshot, Txn, TxnReply, Update, WatchOptions, Watcher,
};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

/// What a follower can ask of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    List,
    /// A list of the past, which is how a small range is checked.
    Past,
    Commit,
    Watch,
}

/// What can happen to open watches.
#[derive(Clone, Debug)]
enum Signal {
    /// The connection breaks.
    Cut,
    /// The watch is ended without a word.
    End,
    /// The watch fails so.
    Fail(Script),
    /// This arrives, whatever the store has.
    Inject(Changes),
    /// A proxy between carries the watch over to another store, without a word.
    Carry,
}

/// Makes an error; errors themselves cannot be copied.
pub type Script = fn() -> Error;

pub fn unavailable() -> Error {
    Error::unavailable("cut by the test", Outcome::NotApplied)
}

pub fn denied() -> Error {
    Error::Denied {
        message: "by the test".into(),
    }
}

pub fn compacted() -> Error {
    Error::Compacted {
        requested: Revision::new(1),
        oldest: None,
    }
}

struct Inner {
    store: Mutex<Memory>,
    capabilities: Mutex<Capabilities>,
    calls: Mutex<Vec<(Instant, Call)>>,
    starts: Mutex<Vec<Revision>>,
    failures: Mutex<VecDeque<(Call, Script)>>,
    always: Mutex<Option<(Call, Script)>>,
    broken_page: Mutex<Option<usize>>,
    down: watch::Sender<Option<Script>>,
    mute: watch::Sender<bool>,
    signals: broadcast::Sender<Signal>,
    open: AtomicUsize,
}

#[derive(Clone)]
pub struct Lab(Arc<Inner>);

impl Lab {
    pub fn new() -> Self {
        Self::over(Memory::new())
    }

    pub fn over(store: Memory) -> Self {
        Self(Arc::new(Inner {
            capabilities: Mutex::new(store.capabilities()),
            store: Mutex::new(store),
            calls: Mutex::default(),
            starts: Mutex::default(),
            failures: Mutex::default(),
            always: Mutex::default(),
            broken_page: Mutex::default(),
            down: watch::Sender::new(None),
            mute: watch::Sender::new(false),
            signals: broadcast::Sender::new(1024),
            open: AtomicUsize::new(0),
        }))
    }

    /// The store below, which no fault touches.
    pub fn store(&self) -> Memory {
        self.0.store.lock().clone()
    }

    pub fn follow(&self) -> Follow<Lab> {
        self.follow_opts(options())
    }

    pub fn follow_opts(&self, options: FollowOptions) -> Follow<Lab> {
        keyval::follow(self.clone(), range(), options)
    }

    pub fn cut(&self) {
        let _ = self.0.signals.send(Signal::Cut);
    }

    pub fn end(&self) {
        let _ = self.0.signals.send(Signal::End);
    }

    pub fn fail_watches(&self, with: Script) {
        let _ = self.0.signals.send(Signal::Fail(with));
    }

    pub fn inject(&self, changes: Changes) {
        let _ = self.0.signals.send(Signal::Inject(changes));
    }

    /// Lets the next call of this kind fail.
    pub fn fail_next(&self, call: Call, with: Script) {
        self.0.failures.lock().push_back((call, with));
    }

    /// Lets every call of this kind fail from now on.
    pub fn fail_always(&self, call: Call, with: Script) {
        *self.0.always.lock() = Some((call, with));
    }

    /// Lets the next list break off after so many entries.
    pub fn break_list_after(&self, entries: usize) {
        *self.0.broken_page.lock() = Some(entries);
    }

    /// Lets every call fail from now on, and breaks what is open.
    pub fn down(&self, with: Script) {
        self.0.down.send_replace(Some(with));
        self.fail_watches(with);
    }

    pub fn up(&self) {
        self.0.down.send_replace(None);
    }

    /// Nothing is answered and nothing arrives while this holds, and nothing breaks.
    pub fn mute(&self, mute: bool) {
        self.0.mute.send_replace(mute);
    }

    /// Puts another store in the place of this one, and breaks the connections.
    pub fn replace(&self, store: Memory) {
        *self.0.store.lock() = store;
        self.cut();
    }

    /// Puts another store in the place of this one, and no connection notices.
    pub fn replace_behind_a_proxy(&self, store: Memory) {
        *self.0.store.lock() = store;
        let _ = self.0.signals.send(Signal::Carry);
    }

    pub fn set_capabilities(&self, change: impl FnOnce(&mut Capabilities)) {
        change(&mut self.0.capabilities.lock());
    }

    pub fn open_watches(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    pub fn calls(&self) -> Vec<(Instant, Call)> {
        self.0.calls.lock().clone()
    }

    pub fn count(&self, call: Call) -> usize {
        self.calls()
            .iter()
            .filter(|(_, made)| *made == call)
            .count()
    }

    /// Where watches were opened.
    pub fn starts(&self) -> Vec<Revision> {
        self.0.starts.lock().clone()
    }

    async fn enter(&self, call: Call) -> Result<Memory> {
        self.0.calls.lock().push((Instant::now(), call));
        let mut mute = self.0.mute.subscribe();
        if mute.wait_for(|mute| !mute).await.is_err() {
            pending::<()>().await;
        }
        if let Some(error) = *self.0.down.borrow() {
            return Err(error());
        }
        if let Some((kind, error)) = *self.0.always.lock()
            && kind == call
        {
            return Err(error());
        }
        let mut failures = self.0.failures.lock();
        if let Some(place) = failures.iter().position(|(kind, _)| *kind == call)
            && let Some((_, error)) = failures.remove(place)
        {
            return Err(error());
        }
        drop(failures);
        Ok(self.store())
    }
}

/// Counts an open watch as long as it lives.
struct Open(Lab);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Wire {
    lab: Lab,
    range: KeyRange,
    options: WatchOptions,
    watch: ChangeStream,
    after: Revision,
    signals: broadcast::Receiver<Signal>,
    mute: watch::Receiver<bool>,
    _open: Open,
}

impl Wire {
    async fn next(mut self) -> Option<(Result<Changes>, Self)> {
        loop {
            let _ = self.mute.wait_for(|mute| !mute).await;
            tokio::select! {
                biased;
                _ = self.mute.changed() => {}
                signal = self.signals.recv() => match signal {
                    Ok(Signal::Cut) => return Some((Err(unavailable()), self)),
                    Ok(Signal::Fail(error)) => return Some((Err(error()), self)),
                    Ok(Signal::Inject(changes)) => return Some((Ok(changes), self)),
                    Ok(Signal::Carry) => {
                        self.options.from = Some(self.after.next());
                        let store = self.lab.store();
                        match store.watch_opts(&self.range, self.options).await {
                            Ok(watch) => self.watch = watch,
                            Err(error) => return Some((Err(error), self)),
                        }
                    }
                    Ok(Signal::End) | Err(_) => return None,
                },
                item = self.watch.next() => {
                    if let Some(Ok(changes)) = &item {
                        self.after = changes.revision;
                    }
                    return item.map(|item| (item, self));
                }
            }
        }
    }
}

#[async_trait]
impl Broker for Lab {
    fn capabilities(&self) -> Capabilities {
        *self.0.capabilities.lock()
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.store().get_opts(key, options).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let call = if options.at.is_some() {
            Call::Past
        } else {
            Call::List
        };
        let mut listing = self.enter(call).await?.list_opts(range, options).await?;
        if let Some(entries) = self.0.broken_page.lock().take() {
            let rest = futures::stream::once(async { Err(unavailable()) });
            listing.entries = listing.entries.take(entries).chain(rest).boxed();
        }
        Ok(listing)
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        self.store().put_opts(key, value, options).await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        self.store().delete_opts(range, options).await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        self.enter(Call::Commit).await?.commit(txn).await
    }
}

#[async_trait]
impl Watcher for Lab {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let store = self.enter(Call::Watch).await?;
        let signals = self.0.signals.subscribe();
        let watch = store.watch_opts(range, options).await?;
        self.0.starts.lock().extend(options.from);
        self.0.open.fetch_add(1, Ordering::SeqCst);
        let after = watch.after();
        let wire = Wire {
            lab: self.clone(),
            range: range.clone(),
            options,
            watch,
            after,
            signals,
            mute: self.0.mute.subscribe(),
            _open: Open(self.clone()),
        };
        Ok(ChangeStream::new(
            after,
            futures::stream::unfold(wire, Wire::next),
        ))
    }
}

#[async_trait]
impl Leases for Lab {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        self.store().grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.store().keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.store().revoke(lease).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.store().time_to_live(lease).await
    }
}

impl fmt::Display for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lab")
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lab")
    }
}

/// The range that tests follow; other keys are somebody else's.
pub fn range() -> KeyRange {
    KeyRange::prefix("a/")
}

pub fn options() -> FollowOptions {
    FollowOptions::default().with_name("test")
}

/// Large ranges are recognised by samples; so are all ranges with these options.
pub fn sampling() -> FollowOptions {
    options().with_exact_keys(0)
}

/// The next update; panics on an error or the end.
pub async fn next<S>(follow: &mut Follow<S>) -> Update {
    match follow.next().await {
        Some(Ok(update)) => update,
        other => panic!("an update was expected, not {other:?}"),
    }
}

/// The next changes that are not progress.
pub async fn next_changes<S>(follow: &mut Follow<S>) -> Changes {
    match next_but_progress(follow).await {
        Update::Changes(changes) => changes,
        Update::Resync(snapshot) => panic!("no resync was expected: {snapshot:?}"),
    }
}

pub async fn next_resync<S>(follow: &mut Follow<S>) -> Snapshot {
    match next_but_progress(follow).await {
        Update::Resync(snapshot) => snapshot,
        Update::Changes(changes) => panic!("a resync was expected, not {changes:?}"),
    }
}

async fn next_but_progress<S>(follow: &mut Follow<S>) -> Update {
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        match tokio::time::timeout_at(until, next(follow)).await {
            Ok(Update::Changes(changes)) if changes.is_progress() => {}
            Ok(update) => return update,
            Err(_) => panic!("nothing came but progress: {:?}", follow.state().borrow()),
        }
    }
}

/// Reads the first resync and waits until the watch is open.
pub async fn start<S>(follow: &mut Follow<S>) -> Snapshot {
    let snapshot = next_resync(follow).await;
    assert_eq!(snapshot.cause, ResyncCause::Initial);
    connect(follow).await;
    snapshot
}

/// Polls until the watch is open; nothing may be delivered meanwhile.
pub async fn connect<S>(follow: &mut Follow<S>) {
    let mut state = follow.state();
    tokio::select! {
        biased;
        item = follow.next() => panic!("nothing was to be delivered: {item:?}"),
        state = state.wait_for(FollowState::is_connected) => { state.unwrap(); }
    }
}

/// Polls for so long; nothing but progress may be delivered.
pub async fn nothing_for<S>(follow: &mut Follow<S>, time: Duration) {
    let until = Instant::now() + time;
    while let Ok(item) = tokio::time::timeout_at(until, follow.next()).await {
        match item {
            Some(Ok(Update::Changes(changes))) if changes.is_progress() => {}
            other => panic!("nothing was to be delivered: {other:?}"),
        }
    }
}

/// Changes as words: `+key=value@revision`, `-key@revision`.
pub fn words(changes: &Changes) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Put { entry, .. } => format!(
            "+{}={}@{}",
            entry.key,
            entry.value.escape_ascii(),
            changes.revision
        ),
        Change::Delete { key, .. } => format!("-{key}@{}", changes.revision),
    };
    changes.changes.iter().map(word).collect()
}

pub fn keys(snapshot: &Snapshot) -> Vec<String> {
    let keys = snapshot.entries.iter();
    keys.map(|entry| entry.key.to_string()).collect()
}

/// Asserts that a type is what a caller may need it to be.
pub fn is_a_stream<S: Stream + Send + Unpin + 'static>(_: &S) {}
