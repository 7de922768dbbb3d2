//! How much to measure, and how to sum it up.

use std::time::{Duration, Instant};

/// How large a run is.
pub(crate) struct Scale {
    /// Rounds of each side; odd, so that there is a middle one.
    pub(crate) rounds: usize,
    /// Operations in a round of single gets or puts.
    pub(crate) operations: usize,
    /// The length of a round that is measured by time.
    pub(crate) round: Duration,
    /// Revisions that are delivered to many watchers in a round.
    pub(crate) revisions: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        rounds: 9,
        operations: 200_000,
        round: Duration::from_millis(1000),
        revisions: 3000,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 5,
        operations: 60_000,
        round: Duration::from_millis(250),
        revisions: 1000,
    };
}

/// The middle one of some figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Two sides, measured in turn.
pub(crate) struct Sides {
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
    /// The median of the ratios of the rounds: ours to theirs.
    pub(crate) ratio: f64,
}

/// Measures two sides in turn. The first round warms up and does not count.
pub(crate) fn in_turn(
    rounds: usize,
    mut ours: impl FnMut(usize) -> f64,
    mut theirs: impl FnMut(usize) -> f64,
) -> Sides {
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        // Who goes first changes: what one side leaves in the caches must not always help the other.
        let pair = if round % 2 == 0 {
            let ours = ours(round);
            (ours, theirs(round))
        } else {
            let theirs = theirs(round);
            (ours(round), theirs)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    Sides {
        ours: median(pairs.iter().map(|pair| pair.0)),
        theirs: median(pairs.iter().map(|pair| pair.1)),
        ratio: median(pairs.iter().map(|pair| pair.0 / pair.1)),
    }
}

/// Operations per second.
pub(crate) fn rate(operations: usize, took: Duration) -> f64 {
    operations as f64 / took.as_secs_f64()
}

/// Measures the time that one thread needs, without the time that it waits for a processor while
/// the machine is busy with something else, where the system tells that. Time spent waiting for a
/// lock counts.
pub(crate) struct Clock {
    began: Instant,
    queued: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            queued: queued(),
            began: Instant::now(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let all = self.began.elapsed();
        all.saturating_sub(queued().saturating_sub(self.queued))
    }
}

/// How long this thread has waited for a processor in all, by the kernel's account.
fn queued() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1);
    Duration::from_nanos(nanos.and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}
