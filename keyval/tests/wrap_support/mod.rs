//! A store that does as its script says, for tests of what stands around stores.

#![allow(dead_code)] // Each test file uses a part.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use keyval::{
    Broker, Bytes, Capabilities, ChangeStream, DeleteOptions, DeleteReply, Entry, Error,
    GetOptions, Key, KeyRange, LeaseGrant, LeaseId, LeaseStatus, Leases, ListOptions, Listing,
    Maintenance, Memory, Outcome, PutOptions, PutReply, Result, Revision, StoreStatus, Txn,
    TxnReply, WatchOptions, Watcher,
};

/// What happens to one operation.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is carried out.
    Pass,
    /// It is not carried out, and fails.
    Fail(Error),
    /// It is not carried out, and fails after this time.
    FailLate(Duration, Error),
    /// It is carried out, and the answer is lost.
    Lose(Error),
    /// It never ends.
    Hang,
    /// It takes this long.
    Late(Duration),
}

#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
    calls: Vec<String>,
    capabilities: Option<Capabilities>,
    lists: Option<Arc<dyn Fn(Listing) -> Listing + Send + Sync>>,
    watches: Option<Arc<dyn Fn(ChangeStream) -> ChangeStream + Send + Sync>>,
}

/// A [`Memory`] store whose operations meet, one by one, the steps of a script; past its end they pass.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) store: Memory,
    script: Arc<Mutex<Script>>,
}

impl Scripted {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let script = Script {
            steps: steps.into_iter().collect(),
            ..Script::default()
        };
        Self {
            store: Memory::new(),
            script: Arc::new(Mutex::new(script)),
        }
    }

    /// Answers this when asked for its capabilities.
    pub(crate) fn with_capabilities(self, capabilities: Capabilities) -> Self {
        self.script.lock().unwrap().capabilities = Some(capabilities);
        self
    }

    /// Passes each list through a function.
    pub(crate) fn with_lists(self, f: impl Fn(Listing) -> Listing + Send + Sync + 'static) -> Self {
        self.script.lock().unwrap().lists = Some(Arc::new(f));
        self
    }

    /// Passes each watch through a function.
    pub(crate) fn with_watches(
        self,
        f: impl Fn(ChangeStream) -> ChangeStream + Send + Sync + 'static,
    ) -> Self {
        self.script.lock().unwrap().watches = Some(Arc::new(f));
        self
    }

    pub(crate) fn then(&self, step: Step) {
        self.script.lock().unwrap().steps.push_back(step);
    }

    /// The operations that arrived, in order, by name.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.script.lock().unwrap().calls.clone()
    }

    pub(crate) fn forget_calls(&self) {
        self.script.lock().unwrap().calls.clear();
    }

    async fn step<T>(
        &self,
        call: &str,
        operation: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let step = {
            let mut script = self.script.lock().unwrap();
            script.calls.push(call.to_owned());
            script.steps.pop_front()
        };
        match step {
            None | Some(Step::Pass) => operation.await,
            Some(Step::Fail(error)) => Err(error),
            Some(Step::FailLate(late, error)) => {
                tokio::time::sleep(late).await;
                Err(error)
            }
            Some(Step::Lose(error)) => {
                operation.await?;
                Err(error)
            }
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::Late(late)) => {
                tokio::time::sleep(late).await;
                operation.await
            }
        }
    }
}

pub(crate) fn refused() -> Error {
    Error::unavailable("nobody listens", Outcome::NotApplied)
}

pub(crate) fn lost() -> Error {
    Error::unavailable("the connection broke", Outcome::Unknown)
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scripted")
    }
}

#[async_trait]
impl Broker for Scripted {
    fn capabilities(&self) -> Capabilities {
        let script = self.script.lock().unwrap();
        script
            .capabilities
            .unwrap_or_else(|| self.store.capabilities())
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        self.step("get", self.store.get_opts(key, options)).await
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        let listing = self
            .step("list", self.store.list_opts(range, options))
            .await?;
        let lists = self.script.lock().unwrap().lists.clone();
        Ok(match lists {
            Some(f) => f(listing),
            None => listing,
        })
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        self.step("put", self.store.put_opts(key, value, options))
            .await
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        self.step("delete", self.store.delete_opts(range, options))
            .await
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        self.step("commit", self.store.commit(txn)).await
    }
}

#[async_trait]
impl Watcher for Scripted {
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let stream = self
            .step("watch", self.store.watch_opts(range, options))
            .await?;
        let watches = self.script.lock().unwrap().watches.clone();
        Ok(match watches {
            Some(f) => f(stream),
            None => stream,
        })
    }
}

#[async_trait]
impl Leases for Scripted {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        self.step("grant", self.store.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.step("keep_alive", self.store.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.step("revoke", self.store.revoke(lease)).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        self.step("time_to_live", self.store.time_to_live(lease))
            .await
    }
}

#[async_trait]
impl Maintenance for Scripted {
    async fn status(&self) -> Result<StoreStatus> {
        self.step("status", self.store.status()).await
    }

    fn connection(&self) -> Option<keyval::Connection> {
        self.store.connection()
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        self.step("compact", self.store.compact(to)).await
    }

    async fn close(&self) -> Result<()> {
        self.step("close", self.store.close()).await
    }
}
