//! How much to measure, and how to sum it up.

use std::time::{Duration, Instant};

/// How large a run is.
pub(crate) struct Scale {
    /// Rounds of each side of all else; odd, so that there is a middle one.
    pub(crate) rounds: usize,
    /// Rounds of each side in which single operations are measured, and the length of one. Short
    /// and many: what else the machine does then disturbs both sides of most pairs alike.
    pub(crate) slices: usize,
    pub(crate) slice: Duration,
    /// Revisions that are delivered to many watches in a round.
    pub(crate) revisions: usize,
    /// Puts whose way to a watch is timed in a round.
    pub(crate) puts: usize,
    /// For how long the server is down, in each of the outages.
    pub(crate) outages: &'static [Duration],
    /// Keys that are written in bulk in a round.
    pub(crate) bulk: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        rounds: 7,
        slices: 21,
        slice: Duration::from_millis(400),
        revisions: 200,
        puts: 1000,
        outages: &[
            Duration::ZERO,
            Duration::from_secs(3),
            Duration::ZERO,
            Duration::from_secs(3),
            Duration::from_secs(10),
        ],
        bulk: 100_000,
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 3,
        slices: 7,
        slice: Duration::from_millis(150),
        revisions: 60,
        puts: 300,
        outages: &[Duration::ZERO, Duration::from_secs(1)],
        bulk: 20_000,
    };
}

/// The middle one of some figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Two sides, measured in turn, `N` figures of each.
pub(crate) struct Sides<const N: usize> {
    pub(crate) ours: [f64; N],
    pub(crate) theirs: [f64; N],
    /// The medians of the ratios of the rounds: ours to theirs.
    pub(crate) ratio: [f64; N],
}

/// Measures two sides in turn. The first round warms up and does not count.
pub(crate) fn in_turn<const N: usize>(
    rounds: usize,
    mut ours: impl FnMut() -> [f64; N],
    mut theirs: impl FnMut() -> [f64; N],
) -> Sides<N> {
    let mut pairs = Vec::new();
    for round in 0..=rounds {
        // Who goes first changes: what one side leaves behind must not always help the other.
        let pair = if round % 2 == 0 {
            let ours = ours();
            (ours, theirs())
        } else {
            let theirs = theirs();
            (ours(), theirs)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    let middle = |figure: fn(f64, f64) -> f64| {
        std::array::from_fn(|at| {
            let figures = pairs
                .iter()
                .map(|(ours, theirs)| figure(ours[at], theirs[at]));
            median(figures)
        })
    };
    Sides {
        ours: middle(|ours, _| ours),
        theirs: middle(|_, theirs| theirs),
        ratio: middle(|ours, theirs| ours / theirs),
    }
}

/// Measures how long something took, and how long processors worked for this process.
pub(crate) struct Clock {
    began: Instant,
    worked: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            worked: worked(),
            began: Instant::now(),
        }
    }

    /// Operations per second, and microseconds of a processor for each.
    pub(crate) fn figures(&self, operations: u64) -> [f64; 2] {
        let took = self.began.elapsed();
        let worked = worked() - self.worked;
        let operations = operations as f64;
        [
            operations / took.as_secs_f64(),
            worked.as_secs_f64() * 1e6 / operations,
        ]
    }
}

/// How long processors have worked for the threads of this process, by the kernel's account.
fn worked() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("the kernel tells of threads");
    let nanos = threads.flatten().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
