//! Whether the agent's runtime goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

/// How often the heart beats.
const BEAT: Duration = Duration::from_secs(1);

/// When a runtime was last seen to go on. Written there, read on another.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    /// What the beats are counted from.
    epoch: Instant,
    /// The last one, in milliseconds.
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// A heart that has just beaten.
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            last: Arc::default(),
        }
    }

    /// Beats until it is dropped.
    pub(super) async fn beat(&self) {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.last.store(self.now(), Ordering::Relaxed);
        }
    }

    /// How long ago the last beat was.
    pub(super) fn age(&self) -> Duration {
        let last = self.last.load(Ordering::Relaxed);
        Duration::from_millis(self.now().saturating_sub(last))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
