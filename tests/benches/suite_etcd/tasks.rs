//! The same work by few and by many tasks.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::rounds::Clock;

/// How many keys are used.
pub(crate) const KEYS: usize = 4096;

/// Lets tasks do something again and again for a time; each says how often it did.
pub(crate) fn many<F>(
    runtime: &Runtime,
    tasks: usize,
    time: Duration,
    work: impl Fn(Picks) -> F,
) -> [f64; 2]
where
    F: Future<Output = u64> + Send + 'static,
{
    let clock = Clock::start();
    let until = Instant::now() + time;
    let tasks: Vec<_> = (0..tasks)
        .map(|seed| {
            let random = fastrand::Rng::with_seed(seed as u64);
            runtime.spawn(work(Picks { random, until }))
        })
        .collect();
    let count = runtime.block_on(async {
        let mut all = 0;
        for task in tasks {
            all += task.await.expect("a task that works");
        }
        all
    });
    clock.figures(count)
}

/// Numbers of keys by chance, until the time is over.
pub(crate) struct Picks {
    random: fastrand::Rng,
    until: Instant,
}

impl Iterator for Picks {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        (Instant::now() < self.until).then(|| self.random.usize(..KEYS))
    }
}
