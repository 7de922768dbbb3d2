//! The handle of a session.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::LeaseGrant;
use crate::lease_id::LeaseId;
use crate::recipes::claim::Claims;
use crate::recipes::keeper::{KeeperTask, LeaseKeeper};
use crate::recipes::session::away::keep_away;
use crate::recipes::session::driver::drive;
use crate::recipes::session::options::SessionOptions;
use crate::recipes::session::shared::Shared;
use crate::recipes::session::state::{LossCause, SessionState};
use crate::recipes::session::tenure::Tenure;
use crate::revision::Revision;
use crate::store::Store;

/// A sign of life in a store: a lease that is kept alive, and keys that live and come back with it.
///
/// A task renews the lease at a third of its TTL. The *safe deadline*, until which the lease certainly
/// lives, is counted from the moment before the last answered renewal was sent, so it is never later
/// than the store's. If it passes without an answer, or the store says that the lease is gone, the
/// lease is lost: that is told once, with its cause, in [`state`](Self::state) and by
/// [`lost`](Self::lost). A lost lease stays lost, even where the store still has it.
///
/// Unless the options say otherwise, a lost lease is replaced as soon as the store answers: the session
/// grants a new one, puts its keys again, tells [`SessionState::Renewed`], and revokes the old one if
/// that may still be there.
///
/// # Keys
/// [`put`](Self::put) puts a key that goes with the session and is put again after a loss, in the order of
/// the first puts. What somebody else put there meanwhile is never overwritten by that: a key is put
/// again only where nothing stands, or where what stands has a lease of this session. Keys that are
/// refused so are told in [`SessionState::Renewed`], and forgotten. Keys that are put with
/// [`lease`](Self::lease) directly go with that lease and do not come back.
///
/// # Its end
/// Clones are the same session. [`close`](Self::close) revokes the lease, so that its keys go at once, at
/// one revision. When the last handle is dropped instead, the task does the same, as best it can; if the
/// program dies, the lease ends by itself after its TTL. Close a session before its store: one that is left
/// without finds out at its next renewal, within a third of the TTL.
///
/// The clock is the monotonic one of tokio: it does not jump, but on some systems it stands still while
/// the machine sleeps. Who protects something by a session should check with the store, as the tokens of
/// locks and elections do.
///
/// # Metrics
/// `keyval_session_losses_total` counts losses by their cause. `keyval_lease_remaining_seconds` is how long
/// the lease would still have lived whenever a renewal came, and 0 where none came in time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::recipes::Session;
/// use keyval::{BrokerExt, Memory};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let session = Session::open(store.clone(), Duration::from_secs(10)).await?;
/// session.put("agents/1", "10.0.0.7:9191").await?;
///
/// // As long as the session lives, so does the key.
/// assert!(store.get("agents/1").await?.is_some());
/// session.close().await?;
/// assert!(store.get("agents/1").await?.is_none());
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
    handle: Arc<Handle>,
}

/// What ends with the last handle.
struct Handle {
    stop: watch::Sender<bool>,
    task: Mutex<Option<Arc<KeeperTask>>>,
}

impl Session {
    /// Opens a session with a TTL; for the other options there is [`open_opts`](Self::open_opts).
    ///
    /// # Errors
    /// As [`open_opts`](Self::open_opts).
    ///
    /// # Cancel safety
    /// As [`open_opts`](Self::open_opts).
    pub async fn open(store: impl Store, ttl: Duration) -> Result<Self> {
        Self::open_opts(store, SessionOptions::default().with_ttl(ttl)).await
    }

    /// Opens a session: grants a lease, and begins to keep it alive.
    ///
    /// The lease is granted, renewed and revoked by this handle of the store, so in a scope it is a
    /// lease of the scope.
    ///
    /// # Errors
    /// Those of [`Leases::grant`](crate::Leases::grant), and [`Error::Invalid`] outside of a tokio
    /// runtime. Opening is not tried again.
    ///
    /// # Cancel safety
    /// If the future is dropped, a lease may have been granted; it ends by itself.
    pub async fn open_opts(store: impl Store, options: SessionOptions) -> Result<Self> {
        let task = task_for(&options)?;
        let sent = Instant::now();
        let grant = store.grant(options.ttl).await?;
        Self::begin(store, options, task, Tenure::new(grant, sent))
    }

    /// Opens a session on a lease that exists, as after a restart of the program. Its TTL is that with
    /// which it was granted; the one in the options is for leases granted after a loss. A scope adopts
    /// only what was granted through it.
    ///
    /// A lease has one session at a time: end the one before, without revoking the lease, as by the
    /// end of its program. Two sessions of one lease take each other's keys for their own. In a
    /// queue they have one place between them, so both may hold a lock or lead at once, and either
    /// may give up the other's place; either may replace or delete a key that the other has put;
    /// and the first to be closed, or to lose its handles, revokes the lease of both.
    ///
    /// # Errors
    /// Those of [`Leases::keep_alive`](crate::Leases::keep_alive), [`Error::LeaseLost`] among them, and
    /// [`Error::Invalid`] outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lease may have been renewed once.
    pub async fn adopt(store: impl Store, lease: LeaseId, options: SessionOptions) -> Result<Self> {
        let task = task_for(&options)?;
        let sent = Instant::now();
        let ttl = store.keep_alive(lease).await?;
        let tenure = Tenure::new(LeaseGrant { id: lease, ttl }, sent);
        Self::begin(store, options, task, tenure)
    }

    fn begin(
        store: impl Store,
        options: SessionOptions,
        task: Arc<KeeperTask>,
        first: Tenure,
    ) -> Result<Self> {
        let store = Arc::new(store);
        let shared = Arc::new(Shared::new(store, options, Arc::new(first)));
        let (stop, stopped) = watch::channel(false);
        task.carry_out(drive(Arc::clone(&shared), stopped))?;
        let task = Mutex::new(Some(task));
        Ok(Self {
            shared,
            handle: Arc::new(Handle { stop, task }),
        })
    }

    /// The store, as it was given: the handle with whose scope the session puts its keys.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The present lease: the one that lives, or that was lost last. To be told of its loss, ask for
    /// [`lost`](Self::lost) before relying on it.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.shared.present().lease()
    }

    /// The TTL of the present lease, as the store granted it.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.shared.present().ttl()
    }

    /// How long the present lease certainly lives from now on, unless somebody revokes it; zero once it is
    /// lost.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        let present = self.shared.present();
        if present.is_alive() {
            present.deadline().saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        }
    }

    /// Whether the session has a lease that lives; by the clock too, in case the program stood still.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.shared.present().is_alive()
    }

    /// How the session stands, now and whenever that changes. What changes back while nobody looks is
    /// not seen: to be sure to learn of the loss of one lease, use [`lost`](Self::lost).
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SessionState> {
        self.shared.subscribe()
    }

    /// Waits until this lease is lost, and says why: also when the session has a new one by then. For any
    /// lease that the session does not have, it is ready at once.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing. It keeps no handle of the session.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use keyval::recipes::{LossCause, Session};
    /// use keyval::{Leases, Memory};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// let session = Session::open(store.clone(), Duration::from_secs(3)).await?;
    /// let lost = session.lost(session.lease());
    /// session.close().await?;
    /// assert_eq!(lost.await, LossCause::Closed);
    /// # Ok::<_, keyval::Error>(()) }).unwrap();
    /// ```
    pub fn lost(&self, lease: LeaseId) -> impl Future<Output = LossCause> + Send + use<> {
        self.shared.lost(lease)
    }

    /// Puts a key that goes with the session, over whatever stands there, and puts it again after a loss.
    ///
    /// Puts and removals of one session take place one after another.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] while the session has no lease: wait for [`SessionState::Renewed`]. Those of
    /// [`Broker::put_opts`](crate::Broker::put_opts). A put that failed is not put again after a loss; if
    /// it may have been applied, the key goes with the lease, and as any put it can come late: even
    /// over a later one of the same key. [`remove`](Self::remove) leaves nothing of it behind.
    ///
    /// # Cancel safety
    /// If the future is dropped, the put may have been applied; it goes with the lease.
    pub async fn put(&self, key: impl Into<Key>, value: impl Into<Bytes>) -> Result<Revision> {
        let (key, value) = (key.into(), value.into());
        let mut keys = self.shared.keys.lock().await;
        let tenure = self.shared.alive()?;
        let put = keys
            .put(&*self.shared.store, tenure.lease(), key, value)
            .await;
        put.inspect_err(|error| self.shared.learn_from(error))
    }

    /// Deletes a key that was put by [`put`](Self::put), and does not put it again; says whether it was
    /// there. What somebody else put there meanwhile stays.
    ///
    /// If an earlier put of the key had no answer, or its future was dropped, it may be carried out
    /// even after the removal. Then a watch looks out for the key, and what comes to stand there
    /// with the lease of that put is deleted, too. It ends with that lease, once the key is put
    /// again, or 20 minutes after that put: longer than TCP goes on sending to one who does not
    /// acknowledge. A put that comes later still, as to a server that stood still, stays until its
    /// lease ends. So there is one such watch at most for each put in doubt of the last 20 minutes.
    ///
    /// # Errors
    /// Those of reading and deleting. The key is not put again even then, and goes with the lease.
    ///
    /// # Cancel safety
    /// If the future is dropped after it was polled, the key is not put again, and may have been deleted.
    pub async fn remove(&self, key: impl Into<Key>) -> Result<bool> {
        let key = key.into();
        let mut keys = self.shared.keys.lock().await;
        if let Some(doubtful) = keys.forget(&key) {
            // It fails only if the session is closed, and the key gone with its lease.
            drop(self.in_background(keep_away(Arc::clone(&self.shared), doubtful)));
        }
        keys.delete(&*self.shared.store, key).await
    }

    /// Ends the session, for all its clones: revokes its lease, so that its keys go at once, and waits for
    /// its task to end if no other session shares it. Closing again is harmless.
    ///
    /// # Errors
    /// If the lease could not be revoked within
    /// [`close_timeout`](SessionOptions::close_timeout); it ends by itself then. Only the first who
    /// closes is told.
    ///
    /// # Cancel safety
    /// If the future is dropped after it was polled, the session ends all the same.
    pub async fn close(&self) -> Result<()> {
        self.handle.stop.send_replace(true);
        let ended = self.shared.ended().await;
        let task = self.handle.task.lock().take();
        if let Some(task) = task {
            task.leave().await;
        }
        ended
    }

    /// Lets the session's task do this, which has to end with the lease at the latest.
    ///
    /// # Errors
    /// [`Error::Closed`] if the session is closed.
    pub(in crate::recipes) fn in_background(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        match &*self.handle.task.lock() {
            Some(task) => task.carry_out(work),
            None => Err(Error::Closed {
                store: "the session".to_owned(),
            }),
        }
    }

    /// Which of the session's keys in queues are in use.
    pub(in crate::recipes) fn claims(&self) -> &Claims {
        &self.shared.claims
    }

    /// Takes from an error what it says of the present lease, so that its loss is told at once.
    pub(in crate::recipes) fn learn_from(&self, error: &Error) {
        self.shared.learn_from(error);
    }
}

fn task_for(options: &SessionOptions) -> Result<Arc<KeeperTask>> {
    match &options.keeper {
        Some(keeper) => keeper.task(),
        None => LeaseKeeper::new().task(),
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("store", &format_args!("{}", self.shared.store))
            .field("state", &*self.shared.subscribe().borrow())
            .finish_non_exhaustive()
    }
}
