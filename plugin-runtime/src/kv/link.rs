//! The connection that a plugin makes and its handles wait for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyval::recipes::Session;
use keyval::{
    Connection, ConnectionReporter, ConnectionState, EndpointFailure, Error, Hosting, Outcome,
    Prefix, Result,
};
use tokio::time::timeout;

use super::complaints::Complaints;
use super::hooks::Hooks;
use super::open::Opened;
use super::sessions::Sessions;

/// What an operation does while there is no connection yet.
///
/// A watch is to last, and so it waits as with [`UntilConnected`](Self::UntilConnected) also where
/// operations wait [up to](Self::UpTo) a time. What follows a range reads it first, and reads again
/// after a pause if that failed, of 5 s at most unless its options say otherwise: it begins that
/// long after the connection at the latest, and at once with [`UntilConnected`](Self::UntilConnected).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitPolicy {
    /// Waits for it, but no longer than this; up to 5 s by default.
    UpTo(Duration),
    /// Waits for it however long that takes: until the plugin is closed at the latest.
    UntilConnected,
    /// Fails at once.
    FailFast,
}

impl WaitPolicy {
    /// The same for what is to last.
    pub(crate) fn of_watches(self) -> Self {
        match self {
            Self::UpTo(_) | Self::UntilConnected => Self::UntilConnected,
            Self::FailFast => Self::FailFast,
        }
    }
}

impl Default for WaitPolicy {
    fn default() -> Self {
        Self::UpTo(Duration::from_secs(5))
    }
}

/// One connection in its life: awaited, there, closed; and what its handles leave with it.
pub(crate) struct Link {
    plugin: Arc<str>,
    /// Set once; read without waiting by every operation.
    store: OnceLock<Opened>,
    /// Why there will never be one.
    failure: OnceLock<Arc<str>>,
    closed: AtomicBool,
    /// Why it is closed, where that needs saying.
    because: OnceLock<Arc<str>>,
    disabled: AtomicBool,
    connection: ConnectionReporter,
    /// Known once the settings were read.
    hosting: OnceLock<Hosting>,
    pub(crate) hooks: Hooks,
    pub(crate) complaints: Complaints,
    sessions: Sessions,
}

impl Link {
    pub(crate) fn new(plugin: &str) -> Self {
        Self {
            plugin: plugin.into(),
            store: OnceLock::new(),
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
            because: OnceLock::new(),
            disabled: AtomicBool::new(false),
            connection: ConnectionReporter::connecting(),
            hosting: OnceLock::new(),
            hooks: Hooks::default(),
            complaints: Complaints::default(),
            sessions: Sessions::default(),
        }
    }

    /// The connection is there: whoever waits goes on.
    pub(crate) fn connect(&self, store: &Opened) {
        // A second connection would come from a second `init`, which no host does.
        if self.store.set(store.clone()).is_err() {
            return;
        }
        match store.connection() {
            Some(connection) => self.tell(connection.state()),
            None => self.connection.connected(store.to_string()),
        }
    }

    /// An attempt to connect has failed; others follow.
    pub(crate) fn not_yet(&self, error: &Error) {
        self.connection.disconnected(vec![self.because(error)]);
    }

    /// There will be no connection: whoever waits fails.
    pub(crate) fn fail(&self, cause: &str) {
        // The first cause is the one that counts.
        let _ = self.failure.set(cause.into());
        self.connection.closed();
    }

    /// There is to be no connection: every operation fails with [`Error::Closed`], which says why.
    pub(crate) fn disable(&self, cause: &str) {
        self.disabled.store(true, Ordering::Release);
        self.close_because(format!("disabled: {cause}"));
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Acquire)
    }

    /// Closes, and lets the error of every operation say why.
    pub(crate) fn close_because(&self, why: impl Into<Arc<str>>) {
        // The first reason is the one that counts.
        let _ = self.because.set(why.into());
        self.close();
    }

    /// From now on every operation fails with [`Error::Closed`].
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.connection.closed();
        self.hooks.close();
    }

    /// Tells the state of the connection, as the store tells it.
    pub(crate) fn tell(&self, state: ConnectionState) {
        self.connection.relay(state);
    }

    /// Tells the state of the connection as a call has found it, where the store tells none.
    pub(crate) fn found(&self, answered: Result<(), &Error>) {
        let store = match self.store.get() {
            Some(store) if store.connection().is_none() => store.to_string(),
            _ => return,
        };
        match answered {
            Ok(()) => self.connection.connected(store),
            Err(error) => self.connection.disconnected(vec![self.because(error)]),
        }
    }

    /// The state of the connection, now and from now on.
    pub(crate) fn connection(&self) -> Connection {
        self.connection.subscribe()
    }

    /// What the settings say to the host, once they were read.
    pub(crate) fn hosting(&self) -> Option<&Hosting> {
        self.hosting.get()
    }

    pub(crate) fn set_hosting(&self, hosting: Hosting) {
        // As for the store: there is one `init`.
        let _ = self.hosting.set(hosting);
    }

    /// The session of this scope.
    pub(crate) async fn session(&self, scope: Prefix, wait: WaitPolicy) -> Result<Session> {
        let store = Arc::clone(&self.store(wait).await?.store);
        let ttl = self.hosting().cloned().unwrap_or_default().session_ttl;
        self.sessions
            .get(store, scope, ttl)
            .await?
            .ok_or_else(|| self.is_closed())
    }

    /// Ends the sessions, so that their keys go now and not with their TTL.
    pub(crate) async fn end_sessions(&self) -> Result<()> {
        self.sessions.close().await
    }

    /// The store, if it is connected and not closed.
    pub(crate) fn present(&self) -> Option<&Opened> {
        self.store
            .get()
            .filter(|_| !self.closed.load(Ordering::Acquire))
    }

    /// The store, whatever its state: for the plugin, to close it.
    pub(crate) fn connected(&self) -> Option<&Opened> {
        self.store.get()
    }

    /// The store, once it is connected.
    pub(crate) async fn store(&self, wait: WaitPolicy) -> Result<&Opened> {
        if let Some(store) = self.settled()? {
            return Ok(store);
        }
        let connection = self.connection();
        let settled =
            connection.wait_for(|state| !matches!(state, ConnectionState::Connecting { .. }));
        let waited = match wait {
            WaitPolicy::UpTo(limit) => {
                // Only the store that is there by then counts.
                let _ = timeout(limit, settled).await;
                format!("it is not connected after {limit:?}")
            }
            WaitPolicy::UntilConnected => {
                settled.await;
                "it is not connected".into()
            }
            WaitPolicy::FailFast => "it is not connected yet".into(),
        };
        if let Some(store) = self.settled()? {
            return Ok(store);
        }
        let causes = connection.state().causes().to_vec();
        let because = causes.first().map(|failure| format!(": {}", failure.cause));
        Err(self.unavailable(waited + &because.unwrap_or_default()))
    }

    fn settled(&self) -> Result<Option<&Opened>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(self.is_closed());
        }
        if let Some(store) = self.store.get() {
            return Ok(Some(store));
        }
        match self.failure.get() {
            Some(cause) => Err(self.unavailable(format!("it did not connect: {cause}"))),
            None => Ok(None),
        }
    }

    fn is_closed(&self) -> Error {
        let mut store = format!("the store of plugin {}", self.plugin);
        if let Some(why) = self.because.get() {
            store.push_str(&format!(" ({why})"));
        }
        Error::Closed { store }
    }

    fn unavailable(&self, what: impl fmt::Display) -> Error {
        // It was never sent anywhere.
        Error::unavailable(
            format!("plugin {}: {what}", self.plugin),
            Outcome::NotApplied,
        )
    }

    fn because(&self, error: &Error) -> EndpointFailure {
        EndpointFailure::new(Arc::clone(&self.plugin), error.to_string())
    }
}

/// Shows the store, or that there is none yet.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.store.get() {
            Some(store) => store.fmt(f),
            None if self.is_disabled() => f.write_str("disabled"),
            None => f.write_str("not connected"),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("plugin", &self.plugin)
            .field("store", &self.store.get())
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
