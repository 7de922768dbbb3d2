//! A list as a stream: pages of one revision, several on their way while one is read.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use keyval::{Entry, KeyRange, ListOptions, Listing, Projection, Result, Revision};

use crate::connection::Client;
use crate::convert;
use crate::error::Call;
use crate::list::plan::{Ask, Front, Plan};

/// How many entries the first page has at most, unless the caller says so.
const FIRST: usize = 1000;
/// How many entries any other page has at most, unless the caller says so.
const PAGE: usize = 2000;
/// How many bytes a page should have at most, as far as the last one tells.
const BYTES: usize = 640 * 1024;
/// What an entry takes besides its key and its value.
const SURPLUS: usize = 64;

/// Lists a range; the first page is read at once, as it settles the revision of all.
///
/// # Errors
/// Those of a read.
pub(crate) async fn list(
    client: &Arc<Client>,
    range: &KeyRange,
    options: ListOptions,
) -> Result<Listing> {
    let page = options.page.unwrap_or(FIRST);
    let mut pages = Pages {
        reader: Reader {
            client: client.clone(),
            range: range.clone(),
            options,
        },
        plan: Plan::new(range.clone(), options.order),
        asked: FuturesUnordered::new(),
        arrived: BTreeMap::new(),
        entries: Vec::new().into_iter(),
        left: options.limit.unwrap_or(usize::MAX),
        page,
        failed: false,
    };
    let first = pages
        .reader
        .read(range.clone(), page.min(pages.left))
        .await?;
    let revision = first.revision;
    if options.projection == Projection::Count {
        return Ok(Listing {
            revision,
            count: Some(first.count),
            entries: stream::empty().boxed(),
        });
    }
    pages.reader.options.at = Some(revision);
    pages.note(0, Ok(first));
    Ok(Listing {
        revision,
        count: None,
        entries: pages.boxed(),
    })
}

/// Reads pages of one list.
#[derive(Clone)]
struct Reader {
    client: Arc<Client>,
    /// The whole list, as errors name it.
    range: KeyRange,
    options: ListOptions,
}

struct Page {
    entries: Vec<Entry>,
    /// Whether the range holds more.
    more: bool,
    /// How many entries the range holds in all.
    count: u64,
    revision: Revision,
}

impl Reader {
    async fn read(&self, range: KeyRange, limit: usize) -> Result<Page> {
        let mut options = self.options;
        if options.projection != Projection::Count {
            options.limit = Some(limit);
        }
        let reply = self
            .client
            .call(Call::read("list", &self.range).at(options.at), |node| {
                let mut kv = node.kv.clone();
                let wire = convert::wire_range(&range);
                let options = convert::get_options(wire.end, &options);
                async move { kv.get(wire.key, Some(options)).await }
            })
            .await?
            .0;
        if reply.more && reply.kvs.is_empty() && options.projection != Projection::Count {
            return Err(convert::malformed("an empty page of a list that goes on"));
        }
        Ok(Page {
            // A read of the past is answered with the present revision in its header.
            revision: options
                .at
                .unwrap_or_else(|| convert::header_revision(reply.header.as_ref())),
            more: reply.more,
            count: u64::try_from(reply.count).unwrap_or_default(),
            entries: reply.kvs.into_iter().map(convert::entry).collect(),
        })
    }
}

/// The entries of one page after the other. All that is under way only proceeds while someone
/// reads, and ends with the stream.
struct Pages {
    reader: Reader,
    plan: Plan,
    asked: FuturesUnordered<BoxFuture<'static, (u64, Result<Page>)>>,
    /// What has arrived before its turn.
    arrived: BTreeMap<u64, Result<Vec<Entry>>>,
    /// The page that is being read.
    entries: std::vec::IntoIter<Entry>,
    /// How many entries are wanted behind that page.
    left: usize,
    /// How many entries to ask for at a time.
    page: usize,
    /// Whether a page failed: its turn is the end, so nothing more is asked for.
    failed: bool,
}

impl Stream for Pages {
    type Item = Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Poll::Ready(Some(Ok(entry)));
            }
            if self.left == 0 {
                self.end();
                return Poll::Ready(None);
            }
            match self.plan.front() {
                Front::End => return Poll::Ready(None),
                Front::Arrived(id) => {
                    self.plan.take();
                    match self.arrived.remove(&id) {
                        Some(Err(error)) => {
                            self.end();
                            return Poll::Ready(Some(Err(error)));
                        }
                        page => self.open(page.and_then(Result::ok).unwrap_or_default()),
                    }
                    // Sends the next requests before the page is read.
                    self.ask(cx);
                }
                Front::Waiting => {
                    if !self.ask(cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl Pages {
    /// Asks for what is planned; whether anything has arrived.
    fn ask(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        loop {
            while self.wants_more()
                && let Some(ask) = self.plan.next(self.page)
            {
                self.asked.push(self.request(ask));
            }
            let Poll::Ready(Some((id, page))) = self.asked.poll_next_unpin(cx) else {
                return any;
            };
            self.note(id, page);
            any = true;
        }
    }

    fn wants_more(&self) -> bool {
        if self.failed || self.left == 0 {
            return false;
        }
        let here: usize = self.arrived.values().flatten().map(Vec::len).sum();
        let asked = self.plan.asked();
        here + asked * self.page < self.left || (asked == 0 && self.plan.front() == Front::Waiting)
    }

    fn request(&self, ask: Ask) -> BoxFuture<'static, (u64, Result<Page>)> {
        let reader = self.reader.clone();
        let limit = self.page.min(self.left);
        async move { (ask.id, reader.read(ask.range, limit).await) }.boxed()
    }

    fn note(&mut self, id: u64, page: Result<Page>) {
        let entries = page.map(|page| {
            self.page = fitting(&page.entries, self.reader.options.page.unwrap_or(PAGE));
            let keys = page.entries.iter().map(|entry| &entry.key);
            self.plan.arrived(id, keys, page.count, page.more);
            page.entries
        });
        if entries.is_err() {
            self.plan.arrived(id, [].iter(), 0, false);
            self.failed = true;
        }
        self.arrived.insert(id, entries);
    }

    fn open(&mut self, mut entries: Vec<Entry>) {
        entries.truncate(self.left);
        self.left -= entries.len();
        self.entries = entries.into_iter();
    }

    /// Forgets all that is under way.
    fn end(&mut self) {
        self.plan.end();
        self.asked.clear();
        self.arrived.clear();
    }
}

/// How many entries like these a page may have, at most so many.
fn fitting(entries: &[Entry], most: usize) -> usize {
    let size = |entry: &Entry| entry.key.len() + entry.value.len() + SURPLUS;
    let bytes: usize = entries.iter().map(size).sum();
    match entries.len() {
        0 => most,
        len => (BYTES * len / bytes).clamp(1, most),
    }
}

#[cfg(test)]
mod tests {
    use keyval::{Bytes, Entry, Key, Revision};

    use super::{BYTES, fitting};

    #[test]
    fn the_larger_the_entries_the_shorter_the_page() {
        let of_size = |size: usize| {
            let entry = Entry {
                key: Key::from("key"),
                value: Bytes::from(vec![0; size]),
                created: Revision::new(1),
                modified: Revision::new(1),
                version: 1,
                lease: None,
            };
            fitting(&[entry.clone(), entry], 1000)
        };
        assert_eq!(fitting(&[], 1000), 1000);
        assert_eq!(of_size(0), 1000);
        assert_eq!(of_size(BYTES / 10), 9);
        assert_eq!(of_size(BYTES), 1, "one at least");
    }
}
