//! The connection that a plugin makes and its handles wait for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyval::{Error, ManagedStore, Outcome, Result};
use tokio::sync::watch;
use tokio::time::timeout;

/// What an operation does while there is no connection yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitPolicy {
    /// Waits for it, but no longer than this; up to 5 s by default.
    UpTo(Duration),
    /// Fails at once.
    FailFast,
}

impl Default for WaitPolicy {
    fn default() -> Self {
        Self::UpTo(Duration::from_secs(5))
    }
}

/// One connection in its life: awaited, there, closed.
pub(crate) struct Link {
    plugin: Arc<str>,
    /// Set once; read without waiting by every operation.
    store: OnceLock<Arc<dyn ManagedStore>>,
    closed: AtomicBool,
    phase: watch::Sender<Phase>,
}

#[derive(Clone)]
enum Phase {
    /// Not yet there.
    Awaited,
    /// There, or it was.
    Settled,
    /// It will never be there, for this reason.
    Failed(Arc<str>),
}

impl Link {
    pub(crate) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.into(),
            store: OnceLock::new(),
            closed: AtomicBool::new(false),
            phase: watch::Sender::new(Phase::Awaited),
        }
    }

    /// The connection is there: whoever waits goes on.
    pub(crate) fn connect(&self, store: Arc<dyn ManagedStore>) {
        // A second connection would come from a second `init`, which no host does.
        if self.store.set(store).is_ok() {
            self.phase.send_replace(Phase::Settled);
        }
    }

    /// There will be no connection: whoever waits fails.
    pub(crate) fn fail(&self, cause: &str) {
        self.phase.send_replace(Phase::Failed(cause.into()));
    }

    /// From now on every operation fails with [`Error::Closed`].
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.phase.send_if_modified(|phase| {
            let awaited = matches!(phase, Phase::Awaited);
            if awaited {
                *phase = Phase::Settled;
            }
            awaited
        });
    }

    /// The store, if it is connected and not closed.
    pub(crate) fn present(&self) -> Option<&Arc<dyn ManagedStore>> {
        self.store
            .get()
            .filter(|_| !self.closed.load(Ordering::Acquire))
    }

    /// The store, whatever its state: for the plugin, to close it.
    pub(crate) fn connected(&self) -> Option<&Arc<dyn ManagedStore>> {
        self.store.get()
    }

    /// The store, once it is connected.
    pub(crate) async fn store(&self, wait: WaitPolicy) -> Result<&Arc<dyn ManagedStore>> {
        if let Some(store) = self.settled()? {
            return Ok(store);
        }
        if let WaitPolicy::UpTo(limit) = wait {
            let mut phase = self.phase.subscribe();
            let settled = phase.wait_for(|phase| !matches!(phase, Phase::Awaited));
            // The sender lives in self, so that only time can end this otherwise.
            let _ = timeout(limit, settled).await;
            if let Some(store) = self.settled()? {
                return Ok(store);
            }
        }
        Err(self.unavailable(match wait {
            WaitPolicy::UpTo(limit) => format!("it is not connected after {limit:?}"),
            WaitPolicy::FailFast => "it is not connected yet".into(),
        }))
    }

    fn settled(&self) -> Result<Option<&Arc<dyn ManagedStore>>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed {
                store: format!("the store of plugin {}", self.plugin),
            });
        }
        if let Some(store) = self.store.get() {
            return Ok(Some(store));
        }
        match &*self.phase.borrow() {
            Phase::Failed(cause) => Err(self.unavailable(format!("it did not connect: {cause}"))),
            Phase::Awaited | Phase::Settled => Ok(None),
        }
    }

    fn unavailable(&self, what: impl fmt::Display) -> Error {
        // It was never sent anywhere.
        Error::unavailable(
            format!("plugin {}: {what}", self.plugin),
            Outcome::NotApplied,
        )
    }
}

/// Shows the store, or that there is none yet.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store.get() {
            Some(store) => store.fmt(f),
            None => f.write_str("not connected"),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("plugin", &self.plugin)
            .field("store", &self.store.get())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
