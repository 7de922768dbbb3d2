//! Keeps away keys that were removed, and that a late put would bring back.

use std::sync::Arc;

use futures::stream::StreamExt;
use tokio::time::sleep;

use crate::broker::BrokerExt;
use crate::entry::Entry;
use crate::error::Result;
use crate::options::Condition;
use crate::recipes::session::keys::Doubtful;
use crate::recipes::session::shared::Shared;
use crate::recipes::standing::standing;

/// Deletes a removed key whenever it comes to stand with the lease of a put that had no answer, until
/// the lease is lost or the session puts the key again.
pub(super) async fn keep_away(shared: Arc<Shared>, doubtful: Doubtful) {
    let Doubtful { key, lease, wanted } = doubtful;
    let lost = shared.lost(lease);
    let delete = async {
        let mut entries = std::pin::pin!(standing(Arc::clone(&shared.store), &key, lease));
        while let Some(entry) = entries.next().await {
            match delete(&shared, &entry).await {
                Ok(deleted) => tracing::info!(store = %shared.store, %key, deleted,
                    "a removed key of a session came back late and was deleted"),
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

/// Deletes exactly this entry, through outages; says whether it was still there.
async fn delete(shared: &Shared, entry: &Entry) -> Result<bool> {
    let mut backoff = shared.options.backoff.start();
    loop {
        let deleted = {
            // As all calls for the session's keys: one at a time.
            let _keys = shared.keys.lock().await;
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
