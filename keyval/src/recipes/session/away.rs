//! Keeps away keys that were removed, and that a late put would bring back.

use std::sync::Arc;

use futures::stream::StreamExt;
use tokio::time::{sleep, sleep_until};

use crate::broker::BrokerExt;
use crate::entry::Entry;
use crate::error::Result;
use crate::options::Condition;
use crate::recipes::session::keys::Doubtful;
use crate::recipes::session::shared::Shared;
use crate::recipes::standing::standing;

/// Deletes a removed key whenever it comes to stand with the lease of a put that had no answer, until
/// the lease is lost, the session puts the key again, or the put cannot come any more.
pub(super) async fn keep_away(shared: Arc<Shared>, doubtful: Doubtful) {
    let Doubtful { key, doubt, wanted } = doubtful;
    let lost = shared.lost(doubt.lease);
    let delete = async {
        let entries = standing(Arc::clone(&shared.store), &key, doubt.lease);
        // It ends between two entries, and leaves no deletion half done.
        let mut entries = std::pin::pin!(entries.take_until(sleep_until(doubt.lapses())));
        while let Some(entry) = entries.next().await {
            match delete(&shared, &entry).await {
                Ok(true) => tracing::info!(store = %shared.store, %key,
                    "a removed key of a session came back late and was deleted"),
                // It went before, or is wanted by now.
                Ok(false) => {}
                Err(error) => tracing::warn!(store = %shared.store, %key, %error,
                    "a removed key of a session came back late and stays until its lease ends"),
            }
        }
    };
    tokio::select! {
        biased;
        _ = lost => {}
        _ = wanted => {}
        () = delete => {}
    }
}

/// Deletes exactly this entry, through outages, unless its key is wanted again; says whether it
/// did.
async fn delete(shared: &Shared, entry: &Entry) -> Result<bool> {
    let mut backoff = shared.options.backoff.start();
    loop {
        let deleted = {
            // As all calls for the session's keys: one at a time.
            let keys = shared.keys.lock().await;
            if !keys.is_kept_away(&entry.key) {
                return Ok(false);
            }
            let exactly = Condition::Modified(entry.modified);
            let store = &*shared.store;
            store.compare_and_delete(entry.key.clone(), exactly).await
        };
        match deleted {
            Err(error) if error.is_retryable() => sleep(backoff.next_wait()).await,
            deleted => return deleted,
        }
    }
}
