//! A list as a stream: pages of one revision, several on their way while one is read.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use keyval::{Entry, Error, KeyRange, ListOptions, Listing, Projection, Result, Revision};

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
    let limit = options.limit.unwrap_or(usize::MAX);
    let mut reader = Reader {
        client: client.clone(),
        range: range.clone(),
        options,
    };
    let first = reader.read(range.clone(), page.min(limit)).await?;
    let revision = first.revision;
    if options.projection == Projection::Count {
        return Ok(Listing {
            revision,
            count: Some(first.count),
            entries: stream::empty().boxed(),
        });
    }
    reader.options.at = Some(revision);
    let read = move |range, limit| {
        let reader = reader.clone();
        async move { reader.read(range, limit).await }.boxed()
    };
    let plan = Plan::new(range.clone(), options.order);
    let most = options.page.unwrap_or(PAGE);
    let mut pages = Pages::new(Box::new(read), plan, limit, most);
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

/// Reads up to so many entries of a range.
type Read = Box<dyn Fn(KeyRange, usize) -> BoxFuture<'static, Result<Page>> + Send>;

/// The entries of one page after the other. All that is under way only proceeds while someone
/// reads, and ends with the stream.
struct Pages {
    read: Read,
    plan: Plan,
    asked: FuturesUnordered<BoxFuture<'static, (u64, Result<Page>)>>,
    /// What has arrived before its turn.
    arrived: BTreeMap<u64, Result<Vec<Entry>>>,
    /// The page that is being read.
    entries: std::vec::IntoIter<Entry>,
    /// How many entries are wanted behind that page.
    left: usize,
    /// How many entries to ask for at a time, and at most.
    page: usize,
    most: usize,
    /// Whether a page failed: nothing more is asked for, and the list ends with it.
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
                    if let Some(error) = self.failure() {
                        self.end();
                        return Poll::Ready(Some(Err(error)));
                    }
                    if !self.ask(cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl Pages {
    /// The entries of a list of which the first page, number 0, has been asked for.
    fn new(read: Read, plan: Plan, limit: usize, most: usize) -> Self {
        Self {
            read,
            plan,
            asked: FuturesUnordered::new(),
            arrived: BTreeMap::new(),
            entries: Vec::new().into_iter(),
            left: limit,
            page: most,
            most,
            failed: false,
        }
    }

    /// Why a page failed, once nothing is under way: what lies before it will never be asked for.
    fn failure(&mut self) -> Option<Error> {
        if !self.failed || !self.asked.is_empty() {
            return None;
        }
        let mut arrived = std::mem::take(&mut self.arrived).into_values();
        arrived.find_map(Result::err)
    }

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
        let page = (self.read)(ask.range, self.page.min(self.left));
        async move { (ask.id, page.await) }.boxed()
    }

    fn note(&mut self, id: u64, page: Result<Page>) {
        let entries = page.map(|page| {
            self.page = fitting(&page.entries, self.most);
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
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    use futures::{FutureExt, StreamExt, TryStreamExt};
    use keyval::{Bytes, Entry, Error, Key, KeyRange, Order, Outcome, Revision};

    use super::{BYTES, Page, Pages, Plan, Read, fitting};

    const PER_PAGE: usize = 10;

    fn entry(key: impl Into<Key>, size: usize) -> Entry {
        Entry {
            key: key.into(),
            value: Bytes::from(vec![0; size]),
            created: Revision::new(1),
            modified: Revision::new(1),
            version: 1,
            lease: None,
        }
    }

    #[test]
    fn the_larger_the_entries_the_shorter_the_page() {
        let of_size = |size: usize| fitting(&[entry("key", size), entry("key", size)], 1000);
        assert_eq!(fitting(&[], 1000), 1000);
        assert_eq!(of_size(0), 1000);
        assert_eq!(of_size(BYTES / 10), 9);
        assert_eq!(of_size(BYTES), 1, "one at least");
    }

    /// Keys that lie so unevenly that the bounds are guessed wrong.
    fn keys() -> Vec<Key> {
        let even = (0..60).map(|n| format!("a{n:04}"));
        let dense = (0..200).map(|n| format!("a0100{n:04}"));
        let mut keys: Vec<Key> = even.chain(dense).map(Key::from).collect();
        keys.sort_unstable();
        keys
    }

    /// Answers from these keys, in an order by chance, but for one request that fails.
    fn read(fails: u64, seed: u64) -> Read {
        let (asked, random) = (AtomicU64::new(0), fastrand::Rng::with_seed(seed));
        let random = parking_lot::Mutex::new(random);
        Box::new(move |range: KeyRange, limit| {
            let (number, late) = (asked.fetch_add(1, Relaxed), random.lock().u64(..20));
            async move {
                tokio::time::sleep(Duration::from_millis(late)).await;
                if number == fails {
                    return Err(Error::unavailable("cut off", Outcome::NotApplied));
                }
                let all: Vec<Key> = keys()
                    .into_iter()
                    .filter(|key| range.contains(key))
                    .collect();
                Ok(Page {
                    more: all.len() > limit,
                    count: all.len() as u64,
                    entries: all
                        .into_iter()
                        .take(limit)
                        .map(|key| entry(key, 1))
                        .collect(),
                    revision: Revision::new(1),
                })
            }
            .boxed()
        })
    }

    async fn pages(fails: u64, seed: u64) -> Pages {
        let first = read(u64::MAX, 0)(KeyRange::all(), PER_PAGE).await;
        let plan = Plan::new(KeyRange::all(), Order::Ascending);
        let mut pages = Pages::new(read(fails, seed), plan, usize::MAX, PER_PAGE);
        pages.note(0, first);
        pages
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_whole_in_whatever_order_its_pages_arrive() {
        for seed in 0..50 {
            let entries: Vec<Entry> = pages(u64::MAX, seed).await.try_collect().await.unwrap();
            let listed: Vec<Key> = entries.into_iter().map(|entry| entry.key).collect();
            assert_eq!(listed, keys(), "seed {seed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_which_any_page_fails_ends_with_that_failure() {
        for (fails, seed) in (0..30).flat_map(|fails| (0..10).map(move |seed| (fails, seed))) {
            let reading = async {
                let (mut pages, mut listed) = (pages(fails, seed).await, Vec::new());
                while let Some(entry) = pages.next().await {
                    match entry {
                        Ok(entry) => listed.push(entry.key),
                        Err(_) => {
                            assert!(pages.next().await.is_none(), "nothing follows a failure");
                            return (listed, true);
                        }
                    }
                }
                (listed, false)
            };
            let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
            let (listed, failed) = ended.expect("a list ends");
            assert!(keys().starts_with(&listed), "fails {fails}, seed {seed}");
            // A short run has fewer requests than the one that would fail.
            assert!(failed || listed == keys(), "fails {fails}, seed {seed}");
        }
    }
}
