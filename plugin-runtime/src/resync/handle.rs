//! The handle by which one takes part in resync, asks for it, and sees what came of it.

use std::fmt::{self, Display};
use std::future::Future;
use std::sync::Arc;

use futures::{FutureExt, Stream};
use keyval::{BoxError, Update};
use tokio::sync::watch;

use super::driver::ResyncDriver;
use super::error::ResyncError;
use super::participant::{Follower, act};
use super::reconcile::Reconcile;
use super::report::{ResyncStatus, Round, RoundCause};
use super::settings::ResyncSettings;
use super::shared::Shared;

/// A handle on rounds of resync, and the one who carries them out.
///
/// Under a host, a [`ResyncPlugin`](crate::ResyncPlugin) is both.
///
/// # Errors
/// [`keyval::Error::Invalid`] for settings that make no sense.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, ConnectionReporter, KeyRange, Memory, StoreExt, Update};
/// use plugin_runtime::{ResyncSettings, resync};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// store.put("config/log", "info").await?;
/// let connection = ConnectionReporter::connected_to("memory");
///
/// let (resync, driver) = resync(ResyncSettings::default())?;
/// let source = { let store = store.clone(); move || store.follow(KeyRange::prefix("config/")) };
/// resync.register("config", source, async |update: Update| {
///     println!("{update:?}");
///     Ok(())
/// })?;
/// let task = tokio::spawn(driver.run(connection.subscribe(), true));
/// let round = resync.resync().await?;
/// assert!(round.is_ok());
/// # task.abort();
/// # Ok::<_, keyval::BoxError>(()) }).unwrap();
/// ```
pub fn resync(settings: ResyncSettings) -> keyval::Result<(Resync, ResyncDriver)> {
    settings.check()?;
    Ok(pair(settings))
}

/// The same, with settings that make sense.
pub(super) fn pair(settings: ResyncSettings) -> (Resync, ResyncDriver) {
    let shared = Arc::new(Shared::new(settings));
    let resync = Resync {
        shared: Arc::clone(&shared),
    };
    (resync, ResyncDriver::new(shared))
}

/// Takes part in rounds of resync, asks for them, and sees what came of them.
///
/// In a round every participant deals with a fresh snapshot of its range, one after another, in the
/// order in which they were registered, so that one can rely on what those before it have done.
/// Each has a deadline for its answer; one that fails or is late is reported and visited again, by
/// itself and ever less often, until it is done. In between each gets the changes behind its
/// snapshot as they come, with the same deadline for each revision.
///
/// There is a round when the store is first connected; after an outage, where the settings say so
/// (`resync-after-reconnect`); when a participant has lost its place in the history, by a compaction
/// or because the store is not the one it was; and when [asked for](Self::resync). Rounds never
/// overlap: what is asked for during one comes together in one more.
///
/// Clones are the same.
#[doc(alias = "ResyncOrch")]
#[derive(Clone)]
pub struct Resync {
    shared: Arc<Shared>,
}

impl Resync {
    /// Registers a participant behind those that are there.
    ///
    /// `updates` is called for each snapshot: it follows the participant's range from the beginning,
    /// raw or typed. If rounds have begun, a round follows with those that are new.
    ///
    /// # Errors
    /// [`ResyncError::DuplicateName`], and [`ResyncError::Ended`] if there are no more rounds.
    ///
    /// # Examples
    /// ```
    /// use keyval::{KeyRange, Memory, StoreExt, Update};
    /// use plugin_runtime::{ResyncSettings, resync};
    ///
    /// let (resync, _driver) = resync(ResyncSettings::default())?;
    /// let interfaces = Memory::new().prefixed("interfaces/");
    /// let updates = move || interfaces.follow(KeyRange::all());
    /// resync.register("interfaces", updates.clone(), async |_: Update| Ok(()))?;
    /// let error = resync.register("interfaces", updates, async |_: Update| Ok(())).unwrap_err();
    /// assert!(error.to_string().contains("give each its own name"));
    /// # Ok::<_, keyval::BoxError>(())
    /// ```
    pub fn register<V, E, S>(
        &self,
        name: impl Into<Arc<str>>,
        updates: impl FnMut() -> S + Send + 'static,
        reconciler: impl Reconcile<V>,
    ) -> Result<(), ResyncError>
    where
        V: Send + 'static,
        E: Display + Send + 'static,
        S: Stream<Item = Result<Update<V>, E>> + Send + 'static,
    {
        self.shared.register(
            name.into(),
            Box::new(move |requests, note| {
                Follower::new(updates, reconciler, note)
                    .run(requests)
                    .boxed()
            }),
        )
    }

    /// Registers a participant that follows nothing: in each round it does this.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_action<W>(
        &self,
        name: impl Into<Arc<str>>,
        action: impl FnMut() -> W + Send + 'static,
    ) -> Result<(), ResyncError>
    where
        W: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.shared.register(
            name.into(),
            Box::new(move |requests, note| act(action, note, requests).boxed()),
        )
    }

    /// Ends the part of a participant, whatever it is at, and waits until its reconciler is dropped;
    /// false if nobody of that name takes part. The name is free again.
    ///
    /// A plugin calls this at its close, so that nothing of it is called afterwards.
    ///
    /// # Cancel safety
    /// If the future is dropped, its part ends all the same.
    ///
    /// # Examples
    /// ```
    /// use plugin_runtime::{ResyncSettings, resync};
    ///
    /// # tokio_test::block_on(async {
    /// let (resync, _driver) = resync(ResyncSettings::default())?;
    /// resync.register_action("interfaces", || async { Ok(()) })?;
    /// assert!(resync.leave("interfaces").await);
    /// assert!(!resync.leave("interfaces").await);
    /// # Ok::<_, keyval::BoxError>(()) }).unwrap();
    /// ```
    pub async fn leave(&self, name: &str) -> bool {
        let Some(left) = self.shared.leave(name) else {
            return false;
        };
        left.cancelled().await;
        true
    }

    /// Asks for a round, and waits for nothing. A participant may do so in its own part: the round follows
    /// the one it is in.
    pub fn request(&self) {
        self.shared.request(RoundCause::Requested);
    }

    /// Asks for a round that begins from now on, and waits for its end. While the store is not
    /// connected there is none.
    ///
    /// A participant must not wait for this in its own part: no round can end, nor begin, before it is done.
    /// It waits for itself until its deadline; then it is late, is reported, and is visited in the
    /// round that it asked for. What it means is [`request`](Self::request).
    ///
    /// # Errors
    /// [`ResyncError::Ended`] if there will be none. What participants failed of stands in the
    /// round.
    ///
    /// # Cancel safety
    /// If the future is dropped, the round takes place all the same.
    pub async fn resync(&self) -> Result<Arc<Round>, ResyncError> {
        let number = self.shared.request(RoundCause::Requested);
        let mut status = self.status();
        let round =
            |status: &ResyncStatus| status.rounds.iter().find(|it| it.number >= number).cloned();
        let there = |status: &ResyncStatus| status.ended || round(status).is_some();
        let status = status.wait_for(there).await;
        // The sender lives in self.
        status
            .ok()
            .and_then(|status| round(&status))
            .ok_or(ResyncError::Ended)
    }

    /// Who takes part, how it stands with each, and the latest rounds: now and from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ResyncStatus> {
        self.shared.status.subscribe()
    }

    /// Changes the settings from now on.
    pub(super) fn configure(&self, settings: ResyncSettings) -> keyval::Result<()> {
        settings.check()?;
        self.shared.set(settings);
        Ok(())
    }
}

impl fmt::Debug for Resync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resync")
            .field(&*self.shared.status.borrow())
            .finish()
    }
}
