//! An election among programs: one leads, the others stand by and see who.

use std::fmt;
use std::future::Future;

use bytes::Bytes;

use crate::entry::Entry;
use crate::error::Result;
use crate::follow::{FollowOptions, follow};
use crate::key::Key;
use crate::options::{ListOptions, PutOptions};
use crate::range::KeyRange;
use crate::recipes::fence::FencingToken;
use crate::recipes::leaders::{Leader, Leaders};
use crate::recipes::loss::Loss;
use crate::recipes::queue::{Entered, Place, Queue};
use crate::recipes::session::Session;
use crate::reply::{OpReply, TxnReply};
use crate::txn::{Compare, Op, Txn};

/// An election among all programs that use a store.
///
/// Each candidate takes a place in a queue, with a key that holds what it proclaims and lives by
/// its session's lease; the one whose key came to be first leads. If it resigns, or dies and its
/// lease ends, the next one leads.
///
/// As with a [`Lock`](crate::recipes::Lock), a former leader may not know yet that it leads no
/// more: what must be done by the leader alone is guarded by [`Leadership::guard`] or carries
/// [`Leadership::token`].
///
/// A candidate whose request reaches the store late, after it resigned, is withdrawn as
/// [there](crate::recipes::Lock#what-comes-late); for that moment it may be seen to lead.
///
/// The name is a prefix in the store that the session uses. It is the layout of etcd's own
/// clients, so `etcdctl elect` takes part in the same election. A session has one candidate in
/// each election; tasks that campaign through one session wait for each other in turn.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use futures::StreamExt;
/// use keyval::Memory;
/// use keyval::recipes::{Election, Session};
///
/// # tokio_test::block_on(async {
/// let session = Session::open(Memory::new(), Duration::from_secs(10)).await?;
/// let election = Election::new(&session, "compaction");
/// let mut leaders = election.observe();
/// assert!(leaders.next().await.transpose()?.flatten().is_none(), "nobody leads yet");
///
/// let leadership = election.campaign("agent-1").await?;
/// let leader = leaders.next().await.transpose()?.flatten().expect("we do");
/// assert_eq!((leader.value, leader.token), ("agent-1".into(), leadership.token()));
///
/// leadership.resign().await?;
/// assert!(election.leader().await?.is_none());
/// # session.close().await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Election {
    queue: Queue,
}

impl Election {
    /// The election of this name, for this session.
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

    /// Stands for election with this value, and waits to lead.
    ///
    /// It waits through outages of the store, for as long as the session's lease lives. If somebody
    /// removes its key meanwhile, it stands again, as the last.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) if the session loses its lease meanwhile, or
    /// is closed; [`Error::Invalid`](crate::Error::Invalid) for an empty name; whatever else the
    /// store says that waiting does not mend.
    ///
    /// # Cancel safety
    /// If the future is dropped, the candidate is withdrawn in the background, or at the latest
    /// with the session's lease.
    pub async fn campaign(&self, value: impl Into<Bytes>) -> Result<Leadership> {
        let value = value.into();
        loop {
            let Entered { mut place, found } = self.queue.enter(value.clone()).await?;
            if found.is_some_and(|found| found != value) {
                // What the session stood with before.
                proclaim(&place, value.clone()).await?;
            }
            if place.turn().await? {
                return Ok(Leadership { place });
            }
        }
    }

    /// The leadership that the session's lease still has from before: for a program that was
    /// started anew and keeps its lease. `None` if that does not lead; then campaign, which keeps
    /// the place in the queue if there is one.
    ///
    /// Only one program may use the lease: two of them would both lead.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing if the session does not lead; if it does, it may resign.
    pub async fn resume(&self) -> Result<Option<Leadership>> {
        let leading = self.queue.find_first().await?;
        Ok(leading.map(|place| Leadership { place }))
    }

    /// Who leads now.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn leader(&self) -> Result<Option<Leader>> {
        let first = self.queue.first(ListOptions::default()).await?;
        Ok(first.as_ref().map(Leader::of))
    }

    /// Who leads, now and whenever that changes: another leader, another value of the same one, or
    /// nobody.
    ///
    /// Leaders come in order, and no one comes twice in a row. It goes on across outages; who led
    /// only during one, or for an instant that the store keeps no record of, may be left out, and
    /// the present leader never is. Errors are those of [`follow`](crate::follow).
    pub fn observe(&self) -> Leaders {
        let prefix = self.queue.prefix().clone();
        let range = KeyRange::from(prefix.clone());
        let options = FollowOptions::default().with_name("election");
        let store = self.queue.session().store().clone();
        Leaders::new(prefix, follow(store, range, options))
    }
}

/// The leadership of an election, until one resigns, drops or loses it.
///
/// If it is dropped, it is resigned in the background, or at the latest with the session's lease.
#[must_use = "the leadership is resigned when this is dropped"]
pub struct Leadership {
    place: Place,
}

impl Leadership {
    /// The number of this leader, greater than that of every leader before.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.place.token()
    }

    /// What holds for as long as this one leads; for any transaction through the session's store,
    /// or a handle of the same scope.
    #[must_use]
    pub fn guard(&self) -> Compare {
        self.place.guard()
    }

    /// The leader's key in the store.
    #[must_use]
    pub fn key(&self) -> &Key {
        self.place.spot().key()
    }

    /// Lets everyone who observes see this value from now on; false, and nothing written, if this
    /// one leads no more.
    ///
    /// # Errors
    /// Those of the store. To proclaim again is harmless: an earlier value that comes late never
    /// overwrites a later one.
    ///
    /// # Cancel safety
    /// If the future is dropped, the value may have been proclaimed.
    pub async fn proclaim(&self, value: impl Into<Bytes>) -> Result<bool> {
        proclaim(&self.place, value.into()).await
    }

    /// Waits until the leadership is lost: the session's lease has ended, or somebody removed the
    /// key.
    ///
    /// With the lease it is told at the latest when another one could lead, by this program's
    /// clock, and also while the store cannot be reached. Each such future watches the key while
    /// it is polled.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        self.place.lost()
    }

    /// Resigns, so that the next candidate leads, and returns whether this one led until now.
    ///
    /// However late it comes, it never removes another leader. It goes on through outages of the
    /// store, until the session's lease ends. If an answer is lost and the key is gone at the next
    /// try, that is taken for its own doing.
    ///
    /// # Errors
    /// What the store says that waiting does not mend. The next one then leads when the lease ends.
    ///
    /// # Cancel safety
    /// If the future is dropped, it is resigned in the background.
    pub async fn resign(self) -> Result<bool> {
        self.place.leave().await
    }
}

/// Puts the value over exactly that which was seen last: so a put whose answer was lost, and that lies
/// on its way, can overwrite none that came after it.
async fn proclaim(place: &Place, value: Bytes) -> Result<bool> {
    let spot = place.spot();
    let options = PutOptions::default().with_lease(spot.lease());
    let put = Op::Put(spot.key().clone(), value, options);
    loop {
        let seen = place.modified();
        let txn = Txn::new()
            .when(Compare::modified(spot.key(), seen))
            .then(put.clone())
            .otherwise(Op::get(spot.key()));
        let reply = spot.store().commit(txn).await?;
        if reply.succeeded {
            place.saw(reply.revision);
            return Ok(true);
        }
        match found(reply) {
            // It is still ours, with a value that came in between.
            Some(entry) if place.is(&entry) && entry.modified != seen => place.saw(entry.modified),
            _ => return Ok(false),
        }
    }
}

fn found(reply: TxnReply) -> Option<Entry> {
    match reply.replies.into_iter().next()? {
        OpReply::Get(listed) => listed.entries.into_iter().next(),
        OpReply::Put(_) | OpReply::Delete(_) => None,
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("key", self.key())
            .field("token", &self.token())
            .finish_non_exhaustive()
    }
}
