//! The sessions that live with a connection, one for each scope.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use keyval::recipes::{LeaseKeeper, Session, SessionOptions, SessionState};
use keyval::{Error, ManagedStore, Prefix, Prefixed, Result};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The most that closing waits for the store to end the leases; less than a plugin's close may
/// take, so that the store itself is closed too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions of one plugin.
#[derive(Debug)]
pub(crate) struct Sessions {
    keeper: LeaseKeeper,
    /// Locked while one is opened, so that two who ask at once get the same; none once closed.
    open: Mutex<Option<BTreeMap<Prefix, Session>>>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            keeper: LeaseKeeper::new(),
            open: Mutex::new(Some(BTreeMap::new())),
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
        let mut open = self.open.lock().await;
        let Some(sessions) = &mut *open else {
            return Ok(None);
        };
        if let Some(session) = sessions.get(&scope)
            && *session.state().borrow() != SessionState::Closed
        {
            return Ok(Some(session.clone()));
        }
        let mut options = SessionOptions::default()
            .with_ttl(ttl)
            .with_close_timeout(CLOSE_TIMEOUT);
        options.keeper = Some(self.keeper.clone());
        let session = Session::open_opts(Prefixed::new(store, scope.clone()), options).await?;
        sessions.insert(scope, session.clone());
        Ok(Some(session))
    }

    /// Ends all of them at once.
    pub(crate) async fn close(&self) -> Result<()> {
        // One that is being opened for longer is given up, and its lease ends by itself.
        let Ok(mut open) = timeout(CLOSE_TIMEOUT, self.open.lock()).await else {
            return Ok(());
        };
        let sessions = open.take().unwrap_or_default();
        drop(open);
        let closed = join_all(sessions.values().map(Session::close)).await;
        // Of a store that is closed, they are over too.
        let failed = |ended: &Result<()>| !matches!(ended, Err(Error::Closed { .. }));
        closed.into_iter().filter(failed).collect()
    }
}
