//! How far the readers of watches are behind, as metrics.

use std::fmt;

use keyval::Revision;
use metrics::Gauge;

const DEPTH: &str = "keyval_watch_queue_depth";
const LAG: &str = "keyval_watch_revision_lag";

/// The gauges of a store, to which each of its watches adds its share.
#[derive(Clone)]
pub(crate) struct Gauges {
    depth: Gauge,
    lag: Gauge,
}

impl Gauges {
    /// Those of the store of this name.
    pub(crate) fn of(store: &str) -> Self {
        metrics::describe_gauge!(DEPTH, "Revisions that wait for the readers of watches.");
        metrics::describe_gauge!(
            LAG,
            "How many revisions the readers of watches are behind what has arrived for them."
        );
        Self {
            depth: metrics::gauge!(DEPTH, "store" => store.to_owned()),
            lag: metrics::gauge!(LAG, "store" => store.to_owned()),
        }
    }
}

/// Gauges that nobody sees.
impl Default for Gauges {
    fn default() -> Self {
        Self {
            depth: Gauge::noop(),
            lag: Gauge::noop(),
        }
    }
}

/// The share of one watch, which goes with it.
#[derive(Default)]
pub(crate) struct Backlog {
    gauges: Gauges,
    /// What the gauges hold of it.
    waiting: usize,
    lag: u64,
    arrived: Revision,
    taken: Revision,
}

impl Backlog {
    /// Of a watch that delivers what comes after this revision.
    pub(crate) fn new(gauges: Gauges, after: Revision) -> Self {
        Self {
            gauges,
            waiting: 0,
            lag: 0,
            arrived: after,
            taken: after,
        }
    }

    /// This revision has arrived, whether or not there was room for it; so many wait now.
    pub(crate) fn arrived(&mut self, revision: Revision, waiting: usize) {
        self.arrived = self.arrived.max(revision);
        self.tell(waiting);
    }

    /// The reader took this revision; so many wait now.
    pub(crate) fn taken(&mut self, revision: Revision, waiting: usize) {
        self.taken = self.taken.max(revision);
        self.tell(waiting);
    }

    /// Nobody reads any more.
    pub(crate) fn given_up(&mut self) {
        self.taken = self.arrived;
        self.tell(0);
    }

    fn tell(&mut self, waiting: usize) {
        let lag = self.arrived.get().saturating_sub(self.taken.get());
        if waiting != self.waiting {
            let added = waiting as f64 - self.waiting as f64;
            self.gauges.depth.increment(added);
            self.waiting = waiting;
        }
        if lag != self.lag {
            self.gauges.lag.increment(lag as f64 - self.lag as f64);
            self.lag = lag;
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.given_up();
    }
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog")
            .field("waiting", &self.waiting)
            .field("lag", &self.lag)
            .finish_non_exhaustive()
    }
}
