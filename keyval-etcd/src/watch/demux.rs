//! The protocol of one stream of watches, without the stream: answers and time go in, requests and
//! deliveries come out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbWatchResponse;
use keyval::{Error, KeyRange, Revision};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::convert;
use crate::error::{self, Call};
use crate::watch::assemble::Assembler;
use crate::watch::ending;
use crate::watch::queue::{Feed, Offered};

/// The number of answers that concern no watch or all of them.
const NO_WATCH: i64 = -1;
/// An answer to a request for progress may never come; after this time another may be sent.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a watch can be given word at most.
const FINEST: Duration = Duration::from_millis(1);
/// After this much silence of a stream on which nobody waits for word, it is probed all the same.
const QUIET: Duration = Duration::from_secs(30);
/// A stream that leaves a probe unanswered for so long is stuck. A broken connection is found
/// earlier, by the pings of the transport.
const STUCK: Duration = Duration::from_secs(20);

/// So many moments of watches that have ended are not worth a search.
const FEW_DUES: usize = 64;

/// The name of a watch within its store, whatever numbers etcd knows it by.
pub(crate) type Token = u64;

/// What etcd is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// To begin a watch.
    Create {
        /// The number of the watch.
        id: i64,
        /// What it watches.
        range: Arc<KeyRange>,
        /// The first revision to send.
        from: Revision,
        /// Whether previous entries are wanted.
        previous: bool,
    },
    /// To end a watch.
    Cancel(i64),
    /// To say how far the watches of the stream have come.
    Progress,
    /// To answer, whatever the state of the watches is: a creation, under this number, that every
    /// server refuses.
    Probe(i64),
}

/// What becomes of the creation of a watch.
#[derive(Debug)]
pub(crate) enum Opened {
    /// etcd watches.
    Accepted,
    /// etcd refused.
    Refused(Error),
}

/// Where the outcome of a creation is told; a stream that breaks before tells its failure.
pub(crate) type Answer = oneshot::Sender<Result<Opened, etcd_client::Error>>;

/// A watch to be created.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What to watch.
    pub(crate) range: Arc<KeyRange>,
    /// The revision after which to deliver.
    pub(crate) after: Revision,
    /// Whether the store is not known to be past that.
    pub(crate) at_present: bool,
    /// Whether previous entries are wanted.
    pub(crate) previous: bool,
    /// How long the watch may be without word.
    pub(crate) progress: Option<Duration>,
    /// Where its revisions go.
    pub(crate) feed: Feed,
    /// Held for as long as the watch is on the stream.
    pub(crate) _seat: Arc<()>,
}

#[derive(Debug)]
struct Watch {
    wanted: Wanted,
    assembler: Assembler,
    state: State,
    /// When its reader was told something last.
    told: Instant,
    /// Whether it has waited too long once since then.
    overdue: bool,
}

impl Watch {
    /// What it asks for next, as its errors say it.
    fn call(&self) -> Call<'_> {
        let next = self.assembler.delivered().next();
        Call::read("watch", self.wanted.range.as_ref()).at(Some(next))
    }
}

#[derive(Debug)]
enum State {
    /// The creation under this number is not answered yet.
    Creating {
        id: i64,
        start: Start,
        /// Whoever waits for it; nobody waits for a watch to go on.
        answer: Option<Answer>,
    },
    /// etcd sends changes under this number.
    Live {
        id: i64,
        /// The revision of the store when etcd began.
        began_at: Revision,
        /// How many requests for progress had been sent by then.
        began_after: u64,
    },
    /// The reader is behind, and etcd sends nothing.
    Paused,
}

/// From which revision etcd is asked to send.
///
/// etcd keeps no deletions of the revision to which it is compacted, and yet takes a watch that
/// starts there: <https://github.com/etcd-io/etcd/issues/19179>. A watch that starts one revision
/// earlier is cancelled in that case, and what comes of that revision is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// The first to deliver, which etcd has not reached: it need not look into its history.
    Exact,
    /// One before the first to deliver.
    Earlier,
}

/// Who waits for the next answer to a creation: etcd answers them in order, the refused ones
/// without their number.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Watch { token: Token, id: i64 },
    Probe { id: i64 },
}

/// The watches of one stream.
///
/// A watch whose queue is full is cancelled, and begun anew behind the last revision in the queue
/// when its reader has caught up: what lies between is kept by etcd and not here.
#[derive(Debug)]
pub(crate) struct Demux {
    endpoint: Arc<str>,
    watches: HashMap<Token, Watch>,
    /// The watches that may receive something, by their numbers on the stream.
    numbers: HashMap<i64, Token>,
    /// Never used again: a server may still send what it kept for an ended watch.
    next_number: i64,
    pending: VecDeque<Pending>,
    /// Since when creations have been seen to wait without any of them being answered.
    waiting: Option<Instant>,
    requests: VecDeque<Request>,
    /// When watches that want word have waited too long, at the earliest.
    dues: BinaryHeap<Reverse<(Instant, Token)>>,
    heard: Instant,
    /// The highest revision of the store that was heard of.
    reached: Revision,
    /// When the probe was sent that is under way.
    probed: Option<Instant>,
    /// When progress was requested last, if the answer is not there yet.
    asked: Option<Instant>,
    /// How many requests for progress were sent, and how many of them were not answered.
    asked_times: u64,
    unanswered: u64,
    /// Whether requested progress comes behind the changes that it covers.
    exact: bool,
}

impl Demux {
    /// A stream without watches.
    pub(crate) fn new(endpoint: Arc<str>, now: Instant) -> Self {
        Self {
            endpoint,
            watches: HashMap::new(),
            numbers: HashMap::new(),
            next_number: 1,
            pending: VecDeque::new(),
            waiting: None,
            requests: VecDeque::new(),
            dues: BinaryHeap::new(),
            heard: now,
            reached: Revision::ZERO,
            probed: None,
            asked: None,
            asked_times: 0,
            unanswered: 0,
            exact: false,
        }
    }

    /// Trusts the server in that its answers to requests for progress keep their place among the
    /// changes.
    pub(crate) fn trust_requested_progress(&mut self) {
        self.exact = true;
    }

    /// Whether there are no watches.
    pub(crate) fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// What to send next, in order.
    pub(crate) fn requests(&mut self) -> &mut VecDeque<Request> {
        &mut self.requests
    }

    /// Creates a watch.
    pub(crate) fn create(
        &mut self,
        token: Token,
        mut wanted: Wanted,
        answer: Answer,
        now: Instant,
    ) {
        let assembler = Assembler::new(wanted.after);
        wanted.progress = wanted.progress.map(|every| every.max(FINEST));
        let due = wanted.progress.and_then(|every| now.checked_add(every));
        self.forget_departed();
        self.dues.extend(due.map(|due| Reverse((due, token))));
        let start = if wanted.at_present {
            Start::Exact
        } else {
            Start::Earlier
        };
        let watch = Watch {
            state: State::Paused,
            wanted,
            assembler,
            told: now,
            overdue: false,
        };
        self.watches.insert(token, watch);
        self.ask_for(token, start, Some(answer));
    }

    /// Forgets when those watches were due that have ended, once they are the most of all: each would
    /// otherwise stay until that moment, which can be far off.
    fn forget_departed(&mut self) {
        if self.dues.len() > 2 * self.watches.len() + FEW_DUES {
            let watches = &self.watches;
            self.dues
                .retain(|Reverse((_, token))| watches.contains_key(token));
        }
    }

    /// Begins a paused watch anew, behind what its queue has received.
    pub(crate) fn resume(&mut self, token: Token) {
        self.ask_for(token, Start::Earlier, None);
    }

    /// Ends a watch whose reader has gone.
    pub(crate) fn leave(&mut self, token: Token) {
        if let Some(watch) = self.watches.remove(&token)
            && let State::Creating { id, .. } | State::Live { id, .. } = watch.state
        {
            self.cancel(id);
        }
    }

    /// Takes an answer; returns whether some reader should be given time to catch up.
    ///
    /// # Errors
    /// A failure of the whole stream for an answer after which nothing on it can be relied on.
    pub(crate) fn hear(
        &mut self,
        response: PbWatchResponse,
        now: Instant,
    ) -> Result<bool, etcd_client::Error> {
        self.heard = now;
        let reached = convert::header_revision(response.header.as_ref());
        self.reached = self.reached.max(reached);
        if response.created {
            self.answered(&response, now)?;
            return Ok(false);
        }
        if response.canceled {
            self.ended(&response);
            return Ok(false);
        }
        if response.watch_id == NO_WATCH {
            self.progress_of_all(reached, now);
            return Ok(false);
        }
        // Late words for a watch that has ended are of no use to anybody.
        match self.numbers.get(&response.watch_id) {
            Some(&token) => Ok(self.deliver(token, response, now)),
            None => Ok(false),
        }
    }

    /// Lets time pass: requests what is due, and tells those who have waited long enough that the
    /// stream lives. Returns false if the stream is stuck.
    pub(crate) fn pass_time(&mut self, now: Instant) -> bool {
        if self.probed.is_some_and(|probed| now >= probed + STUCK) {
            return false;
        }
        while let Some(&Reverse((due, token))) = self.dues.peek() {
            if due > now {
                break;
            }
            self.dues.pop();
            let next = self.overdue(token, now);
            self.dues.extend(next.map(|due| Reverse((due, token))));
        }
        // A creation can go unanswered while others hear a lot. The answer to a probe stands behind
        // that to the creation, so that it does not come either.
        if self.pending.is_empty() {
            self.waiting = None;
        } else if now >= *self.waiting.get_or_insert(now) + QUIET {
            self.probe(now);
        }
        if now >= self.heard + QUIET {
            self.probe(now);
        }
        true
    }

    /// When time has to pass next.
    pub(crate) fn due(&self) -> Instant {
        let quiet = match self.probed {
            Some(probed) => probed + STUCK,
            None => self.waiting.unwrap_or(self.heard).min(self.heard) + QUIET,
        };
        match self.dues.peek() {
            Some(&Reverse((due, _))) => due.min(quiet),
            None => quiet,
        }
    }

    /// Ends every watch because the stream broke.
    pub(crate) fn break_up(&mut self, failure: &etcd_client::Error) {
        let endpoint = self.endpoint.clone();
        self.end(|watch| {
            let delivered = watch.assembler.delivered();
            ending::broken(&watch.call(), &endpoint, failure, delivered)
        })
        .for_each(|answer| drop(answer.send(Err(error::copy(failure)))));
    }

    /// Ends every watch because the store is closed.
    pub(crate) fn close(&mut self, closed: impl Fn() -> Error) {
        self.end(|_| closed()).for_each(drop);
    }

    /// Ends every watch; returns those who wait for the answer to a creation.
    fn end(&mut self, cause: impl Fn(&Watch) -> Error) -> impl Iterator<Item = Answer> {
        self.numbers.clear();
        self.watches.drain().filter_map(move |(_, watch)| {
            watch.wanted.feed.end(cause(&watch));
            match watch.state {
                State::Creating { answer, .. } => answer,
                State::Live { .. } | State::Paused => None,
            }
        })
    }

    fn number(&mut self) -> i64 {
        let id = self.next_number;
        self.next_number += 1;
        id
    }

    fn ask_for(&mut self, token: Token, start: Start, answer: Option<Answer>) {
        let id = self.number();
        let Some(watch) = self.watches.get_mut(&token) else {
            return;
        };
        let delivered = watch.assembler.delivered();
        let from = match start {
            Start::Exact => delivered.next(),
            // Zero would mean the present; nothing happens at one.
            Start::Earlier => delivered.max(Revision::new(1)),
        };
        watch.state = State::Creating { id, start, answer };
        self.requests.push_back(Request::Create {
            id,
            range: watch.wanted.range.clone(),
            from,
            previous: watch.wanted.previous,
        });
        self.numbers.insert(id, token);
        self.pending.push_back(Pending::Watch { token, id });
    }

    /// Ends what etcd knows under this number.
    fn cancel(&mut self, id: i64) {
        self.numbers.remove(&id);
        self.requests.push_back(Request::Cancel(id));
    }

    fn answered(
        &mut self,
        response: &PbWatchResponse,
        now: Instant,
    ) -> Result<(), etcd_client::Error> {
        let answered = self.pending.pop_front();
        self.waiting = (!self.pending.is_empty()).then_some(now);
        let (token, id) = match answered {
            Some(Pending::Watch { token, id }) => (token, id),
            Some(Pending::Probe { id }) => {
                self.probed = None;
                if !response.canceled {
                    self.cancel(id);
                }
                return Ok(());
            }
            None => return Err(nonsense("it created a watch that was not asked for")),
        };
        if !response.canceled && response.watch_id != id {
            return Err(nonsense("it created a watch under another number"));
        }
        // One that has left meanwhile was cancelled behind its creation.
        let Some(watch) = self.watches.get_mut(&token) else {
            return Ok(());
        };
        let State::Creating {
            id: asked,
            start,
            answer,
        } = &mut watch.state
        else {
            return Ok(());
        };
        // It may have been paused before this answer came, and begun anew.
        if *asked != id {
            return Ok(());
        }
        let (start, answer) = (*start, answer.take());
        let began_at = convert::header_revision(response.header.as_ref());
        watch.told = now;
        watch.state = State::Live {
            id,
            began_at,
            began_after: self.asked_times,
        };
        if response.canceled {
            let cause = ending::refused(&watch.call(), &self.endpoint, response);
            match answer {
                // Whoever gave up waiting has left or is about to.
                Some(answer) => drop(answer.send(match error::token_refused_by(response) {
                    // To be asked again with another token.
                    Some(failure) => Err(failure),
                    None => Ok(Opened::Refused(cause)),
                })),
                None => watch.wanted.feed.end(cause),
            }
            self.numbers.remove(&id);
            self.watches.remove(&token);
        } else if start == Start::Exact && began_at > watch.assembler.delivered() {
            self.cancel(id);
            self.ask_for(token, Start::Earlier, answer);
        } else if let Some(answer) = answer {
            drop(answer.send(Ok(Opened::Accepted)));
        }
        Ok(())
    }

    /// Ends a watch that etcd cancelled; the answer to our own cancellation finds none.
    fn ended(&mut self, response: &PbWatchResponse) {
        let token = self.numbers.get(&response.watch_id);
        let Some(watch) = token.and_then(|token| self.watches.remove(token)) else {
            return;
        };
        // After a compaction the server keeps the number until it is cancelled from here.
        self.cancel(response.watch_id);
        let cause = ending::refused(&watch.call(), &self.endpoint, response);
        watch.wanted.feed.end(cause);
    }

    /// Delivers what came for one watch; returns whether its queue is nearly full.
    fn deliver(&mut self, token: Token, response: PbWatchResponse, now: Instant) -> bool {
        let id = response.watch_id;
        let watch = self
            .watches
            .get_mut(&token)
            .expect("every number belongs to a watch");
        watch.told = now;
        watch.overdue = false;
        if let State::Creating {
            start: Start::Exact,
            answer,
            ..
        } = &mut watch.state
        {
            // It may come out of the history, which the answer to the creation would tell.
            let answer = answer.take();
            self.cancel(id);
            self.ask_for(token, Start::Earlier, answer);
            return false;
        }
        let feed = &watch.wanted.feed;
        if response.events.is_empty() {
            // What a server says by itself keeps its place among the changes.
            let reached = convert::header_revision(response.header.as_ref());
            if let Some(word) = watch.assembler.progress(reached) {
                feed.tell(word);
            }
            return false;
        }
        let mut crowded = false;
        let accepted = watch.assembler.accept(response, |changes| {
            let offered = feed.offer(changes);
            crowded |= offered != Offered::Taken;
            offered != Offered::Full
        });
        match accepted {
            Ok(true) => {}
            Ok(false) => self.pause(token, id),
            Err(nonsense) => {
                feed.end(nonsense);
                self.watches.remove(&token);
                self.cancel(id);
            }
        }
        crowded
    }

    fn pause(&mut self, token: Token, id: i64) {
        self.cancel(id);
        let Some(watch) = self.watches.get_mut(&token) else {
            return;
        };
        tracing::debug!(
            range = %watch.wanted.range,
            delivered = %watch.assembler.delivered(),
            "the reader of a watch has fallen behind"
        );
        watch.assembler.restart();
        // Changes can come before the answer to the creation; they prove that it succeeded.
        if let State::Creating {
            answer: Some(answer),
            ..
        } = std::mem::replace(&mut watch.state, State::Paused)
        {
            drop(answer.send(Ok(Opened::Accepted)));
        }
    }

    /// Tells progress to those watches for which the answer to a request is exact, and that the
    /// stream lives to those who have waited for word.
    fn progress_of_all(&mut self, reached: Revision, now: Instant) {
        // Whether the answer belongs to the last request. One that is never answered makes this
        // false for good, and then only the revisions tell what came after what.
        let to_last = self.unanswered == 1;
        self.asked = None;
        self.unanswered = self.unanswered.saturating_sub(1);
        for watch in self.watches.values_mut() {
            let State::Live {
                began_at,
                began_after,
                ..
            } = watch.state
            else {
                continue;
            };
            let Some(every) = watch.wanted.progress else {
                continue;
            };
            // The server answers when all watches that it has have been sent everything; an answer
            // from before a watch began says nothing of it, though it may come after.
            let covers = reached > began_at || (to_last && began_after < self.asked_times);
            let word = if self.exact && covers {
                watch.assembler.progress(reached)
            } else if watch.told.checked_add(every).is_some_and(|due| now >= due) {
                watch.assembler.sign_of_life(reached)
            } else {
                None
            };
            if let Some(word) = word {
                watch.wanted.feed.tell(word);
                watch.told = now;
                watch.overdue = false;
            }
        }
    }

    /// What to do for a watch that may have waited too long; when to look again.
    fn overdue(&mut self, token: Token, now: Instant) -> Option<Instant> {
        let watch = self.watches.get_mut(&token)?;
        let every = watch.wanted.progress?;
        let due = watch.told.checked_add(every)?;
        if due > now {
            return Some(due);
        }
        if !matches!(watch.state, State::Live { .. }) {
            return now.checked_add(every);
        }
        if watch.overdue && self.heard > watch.told {
            // The server does not answer as long as some watch of the stream catches up.
            if let Some(word) = watch.assembler.sign_of_life(self.reached) {
                watch.wanted.feed.tell(word);
            }
            watch.told = now;
            watch.overdue = false;
            return now.checked_add(every);
        }
        let again = std::mem::replace(&mut watch.overdue, true);
        self.ask(now);
        if again {
            self.probe(now);
        }
        now.checked_add((every / 2).max(FINEST))
    }

    fn ask(&mut self, now: Instant) {
        if self.asked.is_none_or(|asked| now >= asked + ASK_AGAIN) {
            self.asked = Some(now);
            self.asked_times += 1;
            self.unanswered += 1;
            self.requests.push_back(Request::Progress);
        }
    }

    fn probe(&mut self, now: Instant) {
        if self.probed.is_none() {
            self.probed = Some(now);
            let id = self.number();
            self.pending.push_back(Pending::Probe { id });
            self.requests.push_back(Request::Probe(id));
        }
    }
}

fn nonsense(what: &str) -> etcd_client::Error {
    etcd_client::Error::WatchError(what.to_owned())
}

#[cfg(test)]
mod tests;
