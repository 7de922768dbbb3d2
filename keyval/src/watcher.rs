//! Watching a range: whole revisions, in order, once each.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::stream::{BoxStream, Stream, StreamExt};

use crate::entry::Changes;
use crate::error::Result;
use crate::options::WatchOptions;
use crate::range::KeyRange;
use crate::revision::Revision;

/// The changes of a range, as a stream of whole revisions.
///
/// Revisions rise; each is delivered once, with all its changes to the range together; none is left
/// out. Changes without content are progress. The first error ends the stream and says its one
/// cause. Dropping the stream ends the watch.
pub struct ChangeStream {
    after: Revision,
    changes: BoxStream<'static, Result<Changes>>,
}

impl ChangeStream {
    /// A stream that delivers everything after this revision.
    ///
    /// The stream is ended after its first error, so that no backend has to.
    #[must_use]
    pub fn new(
        after: Revision,
        changes: impl Stream<Item = Result<Changes>> + Send + 'static,
    ) -> Self {
        let changes = changes.scan(false, |failed, item| {
            let item = if *failed { None } else { Some(item) };
            *failed = matches!(item, Some(Err(_)));
            futures::future::ready(item)
        });
        Self {
            after,
            changes: changes.boxed(),
        }
    }

    /// The revision to which the watch is pinned: everything after it will be delivered.
    #[must_use]
    pub fn after(&self) -> Revision {
        self.after
    }

    /// The same watch with each item passed through a function.
    #[must_use]
    pub fn map_items(
        self,
        f: impl FnMut(Result<Changes>) -> Result<Changes> + Send + 'static,
    ) -> Self {
        Self::new(self.after, self.changes.map(f))
    }
}

impl Stream for ChangeStream {
    type Item = Result<Changes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.changes.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ChangeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeStream")
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

/// Watches ranges of a store.
///
/// A raw watch ends with its connection; [`follow`](crate::follow) goes on for ever.
#[async_trait]
pub trait Watcher: Send + Sync + 'static {
    /// Watches a range; returns once the store has accepted the watch, so that every later write
    /// is seen.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted) if the start is no longer kept, here or as the
    /// stream's first item; any other reason for which the store refuses.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no watch behind.
    async fn watch_opts(&self, range: &KeyRange, options: WatchOptions) -> Result<ChangeStream>;
}
