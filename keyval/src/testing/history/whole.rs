//! A whole history: what was there, everything that changed, and what everybody saw.

use std::io;

use futures::stream::StreamExt;

use crate::entry::{Changes, Entry};
use crate::error::{Error, Outcome, Result};
use crate::options::WatchOptions;
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::history::call::Call;
use crate::testing::history::deliveries::{FollowRecord, WatchRecord};
use crate::watcher::Watcher;

/// What was there before a history began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The revision at which the history begins.
    pub revision: Revision,
    /// Every entry of the store at that revision, in key order.
    pub entries: Vec<Entry>,
    /// Calls made earlier whose outcome is not known, and which may take effect only now.
    pub pending: Vec<Call>,
}

impl Base {
    /// A store that was empty at this revision; a new one is so at revision 1.
    #[must_use]
    pub fn empty(revision: Revision) -> Self {
        Self {
            revision,
            entries: Vec::new(),
            pending: Vec::new(),
        }
    }
}

impl Default for Base {
    fn default() -> Self {
        Self::empty(Revision::new(1))
    }
}

/// A recorded history of one life of a store.
///
/// A wiped or restored store begins another life, with revisions of its own: record and check each
/// of them by itself.
///
/// No call may be under way when the history begins, except for those among
/// [`Base::pending`]. Give each put a value of its own: then it is certain which of several calls of
/// unknown outcome made a change.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was there before.
    pub base: Base,
    /// Everything that happened to the whole store since, revision by revision, with previous
    /// entries or without; as a watch saw it that no fault touched. See [`read_truth`].
    pub truth: Vec<Changes>,
    /// Every call of every client.
    pub calls: Vec<Call>,
    /// What raw watches delivered.
    pub watches: Vec<WatchRecord>,
    /// What followers delivered.
    pub follows: Vec<FollowRecord>,
}

impl History {
    /// Writes everything out, for people to read: one line for each call, revision and delivery.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, out: &mut impl io::Write) -> io::Result<()> {
        writeln!(out, "base {}", self.base.revision)?;
        for entry in &self.base.entries {
            writeln!(out, "  {entry:?}")?;
        }
        for call in &self.base.pending {
            writeln!(out, "  pending {call:?}")?;
        }
        writeln!(out, "truth")?;
        for changes in &self.truth {
            writeln!(out, "  {changes:?}")?;
        }
        writeln!(out, "calls")?;
        for call in &self.calls {
            writeln!(out, "  {call:?}")?;
        }
        for watch in &self.watches {
            writeln!(
                out,
                "{watch} of {}, after {}, from {:?}, previous {}",
                watch.range, watch.after, watch.from, watch.previous
            )?;
            for item in &watch.items {
                writeln!(out, "  {item:?}")?;
            }
        }
        for follow in &self.follows {
            writeln!(
                out,
                "{follow} of {}, after {:?}, previous {}, losses {:?}, until {:?}",
                follow.range, follow.after, follow.previous, follow.losses, follow.until
            )?;
            for item in &follow.items {
                writeln!(out, "  {item:?}")?;
            }
            writeln!(out, "  copy {:?}", follow.copy)?;
        }
        Ok(())
    }
}

/// Reads everything that happened to a store after one revision up to another, which has been
/// reached: the truth of a [`History`].
///
/// # Errors
/// Those of the watch; [`Error::Unavailable`] if it ends too early.
///
/// # Cancel safety
/// Dropping the future ends the watch.
pub async fn read_truth(
    store: &(impl Watcher + ?Sized),
    after: Revision,
    until: Revision,
) -> Result<Vec<Changes>> {
    let mut truth = Vec::new();
    if until <= after {
        return Ok(truth);
    }
    let options = WatchOptions::default()
        .starting_at(after.next())
        .with_previous();
    let mut watch = store.watch_opts(&KeyRange::all(), options).await?;
    let mut reached = after;
    while reached < until {
        let changes = watch.next().await.unwrap_or_else(|| {
            Err(Error::unavailable(
                format!("the watch ended at {reached}, before {until}"),
                Outcome::NotApplied,
            ))
        })?;
        reached = changes.revision;
        if !changes.is_progress() {
            truth.push(changes);
        }
    }
    Ok(truth)
}
