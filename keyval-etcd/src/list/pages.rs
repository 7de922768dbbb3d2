//! A list as a stream: pages of one revision, several on their way while one is read.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, Stream, StreamExt};
use keyval::{Entry, Error, KeyRange, ListOptions, Listing, Projection, Result};

use crate::connection::Client;
use crate::list::pace::{FIRST, PAGE, Pace, bytes};
use crate::list::plan::{Ask, Front, Plan};
use crate::list::reader::{Page, Reader};

/// While so many bytes wait to be read, no more is asked for.
const AHEAD: usize = 4 << 20;

/// Lists a range; the first page is read at once, as it settles the revision of all.
///
/// A page that is late is asked for again, with less at a time: the first one once, any other up to
/// twice. So who waits for this is told of a server that says nothing before twice the operation
/// timeout has passed, and who waits for an entry of the list after three times at most.
///
/// # Errors
/// Those of a read.
pub(crate) async fn list(
    client: &Arc<Client>,
    range: &KeyRange,
    options: ListOptions,
) -> Result<Listing> {
    let pace = Pace::new(options.page.unwrap_or(FIRST), options.page.unwrap_or(PAGE));
    let limit = options.limit.unwrap_or(usize::MAX);
    let mut reader = Reader {
        client: client.clone(),
        range: range.clone(),
        options,
    };
    let asked = pace.page().min(limit);
    let first = reader.first(asked).await?;
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
        async move { reader.read(&range, limit).await }.boxed()
    };
    let plan = Plan::new(range.clone(), options.order);
    let mut pages = Pages::new(Box::new(read), plan, limit, pace);
    pages.note(Sent::first(asked), Ok(Some(first)));
    Ok(Listing {
        revision,
        count: None,
        entries: pages.boxed(),
    })
}

/// Reads up to so many entries of a range.
type Read = Box<dyn Fn(KeyRange, usize) -> BoxFuture<'static, Answer> + Send>;

/// None if they are too large for one answer.
type Answer = Result<Option<Page>>;

/// A request, and what came.
type Asked = (Sent, Answer);

/// A request that was made.
#[derive(Clone, Copy)]
struct Sent {
    id: u64,
    /// How many entries it asks for.
    entries: usize,
    /// Whether it was made so that no other is under way meanwhile.
    alone: bool,
}

impl Sent {
    /// The first request of a list, for so many entries.
    fn first(entries: usize) -> Self {
        Self {
            id: 0,
            entries,
            alone: true,
        }
    }
}

/// A page that waits for its turn, and its bytes.
struct Arrived {
    entries: Vec<Entry>,
    bytes: usize,
}

/// The entries of one page after the other. All that is under way only proceeds while someone
/// reads, and ends with the stream.
struct Pages {
    read: Read,
    plan: Plan,
    asked: FuturesUnordered<BoxFuture<'static, Asked>>,
    /// What has arrived before its turn.
    arrived: BTreeMap<u64, Result<Arrived>>,
    /// The page that is being read.
    entries: std::vec::IntoIter<Entry>,
    /// How many entries are wanted behind that page.
    left: usize,
    pace: Pace,
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
                        Some(Ok(page)) => self.open(page.entries),
                        None => {}
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
    fn new(read: Read, plan: Plan, limit: usize, pace: Pace) -> Self {
        Self {
            read,
            plan,
            asked: FuturesUnordered::new(),
            arrived: BTreeMap::new(),
            entries: Vec::new().into_iter(),
            left: limit,
            pace,
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
                && let Some(ask) = self.plan.next(self.pace.page())
            {
                self.asked.push(self.request(ask));
            }
            let Poll::Ready(Some((sent, answer))) = self.asked.poll_next_unpin(cx) else {
                return any;
            };
            self.note(sent, answer);
            any = true;
        }
    }

    fn wants_more(&self) -> bool {
        let asked = self.plan.asked();
        if self.failed || self.left == 0 || (self.pace.is_alone() && asked > 0) {
            return false;
        }
        let (mut here, mut bytes) = (0, 0);
        for page in self.arrived.values().flatten() {
            here += page.entries.len();
            bytes += page.bytes;
        }
        (here + asked * self.pace.page() < self.left && bytes < AHEAD)
            || (asked == 0 && self.plan.front() == Front::Waiting)
    }

    fn request(&self, ask: Ask) -> BoxFuture<'static, Asked> {
        let sent = Sent {
            id: ask.id,
            entries: self.pace.page().min(self.left),
            alone: self.pace.is_alone(),
        };
        let answer = (self.read)(ask.range, sent.entries);
        async move { (sent, answer.await) }.boxed()
    }

    fn note(&mut self, sent: Sent, answer: Answer) {
        let Sent { id, entries, alone } = sent;
        match answer {
            Ok(Some(page)) => {
                let bytes = bytes(&page.entries);
                self.pace.arrived(entries, page.entries.len(), bytes);
                let keys = page.entries.iter().map(|entry| &entry.key);
                self.plan.arrived(id, keys, page.count, page.more);
                let entries = page.entries;
                self.arrived.insert(id, Ok(Arrived { entries, bytes }));
            }
            Ok(None) => {
                self.pace.too_large(entries);
                self.plan.put_back(id);
            }
            Err(Error::Timeout { .. }) if self.pace.is_worth_less(entries, alone) => {
                self.plan.put_back(id);
            }
            Err(error) => {
                self.plan.arrived(id, [].iter(), 0, false);
                self.failed = true;
                self.arrived.insert(id, Err(error));
            }
        }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::time::Duration;

    use futures::{FutureExt, StreamExt, TryStreamExt};
    use keyval::{Bytes, Entry, Error, Key, KeyRange, Order, Outcome, Revision};

    use tokio::time::Instant;

    use super::{Answer, Pace, Page, Pages, Plan, Read, Sent};

    const PER_PAGE: usize = 10;
    const DEADLINE: Duration = Duration::from_secs(3);

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

    /// Keys that lie so unevenly that the bounds are guessed wrong.
    fn keys() -> Vec<Key> {
        let even = (0..60).map(|n| format!("a{n:04}"));
        let dense = (0..200).map(|n| format!("a0100{n:04}"));
        let mut keys: Vec<Key> = even.chain(dense).map(Key::from).collect();
        keys.sort_unstable();
        keys
    }

    /// What a range of these keys is answered with.
    fn page(range: &KeyRange, limit: usize, order: Order) -> Page {
        let mut all: Vec<Key> = keys()
            .into_iter()
            .filter(|key| range.contains(key))
            .collect();
        if order == Order::Descending {
            all.reverse();
        }
        Page {
            more: all.len() > limit,
            count: all.len() as u64,
            entries: all
                .into_iter()
                .take(limit)
                .map(|key| entry(key, 1))
                .collect(),
            revision: Revision::new(1),
        }
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
                Ok(Some(page(&range, limit, Order::Ascending)))
            }
            .boxed()
        })
    }

    fn pages(fails: u64, seed: u64) -> Pages {
        begun(read(fails, seed), Order::Ascending, PER_PAGE)
    }

    /// A list in pages of so many entries, of which the first has come.
    fn begun(read: Read, order: Order, per_page: usize) -> Pages {
        growing(read, order, per_page, per_page)
    }

    /// A list in pages that grow from so many entries to so many, of which the first has come.
    fn growing(read: Read, order: Order, per_page: usize, most: usize) -> Pages {
        let first = page(&KeyRange::all(), per_page, order);
        let pace = Pace::new(per_page, most);
        let plan = Plan::new(KeyRange::all(), order);
        let mut pages = Pages::new(read, plan, usize::MAX, pace);
        pages.note(Sent::first(per_page), Ok(Some(first)));
        pages
    }

    fn late() -> Error {
        Error::timeout("list", DEADLINE, Outcome::NotApplied)
    }

    #[tokio::test(start_paused = true)]
    async fn pages_that_are_late_or_too_large_are_read_in_smaller_ones() {
        let causes: [fn() -> Answer; 2] = [|| Ok(None), || Err(late())];
        for (cause, order) in causes
            .into_iter()
            .flat_map(|cause| [(cause, Order::Ascending), (cause, Order::Descending)])
        {
            let read: Read = Box::new(move |range, limit| {
                let answer = match limit {
                    0..=2 => Ok(Some(page(&range, limit, order))),
                    _ => cause(),
                };
                async move {
                    if answer.is_err() {
                        tokio::time::sleep(DEADLINE).await;
                    }
                    answer
                }
                .boxed()
            });
            let pages = begun(read, order, PER_PAGE);
            let entries: Vec<Entry> = pages.try_collect().await.unwrap();
            let mut listed: Vec<Key> = entries.into_iter().map(|entry| entry.key).collect();
            if order == Order::Descending {
                listed.reverse();
            }
            assert_eq!(listed, keys(), "{order:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn entries_that_are_late_beside_each_other_come_one_at_a_time() {
        let under_way = Arc::new(AtomicU64::new(0));
        let read: Read = Box::new(move |range, limit| {
            let under_way = under_way.clone();
            async move {
                let before = under_way.fetch_add(1, Relaxed);
                tokio::time::sleep(DEADLINE).await;
                under_way.fetch_sub(1, Relaxed);
                if before > 0 || limit > 1 {
                    return Err(late());
                }
                Ok(Some(page(&range, limit, Order::Ascending)))
            }
            .boxed()
        });
        let entries: Vec<Entry> = begun(read, Order::Ascending, 1)
            .try_collect()
            .await
            .unwrap();
        let listed: Vec<Key> = entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!(listed, keys());
    }

    #[tokio::test(start_paused = true)]
    async fn while_pages_grow_one_is_asked_for_at_a_time_and_then_several() {
        const FULL: usize = 20;
        let most = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let under_way = Arc::new(AtomicU64::new(0));
        let read: Read = Box::new({
            let most = most.clone();
            move |range, limit| {
                let (most, under_way) = (most.clone(), under_way.clone());
                async move {
                    let now = under_way.fetch_add(1, Relaxed) + 1;
                    most[usize::from(limit >= FULL)].fetch_max(now, Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    under_way.fetch_sub(1, Relaxed);
                    Ok(Some(page(&range, limit, Order::Ascending)))
                }
                .boxed()
            }
        });
        let pages = growing(read, Order::Ascending, 2, FULL);
        let entries: Vec<Entry> = pages.try_collect().await.unwrap();
        let listed: Vec<Key> = entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!(listed, keys());
        let [growing, full] = [&most[0], &most[1]].map(|most| most.load(Relaxed));
        assert_eq!(growing, 1);
        assert!(full > 1, "{full} at a time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_whose_server_falls_silent_ends_after_three_deadlines_at_most() {
        for (per_page, most) in [(1, 1), (PER_PAGE, PER_PAGE), (2, 50)] {
            let read: Read = Box::new(|_, _| {
                async {
                    tokio::time::sleep(DEADLINE).await;
                    Err(late())
                }
                .boxed()
            });
            let begun_at = Instant::now();
            let mut pages = growing(read, Order::Ascending, per_page, most);
            let mut read = 0;
            let error = loop {
                match pages.next().await.expect("it ends with an error") {
                    Ok(_) => read += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!((read, error.kind()), (per_page, "timeout"));
            let took = begun_at.elapsed();
            assert!(took <= DEADLINE * 3, "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_whole_in_whatever_order_its_pages_arrive() {
        for seed in 0..50 {
            for pages in [
                pages(u64::MAX, seed),
                growing(read(u64::MAX, seed), Order::Ascending, 2, 50),
            ] {
                let entries: Vec<Entry> = pages.try_collect().await.unwrap();
                let listed: Vec<Key> = entries.into_iter().map(|entry| entry.key).collect();
                assert_eq!(listed, keys(), "seed {seed}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_which_any_page_fails_ends_with_that_failure() {
        for (fails, seed) in (0..30).flat_map(|fails| (0..10).map(move |seed| (fails, seed))) {
            let reading = async {
                let (mut pages, mut listed) = (pages(fails, seed), Vec::new());
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
