//! The sessions that live with a connection, one for each scope.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use keyval::recipes::{LeaseKeeper, Session, SessionOptions, SessionState};
use keyval::{Error, ManagedStore, Prefix, Prefixed, Result};
use parking_lot::Mutex;
use tokio::time::timeout;

/// The most that closing waits for the store to end the leases; less than a plugin's close may
/// take, so that the store itself is closed too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions of one plugin.
#[derive(Debug)]
pub(crate) struct Sessions {
    keeper: LeaseKeeper,
    /// None once closed.
    slots: Mutex<Option<BTreeMap<Prefix, Arc<Slot>>>>,
}

/// The session of one scope, if there is one; locked while it is opened, so that two who ask at once
/// get the same, and nobody waits for another scope.
type Slot = tokio::sync::Mutex<Option<Session>>;

impl Default for Sessions {
    fn default() -> Self {
        Self {
            keeper: LeaseKeeper::new(),
            slots: Mutex::new(Some(BTreeMap::new())),
        }
    }
}

impl Sessions {
    /// The session of this scope, which is opened if there is none; `None` after the close.
    pub(crate) async fn get(
        &self,
        store: Arc<dyn ManagedStore>,
        scope: Prefix,
        ttl: Duration,
    ) -> Result<Option<Session>> {
        let Some(slot) = self.slot(&scope) else {
            return Ok(None);
        };
        let mut slot = slot.lock().await;
        // It may have been closed while others opened theirs.
        if self.slots.lock().is_none() {
            return Ok(None);
        }
        if let Some(session) = &*slot
            && *session.state().borrow() != SessionState::Closed
        {
            return Ok(Some(session.clone()));
        }
        let mut options = SessionOptions::default()
            .with_ttl(ttl)
            .with_close_timeout(CLOSE_TIMEOUT);
        options.keeper = Some(self.keeper.clone());
        let session = Session::open_opts(Prefixed::new(store, scope), options).await?;
        *slot = Some(session.clone());
        Ok(Some(session))
    }

    /// The place of this scope; none after the close.
    fn slot(&self, scope: &Prefix) -> Option<Arc<Slot>> {
        let mut slots = self.slots.lock();
        let slot = slots.as_mut()?.entry(scope.clone()).or_default();
        Some(Arc::clone(slot))
    }

    /// Ends all of them at once.
    pub(crate) async fn close(&self) -> Result<()> {
        let slots = self.slots.lock().take().unwrap_or_default();
        let close = async |slot: &Slot| {
            // One that is being opened for longer is given up, and its lease ends by itself.
            match timeout(CLOSE_TIMEOUT, slot.lock()).await.as_deref() {
                Ok(Some(session)) => session.close().await,
                Ok(None) | Err(_) => Ok(()),
            }
        };
        let closed = join_all(slots.values().map(|slot| close(slot))).await;
        // Of a store that is closed, they are over too.
        let failed = |ended: &Result<()>| !matches!(ended, Err(Error::Closed { .. }));
        closed.into_iter().filter(failed).collect()
    }
}
