//! What operations answer.

use std::fmt;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};

use crate::entry::Entry;
use crate::error::Result;
use crate::lease_id::LeaseId;
use crate::revision::Revision;

/// The answer to a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReply<V = Bytes> {
    /// The revision of the put; where the condition did not hold, the present revision.
    pub revision: Revision,
    /// Whether the put took place: false only if its condition did not hold.
    pub written: bool,
    /// What stood there before, if that was asked for; where the condition did not hold, what
    /// stands there now, asked for or not.
    pub prev: Option<Entry<V>>,
    /// The lease that was made for a put with [`Lifetime::Ttl`](crate::Lifetime::Ttl).
    pub lease: Option<LeaseId>,
}

/// The answer to a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteReply<V = Bytes> {
    /// The revision of the delete; where nothing was there to delete, the present revision.
    pub revision: Revision,
    /// How many keys existed and went.
    pub deleted: u64,
    /// The entries that went, in key order, if that was asked for.
    pub prev: Vec<Entry<V>>,
}

/// The answer to a get within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeReply<V = Bytes> {
    /// The entries, in the order asked for.
    pub entries: Vec<Entry<V>>,
    /// How many entries the whole range has, whatever the limit; given if a count was asked for.
    pub count: Option<u64>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpReply<V = Bytes> {
    /// What a get found.
    Get(RangeReply<V>),
    /// What a put did.
    Put(PutReply<V>),
    /// What a delete did.
    Delete(DeleteReply<V>),
}

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnReply<V = Bytes> {
    /// The revision of the transaction; if it changed nothing, the present revision.
    pub revision: Revision,
    /// Whether every compare held, so that the `then` list was carried out.
    pub succeeded: bool,
    /// One answer for each operation of the list that was carried out, in its order.
    pub replies: Vec<OpReply<V>>,
}

/// The answer to a list: entries of one revision, as a stream.
///
/// The stream takes constant memory however many entries there are. An error item ends it: a list
/// that broke off is never taken for a short one. Dropping the stream stops the reading.
pub struct Listing<V = Bytes> {
    /// The revision of every entry.
    pub revision: Revision,
    /// How many entries the whole range has, whatever the limit; given if the count was asked for.
    pub count: Option<u64>,
    /// The entries, in the order asked for.
    pub entries: BoxStream<'static, Result<Entry<V>>>,
}

impl<V> PutReply<V> {
    /// The same reply with its entry replaced.
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(Entry<V>) -> Entry<U>) -> PutReply<U> {
        PutReply {
            revision: self.revision,
            written: self.written,
            prev: self.prev.map(f),
            lease: self.lease,
        }
    }
}

impl<V> DeleteReply<V> {
    /// The same reply with its entries replaced.
    #[must_use]
    pub fn map<U>(self, f: impl FnMut(Entry<V>) -> Entry<U>) -> DeleteReply<U> {
        DeleteReply {
            revision: self.revision,
            deleted: self.deleted,
            prev: self.prev.into_iter().map(f).collect(),
        }
    }
}

impl<V> RangeReply<V> {
    /// The same reply with its entries replaced.
    #[must_use]
    pub fn map<U>(self, f: impl FnMut(Entry<V>) -> Entry<U>) -> RangeReply<U> {
        RangeReply {
            entries: self.entries.into_iter().map(f).collect(),
            count: self.count,
        }
    }
}

impl<V> OpReply<V> {
    /// The same reply with its entries replaced.
    #[must_use]
    pub fn map<U>(self, f: impl FnMut(Entry<V>) -> Entry<U>) -> OpReply<U> {
        match self {
            Self::Get(reply) => OpReply::Get(reply.map(f)),
            Self::Put(reply) => OpReply::Put(reply.map(f)),
            Self::Delete(reply) => OpReply::Delete(reply.map(f)),
        }
    }

    /// The entries in the reply, whatever the operation was: what a get found, or what stood there
    /// before a put or a delete, if that was asked for.
    #[must_use]
    pub fn into_entries(self) -> Vec<Entry<V>> {
        match self {
            Self::Get(reply) => reply.entries,
            Self::Put(reply) => reply.prev.into_iter().collect(),
            Self::Delete(reply) => reply.prev,
        }
    }
}

impl<V> TxnReply<V> {
    /// The same reply with its entries replaced.
    #[must_use]
    pub fn map<U>(self, mut f: impl FnMut(Entry<V>) -> Entry<U>) -> TxnReply<U> {
        let replies = self.replies.into_iter();
        TxnReply {
            revision: self.revision,
            succeeded: self.succeeded,
            replies: replies.map(|reply| reply.map(&mut f)).collect(),
        }
    }
}

impl<V> Listing<V> {
    /// Reads the entries to the end.
    ///
    /// # Errors
    /// The first error of the stream.
    ///
    /// # Cancel safety
    /// Dropping the future stops the reading.
    pub async fn collect(mut self) -> Result<Vec<Entry<V>>> {
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

impl<V> fmt::Debug for Listing<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("revision", &self.revision)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
