//! The streams of a store, and which watch goes on which.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyval::{KeyRange, Revision};
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;

use crate::connection::{Client, Node, StubResult};
use crate::watch::backlog::{Backlog, Gauges};
use crate::watch::demux::{Opened, Wanted};
use crate::watch::queue::queue;
use crate::watch::reader::Reader;
use crate::watch::stream::{Command, Stream};

/// A watch that starts no further back is sent what it missed at once.
const NEAR: u64 = 1000;
/// How many streams of a class one endpoint serves at most.
const STREAMS: usize = 8;
/// How many watches are put on a stream before another one is opened. A server gives up sending at
/// once to watches of a stream for which more than 128 answers wait.
const SHARED_BY: usize = 32;

/// What kind of watches share a stream. A server answers requests for progress only if it has sent
/// everything to all watches of the stream, so that a long replay must not share with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    /// They start at the present, or nearly.
    Live,
    /// They start in the past, or in the future.
    CatchUp,
}

/// What a watch is to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What to watch.
    pub(crate) range: Arc<KeyRange>,
    /// The revision after which to deliver.
    pub(crate) after: Revision,
    /// Where the store was at last.
    pub(crate) present: Revision,
    /// Whether previous entries are wanted.
    pub(crate) previous: bool,
    /// How long the watch may be without word.
    pub(crate) progress: Option<Duration>,
}

impl Plan {
    fn class(&self) -> Class {
        let behind = self.present.get().checked_sub(self.after.get());
        if behind.is_some_and(|behind| behind <= NEAR) {
            Class::Live
        } else {
            Class::CatchUp
        }
    }
}

/// The streams of watches of a store, each opened when it is needed and closed a while after its
/// last watch.
#[derive(Default)]
pub(crate) struct Hub {
    streams: Mutex<Streams>,
    tokens: AtomicU64,
    newest: Arc<AtomicU64>,
    gauges: OnceLock<Gauges>,
}

type Streams = HashMap<(Arc<str>, Class), Vec<Handle>>;

#[derive(Clone)]
struct Handle {
    commands: UnboundedSender<Command>,
    /// How often the token was changed when it was opened; a stream keeps its token for life.
    login: u64,
    /// As many clones as there are watches, and this one.
    seats: Arc<()>,
}

impl Handle {
    fn watches(&self) -> usize {
        Arc::strong_count(&self.seats)
    }

    fn takes_watches(&self, login: u64) -> bool {
        !self.commands.is_closed() && self.login == login
    }
}

impl Hub {
    /// The highest revision that any stream of the store has heard of.
    pub(crate) fn newest(&self) -> Revision {
        Revision::new(self.newest.load(Ordering::Relaxed))
    }

    /// Opens a watch at an endpoint.
    ///
    /// # Errors
    /// The failure of the stream, if it breaks before the watch is accepted or refused.
    pub(crate) async fn open(
        &self,
        client: Arc<Client>,
        node: Arc<Node>,
        plan: Plan,
    ) -> StubResult<(Reader, Opened)> {
        loop {
            let stream = self.stream(&client, &node, plan.class());
            let token = self.tokens.fetch_add(1, Ordering::Relaxed);
            let gauges = self.gauges.get_or_init(|| Gauges::of(client.name()));
            let (feed, waiting) = queue(Backlog::new(gauges.clone(), plan.after));
            let (answer, answered) = oneshot::channel();
            let wanted = Wanted {
                range: plan.range.clone(),
                after: plan.after,
                at_present: plan.after >= plan.present,
                previous: plan.previous,
                progress: plan.progress,
                feed,
                _seat: stream.seats,
            };
            let create = Command::Create {
                token,
                wanted,
                answer,
            };
            // A stream that ends at this moment leaves it without an answer.
            drop(stream.commands.send(create));
            // From here on, giving up ends the watch.
            let reader = Reader::new(token, stream.commands, waiting);
            if let Ok(outcome) = answered.await {
                return outcome.map(|opened| (reader, opened));
            }
        }
    }

    /// The stream on which the next watch goes.
    fn stream(&self, client: &Arc<Client>, node: &Arc<Node>, class: Class) -> Handle {
        let mut all = self.streams.lock();
        let streams = all.entry((node.endpoint.clone(), class)).or_default();
        let login = node.logins();
        streams.retain(|stream| stream.takes_watches(login));
        let least = streams.iter().min_by_key(|stream| stream.watches());
        if let Some(stream) = least
            && (stream.watches() <= SHARED_BY || streams.len() >= STREAMS)
        {
            return stream.clone();
        }
        // Unbounded, so that a reader can leave when it is dropped; no watch has more than a creation,
        // a resumption and a departure on the way.
        let (commands, asked) = mpsc::unbounded_channel();
        let newest = self.newest.clone();
        let stream = Stream::new(client.clone(), node.clone(), asked, newest);
        client.tasks().spawn(stream.run());
        let handle = Handle {
            commands,
            login,
            seats: Arc::default(),
        };
        streams.push(handle.clone());
        handle
    }
}
