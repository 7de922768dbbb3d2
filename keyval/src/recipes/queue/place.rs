//! A place in a queue: waiting for one's turn, keeping it, and giving it up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::StreamExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::backoff::BackoffPolicy;
use crate::entry::{Change, Entry, Update};
use crate::error::{Error, Outcome, Result};
use crate::follow::{FollowOptions, follow};
use crate::key::Key;
use crate::options::{ListOptions, WatchOptions};
use crate::range::{KeyRange, Prefix};
use crate::recipes::fence::FencingToken;
use crate::recipes::loss::Loss;
use crate::recipes::queue::members::{Ahead, View};
use crate::recipes::queue::spot::Spot;
use crate::revision::Revision;
use crate::store::Store;
use crate::txn::Compare;

/// How long to watch the one ahead before the queue is looked at anew: so that a watch that lost
/// something, or that nobody serves any more, keeps nobody waiting for ever.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A place in a queue; given up in the background if it is dropped.
#[derive(Debug)]
pub(in crate::recipes) struct Place {
    /// Taken only when the place is given up.
    spot: Option<Spot>,
    created: Revision,
    /// When the key was put last, as far as we know.
    modified: Mutex<Revision>,
    prefix: Prefix,
    /// What was seen on entering, until it is used.
    seen: Option<View>,
}

impl Place {
    /// A place with this key, which came to be at this revision.
    pub(in crate::recipes) fn new(
        spot: Spot,
        created: Revision,
        prefix: Prefix,
        seen: View,
    ) -> Self {
        spot.claim().owns(created);
        Self {
            spot: Some(spot),
            created,
            modified: Mutex::new(created),
            prefix,
            seen: Some(seen),
        }
    }

    pub(in crate::recipes) fn spot(&self) -> &Spot {
        self.spot
            .as_ref()
            .expect("it is taken only by what consumes the place")
    }

    pub(in crate::recipes) fn token(&self) -> FencingToken {
        FencingToken::from(self.created)
    }

    /// What holds for as long as nobody else can have this place.
    pub(in crate::recipes) fn guard(&self) -> Compare {
        Compare::created(self.spot().key(), self.created)
    }

    /// When the key was put last, as far as we know.
    pub(in crate::recipes) fn modified(&self) -> Revision {
        *self.modified.lock()
    }

    /// Notes that the key was put at this revision.
    pub(in crate::recipes) fn saw(&self, modified: Revision) {
        *self.modified.lock() = modified;
    }

    /// Whether this is the place's own entry.
    pub(in crate::recipes) fn is(&self, entry: &Entry) -> bool {
        is(entry, self.created)
    }

    /// Whether nobody is ahead, as far as was seen last.
    pub(in crate::recipes) fn is_first(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|view| view.own == Some(self.created) && view.ahead.is_none())
    }

    /// Waits until nobody is ahead; false if the place was lost meanwhile, although its lease
    /// lives: somebody removed the key.
    ///
    /// Only the one just ahead is watched, so that whoever leaves wakes one other.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; the place is kept.
    pub(in crate::recipes) async fn turn(&mut self) -> Result<bool> {
        let mut seen = self.seen.take();
        let mut backoff = BackoffPolicy::default().start();
        let spot = self.spot();
        let first = spot.while_alive(async {
            loop {
                let looked = match seen.take() {
                    Some(view) => Ok(view),
                    None => look(spot.store(), &self.prefix, spot.key()).await,
                };
                let waited = match looked {
                    Ok(view) if view.own != Some(self.created) => return Ok(None),
                    Ok(View { ahead: None, .. }) => return Ok(Some(())),
                    Ok(View {
                        ahead: Some(ahead),
                        revision,
                        ..
                    }) => gone(spot.store(), &ahead, revision).await,
                    Err(error) => Err(error),
                };
                match waited {
                    Ok(()) => {}
                    Err(error) if passes(&error) => {
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        });
        Ok(first.await?.is_some())
    }

    /// Gives up the place, and returns whether it was kept until now.
    ///
    /// # Cancel safety
    /// If the future is dropped, the place is given up in the background.
    pub(in crate::recipes) async fn leave(mut self) -> Result<bool> {
        let left = self.spot().remove(self.created).await;
        if left.is_ok() {
            self.spot = None;
        }
        left
    }

    /// Waits until the place is lost without being given up.
    pub(in crate::recipes) fn lost(&self) -> impl Future<Output = Loss> + Send + 'static + use<> {
        let spot = self.spot();
        let (session, lease) = (spot.session().clone(), spot.lease());
        let options = FollowOptions::default().with_name("place");
        let updates = follow(Arc::clone(spot.store()), KeyRange::key(spot.key()), options);
        let created = self.created;
        let removed = async move {
            let mut updates = updates;
            while let Some(update) = updates.next().await {
                if update.is_ok_and(|update| !shows(&update, created)) {
                    return;
                }
            }
            // The store was closed, which the session tells.
            std::future::pending::<()>().await;
        };
        async move {
            tokio::select! {
                biased;
                cause = session.lost(lease) => Loss::Session(cause),
                () = removed => Loss::Removed,
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(spot) = self.spot.take() {
            let (session, created) = (spot.session().clone(), self.created);
            // If it fails there is nobody to tell: the key goes with its lease.
            drop(session.in_background(async move {
                drop(spot.remove(created).await);
            }));
        }
    }
}

/// Reads who is in the queue.
pub(in crate::recipes) async fn look(
    store: &Arc<dyn Store>,
    prefix: &Prefix,
    key: &Key,
) -> Result<View> {
    let range = KeyRange::from(prefix.clone());
    let options = ListOptions::default().keys_only();
    let listing = store.list_opts(&range, options).await?;
    let revision = listing.revision;
    let entries = listing.collect().await?;
    Ok(View::new(revision, prefix, key, &entries))
}

/// Waits until the one ahead may be gone.
async fn gone(store: &Arc<dyn Store>, ahead: &Ahead, since: Revision) -> Result<()> {
    let range = KeyRange::key(&ahead.key);
    let options = WatchOptions::default().starting_at(since.next());
    let watched = async {
        let mut watch = store.watch_opts(&range, options).await?;
        while let Some(changes) = watch.next().await {
            if !changes?
                .changes
                .iter()
                .all(|change| keeps(change, ahead.created))
            {
                return Ok(());
            }
        }
        Err(Error::unavailable(
            "the watch ended without a cause",
            Outcome::NotApplied,
        ))
    };
    timeout(LOOK_AGAIN, watched).await.unwrap_or(Ok(()))
}

/// Whether waiting and looking again may help.
fn passes(error: &Error) -> bool {
    error.is_retryable()
        || matches!(
            error,
            Error::Compacted { .. } | Error::FutureRevision { .. }
        )
}

/// Whether the key that came to be at this revision is still there after the update of its range.
fn shows(update: &Update, created: Revision) -> bool {
    match update {
        Update::Resync(snapshot) => snapshot.entries.iter().any(|entry| is(entry, created)),
        Update::Changes(changes) => changes.changes.iter().all(|change| keeps(change, created)),
    }
}

/// Whether the key that came to be at this revision is still there after the change.
fn keeps(change: &Change, created: Revision) -> bool {
    change.entry().is_some_and(|entry| is(entry, created))
}

fn is(entry: &Entry, created: Revision) -> bool {
    entry.created == created
}
