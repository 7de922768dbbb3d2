//! The keys that live with a session, and how they are put again.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::broker::BrokerExt;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{Condition, PutOptions};
use crate::revision::Revision;
use crate::store::Store;

/// The keys of a session, with the values that were put last.
#[derive(Debug)]
pub(super) struct Keys {
    kept: HashMap<Key, Kept>,
    count: u64,
    /// The leases of this session with which its keys may stand in the store.
    leases: Vec<LeaseId>,
    /// The keys of which a put had no answer, with its lease: they may come to be as long as that lives.
    in_doubt: HashMap<Key, LeaseId>,
    /// Those of them that were removed since; dropped, it ends who keeps them away.
    kept_away: HashMap<Key, oneshot::Sender<()>>,
}

/// A key that was removed and may come to be all the same.
#[derive(Debug)]
pub(super) struct Doubtful {
    pub(super) key: Key,
    pub(super) lease: LeaseId,
    /// Ends once the key is put again.
    pub(super) wanted: oneshot::Receiver<()>,
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
        self.kept_away.remove(&key);
        let options = PutOptions::default().with_lease(lease);
        let put = store.put_opts(&key, value.clone(), options);
        let reply = self.send(&key, lease, put).await?;
        let number = self.kept.get(&key).map_or(self.count, |kept| kept.number);
        self.count += 1;
        self.kept.insert(key, Kept { number, value });
        Ok(reply.revision)
    }

    /// Forgets a key, so that it is not put again; says if it may come to be all the same, and nobody
    /// keeps it away yet.
    pub(super) fn forget(&mut self, key: &Key) -> Option<Doubtful> {
        self.kept.remove(key);
        let lease = *self.in_doubt.get(key)?;
        if self
            .kept_away
            .get(key)
            .is_some_and(|kept| !kept.is_closed())
        {
            return None;
        }
        let (keep, wanted) = oneshot::channel();
        self.kept_away.insert(key.clone(), keep);
        let key = key.clone();
        Some(Doubtful { key, lease, wanted })
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
        self.in_doubt.retain(|_, of| *of == lease);
        self.kept_away.retain(|_, kept| !kept.is_closed());
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
        // Before the answer, which never comes if this future is dropped.
        let before = self.in_doubt.insert(key.clone(), lease);
        let answer = put.await;
        let known = !answer.as_ref().is_err_and(Error::may_have_applied);
        // An answer to this put says nothing of those before.
        if known && before != Some(lease) {
            self.in_doubt.remove(key);
        }
        answer
    }

    fn is_ours(&self, lease: Option<LeaseId>) -> bool {
        lease.is_some_and(|lease| self.leases.contains(&lease))
    }
}
