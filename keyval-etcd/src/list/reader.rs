//! Reads single pages of a list.

use std::sync::Arc;
use std::time::Duration;

use keyval::{Entry, Error, KeyRange, ListOptions, Projection, Result, Revision};

use crate::connection::Client;
use crate::convert;
use crate::error::{self, Call};
use crate::list::pace::STEP;

/// How many bytes an answer may have, unless it is to hold a single entry. It is told by its first
/// bytes, so that one which is larger takes no memory.
const LARGEST: usize = 32 << 20;

/// Reads pages of one list.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) client: Arc<Client>,
    /// The whole list, as errors name it.
    pub(crate) range: KeyRange,
    pub(crate) options: ListOptions,
}

pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// Whether the range holds more.
    pub(crate) more: bool,
    /// How many entries the range holds in all.
    pub(crate) count: u64,
    pub(crate) revision: Revision,
}

impl Reader {
    /// Reads the first page of the list: of so many entries, of fewer if they are large, or of one
    /// if they are late.
    ///
    /// What is late may be large on a slow line, of which nothing is known yet, or not come at all.
    /// So there is one more request, for the least that there is, and within three quarters of the
    /// time of the first: a list from a server that says nothing fails before twice the operation
    /// timeout has passed.
    ///
    /// # Errors
    /// Those of a read.
    pub(crate) async fn first(&self, limit: usize) -> Result<Page> {
        let late = match self.first_of(limit).await {
            Err(error) if limit > 1 && self.options.projection != Projection::Count => error,
            answered => return answered,
        };
        let Error::Timeout { after, .. } = late else {
            return Err(late);
        };
        match self.ask(&self.range, 1, Some(after * 3 / 4)).await {
            Ok(Some(page)) => Ok(page),
            // The first one says how long a request may take.
            Ok(None) | Err(Error::Timeout { .. }) => Err(late),
            Err(error) => Err(error),
        }
    }

    async fn first_of(&self, mut limit: usize) -> Result<Page> {
        loop {
            if let Some(page) = self.read(&self.range, limit).await? {
                return Ok(page);
            }
            limit = (limit / STEP).max(1);
        }
    }

    /// Reads up to so many entries of a part of the list; none if they are too large for one answer.
    ///
    /// # Errors
    /// Those of a read.
    pub(crate) async fn read(&self, range: &KeyRange, limit: usize) -> Result<Option<Page>> {
        self.ask(range, limit, None).await
    }

    async fn ask(
        &self,
        range: &KeyRange,
        limit: usize,
        within: Option<Duration>,
    ) -> Result<Option<Page>> {
        let mut options = self.options;
        if options.projection != Projection::Count {
            options.limit = Some(limit);
        }
        let largest = if limit > 1 { LARGEST } else { usize::MAX };
        let mut call = Call::read("list", &self.range)
            .at(options.at)
            .of_size(range.size());
        call.within = within;
        let reply = self.client.call(call, |node| {
            let mut kv = node.kv.clone().max_decoding_message_size(largest);
            let wire = convert::wire_range(range);
            let options = convert::get_options(wire.end, &options);
            async move {
                match kv.get(wire.key, Some(options)).await {
                    Ok(reply) => Ok(Some(reply.0)),
                    Err(failure) if error::answer_too_large(&failure) => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
        });
        let Some(reply) = reply.await? else {
            return Ok(None);
        };
        if reply.more && reply.kvs.is_empty() && options.projection != Projection::Count {
            return Err(convert::malformed("an empty page of a list that goes on"));
        }
        Ok(Some(Page {
            // A read of the past is answered with the present revision in its header.
            revision: options
                .at
                .unwrap_or_else(|| convert::header_revision(reply.header.as_ref())),
            more: reply.more,
            count: u64::try_from(reply.count).unwrap_or_default(),
            entries: reply.kvs.into_iter().map(convert::entry).collect(),
        }))
    }
}
