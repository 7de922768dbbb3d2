//! The queue of a name: entering it, and reading who is first.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::backoff::BackoffPolicy;
use crate::entry::Entry;
use crate::error::{Error, Outcome, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{ListOptions, PutOptions};
use crate::range::{KeyRange, Prefix};
use crate::recipes::claim::Claim;
use crate::recipes::queue::clear::clear_in_background;
use crate::recipes::queue::members::{self, View};
use crate::recipes::queue::place::{Place, look};
use crate::recipes::queue::spot::{Spot, while_alive};
use crate::recipes::session::Session;
use crate::reply::{OpReply, TxnReply};
use crate::revision::Revision;
use crate::txn::{Compare, Op, Txn};

/// The queue of a name, as one session sees it.
#[derive(Clone, Debug)]
pub(in crate::recipes) struct Queue {
    session: Session,
    name: Key,
    prefix: Prefix,
}

/// A place in the queue, and what was found in it.
#[derive(Debug)]
pub(in crate::recipes) struct Entered {
    pub(in crate::recipes) place: Place,
    /// The value that stood there, where the session had this place before.
    pub(in crate::recipes) found: Option<Bytes>,
}

impl Queue {
    pub(in crate::recipes) fn new(session: Session, name: Key) -> Self {
        let prefix = members::prefix(&name);
        Self {
            session,
            name,
            prefix,
        }
    }

    pub(in crate::recipes) fn name(&self) -> &Key {
        &self.name
    }

    pub(in crate::recipes) fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    pub(in crate::recipes) fn session(&self) -> &Session {
        &self.session
    }

    /// Takes a place at the end of the queue, once nobody else in this session has one.
    ///
    /// # Cancel safety
    /// If the future is dropped, a place that was taken is given up in the background.
    pub(in crate::recipes) async fn enter(&self, value: Bytes) -> Result<Entered> {
        let lease = self.session.lease();
        let key = self.key(lease)?;
        let claim = async { Ok(self.session.claims().claim(&key).await) };
        let claim = while_alive(&self.session, lease, claim).await?;
        self.enter_with(lease, key, claim, value).await
    }

    /// Takes a place only if the queue is empty; `None` if it is not.
    pub(in crate::recipes) async fn enter_if_empty(&self, value: Bytes) -> Result<Option<Entered>> {
        let lease = self.session.lease();
        let key = self.key(lease)?;
        let Some(claim) = self.session.claims().try_claim(&key) else {
            return Ok(None);
        };
        let others = self.first(ListOptions::default().keys_only()).await?;
        if others.is_some_and(|entry| entry.key != key) {
            return Ok(None);
        }
        let entered = self.enter_with(lease, key, claim, value).await?;
        Ok(Some(entered))
    }

    /// The first place of all, if the session has it already and nobody in this program uses it.
    pub(in crate::recipes) async fn find_first(&self) -> Result<Option<Place>> {
        let lease = self.session.lease();
        let key = self.key(lease)?;
        let Some(claim) = self.session.claims().try_claim(&key) else {
            return Ok(None);
        };
        let view = look(self.session.store(), &self.prefix, &key).await?;
        if view.ahead.is_some() {
            return Ok(None);
        }
        let spot = Spot::new(self.session.clone(), lease, key, claim);
        let place = |created| Place::new(spot, created, self.prefix.clone(), view.clone());
        Ok(view.own.map(place))
    }

    /// The one whose turn it is.
    pub(in crate::recipes) async fn first(&self, options: ListOptions) -> Result<Option<Entry>> {
        self.name_check()?;
        let range = KeyRange::from(self.prefix.clone());
        let listing = self.session.store().list_opts(&range, options).await?;
        let entries = listing.collect().await?;
        Ok(members::first(&self.prefix, &entries).cloned())
    }

    /// Refuses a name under which nothing can be.
    pub(in crate::recipes) fn name_check(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::invalid(
                "the name of a lock or an election is empty: give it at least one byte",
            ));
        }
        Ok(())
    }

    fn key(&self, lease: LeaseId) -> Result<Key> {
        self.name_check()?;
        Ok(self.prefix.join(&Key::from(lease.to_string())))
    }

    /// Enters in the session's task: a key that was asked for is seen to, whatever becomes of the
    /// caller.
    async fn enter_with(
        &self,
        lease: LeaseId,
        key: Key,
        claim: Claim,
        value: Bytes,
    ) -> Result<Entered> {
        let entrance = Entrance {
            txn: entering(&self.prefix, &key, lease, value),
            prefix: self.prefix.clone(),
            spot: Spot::new(self.session.clone(), lease, key, claim),
        };
        let (tell, told) = oneshot::channel();
        self.session.in_background(async move {
            // Where nobody waits any more, the place is dropped, and so given up.
            drop(tell.send(entrance.pass().await));
        })?;
        // Never told only if the session's runtime has ended, and the session with it.
        told.await.unwrap_or(Err(Error::LeaseLost { lease }))
    }
}

/// Puts the key unless it is there, and reads who is in the queue, at one revision.
fn entering(prefix: &Prefix, key: &Key, lease: LeaseId, value: Bytes) -> Txn {
    let put = PutOptions::default().with_lease(lease);
    let read = || {
        Op::Get(
            KeyRange::from(prefix.clone()),
            ListOptions::default().keys_only(),
        )
    };
    Txn::new()
        .when(Compare::absent(key))
        .then(Op::Put(key.clone(), value, put))
        .then(read())
        .otherwise(Op::get(key))
        .otherwise(read())
}

/// One who is about to enter a queue.
struct Entrance {
    txn: Txn,
    prefix: Prefix,
    spot: Spot,
}

impl Entrance {
    async fn pass(self) -> Result<Entered> {
        let reply = self.commit().await?;
        let (created, view, found) = self.read(reply)?;
        let place = Place::new(self.spot, created, self.prefix, view);
        Ok(Entered { place, found })
    }

    /// Commits until there is an answer. Who finds the key there has put it before, since nobody else
    /// in this session does. What was asked for without an answer may still be carried out at any
    /// time, also after all is over: whatever comes of it that nobody owns is cleared away.
    async fn commit(&self) -> Result<TxnReply> {
        let mut backoff = BackoffPolicy::default().start();
        let commit = async {
            loop {
                match self.spot.store().commit(self.txn.clone()).await {
                    Err(error) => {
                        if error.may_have_applied() {
                            clear_in_background(&self.spot);
                        }
                        if !error.is_retryable() {
                            return Err(error);
                        }
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                    Ok(reply) => return Ok(reply),
                }
            }
        };
        self.spot.while_alive(commit).await
    }

    fn read(&self, reply: TxnReply) -> Result<(Revision, View, Option<Bytes>)> {
        let key = self.spot.key();
        let mut replies = reply.replies.into_iter();
        let found = match replies.next() {
            Some(OpReply::Get(own)) => own.entries.into_iter().next().map(|entry| entry.value),
            _ => None,
        };
        let Some(OpReply::Get(all)) = replies.next() else {
            return Err(no_sense());
        };
        let view = View::new(reply.revision, &self.prefix, key, &all.entries);
        let created = view.own.ok_or_else(no_sense)?;
        Ok((created, view, found))
    }
}

fn no_sense() -> Error {
    Error::backend(
        "the answer to a transaction lacks what was asked for",
        Outcome::Unknown,
    )
}
