//! The store under test, as each promise gets it: with a random scope of its own.

use std::fmt::Debug;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use crate::broker::{Broker, BrokerExt};
use crate::capability::Capabilities;
use crate::entry::{Change, Changes, Entry};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::options::{ListOptions, PutOptions, WatchOptions};
use crate::range::{KeyRange, Prefix};
use crate::reply::PutReply;
use crate::revision::Revision;
use crate::store::{ManagedStore, Store};
use crate::testing::conformance::events::Events;
use crate::testing::conformance::log::Log;
use crate::testing::conformance::patient::{Patient, within};
use crate::txn::{Compare, Txn};
use crate::watcher::Watcher;
use crate::wrap::Prefixed;

/// How the kit treats a store.
///
/// # Examples
/// ```
/// use keyval::testing::conformance::Settings;
///
/// let slow = Settings::default().with_cases(24);
/// assert_eq!(slow.cases, 24);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// How long to wait for a call, or for an event that must come; 30 seconds by default.
    pub patience: Duration,
    /// How many random sequences the model test tries; 256 by default.
    pub cases: u32,
    /// The worker threads of each promise; 1 by default, on which time can be paused.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            cases: 256,
            threads: 1,
        }
    }
}

impl Settings {
    /// Sets how long to wait for a call, or for an event that must come.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how many random sequences the model test tries; fewer for a store that is slow.
    #[must_use]
    pub fn with_cases(mut self, cases: u32) -> Self {
        self.cases = cases;
        self
    }

    /// Sets the worker threads of each promise; more than one makes its tasks run truly at once.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }
}

/// The store under test, with a random scope of its own and the words to ask it in.
///
/// The names that its methods take are names within that scope. `Subject` is of any store,
/// `Subject<dyn ManagedStore>` of a whole store that nobody else uses meanwhile.
///
/// # Examples
/// ```
/// use keyval::Memory;
/// use keyval::testing::conformance::{Subject, kv};
///
/// # tokio_test::block_on(async {
/// kv::a_missing_key_is_none(&Subject::new(Memory::new())).await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Subject<S: ?Sized = dyn Store> {
    store: Arc<S>,
    scope: Prefix,
    settings: Settings,
    log: Arc<Log>,
}

impl Subject {
    /// A store that others may use at the same time.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::with_settings(store, Settings::default())
    }

    /// A store that others may use at the same time, treated so.
    #[must_use]
    pub fn with_settings(store: impl Store, settings: Settings) -> Self {
        let log = Arc::new(Log::default());
        let store = Arc::new(patient(store, settings, &log));
        Self::build(store, settings, log)
    }
}

impl Subject {
    /// The handle of a scope within this scope, whose keys are all that can be named by it.
    pub(crate) fn scoped(&self, name: impl Into<Prefix>) -> Self {
        let scope = self.scope.nest(&name.into());
        let handle = Prefixed::new(Arc::clone(&self.store), scope);
        let mut subject = Self::with_settings(handle, self.settings);
        subject.scope = Prefix::default();
        subject
    }
}

impl Subject<dyn ManagedStore> {
    /// A whole store that nobody else uses meanwhile.
    #[must_use]
    pub fn whole(store: impl ManagedStore) -> Self {
        Self::whole_with_settings(store, Settings::default())
    }

    /// A whole store that nobody else uses meanwhile, treated so.
    #[must_use]
    pub fn whole_with_settings(store: impl ManagedStore, settings: Settings) -> Self {
        let log = Arc::new(Log::default());
        let store = Arc::new(patient(store, settings, &log));
        Self::build(store, settings, log)
    }
}

fn patient<S>(inner: S, settings: Settings, log: &Arc<Log>) -> Patient<S> {
    Patient {
        inner,
        patience: settings.patience,
        log: Arc::clone(log),
    }
}

impl<S: Store + ?Sized> Subject<S> {
    fn build(store: Arc<S>, settings: Settings, log: Arc<Log>) -> Self {
        // Never seeded: a scope that was used before would not be empty.
        let number = fastrand::u64(..);
        Self {
            store,
            scope: Prefix::segment(format!("conformance/{number:016x}")),
            settings,
            log,
        }
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// How the store is treated.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The scope of this promise: nobody else uses its keys.
    #[must_use]
    pub fn scope(&self) -> &Prefix {
        &self.scope
    }

    /// The same store with a scope within this scope.
    pub(crate) fn nested(&self, name: &str) -> Self {
        Self {
            store: Arc::clone(&self.store),
            scope: self.scope.nest(&Prefix::segment(name)),
            settings: self.settings,
            log: Arc::clone(&self.log),
        }
    }

    /// Forgets the calls so far, for a promise that begins anew.
    pub(crate) fn forget_calls(&self) {
        self.log.clear();
    }

    /// What the store says it can do.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    /// The key of this name.
    #[must_use]
    pub fn key(&self, name: impl Into<Key>) -> Key {
        self.scope.join(&name.into())
    }

    /// Every key of the scope.
    #[must_use]
    pub fn all(&self) -> KeyRange {
        KeyRange::from(self.scope.clone())
    }

    /// Every key whose name begins so.
    #[must_use]
    pub fn prefix(&self, name: impl Into<Prefix>) -> KeyRange {
        KeyRange::from(self.scope.nest(&name.into()))
    }

    /// Every key from one name to below another.
    #[must_use]
    pub fn span(&self, start: impl Into<Key>, end: impl Into<Key>) -> KeyRange {
        KeyRange::span(self.key(start), self.key(end))
    }

    /// Reads a key.
    pub(crate) async fn get(&self, name: impl Into<Key>) -> Result<Option<Entry>> {
        self.store.get(self.key(name)).await
    }

    /// Reads a key that exists.
    pub(crate) async fn entry(&self, name: &str) -> Result<Entry> {
        let entry = self.store.get(self.key(name)).await?;
        Ok(entry.unwrap_or_else(|| panic!("the key \"{name}\" is not there")))
    }

    /// Puts a key.
    pub(crate) async fn put(
        &self,
        name: impl Into<Key>,
        value: impl Into<Bytes>,
    ) -> Result<Revision> {
        self.store.put(self.key(name), value).await
    }

    /// Puts a key with options.
    pub(crate) async fn put_opts(
        &self,
        name: impl Into<Key>,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<PutReply> {
        let key = self.key(name);
        self.store.put_opts(&key, value.into(), options).await
    }

    /// Puts so many keys, named by the function of their number, from 0 on.
    pub(crate) async fn fill(&self, count: usize, name: impl Fn(usize) -> String) -> Result<()> {
        for i in 0..count {
            self.put(name(i), format!("value {i}")).await?;
        }
        Ok(())
    }

    /// Lists a range to the end.
    pub(crate) async fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Vec<Entry>> {
        self.store.list_opts(range, options).await?.collect().await
    }

    /// The names of every key in the scope, in the order of the store's list.
    pub(crate) async fn names(&self) -> Result<Vec<String>> {
        let entries = self.list(&self.all(), ListOptions::default()).await?;
        Ok(self.names_of(&entries))
    }

    /// The names of these entries.
    pub(crate) fn names_of(&self, entries: &[Entry]) -> Vec<String> {
        entries.iter().map(|entry| self.name(&entry.key)).collect()
    }

    /// The name of a key.
    pub(crate) fn name(&self, key: &Key) -> String {
        match self.scope.strip(key) {
            Some(name) => name.to_string(),
            None => panic!("the key \"{key}\" is not of the scope \"{}\"", self.scope),
        }
    }

    /// These changes in short words: `put a=1`, `delete a`.
    pub(crate) fn told(&self, changes: &Changes) -> Vec<String> {
        let word = |change: &Change| match change {
            Change::Put { entry, .. } => {
                let value = Key::from(entry.value.clone());
                format!("put {}={value}", self.name(&entry.key))
            }
            Change::Delete { key, .. } => format!("delete {}", self.name(key)),
        };
        changes.changes.iter().map(word).collect()
    }

    /// Whether a transaction of this compare alone succeeds.
    pub(crate) async fn holds(&self, compare: Compare) -> Result<bool> {
        Ok(self.store.commit(Txn::new().when(compare)).await?.succeeded)
    }

    /// Watches the whole scope from now on.
    pub(crate) async fn watch(&self) -> Result<Events> {
        self.watch_opts(&self.all(), WatchOptions::default()).await
    }

    /// Watches a range.
    pub(crate) async fn watch_opts(
        &self,
        range: &KeyRange,
        options: WatchOptions,
    ) -> Result<Events> {
        let stream = self.store.watch_opts(range, options).await?;
        Ok(Events::new(
            stream,
            range.clone(),
            options.previous,
            self.settings.patience,
            Arc::clone(&self.log),
        ))
    }

    /// Waits for something that must happen.
    pub(crate) async fn within<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        within(self.settings.patience, what, future).await
    }

    /// Whether the store can do what a promise is about. If it says that it cannot, the call that
    /// needs it must be refused as not supported, with nothing applied.
    pub(crate) async fn can<T: Debug>(
        &self,
        capable: bool,
        what: &str,
        call: impl Future<Output = Result<T>>,
    ) -> bool {
        if !capable {
            println!("{} has no {what}: it must say so", self.store);
            let error = refused(call.await);
            assert!(
                matches!(error, Error::NotSupported { .. }),
                "a store without {what} must answer that it is not supported: {error:?}"
            );
        }
        capable
    }
}

/// The error of a call that had to fail, certainly not applied.
pub(crate) fn refused<T: Debug>(result: Result<T>) -> Error {
    match result {
        Ok(reply) => panic!("this had to be refused, and was answered: {reply:?}"),
        Err(error) => {
            assert!(
                !error.may_have_applied(),
                "what is refused is not applied, and says so: {error:?}"
            );
            error
        }
    }
}

/// Checks that a call was refused as making no sense.
pub(crate) fn refused_as_invalid<T: Debug>(result: Result<T>) {
    let error = refused(result);
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
}

/// Runs one promise on one store, as the tests that [`conformance!`](crate::conformance) makes do:
/// on a runtime of its own, with the last calls printed if it is not kept.
///
/// # Panics
/// If the promise is not kept.
pub fn run<S: Store + ?Sized>(
    name: &str,
    settings: Settings,
    subject: impl Future<Output = Subject<S>>,
    promise: impl AsyncFnOnce(&Subject<S>) -> Result<()>,
) {
    let mut builder = if settings.threads > 1 {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(settings.threads);
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        .build()
        .expect("a runtime can be built wherever tests run");
    runtime.block_on(async {
        let limit = settings.patience.saturating_mul(10);
        let subject = within(limit, "making the store", subject).await;
        let kept = within(limit, name, promise(&subject));
        match AssertUnwindSafe(kept).catch_unwind().await {
            Ok(Ok(())) => {
                // Good manners on a shared store; a store that the promise closed cannot, and
                // need not.
                let _ = subject.store.delete_prefix(subject.scope.clone()).await;
            }
            Ok(Err(error)) => {
                subject.log.print();
                panic!("{name} is not kept by {}: {error:?}", subject.store);
            }
            Err(panic) => {
                subject.log.print();
                eprintln!("{name} is not kept by {}", subject.store);
                resume_unwind(panic);
            }
        }
    });
}
