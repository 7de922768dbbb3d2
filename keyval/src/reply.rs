//! What operations answer.

use std::fmt;

use futures::stream::{BoxStream, StreamExt};

use crate::entry::Entry;
use crate::error::Result;
use crate::lease_id::LeaseId;
use crate::revision::Revision;

/// The answer to a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReply {
    /// The revision of the put; where the condition did not hold, the present revision.
    pub revision: Revision,
    /// Whether the put took place: false only if its condition did not hold.
    pub written: bool,
    /// What stood there before, if that was asked for; where the condition did not hold, what
    /// stands there now, asked for or not.
    pub prev: Option<Entry>,
    /// The lease that was made for a put with [`Lifetime::Ttl`](crate::Lifetime::Ttl).
    pub lease: Option<LeaseId>,
}

/// The answer to a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteReply {
    /// The revision of the delete; where nothing was there to delete, the present revision.
    pub revision: Revision,
    /// How many keys existed and went.
    pub deleted: u64,
    /// The entries that went, in key order, if that was asked for.
    pub prev: Vec<Entry>,
}

/// The answer to a get within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeReply {
    /// The entries, in the order asked for.
    pub entries: Vec<Entry>,
    /// How many entries the whole range has, whatever the limit; given if a count was asked for.
    pub count: Option<u64>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply {
    /// What a get found.
    Get(RangeReply),
    /// What a put did.
    Put(PutReply),
    /// What a delete did.
    Delete(DeleteReply),
}

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply {
    /// The revision of the transaction; if it changed nothing, the present revision.
    pub revision: Revision,
    /// Whether every compare held, so that the `then` list was carried out.
    pub succeeded: bool,
    /// One answer for each operation of the list that was carried out, in its order.
    pub replies: Vec<OpReply>,
}

/// The answer to a list: entries of one revision, as a stream.
///
/// The stream takes constant memory however many entries there are. An error item ends it: a list
/// that broke off is never taken for a short one. Dropping the stream stops the reading.
pub struct Listing {
    /// The revision of every entry.
    pub revision: Revision,
    /// How many entries the whole range has, whatever the limit; given if the count was asked for.
    pub count: Option<u64>,
    /// The entries, in the order asked for.
    pub entries: BoxStream<'static, Result<Entry>>,
}

impl Listing {
    /// Reads the entries to the end.
    ///
    /// # Errors
    /// The first error of the stream.
    ///
    /// # Cancel safety
    /// Dropping the future stops the reading.
    pub async fn collect(mut self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        while let Some(entry) = self.entries.next().await {
            entries.push(entry?);
        }
        Ok(entries)
    }
}

impl Listing {
    /// The same listing with each item passed through a function; the first error ends it.
    #[must_use]
    pub fn map_items(self, f: impl FnMut(Result<Entry>) -> Result<Entry> + Send + 'static) -> Self {
        let entries = self.entries.map(f).scan(false, |failed, item| {
            let item = if *failed { None } else { Some(item) };
            *failed = matches!(item, Some(Err(_)));
            futures::future::ready(item)
        });
        Self {
            revision: self.revision,
            count: self.count,
            entries: entries.boxed(),
        }
    }
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("revision", &self.revision)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
