//! What has changed in a view, told when it has been quiet for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use keyval::{Change, Mirror, Revision};
use tokio::time::{Instant, sleep_until};

use crate::error::Decoded;
use crate::view::options::Pace;
use crate::view::picture::{ViewEntry, ViewSnapshot};

/// Tells what has changed in a view; made by [`View::changes`](crate::View::changes).
///
/// Each difference leads from the picture that was told last to the next one. Nothing is queued: a
/// slow reader keeps one old picture, and is told the sum of all that has happened since. So a key
/// that came and went in between is not told, a key that was deleted and made again is a change, and
/// keys that went during an outage are removed like any other.
#[must_use = "nothing is told unless it is asked for"]
pub struct ViewChanges<T> {
    copy: Mirror<Decoded<T>>,
    pace: Pace,
    /// The picture that was told last; `None` before the first.
    told: Option<Arc<ViewSnapshot<T>>>,
    waiting: Option<Waiting<T>>,
}

/// A picture that is to be told soon.
struct Waiting<T> {
    picture: Arc<ViewSnapshot<T>>,
    due: Instant,
    latest: Instant,
}

/// What has changed from one picture of a view to the next.
pub struct Difference<T> {
    /// The changes in key order, each with what stood there in the last picture.
    pub changes: Vec<Change<Arc<Decoded<T>>>>,
    /// The picture with the changes.
    pub snapshot: Arc<ViewSnapshot<T>>,
}

impl<T: PartialEq + Send + Sync + 'static> ViewChanges<T> {
    pub(super) fn new(copy: Mirror<Decoded<T>>, pace: Pace) -> Self {
        Self {
            copy,
            pace,
            told: None,
            waiting: None,
        }
    }

    /// Waits for the next difference; `None` once the view has ended and all is told.
    ///
    /// The first one comes as soon as the view is ready, with everything as added, also if that is
    /// nothing. All later ones are not empty.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing, and the time that a change has waited counts on.
    pub async fn next(&mut self) -> Option<Difference<T>> {
        let Some(told) = &self.told else {
            let snapshot = self.copy.ready().await.ok()?;
            return Some(self.tell(snapshot));
        };
        let told = Arc::clone(told);
        loop {
            let due = self.waiting.as_ref().map(|waiting| waiting.due);
            let ended = tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => false,
                changed = self.copy.changed() => match changed {
                    Ok(picture) => {
                        self.notice(&told, picture);
                        continue;
                    }
                    // There is nothing to wait for any more.
                    Err(_) => true,
                },
            };
            match self.waiting.take() {
                Some(waiting) if !waiting.picture.changes_since(&told).is_empty() => {
                    return Some(self.tell(waiting.picture));
                }
                // By now it is again as it was told.
                Some(_) | None => {}
            }
            if ended {
                return None;
            }
        }
    }

    /// Takes note of a new picture, and of when to tell it.
    fn notice(&mut self, told: &ViewSnapshot<T>, picture: Arc<ViewSnapshot<T>>) {
        let newest = self.waiting.as_ref().map_or(told, |it| &*it.picture);
        // Word of progress is another picture, too, but none to tell.
        if picture.changes_since(newest).is_empty() {
            return;
        }
        let now = Instant::now();
        let latest = match &self.waiting {
            Some(waiting) => waiting.latest,
            None => later(now, self.pace.longest),
        };
        self.waiting = Some(Waiting {
            picture,
            due: latest.min(later(now, self.pace.quiet)),
            latest,
        });
    }

    fn tell(&mut self, snapshot: Arc<ViewSnapshot<T>>) -> Difference<T> {
        let changes = match &self.told {
            Some(told) => snapshot.changes_since(told),
            None => {
                let entries = snapshot.iter().cloned();
                let added = entries.map(|entry| Change::Put { entry, prev: None });
                added.collect()
            }
        };
        self.told = Some(Arc::clone(&snapshot));
        Difference { changes, snapshot }
    }
}

/// So much later; at most about 30 years, which is never.
fn later(now: Instant, wait: Duration) -> Instant {
    now + wait.min(Duration::from_secs(30 * 365 * 24 * 3600))
}

impl<T> Difference<T> {
    /// The revision of the picture.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.snapshot.revision()
    }

    /// The entries whose keys were not there before, in key order.
    pub fn added(&self) -> impl Iterator<Item = &ViewEntry<T>> {
        self.changes.iter().filter_map(|change| match change {
            Change::Put { entry, prev: None } => Some(entry),
            _ => None,
        })
    }

    /// The entries that are not as they were, each before and after, in key order.
    pub fn changed(&self) -> impl Iterator<Item = (&ViewEntry<T>, &ViewEntry<T>)> {
        self.changes.iter().filter_map(|change| match change {
            Change::Put {
                entry,
                prev: Some(prev),
            } => Some((prev, entry)),
            _ => None,
        })
    }

    /// The entries whose keys are gone, as they were in the last picture, in key order.
    pub fn removed(&self) -> impl Iterator<Item = &ViewEntry<T>> {
        self.changes.iter().filter_map(|change| match change {
            Change::Delete { prev, .. } => prev.as_ref(),
            Change::Put { .. } => None,
        })
    }
}

impl<T> fmt::Debug for ViewChanges<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let revision = |picture: &Arc<ViewSnapshot<T>>| picture.revision();
        f.debug_struct("ViewChanges")
            .field("pace", &self.pace)
            .field("told", &self.told.as_ref().map(revision))
            .field(
                "waiting",
                &self.waiting.as_ref().map(|it| revision(&it.picture)),
            )
            .finish_non_exhaustive()
    }
}

/// Shows the keys, not the values.
impl<T> fmt::Debug for Difference<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn keys<'a, T: 'a>(entries: impl Iterator<Item = &'a ViewEntry<T>>) -> Vec<String> {
            entries.map(|entry| entry.key.to_string()).collect()
        }
        f.debug_struct("Difference")
            .field("revision", &self.revision())
            .field("added", &keys(self.added()))
            .field("changed", &keys(self.changed().map(|(_, after)| after)))
            .field("removed", &keys(self.removed()))
            .finish_non_exhaustive()
    }
}
