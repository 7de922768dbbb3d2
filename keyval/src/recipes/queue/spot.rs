//! A session's own key in a queue.

use std::future::Future;
use std::sync::Arc;

use crate::backoff::BackoffPolicy;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::recipes::claim::Claim;
use crate::recipes::session::Session;
use crate::revision::Revision;
use crate::store::Store;
use crate::txn::{Compare, Op, Relation, Target, Txn};

/// A session's own key in a queue; nobody else in the session uses it meanwhile.
#[derive(Debug)]
pub(in crate::recipes) struct Spot {
    session: Session,
    lease: LeaseId,
    key: Key,
    _claim: Claim,
}

impl Spot {
    pub(in crate::recipes) fn new(
        session: Session,
        lease: LeaseId,
        key: Key,
        claim: Claim,
    ) -> Self {
        Self {
            session,
            lease,
            key,
            _claim: claim,
        }
    }

    pub(in crate::recipes) fn session(&self) -> &Session {
        &self.session
    }

    pub(in crate::recipes) fn store(&self) -> &Arc<dyn Store> {
        self.session.store()
    }

    pub(in crate::recipes) fn lease(&self) -> LeaseId {
        self.lease
    }

    pub(in crate::recipes) fn key(&self) -> &Key {
        &self.key
    }

    /// Does something for as long as the lease lives.
    pub(in crate::recipes) async fn while_alive<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        while_alive(&self.session, self.lease, work).await
    }

    /// Removes the key that came to be at this revision, or, where that is not known, the one that
    /// lives by our lease; returns whether it was there until now.
    ///
    /// To repeat this is harmless: what comes to stand there later came to be later. So it goes on
    /// through outages until it is done, or the lease is lost and with it the key.
    pub(in crate::recipes) async fn remove(&self, created: Option<Revision>) -> Result<bool> {
        let ours = match created {
            Some(created) => Compare::created(&self.key, created),
            None => Compare::new(&self.key, Relation::Equal, Target::Lease(Some(self.lease))),
        };
        let txn = Txn::new().when(ours).then(Op::delete(&self.key));
        let mut backoff = BackoffPolicy::default().start();
        // What was removed by a try without an answer was there until then.
        let mut in_doubt = false;
        let removed = self.while_alive(async {
            loop {
                match self.store().commit(txn.clone()).await {
                    Ok(reply) => return Ok(reply.succeeded || in_doubt),
                    Err(error) if error.is_retryable() => {
                        in_doubt |= error.may_have_applied();
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        });
        match removed.await {
            Err(Error::LeaseLost { .. }) => Ok(false),
            removed => removed,
        }
    }
}

/// Does something for as long as the lease lives.
pub(in crate::recipes) async fn while_alive<T>(
    session: &Session,
    lease: LeaseId,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        _ = session.lost(lease) => Err(Error::LeaseLost { lease }),
        done = work => done.inspect_err(|error| session.learn_from(error)),
    }
}
