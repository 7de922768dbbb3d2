//! The life of a session: keep the lease, replace it when it is lost, revoke it at the end.

use std::future::Future;
use std::sync::Arc;

use futures::future::{Either, join_all, select};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Outcome, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::recipes::session::renewal::renew;
use crate::recipes::session::shared::Shared;
use crate::recipes::session::state::LossCause;
use crate::recipes::session::tenure::Tenure;

/// Keeps a session until its last handle is dropped or it is closed, or the store is.
pub(super) fn drive(
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send {
    // Made at once: a future that is dropped before its first poll is an end too.
    let last_word = LastWord(shared);
    async move {
        let shared = &last_word.0;
        let result = live(shared, &mut stop).await;
        shared.announce_end(result);
    }
}

/// Keeps the lease and replaces it, until it is time to end; says what failed at the end.
async fn live(shared: &Shared, stop: &mut watch::Receiver<bool>) -> Result<()> {
    let mut tenure = shared.present();
    // Leases that are lost to us, and may live in the store all the same.
    let mut given_up = Vec::new();
    loop {
        let cause = tokio::select! {
            biased;
            () = told_to_stop(stop) => break,
            cause = keep(shared, &tenure, &mut given_up) => cause,
        };
        tenure.lose(cause.clone());
        match cause {
            LossCause::Closed => return Ok(()),
            LossCause::Revoked => {}
            LossCause::Expired { .. } => given_up.push(tenure.lease()),
        }
        shared.announce_loss(&tenure, cause);
        if !shared.options.regrant {
            told_to_stop(stop).await;
            break;
        }
        match grant_anew(shared, stop).await {
            Ok(granted) => tenure = granted,
            Err(Stopped) => break,
        }
    }
    if tenure.cause().is_none() {
        given_up.push(tenure.lease());
    }
    // Told before the store is asked: from here on nobody may rely on the lease.
    tenure.lose(LossCause::Closed);
    give_back(shared, given_up).await
}

/// Renews a lease until it is lost; first of all, after a loss, it puts the keys again.
async fn keep(shared: &Shared, tenure: &Arc<Tenure>, given_up: &mut Vec<LeaseId>) -> LossCause {
    let renewed = std::pin::pin!(renew(&shared.store, tenure, shared.options.backoff));
    let settled = std::pin::pin!(async {
        if shared.present().lease() != tenure.lease() {
            let refused = put_again(shared, tenure).await;
            shared.announce_renewal(tenure, refused);
            // The keys stand with the new lease now; what others put with the old one goes.
            let _ = give_back(shared, std::mem::take(given_up)).await;
        }
    });
    match select(renewed, settled).await {
        Either::Left((cause, _)) => cause,
        Either::Right(((), renewed)) => renewed.await,
    }
}

/// Puts every key with the new lease, trying as long as it takes; returns those that are somebody
/// else's by now.
async fn put_again(shared: &Shared, tenure: &Tenure) -> Vec<Key> {
    let lease = tenure.lease();
    let mut backoff = shared.options.backoff.start();
    let mut refused = Vec::new();
    let mut waiting = {
        let mut keys = shared.keys.lock().await;
        keys.may_be_with(lease);
        keys.in_order()
    };
    loop {
        let mut left = Vec::new();
        let mut keys_now = waiting.into_iter();
        while let Some(key) = keys_now.next() {
            // One at a time, so that others can remove keys in between.
            let mut keys = shared.keys.lock().await;
            match keys.put_again(&*shared.store, lease, &key).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(store = %shared.store, %key,
                        "a key of a session is somebody else's now, and was not put again");
                    refused.push(key);
                }
                Err(error) => {
                    tracing::debug!(store = %shared.store, %key, %error,
                        "a key of a session could not be put again yet");
                    if matches!(error, Error::LeaseLost { .. }) {
                        tenure.lose(LossCause::Revoked);
                    }
                    left.push(key);
                    if error.is_retryable() {
                        // The others would fare no better.
                        left.extend(keys_now.by_ref());
                    }
                }
            }
        }
        if left.is_empty() {
            shared.keys.lock().await.are_with(lease);
            return refused;
        }
        sleep(backoff.next_wait()).await;
        waiting = left;
    }
}

struct Stopped;

/// Grants a new lease, trying as long as it takes.
async fn grant_anew(
    shared: &Shared,
    stop: &mut watch::Receiver<bool>,
) -> Result<Arc<Tenure>, Stopped> {
    let mut backoff = shared.options.backoff.start();
    loop {
        let sent = Instant::now();
        // A grant that is answered later is of no use.
        let granted = timeout(shared.options.ttl, shared.store.grant(shared.options.ttl));
        let granted = std::pin::pin!(granted);
        let granted = match select(granted, std::pin::pin!(told_to_stop(stop))).await {
            Either::Left((granted, _)) => granted,
            // Not dropped at once, so that no lease is left behind.
            Either::Right(((), granted)) => {
                match timeout(shared.options.close_timeout, granted).await {
                    Ok(granted) => granted,
                    Err(_) => return Err(Stopped),
                }
            }
        };
        let error = match granted {
            Ok(Ok(grant)) => return Ok(Arc::new(Tenure::new(grant, sent))),
            Ok(Err(Error::Closed { .. })) => return Err(Stopped),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", shared.options.ttl),
        };
        tracing::debug!(store = %shared.store, error, "a session could not be granted a new lease");
        let wait = sleep(backoff.next_wait());
        tokio::select! {
            () = wait => {}
            () = told_to_stop(stop) => return Err(Stopped),
        }
    }
}

/// Revokes leases, within the time that closing may take; says the first failure.
async fn give_back(shared: &Shared, leases: Vec<LeaseId>) -> Result<()> {
    let limit = shared.options.close_timeout;
    let revoked = leases.into_iter().map(async |lease| {
        match timeout(limit, shared.store.revoke(lease)).await {
            Ok(Ok(()) | Err(Error::LeaseLost { .. })) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::timeout("revoke", limit, Outcome::Unknown)),
        }
    });
    join_all(revoked).await.into_iter().collect()
}

/// Waits until the session is closed or its last handle dropped.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error says that the last handle is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Tells the end even if the driver is dropped half-way, with its runtime.
struct LastWord(Arc<Shared>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.announce_end(Ok(()));
    }
}
