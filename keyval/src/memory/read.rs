//! Reads a range of a frozen index, piece by piece, while others write.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::Stream;
use tokio::task::coop;

use crate::entry::Entry;
use crate::error::Result;
use crate::memory::index::Walk;
use crate::memory::shared::Shared;
use crate::memory::slot::Slot;
use crate::options::{ListOptions, Projection};
use crate::range::KeyRange;
use crate::revision::Revision;

/// How many keys are looked at in one go, unless the caller asks for pages of his own.
const STEP: usize = 256;

/// A range as it was at one revision.
#[derive(Debug)]
pub(crate) struct Frozen {
    shared: Arc<Shared>,
    walk: Walk,
    revision: Revision,
}

impl Frozen {
    /// Freezes the range, at a cost that does not depend on its size; locks nobody out.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        range: &KeyRange,
        options: &ListOptions,
    ) -> Result<Self> {
        shared.read(|state| {
            Ok(Self {
                shared: shared.clone(),
                revision: state.readable(options.at)?,
                walk: Walk::new(state.index.snapshot(), range.clone(), options.order),
            })
        })
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Visits the next slots; then makes sure that all of them could still be read.
    fn step(&mut self, most: usize, visit: impl FnMut(&Slot) -> bool) -> Result<()> {
        self.walk.step(most, visit);
        // Whoever prunes a slot has declared the compaction before, so looking afterwards tells.
        self.shared.read(|state| {
            if self.revision < state.compacted {
                return Err(state.compacted_error(self.revision));
            }
            Ok(())
        })
    }

    /// Counts the keys of the range.
    pub(crate) async fn count(mut self) -> Result<u64> {
        let mut count = 0;
        let revision = self.revision;
        while !self.walk.is_done() {
            self.step(STEP, |slot| {
                count += u64::from(slot.is_live_at(revision));
                true
            })?;
            coop::consume_budget().await;
        }
        Ok(count)
    }

    /// The entries of the range, as a stream.
    pub(crate) fn entries(self, options: &ListOptions) -> Entries {
        Entries {
            frozen: self,
            left: options.limit.unwrap_or(usize::MAX),
            page: options.page.unwrap_or(STEP).min(STEP),
            keys_only: options.projection == Projection::Keys,
            ready: Vec::new().into_iter(),
            failed: false,
        }
    }
}

/// The entries of a frozen range.
#[derive(Debug)]
pub(crate) struct Entries {
    frozen: Frozen,
    /// How many entries may still be read.
    left: usize,
    page: usize,
    keys_only: bool,
    ready: std::vec::IntoIter<Entry>,
    failed: bool,
}

impl Entries {
    fn refill(&mut self) -> Result<()> {
        let mut page = Vec::with_capacity(self.page.min(self.left));
        let (revision, keys_only, left) = (self.frozen.revision, self.keys_only, &mut self.left);
        self.frozen.step(self.page, |slot| {
            if let Some(mut entry) = slot.at(revision) {
                if keys_only {
                    entry.value = Bytes::new();
                }
                page.push(entry);
                *left -= 1;
            }
            *left > 0
        })?;
        self.ready = page.into_iter();
        Ok(())
    }
}

impl Stream for Entries {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Poll::Ready(Some(Ok(entry)));
            }
            if self.failed || self.left == 0 || self.frozen.walk.is_done() {
                return Poll::Ready(None);
            }
            // A long range must not keep the others of this thread waiting.
            let restore = std::task::ready!(coop::poll_proceed(cx));
            restore.made_progress();
            if let Err(error) = self.refill() {
                self.failed = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}
