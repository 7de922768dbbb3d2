//! How long this thread has worked, however busy the machine is with other things.

use std::fs;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time that the system has given to this thread; where that cannot be asked, the time that has passed.
fn worked() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = told.split(' ').next().unwrap_or_default();
    first
        .parse()
        .map_or_else(|_| BEGAN.elapsed(), Duration::from_nanos)
}

/// What comes of this work, and how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = worked();
    let done = work();
    (done, worked().saturating_sub(before))
}
