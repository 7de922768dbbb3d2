//! Keeps a key of a queue clear of what nobody in the session owns.

use std::sync::Arc;

use futures::stream::StreamExt;
use tokio::time::Instant;

use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::recipes::claim::Slot;
use crate::recipes::queue::spot::{Spot, remove};
use crate::recipes::standing::{AT_LARGE, standing};
use crate::store::Store;

/// Clears the key in the session's task from now on, once it was asked for and nobody knows whether
/// it will come to be. Ends with the lease, or once what was asked for last cannot come any more; a
/// key is cleared by one such piece of work at most.
pub(super) fn clear_in_background(spot: &Spot) {
    let Some(slot) = spot.claim().to_clear(Instant::now() + AT_LARGE) else {
        return;
    };
    // Nothing here may hold the session, whose last handle ends it.
    let (session, lease) = (spot.session(), spot.lease());
    let (store, key) = (Arc::clone(spot.store()), spot.key().clone());
    let lost = session.lost(lease);
    // It fails only if the session is closed, and the key gone with its lease.
    drop(session.in_background(async move {
        tokio::select! {
            biased;
            _ = lost => {}
            () = clear(store, key, lease, slot) => {}
        }
    }));
}

/// Removes every key that comes to stand here by this lease and is nobody's.
async fn clear(store: Arc<dyn Store>, key: Key, lease: LeaseId, slot: Arc<Slot>) {
    let entries = standing(Arc::clone(&store), &key, lease);
    // It ends between two entries, and leaves no removal half done.
    let mut entries = std::pin::pin!(entries.take_until(slot.is_clear()));
    while let Some(entry) = entries.next().await {
        // Held meanwhile, so that nobody takes for its own what is being removed.
        let Some(_claim) = slot.claim_unowned(entry.created).await else {
            continue;
        };
        match remove(&store, &key, entry.created).await {
            Ok(true) => tracing::info!(%store, %key,
                "a place in a queue that came to be late was given up"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%store, %key, %error,
                "a place in a queue that came to be late stays until its lease ends"),
        }
    }
}
