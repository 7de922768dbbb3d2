//! A named lock among programs: one holder at a time, first come first served.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use crate::error::Result;
use crate::key::Key;
use crate::recipes::fence::FencingToken;
use crate::recipes::loss::Loss;
use crate::recipes::queue::{Place, Queue};
use crate::recipes::session::Session;
use crate::txn::Compare;

/// A named lock among all programs that use a store.
///
/// Whoever wants it takes a place in a queue, with a key that lives by the session's lease; the
/// lock is held by the one whose key came to be first. Each waits for the one just ahead, so that
/// a release wakes one waiter, not all. If the holder dies, its lease ends, and the next one holds
/// the lock.
///
/// # What it does not do
/// It cannot stop a holder that goes on without holding it. A program that was stopped for longer
/// than its TTL, by the system, a debugger or a virtual machine that was moved, still believes
/// that it holds the lock while another one does already. So the lock alone keeps nothing safe;
/// one of these does:
///
/// - add [`LockGuard::guard`] to every transaction that writes to the same store: it is then
///   carried out only if the lock is still held;
/// - pass [`LockGuard::fence`] to whatever else is acted upon, and let that refuse lower tokens.
///
/// To be told soon, wait for [`LockGuard::lost`] beside the work.
///
/// # Names
/// The name is a prefix in the store that the session uses, and within that one's scope: the lock
/// `jobs` has its keys below `jobs/`. It is the layout of etcd's own clients, so `etcdctl lock
/// jobs` takes part in the same queue. An [`Election`](crate::recipes::Election) of this name would
/// too: do not use one name for both. Locks below each other, `jobs` and `jobs/nightly`, do not
/// touch each other; etcd's own clients, though, let the holder of `jobs` wait for those below it.
///
/// # What comes late
/// An entrance whose answer was lost is asked for again, and the first request may reach the store
/// long after, when the lock was released already: then a key is there that nobody asked for any
/// more. So, once an answer was lost, the session looks out for its key in this queue, with one
/// watch, and gives up at once what nobody in it owns. Until then others wait for that key as for a
/// holder.
///
/// The watch ends with the lease, or 20 minutes after the last answer that was lost: that is longer
/// than TCP goes on sending to one who does not acknowledge. An entrance that comes later still, as
/// of a server that stood still, stays until the lease ends. So a session that takes a lock of
/// another name for each piece of work has one such watch for each answer that was lost in the last
/// 20 minutes, and no more.
///
/// # One session
/// A session has one place in each queue. Tasks that want the same lock through one session, by
/// clones of this handle or by several, wait for each other in turn, like sessions do.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::recipes::{Lock, Session};
/// use keyval::{Broker, BrokerExt, Memory, Op, Txn};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let session = Session::open(store.clone(), Duration::from_secs(10)).await?;
/// let lock = Lock::new(&session, "jobs/nightly");
///
/// let held = lock.acquire().await?;
/// // This is written only if the lock is still held.
/// let write = Txn::new().when(held.guard()).then(Op::put("report", "done"));
/// assert!(store.commit(write).await?.succeeded);
/// assert!(held.release().await?, "it was held until now");
/// # session.close().await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[doc(alias = "mutex")]
#[derive(Clone, Debug)]
pub struct Lock {
    queue: Queue,
}

impl Lock {
    /// The lock of this name, for this session.
    #[must_use]
    pub fn new(session: &Session, name: impl Into<Key>) -> Self {
        Self {
            queue: Queue::new(session.clone(), name.into()),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Key {
        self.queue.name()
    }

    /// Waits for the lock.
    ///
    /// It waits through outages of the store, for as long as the session's lease lives. If somebody
    /// removes its key meanwhile, it takes a new place at the end of the queue.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) if the session loses its lease meanwhile, or
    /// is closed; [`Error::Invalid`](crate::Error::Invalid) for an empty name; whatever else the
    /// store says that waiting does not mend.
    ///
    /// # Cancel safety
    /// If the future is dropped, the place in the queue is given up in the background: those behind
    /// move up. At the latest it goes with the session's lease.
    pub async fn acquire(&self) -> Result<LockGuard> {
        loop {
            let mut place = self.queue.enter(Bytes::new()).await?.place;
            if place.turn().await? {
                return Ok(LockGuard { place });
            }
        }
    }

    /// Takes the lock if it is free; `None` if somebody holds it or waits for it.
    ///
    /// Leaves nothing behind if it does not get the lock. It waits for no holder; it may wait for a
    /// store that does not say whether it has taken the place that was asked for.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and if the store does not show the queue at once.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lock is released in the background if it was taken.
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>> {
        let Some(entered) = self.queue.enter_if_empty(Bytes::new()).await? else {
            return Ok(None);
        };
        let place = entered.place;
        if place.is_first() {
            return Ok(Some(LockGuard { place }));
        }
        place.leave().await?;
        Ok(None)
    }

    /// Waits for the lock so long and no longer; `None` if the time has passed.
    ///
    /// Then the place in the queue is given up in the background, so that a store that does not
    /// answer delays nobody.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_within(&self, time: Duration) -> Result<Option<LockGuard>> {
        tokio::time::timeout(time, self.acquire())
            .await
            .map_or(Ok(None), |acquired| acquired.map(Some))
    }
}

/// A lock that is held, until it is released, dropped or lost.
///
/// If it is dropped, the lock is released in the background, or at the latest with the session's
/// lease. [`release`](Self::release) says when it is done and whether it went well.
#[must_use = "the lock is released when this is dropped"]
pub struct LockGuard {
    place: Place,
}

impl LockGuard {
    /// The number of this holder, greater than that of every holder before.
    #[must_use]
    pub fn fence(&self) -> FencingToken {
        self.place.token()
    }

    /// What holds for as long as this holder holds the lock; for any transaction through the
    /// session's store, or a handle of the same scope.
    #[must_use]
    pub fn guard(&self) -> Compare {
        self.place.guard()
    }

    /// The holder's key in the store.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.place.spot().key()
    }

    /// Waits until the lock is lost: the session's lease has ended, or somebody removed the key.
    ///
    /// With the lease it is told at the latest when another one could hold the lock, by this
    /// program's clock, and also while the store cannot be reached. Each such future watches the
    /// key while it is polled.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        self.place.lost()
    }

    /// Releases the lock, and returns whether it was held until now; false says that it was lost
    /// before, and that another one may have held it meanwhile.
    ///
    /// However late it comes, it never removes the key of another holder. It goes on through
    /// outages of the store, until the session's lease ends. If an answer is lost and the key is
    /// gone at the next try, that is taken for its own doing.
    ///
    /// # Errors
    /// What the store says that waiting does not mend. The lock is then free when the lease ends.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lock is released in the background.
    pub async fn release(self) -> Result<bool> {
        self.place.leave().await
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("key", self.key())
            .field("fence", &self.fence())
            .finish_non_exhaustive()
    }
}
