//! The demultiplexer against answers by hand, and against a small server with a mind of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use etcd_client::proto::{PbEvent, PbKeyValue, PbResponseHeader, PbWatchResponse};
use fastrand::Rng;
use keyval::{Error, KeyRange, Revision};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Demux, Opened, Request, STUCK, Token, Wanted};
use crate::watch::backlog::Backlog;
use crate::watch::queue::{Next, Waiting, queue};

/// As many revisions as a queue holds.
const FULL: i64 = 1024;

type Answered = oneshot::Receiver<Result<Opened, etcd_client::Error>>;

/// A reader without a task.
struct Reader {
    waiting: Waiting,
    answered: Answered,
}

impl Reader {
    fn next(&self) -> Option<Next> {
        match self
            .waiting
            .poll_next(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    /// What waits, as `revision: keys`.
    fn all(&self) -> Vec<String> {
        let mut seen = Vec::new();
        while let Some(Next::Changes(changes)) = self.next() {
            let keys: Vec<_> = changes
                .changes
                .iter()
                .map(|c| c.key().to_string())
                .collect();
            seen.push(format!("{}: {}", changes.revision, keys.join(" ")));
        }
        seen
    }

    fn opened(&mut self) -> Option<Opened> {
        let answer = self.answered.try_recv().ok()?;
        Some(answer.expect("the stream is whole"))
    }
}

struct Bench {
    demux: Demux,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            demux: Demux::new("here:1".into(), now),
            now,
        }
    }

    /// A watch that starts where the store is, as far as is known.
    fn watch_now(&mut self, token: Token, after: u64) -> Reader {
        self.open(token, after, true, None)
    }

    fn watch(&mut self, token: Token, after: u64, progress: Option<Duration>) -> Reader {
        self.open(token, after, false, progress)
    }

    fn open(
        &mut self,
        token: Token,
        after: u64,
        at_present: bool,
        progress: Option<Duration>,
    ) -> Reader {
        let (feed, waiting) = queue(Backlog::default());
        let (answer, answered) = oneshot::channel();
        let wanted = Wanted {
            range: Arc::new(KeyRange::prefix("a/")),
            after: Revision::new(after),
            at_present,
            previous: false,
            progress,
            feed,
            _seat: Arc::default(),
        };
        self.demux.create(token, wanted, answer, self.now);
        Reader { waiting, answered }
    }

    /// A watch that etcd has accepted while the store was at this revision.
    fn live(&mut self, token: Token, after: u64, at: i64, progress: Option<Duration>) -> Reader {
        let mut reader = self.watch(token, after, progress);
        let ids = self.created();
        self.hear(created(ids[0], at));
        assert!(matches!(reader.opened(), Some(Opened::Accepted)));
        reader
    }

    /// The numbers of the watches to be created, which are all that is asked.
    fn created(&mut self) -> Vec<i64> {
        let requests = self.requests();
        let id = |request| match request {
            Request::Create { id, .. } => id,
            other => panic!("{other:?}"),
        };
        requests.into_iter().map(id).collect()
    }

    fn requests(&mut self) -> Vec<Request> {
        self.demux.requests().drain(..).collect()
    }

    fn hear(&mut self, response: PbWatchResponse) {
        self.demux.hear(response, self.now).expect("it makes sense");
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.now += time;
        self.demux.pass_time(self.now)
    }
}

fn header(revision: i64) -> Option<PbResponseHeader> {
    Some(PbResponseHeader {
        revision,
        ..PbResponseHeader::default()
    })
}

fn created(watch_id: i64, at: i64) -> PbWatchResponse {
    PbWatchResponse {
        header: header(at),
        watch_id,
        created: true,
        ..PbWatchResponse::default()
    }
}

fn refused(reason: &str) -> PbWatchResponse {
    PbWatchResponse {
        watch_id: -1,
        created: true,
        canceled: true,
        cancel_reason: reason.to_owned(),
        ..PbWatchResponse::default()
    }
}

fn word(watch_id: i64, at: i64) -> PbWatchResponse {
    PbWatchResponse {
        header: header(at),
        watch_id,
        ..PbWatchResponse::default()
    }
}

fn cancelled(watch_id: i64, reason: &str, compact_revision: i64) -> PbWatchResponse {
    PbWatchResponse {
        watch_id,
        canceled: true,
        cancel_reason: reason.to_owned(),
        compact_revision,
        ..PbWatchResponse::default()
    }
}

fn put(key: &str, revision: i64) -> PbEvent {
    PbEvent {
        r#type: 0,
        kv: Some(PbKeyValue {
            key: key.into(),
            mod_revision: revision,
            ..PbKeyValue::default()
        }),
        prev_kv: None,
    }
}

fn events(watch_id: i64, events: Vec<PbEvent>) -> PbWatchResponse {
    let last = events.last().and_then(|event| event.kv.as_ref());
    PbWatchResponse {
        header: header(last.map_or(0, |kv| kv.mod_revision)),
        watch_id,
        events,
        ..PbWatchResponse::default()
    }
}

#[test]
fn creations_do_not_wait_for_each_other_and_answers_are_told_apart_by_their_order() {
    let mut bench = Bench::new();
    let mut readers = [
        bench.watch(7, 4, None),
        bench.watch(8, 4, None),
        bench.watch(9, 4, None),
    ];
    assert_eq!(bench.created(), [1, 2, 3]);
    bench.hear(created(1, 4));
    bench.hear(refused("rpc error: etcdserver: permission denied"));
    bench.hear(created(3, 4));
    assert!(matches!(readers[0].opened(), Some(Opened::Accepted)));
    assert!(matches!(
        readers[1].opened(),
        Some(Opened::Refused(Error::Denied { .. }))
    ));
    assert!(matches!(readers[2].opened(), Some(Opened::Accepted)));
    bench.hear(events(3, vec![put("a/x", 5)]));
    assert!(readers[0].all().is_empty());
    assert_eq!(readers[2].all(), ["5: a/x"]);
}

#[test]
fn changes_may_come_before_the_answer_to_the_creation() {
    let mut bench = Bench::new();
    let mut reader = bench.watch(1, 4, None);
    let id = bench.created()[0];
    bench.hear(events(id, vec![put("a/x", 5)]));
    assert!(reader.opened().is_none());
    bench.hear(created(id, 5));
    assert!(matches!(reader.opened(), Some(Opened::Accepted)));
    assert_eq!(reader.all(), ["5: a/x"]);
}

/// What is asked: the number and the first revision of a watch.
fn asked(request: &Request) -> (i64, u64) {
    match request {
        Request::Create { id, from, .. } => (*id, from.get()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_watch_in_the_past_starts_a_revision_early_so_that_etcd_tells_a_compaction() {
    let mut bench = Bench::new();
    let past = bench.watch(1, 4, None);
    let _first = bench.watch(2, 0, None);
    let requests = bench.requests();
    assert_eq!(asked(&requests[0]), (1, 4));
    assert_eq!(asked(&requests[1]), (2, 1));
    bench.hear(created(1, 9));
    bench.hear(events(1, vec![put("a/x", 4), put("a/x", 5)]));
    assert_eq!(past.all(), ["5: a/x"]);
}

#[test]
fn a_watch_at_the_present_starts_there_and_early_if_the_store_has_gone_on() {
    let mut bench = Bench::new();
    let mut still = bench.watch_now(1, 4);
    let mut moved = bench.watch_now(2, 4);
    let requests = bench.requests();
    assert_eq!(asked(&requests[0]), (1, 5));
    assert_eq!(asked(&requests[1]), (2, 5));
    bench.hear(created(1, 4));
    assert!(matches!(still.opened(), Some(Opened::Accepted)));
    bench.hear(created(2, 5));
    assert!(moved.opened().is_none());
    let requests = bench.requests();
    assert_eq!(requests[0], Request::Cancel(2));
    assert_eq!(asked(&requests[1]), (3, 4));
    // What comes under the old number may lack something.
    bench.hear(events(2, vec![put("a/x", 6)]));
    bench.hear(created(3, 6));
    assert!(matches!(moved.opened(), Some(Opened::Accepted)));
    bench.hear(events(3, vec![put("a/x", 5), put("a/x", 6)]));
    assert_eq!(moved.all(), ["5: a/x", "6: a/x"]);
}

#[test]
fn what_comes_before_it_is_known_to_be_complete_is_asked_for_again() {
    let mut bench = Bench::new();
    let mut reader = bench.watch_now(1, 4);
    bench.requests();
    bench.hear(events(1, vec![put("a/x", 6)]));
    let requests = bench.requests();
    assert_eq!(requests[0], Request::Cancel(1));
    assert_eq!(asked(&requests[1]), (2, 4));
    bench.hear(created(1, 6));
    assert!(reader.opened().is_none());
    bench.hear(created(2, 6));
    assert!(matches!(reader.opened(), Some(Opened::Accepted)));
    bench.hear(events(2, vec![put("a/x", 5), put("a/x", 6)]));
    assert_eq!(reader.all(), ["5: a/x", "6: a/x"]);
}

#[test]
fn an_answer_that_nobody_asked_for_breaks_the_stream() {
    let mut bench = Bench::new();
    assert!(bench.demux.hear(created(1, 4), bench.now).is_err());
    let _reader = bench.watch(1, 4, None);
    assert!(bench.demux.hear(created(99, 4), bench.now).is_err());
}

#[test]
fn a_slow_reader_is_sent_nothing_until_it_has_read_what_it_has() {
    let mut bench = Bench::new();
    let reader = bench.live(1, 0, 1, None);
    let mut other = bench.watch(2, 0, None);
    let second = bench.created()[0];
    bench.hear(created(second, 1));
    let flood = (1..=FULL + 100).map(|n| put("a/x", n)).collect();
    assert!(bench.demux.hear(events(1, flood), bench.now).unwrap());
    assert_eq!(bench.requests(), [Request::Cancel(1)]);
    // What still arrives for it is lost on purpose, and nobody else is concerned.
    bench.hear(events(1, vec![put("a/x", FULL + 101)]));
    bench.hear(cancelled(1, "", 0));
    bench.hear(events(second, vec![put("a/y", FULL + 102)]));
    assert_eq!(other.all(), [format!("{}: a/y", FULL + 102)]);
    assert!(matches!(other.opened(), Some(Opened::Accepted)));

    for n in 1..=FULL {
        let Some(Next::Changes(changes)) = reader.next() else {
            panic!("{n} waits");
        };
        assert_eq!(changes.revision.get(), n.unsigned_abs());
    }
    assert!(matches!(reader.next(), Some(Next::Lagging)));
    bench.demux.resume(1);
    let [Request::Create { id, from, .. }] = bench.requests()[..] else {
        panic!("it is created anew");
    };
    assert!(id > second, "numbers are not used again");
    assert_eq!(from.get(), FULL.unsigned_abs());
    bench.hear(created(id, FULL + 102));
    bench.hear(events(id, vec![put("a/x", FULL), put("a/x", FULL + 1)]));
    assert_eq!(reader.all(), [format!("{}: a/x", FULL + 1)]);
}

#[test]
fn half_a_revision_that_finds_no_room_is_asked_for_whole() {
    let mut bench = Bench::new();
    let reader = bench.live(1, 0, 1, None);
    let flood = (1..=FULL).map(|n| put("a/x", n)).collect();
    bench.hear(events(1, flood));
    let mut half = events(1, vec![put("a/x", FULL + 1), put("a/x", FULL + 2)]);
    half.fragment = true;
    bench.hear(half);
    assert_eq!(bench.requests(), [Request::Cancel(1)]);
    assert_eq!(reader.all().len(), FULL.unsigned_abs() as usize);
    bench.demux.resume(1);
    assert!(matches!(
        bench.requests()[..],
        [Request::Create { from, .. }] if from.get() == FULL.unsigned_abs()
    ));
}

#[test]
fn a_compaction_during_the_pause_is_told_behind_what_was_queued() {
    let mut bench = Bench::new();
    let reader = bench.live(1, 0, 1, None);
    bench.hear(events(1, (1..=FULL + 1).map(|n| put("a/x", n)).collect()));
    bench.requests();
    assert_eq!(reader.all().len(), FULL.unsigned_abs() as usize);
    bench.demux.resume(1);
    let id = bench.created()[0];
    bench.hear(created(id, 5000));
    bench.hear(cancelled(id, "", 4000));
    assert_eq!(bench.requests(), [Request::Cancel(id)]);
    assert!(matches!(
        reader.next(),
        Some(Next::End(Error::Compacted { requested, oldest: Some(oldest) }))
            if requested.get() == FULL.unsigned_abs() + 1 && oldest == Revision::new(4000)
    ));
    assert!(bench.demux.is_empty());
}

#[test]
fn a_watch_that_etcd_ends_without_a_reason_is_told_so_and_can_be_asked_for_again() {
    let mut bench = Bench::new();
    let ended = |reader: &Reader| match reader.next() {
        Some(Next::End(error)) => error,
        other => panic!("it has ended: {other:?}"),
    };
    let silent = bench.live(1, 3, 3, None);
    bench.hear(events(1, vec![put("a/x", 9)]));
    assert_eq!(silent.all(), ["9: a/x"]);
    bench.hear(cancelled(1, "", 0));
    let error = ended(&silent);
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert!(error.is_retryable() && !error.may_have_applied(), "{told}");
    assert!(told.contains("here:1 ended it without a reason"), "{told}");
    assert_eq!(bench.requests(), [Request::Cancel(1)]);
    // With a reason it is that which is told.
    let told = bench.live(2, 3, 3, None);
    bench.hear(cancelled(2, "etcdserver: permission denied", 0));
    assert!(matches!(ended(&told), Error::Denied { .. }));
    assert!(bench.demux.is_empty());
}

#[test]
fn one_watch_that_makes_no_sense_ends_alone() {
    let mut bench = Bench::new();
    let first = bench.live(1, 1, 1, None);
    let second = bench.live(2, 1, 1, None);
    bench.hear(events(1, vec![put("a/x", 9), put("a/x", 8)]));
    assert!(matches!(
        first.next(),
        Some(Next::End(Error::Backend { .. }))
    ));
    assert_eq!(bench.requests(), [Request::Cancel(1)]);
    bench.hear(events(2, vec![put("a/x", 9)]));
    assert_eq!(second.all(), ["9: a/x"]);
}

#[test]
fn a_broken_stream_ends_each_watch_with_its_own_revision() {
    let mut bench = Bench::new();
    let first = bench.live(1, 3, 3, None);
    let second = bench.live(2, 3, 3, None);
    let mut creating = bench.watch(3, 3, None);
    bench.hear(events(2, vec![put("a/x", 9)]));
    let failure = etcd_client::Error::WatchError("it went away".to_owned());
    bench.demux.break_up(&failure);
    let Some(Next::End(error)) = first.next() else {
        panic!("it has ended");
    };
    let told = error.to_string();
    assert!(told.contains("delivered up to revision 3"), "{told}");
    assert!(
        told.contains("it went away") && told.contains("here:1"),
        "{told}"
    );
    assert_eq!(second.all(), ["9: a/x"]);
    assert!(matches!(creating.answered.try_recv(), Ok(Err(_))));
    assert!(bench.demux.is_empty());
}

#[test]
fn a_reader_that_goes_before_the_answer_leaves_no_watch_behind() {
    let mut bench = Bench::new();
    let reader = bench.watch(1, 3, None);
    bench.demux.leave(1);
    drop(reader);
    let requests = bench.requests();
    assert!(matches!(
        requests[..],
        [Request::Create { id: 1, .. }, Request::Cancel(1)]
    ));
    bench.hear(created(1, 3));
    bench.hear(cancelled(1, "", 0));
    assert!(bench.demux.is_empty());
    assert!(bench.requests().is_empty());
}

const EVERY: Duration = Duration::from_secs(10);

#[test]
fn watches_that_have_ended_are_forgotten_long_before_their_word_was_due() {
    let mut bench = Bench::new();
    for token in 0..10_000 {
        let reader = bench.watch(token, 5, Some(Duration::from_secs(3600)));
        bench.demux.leave(token);
        drop(reader);
    }
    let kept = bench.demux.dues.len();
    assert!(kept < 100, "{kept} of watches that have ended");
}

#[test]
fn one_request_serves_all_who_wait_for_word() {
    let mut bench = Bench::new();
    bench.demux.trust_requested_progress();
    let readers: Vec<_> = (1..=50)
        .map(|token| bench.live(token, 3, 3, Some(EVERY)))
        .collect();
    let unasked = bench.live(51, 3, 3, None);
    assert!(bench.wait(EVERY));
    assert_eq!(bench.requests(), [Request::Progress]);
    bench.hear(word(-1, 8));
    for reader in &readers {
        assert_eq!(reader.all(), ["8: "]);
    }
    assert!(unasked.all().is_empty());
    assert!(bench.wait(EVERY / 2));
    assert!(bench.requests().is_empty());
}

#[test]
fn progress_asked_of_an_old_server_is_a_sign_of_life_only() {
    let mut bench = Bench::new();
    let reader = bench.live(1, 3, 3, Some(EVERY));
    bench.wait(EVERY);
    bench.hear(word(-1, 8));
    assert_eq!(reader.all(), ["3: "]);
    // The answer overtook this one.
    bench.hear(events(1, vec![put("a/x", 7)]));
    assert_eq!(reader.all(), ["7: a/x"]);
    // What the server says by itself keeps its place among the changes.
    bench.hear(word(1, 9));
    assert_eq!(reader.all(), ["9: "]);
}

#[test]
fn an_answer_from_before_a_watch_began_says_nothing_of_it() {
    let mut bench = Bench::new();
    bench.demux.trust_requested_progress();
    let old = bench.live(1, 3, 3, Some(EVERY));
    bench.wait(EVERY);
    assert_eq!(bench.requests(), [Request::Progress]);
    // It starts in the past, and is created before the answer arrives.
    let late = bench.live(2, 1, 8, Some(EVERY));
    bench.hear(word(-1, 8));
    assert_eq!(old.all(), ["8: "]);
    assert!(late.all().is_empty());
    bench.hear(events(2, vec![put("a/x", 2)]));
    assert_eq!(late.all(), ["2: a/x"]);
    // The next one does, though the store has not moved.
    bench.wait(EVERY);
    assert_eq!(bench.requests(), [Request::Progress]);
    bench.hear(word(-1, 8));
    assert_eq!(late.all(), ["8: "]);
}

#[test]
fn a_paused_watch_hears_of_no_progress_beyond_what_it_was_delivered() {
    let mut bench = Bench::new();
    bench.demux.trust_requested_progress();
    let reader = bench.live(1, 0, 1, Some(EVERY));
    let other = bench.live(2, 0, 1, Some(EVERY));
    bench.hear(events(1, (1..=FULL + 1).map(|n| put("a/x", n)).collect()));
    assert_eq!(reader.all().len(), FULL.unsigned_abs() as usize);
    bench.wait(EVERY);
    bench.hear(word(-1, 5000));
    assert_eq!(other.all(), ["5000: "]);
    assert!(reader.all().is_empty());
}

#[test]
fn a_watch_from_the_future_hears_nothing_before() {
    let mut bench = Bench::new();
    bench.demux.trust_requested_progress();
    let reader = bench.live(1, 99, 3, Some(EVERY));
    for _ in 0..5 {
        bench.wait(EVERY);
        bench.hear(word(-1, 9));
    }
    assert!(reader.all().is_empty());
}

#[test]
fn a_stream_that_is_heard_counts_as_alive_where_progress_is_not_answered() {
    let mut bench = Bench::new();
    bench.demux.trust_requested_progress();
    let quiet = bench.live(1, 3, 3, Some(EVERY));
    let _busy = bench.live(2, 1, 3, None);
    bench.wait(EVERY);
    assert_eq!(bench.requests(), [Request::Progress]);
    bench.now += EVERY / 4;
    bench.hear(events(2, vec![put("a/x", 3)]));
    bench.wait(EVERY / 4);
    assert_eq!(quiet.all(), ["3: "]);
}

#[test]
fn a_probe_is_answered_whatever_the_watches_do() {
    let mut bench = Bench::new();
    let quiet = bench.live(1, 3, 3, Some(EVERY));
    bench.wait(EVERY);
    bench.requests();
    bench.wait(EVERY / 2);
    let requests = bench.requests();
    let [Request::Progress, Request::Probe(id)] = requests[..] else {
        panic!("{requests:?}");
    };
    assert!(id > 1);
    bench.hear(refused("mvcc: watcher range is empty"));
    bench.wait(EVERY / 2);
    // That it was refused says that the stream lives, and how far the store is says the answer.
    assert_eq!(quiet.all(), ["3: "]);
    assert!(bench.wait(STUCK));
}

#[test]
fn a_stream_that_does_not_answer_at_all_is_stuck() {
    let mut bench = Bench::new();
    let _reader = bench.live(1, 3, 3, None);
    let mut waited = Duration::ZERO;
    let limit = Duration::from_secs(60);
    loop {
        let step = bench.demux.due() - bench.now;
        assert!(step > Duration::ZERO, "time passes");
        waited += step;
        if !bench.wait(step) {
            break;
        }
        assert!(waited < limit, "it is found out");
    }
    assert!(waited >= STUCK);
}

#[test]
fn a_creation_that_is_never_answered_is_found_out_although_others_hear_a_lot() {
    let mut bench = Bench::new();
    let _busy = bench.live(1, 3, 3, None);
    let _lost = bench.watch(2, 3, None);
    let step = Duration::from_secs(5);
    let mut revision = 3;
    let stuck = (0..30).any(|_| {
        revision += 1;
        bench.hear(events(1, vec![put("a/x", revision)]));
        bench.requests();
        !bench.wait(step)
    });
    assert!(stuck);
}

#[test]
fn word_for_everybody_at_the_finest_does_not_stop_time() {
    let mut bench = Bench::new();
    let _reader = bench.live(1, 3, 3, Some(Duration::from_nanos(1)));
    let _never = bench.live(2, 3, 3, Some(Duration::MAX));
    for _ in 0..10 {
        let step = bench.demux.due().saturating_duration_since(bench.now);
        bench.wait(step.max(Duration::from_millis(1)));
    }
}

/// A server that answers when it likes: it batches, splits, repeats, and lets changes overtake the
/// answers to creations, but keeps the order of the changes of each watch.
struct Server {
    random: Rng,
    /// The keys that each revision changed; the first revision is 1.
    history: Vec<Vec<String>>,
    /// The next revision of each watch.
    watches: BTreeMap<i64, i64>,
    used: i64,
    /// Answers to creations and cancellations, in order.
    control: VecDeque<PbWatchResponse>,
    /// Changes, in order.
    changes: VecDeque<PbWatchResponse>,
}

impl Server {
    fn at(&self) -> i64 {
        i64::try_from(self.history.len()).expect("it is short")
    }

    fn write(&mut self) {
        let keys = (0..self.random.usize(1..4)).map(|n| format!("a/{n}"));
        self.history.push(keys.collect());
    }

    fn take(&mut self, request: &Request) {
        match *request {
            Request::Create { id, from, .. } => {
                assert!(id > self.used, "the number {id} was used before");
                self.used = id;
                let from = i64::try_from(from.get()).expect("it is small");
                self.watches.insert(id, from);
                let at = self.at();
                self.control.push_back(created(id, at));
            }
            Request::Cancel(id) => {
                if self.watches.remove(&id).is_some() {
                    self.control.push_back(cancelled(id, "", 0));
                }
            }
            Request::Progress => {
                let synced = self.watches.values().all(|&next| next == self.at() + 1);
                if synced && !self.watches.is_empty() {
                    self.changes.push_back(word(-1, self.at()));
                }
            }
            Request::Probe(id) => {
                self.used = id;
                self.control
                    .push_back(refused("mvcc: watcher range is empty"));
            }
        }
    }

    /// Sends some of the history to one of the watches.
    fn send(&mut self) {
        let at = self.at();
        let behind: Vec<i64> = self
            .watches
            .iter()
            .filter(|&(_, &next)| next <= at)
            .map(|(&id, _)| id)
            .collect();
        let Some(&id) = self.random.choice(&behind) else {
            return;
        };
        let from = self.watches[&id];
        let to = (from + self.random.i64(0..700)).min(at);
        // Sometimes something comes again.
        let first = (from - self.random.i64(0..3)).max(1);
        let again = first < from && self.random.u8(..4) == 0;
        let mut all = Vec::new();
        for revision in if again { first } else { from }..=to {
            let keys = &self.history[usize::try_from(revision - 1).expect("it is small")];
            all.extend(keys.iter().map(|key| put(key, revision)));
        }
        while all.len() > 1 && self.random.u8(..3) == 0 {
            let rest = all.split_off(self.random.usize(1..all.len()));
            let mut part = events(id, std::mem::replace(&mut all, rest));
            part.fragment = true;
            self.changes.push_back(part);
        }
        self.changes.push_back(events(id, all));
        self.watches.insert(id, to + 1);
    }

    fn answer(&mut self) -> Option<PbWatchResponse> {
        if self.random.bool() {
            self.control
                .pop_front()
                .or_else(|| self.changes.pop_front())
        } else {
            self.changes
                .pop_front()
                .or_else(|| self.control.pop_front())
        }
    }
}

/// A reader that checks what it reads.
struct Checked {
    token: Token,
    reader: Reader,
    after: u64,
    pauses: usize,
}

impl Checked {
    /// Reads one thing; returns whether there was any.
    fn read(&mut self, bench: &mut Bench, server: &Server) -> bool {
        match self.reader.next() {
            Some(Next::Changes(changes)) if changes.is_progress() => {
                assert!(changes.revision.get() >= self.after, "progress goes back");
                self.after = changes.revision.get();
            }
            Some(Next::Changes(changes)) => {
                assert_eq!(
                    changes.revision.get(),
                    self.after + 1,
                    "nothing is left out"
                );
                let keys: Vec<_> = changes
                    .changes
                    .iter()
                    .map(|c| c.key().to_string())
                    .collect();
                let at = usize::try_from(self.after).expect("it is small");
                assert_eq!(keys, server.history[at], "a revision is whole");
                self.after += 1;
            }
            Some(Next::Lagging) => {
                bench.demux.resume(self.token);
                self.pauses += 1;
            }
            Some(end) => panic!("{end:?}"),
            None => return false,
        }
        true
    }
}

#[test]
fn every_reader_gets_every_revision_once_whatever_the_order_of_things() {
    let mut pauses = 0;
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let mut server = Server {
            random: random.fork(),
            history: Vec::new(),
            watches: BTreeMap::new(),
            used: 0,
            control: VecDeque::new(),
            changes: VecDeque::new(),
        };
        let mut bench = Bench::new();
        bench.demux.trust_requested_progress();
        let mut readers: Vec<Checked> = Vec::new();
        for step in 0..2500 {
            match random.u8(..20) {
                0 if readers.len() < 8 => {
                    let after = random.u64(..=server.history.len() as u64);
                    let every = Duration::from_millis(random.u64(1..50));
                    let every = random.bool().then_some(every);
                    let reader = bench.open(step, after, random.bool(), every);
                    readers.push(Checked {
                        token: step,
                        reader,
                        after,
                        pauses: 0,
                    });
                }
                1 if random.u8(..20) == 0 && !readers.is_empty() => {
                    let gone = readers.swap_remove(random.usize(..readers.len()));
                    bench.demux.leave(gone.token);
                }
                2 | 3 => {
                    for _ in 0..random.usize(..40) {
                        server.write();
                    }
                }
                4..=7 => {
                    for request in bench.requests() {
                        server.take(&request);
                    }
                }
                8..=10 => server.send(),
                11..=15 => {
                    if let Some(answer) = server.answer() {
                        bench.hear(answer);
                    }
                }
                16 => assert!(bench.wait(Duration::from_millis(random.u64(..20)))),
                // Some read now and then, others hardly ever.
                _ => {
                    for (n, checked) in readers.iter_mut().enumerate() {
                        if random.usize(..=n * 20) == 0 {
                            let most = random.usize(..400);
                            let _ = (0..most).all(|_| checked.read(&mut bench, &server));
                        }
                    }
                }
            }
        }
        // In the end everybody reads all there is.
        loop {
            let mut rest = false;
            for request in bench.requests() {
                rest = true;
                server.take(&request);
            }
            server.send();
            while let Some(answer) = server.answer() {
                rest = true;
                bench.hear(answer);
            }
            for checked in &mut readers {
                while checked.read(&mut bench, &server) {
                    rest = true;
                }
            }
            if !rest && server.watches.values().all(|&next| next > server.at()) {
                break;
            }
        }
        for checked in &readers {
            assert_eq!(checked.after, server.history.len() as u64);
            pauses += checked.pauses;
        }
        assert_eq!(
            server.watches.len(),
            readers.len(),
            "no watch is left behind"
        );
    }
    assert!(pauses > 0, "some readers fall behind");
}
