//! What waits for the reader of one watch: bounded, and never waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use keyval::{Changes, Entry, Error, Outcome, Revision};
use parking_lot::Mutex;

use crate::watch::backlog::Backlog;

/// How many revisions wait for a reader. What etcd sends at once of its history, a thousand
/// revisions, fits in.
const REVISIONS: usize = 1024;
/// How many bytes of keys and values wait for a reader, one revision more or less.
const BYTES: usize = 4 << 20;

/// The two ends of an empty queue, which lets others know what waits in it.
pub(crate) fn queue(backlog: Backlog) -> (Feed, Waiting) {
    let shared = Arc::new(Mutex::new(Queue {
        backlog,
        ..Queue::default()
    }));
    (
        Feed {
            queue: shared.clone(),
        },
        Waiting { queue: shared },
    )
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Changes>,
    bytes: usize,
    /// Whether something was refused behind what waits.
    lagging: bool,
    /// Told behind what waits.
    end: Option<Error>,
    /// Set once there is an end, and when the reader has gone.
    over: bool,
    reader: Option<Waker>,
    backlog: Backlog,
}

impl Queue {
    fn arrived(&mut self, revision: Revision) {
        self.backlog.arrived(revision, self.waiting.len());
    }
}

/// What became of something offered to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It waits for the reader.
    Taken,
    /// It waits for the reader, who has little room left.
    Crowded,
    /// There is no room: it has to be asked for again when the reader has caught up.
    Full,
}

/// The near end, where a watch puts what it receives.
#[derive(Debug)]
pub(crate) struct Feed {
    queue: Arc<Mutex<Queue>>,
}

impl Feed {
    /// Offers the changes of a revision.
    pub(crate) fn offer(&self, changes: Changes) -> Offered {
        let mut queue = self.queue.lock();
        if queue.over {
            // Nobody reads it, and the watch is about to be cancelled.
            return Offered::Taken;
        }
        if queue.waiting.len() >= REVISIONS || queue.bytes >= BYTES {
            queue.lagging = true;
            queue.arrived(changes.revision);
            return Offered::Full;
        }
        queue.bytes += size(&changes);
        let revision = changes.revision;
        queue.waiting.push_back(changes);
        queue.arrived(revision);
        let crowded = queue.waiting.len() > REVISIONS / 2 || queue.bytes > BYTES / 2;
        wake(queue);
        if crowded {
            Offered::Crowded
        } else {
            Offered::Taken
        }
    }

    /// Tells progress, which takes the place of the progress before it. Where there is no room it
    /// is left out: the reader has enough to read.
    pub(crate) fn tell(&self, progress: Changes) {
        let mut queue = self.queue.lock();
        if queue.over || queue.lagging {
            return;
        }
        let revision = progress.revision;
        let room = queue.waiting.len() < REVISIONS;
        match queue.waiting.back_mut() {
            Some(last) if last.is_progress() => *last = progress,
            _ if room => queue.waiting.push_back(progress),
            _ => return,
        }
        queue.arrived(revision);
        wake(queue);
    }

    /// Ends the queue: its reader learns the cause behind everything that waits.
    pub(crate) fn end(&self, cause: Error) {
        let mut queue = self.queue.lock();
        if !queue.over {
            queue.over = true;
            queue.end = Some(cause);
            wake(queue);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end(Error::unavailable(
            "the task of the watch was ended",
            Outcome::NotApplied,
        ));
    }
}

/// Wakes the reader outside of the lock.
fn wake(mut queue: parking_lot::MutexGuard<'_, Queue>) {
    let reader = queue.reader.take();
    drop(queue);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// What a reader finds.
#[derive(Debug)]
pub(crate) enum Next {
    /// A whole revision, or progress.
    Changes(Changes),
    /// Everything that waited is read, and what comes behind it was refused.
    Lagging,
    /// The cause for which the watch ended.
    End(Error),
    /// The cause was told.
    Over,
}

/// The far end, of the reader; dropping it frees what waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    queue: Arc<Mutex<Queue>>,
}

impl Waiting {
    /// Takes what comes next.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Next> {
        let mut queue = self.queue.lock();
        if let Some(changes) = queue.waiting.pop_front() {
            queue.bytes -= size(&changes);
            let waiting = queue.waiting.len();
            queue.backlog.taken(changes.revision, waiting);
            return Poll::Ready(Next::Changes(changes));
        }
        if let Some(end) = queue.end.take() {
            return Poll::Ready(Next::End(end));
        }
        if queue.over {
            return Poll::Ready(Next::Over);
        }
        if std::mem::take(&mut queue.lagging) {
            return Poll::Ready(Next::Lagging);
        }
        match &mut queue.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            None => queue.reader = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut queue = self.queue.lock();
        queue.over = true;
        queue.end = None;
        queue.backlog.given_up();
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        drop(waiting);
    }
}

/// The bytes of all keys and values.
fn size(changes: &Changes) -> usize {
    let entry = |entry: &Entry| entry.key.len() + entry.value.len();
    changes
        .changes
        .iter()
        .map(|change| {
            let now = change.entry().map_or(change.key().len(), entry);
            now + change.prev().map_or(0, entry)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use bytes::Bytes;
    use futures::future::poll_fn;
    use keyval::{Change, Changes, Entry, Error, Outcome, Revision};

    use super::{BYTES, Backlog, Next, Offered, REVISIONS, Waiting, queue};

    fn changes(revision: u64, size: usize) -> Changes {
        let revision = Revision::new(revision);
        let entry = Entry {
            key: "k".into(),
            value: Bytes::from(vec![0; size]),
            created: revision,
            modified: revision,
            version: 1,
            lease: None,
        };
        Changes {
            revision,
            changes: vec![Change::Put { entry, prev: None }],
        }
    }

    fn progress(revision: u64) -> Changes {
        Changes {
            revision: Revision::new(revision),
            changes: Vec::new(),
        }
    }

    fn next(waiting: &Waiting) -> Option<Next> {
        let waker = std::task::Waker::noop();
        match waiting.poll_next(&mut std::task::Context::from_waker(waker)) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_full_queue_refuses_and_tells_its_reader_behind_the_rest() {
        let (feed, waiting) = queue(Backlog::default());
        for n in 1..=REVISIONS as u64 {
            assert_ne!(feed.offer(changes(n, 1)), Offered::Full);
        }
        assert_eq!(feed.offer(changes(9999, 1)), Offered::Full);
        feed.tell(progress(9999));
        for n in 1..=REVISIONS as u64 {
            let Some(Next::Changes(taken)) = next(&waiting) else {
                panic!("{n} is there");
            };
            assert_eq!(taken.revision, Revision::new(n));
        }
        assert!(matches!(next(&waiting), Some(Next::Lagging)));
        assert!(next(&waiting).is_none());
        assert_eq!(feed.offer(changes(2000, 1)), Offered::Taken);
    }

    #[test]
    fn bytes_fill_a_queue_too_and_one_large_revision_always_fits() {
        let (feed, waiting) = queue(Backlog::default());
        assert_eq!(feed.offer(changes(1, BYTES * 2)), Offered::Crowded);
        assert_eq!(feed.offer(changes(2, 1)), Offered::Full);
        assert!(matches!(next(&waiting), Some(Next::Changes(_))));
        assert!(matches!(next(&waiting), Some(Next::Lagging)));
        assert_eq!(feed.offer(changes(2, 1)), Offered::Taken);
    }

    #[test]
    fn progress_takes_the_place_of_progress() {
        let (feed, waiting) = queue(Backlog::default());
        feed.offer(changes(1, 1));
        for n in 2..5000 {
            feed.tell(progress(n));
        }
        let Some(Next::Changes(first)) = next(&waiting) else {
            panic!("the change is first");
        };
        assert_eq!(first.revision, Revision::new(1));
        let Some(Next::Changes(second)) = next(&waiting) else {
            panic!("progress is second");
        };
        assert_eq!(second.revision, Revision::new(4999));
        assert!(next(&waiting).is_none());
    }

    #[test]
    fn the_end_is_told_once_and_last() {
        let (feed, waiting) = queue(Backlog::default());
        feed.offer(changes(1, 1));
        feed.end(Error::unavailable("first", Outcome::NotApplied));
        feed.end(Error::unavailable("second", Outcome::NotApplied));
        feed.offer(changes(2, 1));
        drop(feed);
        assert!(matches!(next(&waiting), Some(Next::Changes(_))));
        let Some(Next::End(error)) = next(&waiting) else {
            panic!("the end comes");
        };
        assert!(error.to_string().contains("first"), "{error}");
        assert!(matches!(next(&waiting), Some(Next::Over)));
    }

    #[test]
    fn what_nobody_will_read_is_not_kept() {
        let (feed, waiting) = queue(Backlog::default());
        feed.offer(changes(1, 100));
        let queue = waiting.queue.clone();
        drop(waiting);
        feed.offer(changes(2, 100));
        assert!(queue.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let (feed, waiting) = queue(Backlog::default());
        let reader = tokio::spawn(async move { poll_fn(|cx| waiting.poll_next(cx)).await });
        tokio::task::yield_now().await;
        feed.offer(changes(1, 1));
        assert!(matches!(reader.await.unwrap(), Next::Changes(_)));
    }
}
