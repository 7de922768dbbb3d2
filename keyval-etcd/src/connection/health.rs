//! What the calls and the connection of an endpoint have shown of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyval::{Backoff, BackoffPolicy};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The first bound of the time for which an endpoint that failed is asked last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Whether an endpoint answers: unknown at first, then up or down.
pub(crate) struct Health {
    /// Apart from the rest, as every call looks at it.
    up: AtomicBool,
    history: Mutex<History>,
}

struct History {
    /// None unless it is down.
    failed: Option<Failed>,
    backoff: Backoff,
}

struct Failed {
    cause: Arc<str>,
    retry_at: Instant,
}

impl Health {
    /// Of an endpoint that was never asked.
    pub(crate) fn unknown() -> Self {
        Self {
            up: AtomicBool::new(false),
            history: Mutex::new(History {
                failed: None,
                backoff: policy().start(),
            }),
        }
    }

    /// Whether the last that was heard of it was good.
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Notes that it answered.
    pub(crate) fn succeeded(&self) {
        let mut history = self.history.lock();
        history.failed = None;
        history.backoff = policy().start();
        self.up.store(true, Ordering::Release);
    }

    /// Notes why it did not answer.
    pub(crate) fn failed(&self, cause: &str) {
        let mut history = self.history.lock();
        self.up.store(false, Ordering::Release);
        let now = Instant::now();
        let retry_at = match &history.failed {
            // Many calls that meet one failure are one failure.
            Some(failed) if now < failed.retry_at => failed.retry_at,
            _ => now + history.backoff.next_wait(),
        };
        history.failed = Some(Failed {
            cause: cause.into(),
            retry_at,
        });
    }

    /// Until when others are to be asked first; none if it may be asked at once.
    pub(crate) fn avoid_until(&self, now: Instant) -> Option<Instant> {
        if self.is_up() {
            return None;
        }
        let history = self.history.lock();
        let failed = history.failed.as_ref()?;
        (failed.retry_at > now).then_some(failed.retry_at)
    }

    /// Why it is down; none if it is not.
    pub(crate) fn cause(&self) -> Option<Arc<str>> {
        let history = self.history.lock();
        history.failed.as_ref().map(|failed| failed.cause.clone())
    }
}

fn policy() -> BackoffPolicy {
    BackoffPolicy::default()
        .with_initial(FIRST_WAIT)
        .with_max(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use super::{FIRST_WAIT, Health, LONGEST_WAIT};

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_fails_is_avoided_for_a_while_and_forgiven_at_once() {
        let health = Health::unknown();
        assert!(!health.is_up());
        assert_eq!(health.avoid_until(Instant::now()), None);
        for _ in 0..20 {
            health.failed("refused");
            let now = Instant::now();
            let until = health.avoid_until(now).unwrap();
            assert!(until > now && until <= now + LONGEST_WAIT);
            advance(until - now).await;
            assert_eq!(health.avoid_until(Instant::now()), None);
            assert_eq!(&*health.cause().unwrap(), "refused");
        }
        health.succeeded();
        assert!(health.is_up() && health.cause().is_none());
        health.failed("again");
        let now = Instant::now();
        assert!(health.avoid_until(now).unwrap() <= now + FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_that_meet_one_failure_count_once() {
        let health = Health::unknown();
        for _ in 0..1000 {
            health.failed("refused");
        }
        let now = Instant::now();
        assert!(health.avoid_until(now).unwrap() <= now + FIRST_WAIT);
        advance(Duration::from_secs(6)).await;
        assert_eq!(health.avoid_until(Instant::now()), None);
    }
}
