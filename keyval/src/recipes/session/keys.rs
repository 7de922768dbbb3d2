//! The keys that live with a session, and how they are put again.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::broker::BrokerExt;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{Condition, PutOptions};
use crate::recipes::standing::AT_LARGE;
use crate::revision::Revision;
use crate::store::Store;

/// The keys of a session, with the values that were put last.
#[derive(Debug)]
pub(super) struct Keys {
    kept: HashMap<Key, Kept>,
    count: u64,
    /// The leases of this session with which its keys may stand in the store.
    leases: Vec<LeaseId>,
    /// The keys of which a put had no answer: they may come to be all the same.
    in_doubt: HashMap<Key, Doubt>,
    /// Those of them that were removed since; dropped, it ends who keeps them away.
    kept_away: HashMap<Key, oneshot::Sender<()>>,
}

/// A key that was removed and may come to be all the same.
#[derive(Debug)]
pub(super) struct Doubtful {
    pub(super) key: Key,
    pub(super) doubt: Doubt,
    /// Ends once the key is put again.
    pub(super) wanted: oneshot::Receiver<()>,
}

/// A put without an answer, of which nobody knows whether it will be carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// The lease of the put: without it, it cannot be carried out.
    pub(super) lease: LeaseId,
    /// When it was sent, or was given up.
    since: Instant,
}

impl Doubt {
    fn from_now(lease: LeaseId) -> Self {
        let since = Instant::now();
        Self { lease, since }
    }

    /// When it is taken for certain that the put will not be carried out any more.
    pub(super) fn lapses(&self) -> Instant {
        self.since + AT_LARGE
    }
}

struct Kept {
    /// The keys are put again in the order in which they were first put.
    number: u64,
    value: Bytes,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        write!(f, "number {}", self.number)
    }
}

impl Keys {
    pub(super) fn new(lease: LeaseId) -> Self {
        Self {
            kept: HashMap::new(),
            count: 0,
            leases: vec![lease],
            in_doubt: HashMap::new(),
            kept_away: HashMap::new(),
        }
    }

    /// Puts a key with a lease, and remembers it.
    pub(super) async fn put(
        &mut self,
        store: &dyn Store,
        lease: LeaseId,
        key: Key,
        value: Bytes,
    ) -> Result<Revision> {
        // Dropped with this future too, as the key may be there then. Meanwhile nothing is deleted.
        let kept_away = self.kept_away.remove(&key);
        let options = PutOptions::default().with_lease(lease);
        let put = store.put_opts(&key, value.clone(), options);
        let answer = self.send(&key, lease, put).await;
        if let (Err(error), Some(kept_away)) = (&answer, kept_away)
            && !error.may_have_applied()
        {
            self.kept_away.insert(key.clone(), kept_away);
        }
        let reply = answer?;
        let number = self.kept.get(&key).map_or(self.count, |kept| kept.number);
        self.count += 1;
        self.kept.insert(key, Kept { number, value });
        Ok(reply.revision)
    }

    /// Forgets a key, so that it is not put again; says if it may come to be all the same, and nobody
    /// keeps it away yet.
    pub(super) fn forget(&mut self, key: &Key) -> Option<Doubtful> {
        self.kept.remove(key);
        self.let_lapse();
        let doubt = *self.in_doubt.get(key)?;
        if self.is_kept_away(key) {
            return None;
        }
        let (keep, wanted) = oneshot::channel();
        self.kept_away.insert(key.clone(), keep);
        let key = key.clone();
        Some(Doubtful { key, doubt, wanted })
    }

    /// Whether the key was removed and is not to come to be.
    pub(super) fn is_kept_away(&self, key: &Key) -> bool {
        let kept = self.kept_away.get(key);
        kept.is_some_and(|kept| !kept.is_closed())
    }

    /// Deletes a key if it is still of this session; says whether it was.
    pub(super) async fn delete(&self, store: &dyn Store, key: Key) -> Result<bool> {
        match store.get(&key).await? {
            Some(entry) if self.is_ours(entry.lease) => {
                store
                    .compare_and_delete(key, Condition::Modified(entry.modified))
                    .await
            }
            _ => Ok(false),
        }
    }

    /// The keys, in the order in which they were first put.
    pub(super) fn in_order(&self) -> Vec<Key> {
        let mut keys: Vec<_> = self.kept.iter().collect();
        keys.sort_unstable_by_key(|(_, kept)| kept.number);
        keys.into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// Notes that keys may stand with this lease too from now on.
    pub(super) fn may_be_with(&mut self, lease: LeaseId) {
        if !self.leases.contains(&lease) {
            self.leases.push(lease);
        }
    }

    /// Notes that every key stands with this lease now.
    pub(super) fn are_with(&mut self, lease: LeaseId) {
        self.leases = vec![lease];
        self.in_doubt.retain(|_, doubt| doubt.lease == lease);
        self.let_lapse();
    }

    /// Puts a key again with a new lease, unless somebody else has put it meanwhile: then it is
    /// forgotten, and the answer is false. What stands there with an earlier lease of this session
    /// is replaced.
    pub(super) async fn put_again(
        &mut self,
        store: &dyn Store,
        lease: LeaseId,
        key: &Key,
    ) -> Result<bool> {
        let Some(Kept { value, .. }) = self.kept.get(key) else {
            // It was removed meanwhile.
            return Ok(true);
        };
        let value = value.clone();
        let mut condition = Condition::Absent;
        loop {
            let options = PutOptions::default().with_lease(lease).only_if(condition);
            let put = store.put_opts(key, value.clone(), options);
            let reply = self.send(key, lease, put).await?;
            if reply.written {
                return Ok(true);
            }
            condition = match reply.prev {
                // It went between the two looks of a store that looks twice.
                None => Condition::Absent,
                // An attempt whose answer was lost.
                Some(entry) if entry.lease == Some(lease) => return Ok(true),
                Some(entry) if self.is_ours(entry.lease) => Condition::Modified(entry.modified),
                Some(_) => {
                    self.kept.remove(key);
                    return Ok(false);
                }
            };
        }
    }

    /// Sends a put, and remembers if nobody knows what becomes of it.
    async fn send<T>(
        &mut self,
        key: &Key,
        lease: LeaseId,
        put: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.let_lapse();
        // Before the answer, which never comes if this future is dropped.
        let before = self.in_doubt.insert(key.clone(), Doubt::from_now(lease));
        let answer = put.await;
        let known = !answer.as_ref().is_err_and(Error::may_have_applied);
        // An answer to this put says nothing of those before.
        let doubt = match before {
            _ if !known => Some(Doubt::from_now(lease)),
            Some(before) if before.lease == lease => Some(before),
            _ => None,
        };
        match doubt {
            Some(doubt) => self.in_doubt.insert(key.clone(), doubt),
            None => self.in_doubt.remove(key),
        };
        answer
    }

    /// Forgets the doubts that have lapsed, and those who kept away what they were about.
    fn let_lapse(&mut self) {
        let now = Instant::now();
        self.in_doubt.retain(|_, doubt| now < doubt.lapses());
        self.kept_away.retain(|_, kept| !kept.is_closed());
    }

    fn is_ours(&self, lease: Option<LeaseId>) -> bool {
        lease.is_some_and(|lease| self.leases.contains(&lease))
    }
}
