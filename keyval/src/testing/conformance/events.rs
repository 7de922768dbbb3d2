//! A watch as a promise reads it: every item is checked, and every wait has an end.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use crate::entry::{Change, Changes};
use crate::error::{Error, Result};
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::conformance::log::Log;
use crate::testing::conformance::patient::within;
use crate::watcher::ChangeStream;

/// Reads a watch, and checks of every item what all items promise: revisions rise, none comes
/// twice, none outruns the progress that was told, keys lie in the range and in order, and entries
/// carry the revision at which they come.
#[derive(Debug)]
pub struct Events {
    stream: ChangeStream,
    range: KeyRange,
    previous: bool,
    last: Revision,
    patience: Duration,
    log: Arc<Log>,
}

impl Events {
    pub(crate) fn new(
        stream: ChangeStream,
        range: KeyRange,
        previous: bool,
        patience: Duration,
        log: Arc<Log>,
    ) -> Self {
        Self {
            stream,
            range,
            previous,
            last: Revision::ZERO,
            patience,
            log,
        }
    }

    /// The revision to which the watch is pinned.
    #[must_use]
    pub fn after(&self) -> Revision {
        self.stream.after()
    }

    /// The next item, progress or not; `None` if the watch is over.
    ///
    /// # Errors
    /// The error with which the watch ends.
    ///
    /// # Panics
    /// If nothing comes in time, or something that a watch must not deliver.
    pub async fn item(&mut self) -> Result<Option<Changes>> {
        let what = format!("the next item of the watch of {}", self.range);
        let item = within(self.patience, what, self.stream.next()).await;
        self.log.push("the watch's next item", &item);
        match item {
            None => Ok(None),
            Some(Err(error)) => {
                let rest = within(self.patience, "a failed watch", self.stream.next()).await;
                assert!(rest.is_none(), "a watch went on after its error: {rest:?}");
                Err(error)
            }
            Some(Ok(changes)) => {
                self.check(&changes);
                self.last = changes.revision;
                Ok(Some(changes))
            }
        }
    }

    /// The next changes, passing over progress.
    ///
    /// # Errors
    /// The error with which the watch ends.
    ///
    /// # Panics
    /// As [`item`](Self::item), and if the watch ends without an error.
    pub async fn next(&mut self) -> Result<Changes> {
        let (patience, range) = (self.patience, self.range.clone());
        let changes = async {
            loop {
                match self.item().await? {
                    Some(changes) if changes.is_progress() => {}
                    Some(changes) => return Ok(changes),
                    None => panic!("the watch of {range} ended without a word"),
                }
            }
        };
        let what = format!("waiting for the next changes of {range}");
        within(patience, what, changes).await
    }

    /// Every change up to and including this revision, at which one must come.
    ///
    /// # Errors
    /// The error with which the watch ends.
    ///
    /// # Panics
    /// As [`next`](Self::next), and if that revision is passed over.
    pub async fn until(&mut self, revision: Revision) -> Result<Vec<Changes>> {
        let mut all = Vec::new();
        loop {
            let changes = self.next().await?;
            let reached = changes.revision;
            assert!(
                reached <= revision,
                "the watch of {} came to revision {reached} and left out {revision}",
                self.range
            );
            all.push(changes);
            if reached == revision {
                return Ok(all);
            }
        }
    }

    /// Reads to the end of the watch, and returns the error with which it ended.
    ///
    /// # Panics
    /// As [`item`](Self::item), and if it ends without an error.
    pub async fn failure(&mut self) -> Error {
        let (patience, range) = (self.patience, self.range.clone());
        let end = async {
            loop {
                match self.item().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the watch of {range} ended without a word"),
                    Err(error) => return error,
                }
            }
        };
        let what = format!("waiting for the end of the watch of {range}");
        within(patience, what, end).await
    }

    fn check(&self, changes: &Changes) {
        let revision = changes.revision;
        if changes.is_progress() {
            assert!(
                revision >= self.last,
                "progress at revision {revision} after {} was delivered",
                self.last
            );
            return;
        }
        assert!(
            revision > self.last,
            "changes of revision {revision} after {} was delivered",
            self.last
        );
        assert!(
            revision > self.after(),
            "changes of revision {revision} from a watch of what comes after {}",
            self.after()
        );
        for pair in changes.changes.windows(2) {
            assert!(
                pair[0].key() < pair[1].key(),
                "the changes of revision {revision} are out of order: {} before {}",
                pair[0].key(),
                pair[1].key()
            );
        }
        for change in &changes.changes {
            self.check_change(revision, change);
        }
    }

    fn check_change(&self, revision: Revision, change: &Change) {
        let key = change.key();
        assert!(
            self.range.contains(key),
            "the watch of {} told of {key}",
            self.range
        );
        if let Some(entry) = change.entry() {
            assert_eq!(
                entry.modified, revision,
                "the change of {key} at revision {revision} has another one in its entry"
            );
        }
        if let Some(prev) = change.prev() {
            assert!(self.previous, "a previous entry of {key} nobody asked for");
            assert_eq!(prev.key, *key, "the previous entry is of another key");
            assert!(
                prev.modified < revision,
                "the previous entry of {key} is as young as its change at revision {revision}"
            );
        }
    }
}
