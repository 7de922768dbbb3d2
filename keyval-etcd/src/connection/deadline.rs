//! When calls and their attempts have to end.

use std::time::Duration;

use tokio::time::Instant;

/// As good as never; to add it to the present is safe.
pub(crate) const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// The moment after this time, however long it is.
pub(crate) fn from_now(time: Duration) -> Instant {
    Instant::now() + time.min(FAR)
}

/// The times of one attempt.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// When it began.
    pub(crate) began: Instant,
    /// When it has to be able to send its request: half of the time is left where there is another
    /// endpoint to be asked.
    pub(crate) ready: Instant,
    /// When the call ends.
    pub(crate) deadline: Instant,
    /// Whether there is another endpoint.
    pub(crate) another: bool,
}

impl Limits {
    /// Of an attempt that begins now.
    pub(crate) fn new(deadline: Instant, another: bool) -> Self {
        let now = Instant::now();
        let ready = if another {
            now + deadline.saturating_duration_since(now) / 2
        } else {
            deadline
        };
        Self {
            began: now,
            ready,
            deadline,
            another,
        }
    }
}
