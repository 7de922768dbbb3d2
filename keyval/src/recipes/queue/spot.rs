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
use crate::txn::{Compare, Op, Txn};

/// A session's own key in a queue; nobody else in the session uses it meanwhile.
#[derive(Debug)]
pub(in crate::recipes) struct Spot {
    session: Session,
    lease: LeaseId,
    key: Key,
    claim: Claim,
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
            claim,
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

    pub(in crate::recipes) fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Does something for as long as the lease lives.
    pub(in crate::recipes) async fn while_alive<T>(
        &self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        while_alive(&self.session, self.lease, work).await
    }

    /// Removes the key that came to be at this revision, and returns whether it was there until now;
    /// goes on until it is done, or the lease is lost and with it the key.
    pub(in crate::recipes) async fn remove(&self, created: Revision) -> Result<bool> {
        let removed = self.while_alive(remove(self.store(), &self.key, created));
        match removed.await {
            Err(Error::LeaseLost { .. }) => Ok(false),
            removed => removed,
        }
    }
}

/// Removes the key that came to be at this revision, through outages, and returns whether it was there
/// until now.
///
/// To repeat this is harmless, however late it comes: what stands there later came to be later.
pub(in crate::recipes) async fn remove(
    store: &Arc<dyn Store>,
    key: &Key,
    created: Revision,
) -> Result<bool> {
    let ours = Compare::created(key, created);
    let txn = Txn::new().when(ours).then(Op::delete(key));
    let mut backoff = BackoffPolicy::default().start();
    // What was removed by a try without an answer was there until then.
    let mut in_doubt = false;
    loop {
        match store.commit(txn.clone()).await {
            Ok(reply) => return Ok(reply.succeeded || in_doubt),
            Err(error) if error.is_retryable() => {
                in_doubt |= error.may_have_applied();
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(error),
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
