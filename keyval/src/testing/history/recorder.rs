//! The log that all clients of a recorded history share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::entry::Changes;
use crate::error::{Error, Result};
use crate::options::WatchOptions;
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::testing::history::call::{Answer, Call, Moment, Reply, Request};
use crate::testing::history::deliveries::{Delivery, WatchRecord};

/// Records what the clients of one store ask for and are answered; clones share the log.
///
/// # Examples
/// ```
/// use keyval::testing::history::{Base, History, Recorder, check, read_truth};
/// use keyval::{BrokerExt, Memory, Revision};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let recorder = Recorder::new();
/// let client = recorder.client(store.clone());
/// let last = client.put("a", "1").await?;
/// assert!(client.get("a").await?.is_some());
///
/// let base = Base::default();
/// let truth = read_truth(&store, base.revision, last).await?;
/// let records = recorder.take();
/// let history = History { base, truth, calls: records.calls, ..History::default() };
/// let summary = check(&history).expect("the store is linearizable");
/// assert_eq!(summary.calls, 2);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    made: Instant,
    moments: AtomicU64,
    clients: AtomicU64,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    next: u64,
    calls: Vec<Call>,
    /// The calls under way, as they are to be recorded if nobody hears of them again.
    under_way: BTreeMap<u64, Call>,
    watches: BTreeMap<u64, Watched>,
}

#[derive(Debug)]
struct Watched {
    record: WatchRecord,
    open: bool,
}

/// What a recorder has recorded since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The calls that have ended, in the order of their ends. Then those under way: their outcome
    /// counts as unknown, and they are not recorded a second time.
    pub calls: Vec<Call>,
    /// What watches have delivered; those still open go on in the next records.
    pub watches: Vec<WatchRecord>,
}

impl Recorder {
    /// A recorder that has recorded nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                made: Instant::now(),
                moments: AtomicU64::new(0),
                clients: AtomicU64::new(0),
                log: Mutex::default(),
            }),
        }
    }

    /// What was recorded since the last time.
    #[must_use]
    pub fn take(&self) -> Records {
        let mut log = self.shared.log.lock();
        let mut calls = std::mem::take(&mut log.calls);
        calls.extend(std::mem::take(&mut log.under_way).into_values());
        let watches = log.watches.values_mut().map(Watched::take).collect();
        log.watches.retain(|_, watched| watched.open);
        Records { calls, watches }
    }

    /// How many calls are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.shared.log.lock().under_way.len()
    }

    /// The number of one more client.
    pub(super) fn new_client(&self) -> u64 {
        self.shared.clients.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn moment(&self) -> Moment {
        Moment {
            order: self.shared.moments.fetch_add(1, Ordering::SeqCst),
            after: self.shared.made.elapsed(),
        }
    }

    /// A call begins.
    pub(super) fn begin(&self, client: u64, request: Request) -> UnderWay {
        let begun = self.moment();
        let call = Call {
            client,
            begun,
            ended: begun,
            request,
            answer: Answer::Unknown("it was not waited for".to_owned()),
        };
        let mut log = self.shared.log.lock();
        let id = log.next;
        log.next += 1;
        log.under_way.insert(id, call);
        UnderWay {
            recorder: self.clone(),
            id,
        }
    }

    fn end(&self, id: u64, ended: Moment, answer: Option<Answer>) {
        let mut log = self.shared.log.lock();
        // Nothing is there if the call was taken while it was under way.
        if let Some(mut call) = log.under_way.remove(&id) {
            call.ended = ended;
            call.answer = answer.unwrap_or(call.answer);
            log.calls.push(call);
        }
    }

    /// A watch was accepted.
    pub(super) fn watch(
        &self,
        client: u64,
        range: &KeyRange,
        options: &WatchOptions,
        after: Revision,
    ) -> OpenWatch {
        let mut log = self.shared.log.lock();
        let id = log.next;
        log.next += 1;
        let record = WatchRecord {
            name: format!("{id} of client {client}"),
            range: range.clone(),
            previous: options.previous,
            from: options.from,
            after,
            items: Vec::new(),
            until: None,
        };
        log.watches.insert(id, Watched { record, open: true });
        OpenWatch {
            recorder: self.clone(),
            id,
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Watched {
    fn take(&mut self) -> WatchRecord {
        let next = WatchRecord {
            name: self.record.name.clone(),
            range: self.record.range.clone(),
            previous: self.record.previous,
            from: None,
            after: self.record.reached(),
            items: Vec::new(),
            until: None,
        };
        std::mem::replace(&mut self.record, next)
    }
}

/// A call under way; one that is dropped has an unknown outcome.
#[derive(Debug)]
pub(super) struct UnderWay {
    recorder: Recorder,
    id: u64,
}

impl UnderWay {
    /// The call has ended with this result.
    pub(super) fn end<T: Clone>(
        self,
        result: Result<T>,
        reply: impl FnOnce(T) -> Reply,
    ) -> Result<T> {
        let answer = match &result {
            Ok(answer) => Answer::Done(reply(answer.clone())),
            Err(error) => failed(error),
        };
        let ended = self.recorder.moment();
        self.end_with(ended, answer);
        result
    }

    /// The call had ended at this moment with this answer.
    pub(super) fn end_with(self, ended: Moment, answer: Answer) {
        self.recorder.end(self.id, ended, Some(answer));
    }

    pub(super) fn moment(&self) -> Moment {
        self.recorder.moment()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.recorder.end(self.id, self.recorder.moment(), None);
    }
}

pub(super) fn failed(error: &Error) -> Answer {
    if error.may_have_applied() {
        Answer::Unknown(error.to_string())
    } else {
        Answer::Refused(error.to_string())
    }
}

/// A watch that delivers.
#[derive(Debug)]
pub(super) struct OpenWatch {
    recorder: Recorder,
    id: u64,
}

impl OpenWatch {
    pub(super) fn delivered(&self, item: &Result<Changes>) {
        let delivery = match item {
            Ok(changes) => Delivery::Item(changes.clone()),
            Err(error) => Delivery::Ended(error.to_string()),
        };
        let mut log = self.recorder.shared.log.lock();
        if let Some(watched) = log.watches.get_mut(&self.id) {
            watched.record.items.push(delivery);
        }
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Some(watched) = self.recorder.shared.log.lock().watches.get_mut(&self.id) {
            watched.open = false;
        }
    }
}
