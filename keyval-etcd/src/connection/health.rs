//! What the calls and the connection of an endpoint have shown of it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyval::{Backoff, BackoffPolicy};
use metrics::{Gauge, SharedString};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The first bound of the time for which an endpoint that failed is asked last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Whether an endpoint answers: unknown at first, then up or down.
pub(crate) struct Health {
    /// Whose, for the metric.
    endpoint: Arc<str>,
    /// The same one always: a recorder that comes later must not see but one half of a change.
    gauge: OnceLock<Gauge>,
    /// Apart from the rest, as every call looks at it.
    standing: AtomicU8,
    history: Mutex<History>,
}

const UNKNOWN: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;
const UP_METRIC: &str = "keyval_endpoint_up";

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
    pub(crate) fn unknown(endpoint: Arc<str>) -> Self {
        Self {
            endpoint,
            gauge: OnceLock::new(),
            standing: AtomicU8::new(UNKNOWN),
            history: Mutex::new(History {
                failed: None,
                backoff: policy().start(),
            }),
        }
    }

    /// Whether the last that was heard of it was good.
    pub(crate) fn is_up(&self) -> bool {
        self.standing.load(Ordering::Acquire) == UP
    }

    /// Notes that it answered.
    pub(crate) fn succeeded(&self) {
        let mut history = self.history.lock();
        history.failed = None;
        history.backoff = policy().start();
        self.stands(UP);
    }

    /// Notes why it did not answer.
    pub(crate) fn failed(&self, cause: &str) {
        let mut history = self.history.lock();
        self.stands(DOWN);
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

    fn stands(&self, standing: u8) {
        let before = self.standing.swap(standing, Ordering::AcqRel);
        if before == standing {
            return;
        }
        // Not seen before the endpoint was asked: what is unknown is not down.
        let gauge = self.gauge.get_or_init(|| {
            metrics::describe_gauge!(
                UP_METRIC,
                "How many stores found the endpoint up when they last heard of it."
            );
            metrics::gauge!(UP_METRIC, "endpoint" => SharedString::from(self.endpoint.clone()))
        });
        gauge.increment(f64::from(standing == UP) - f64::from(before == UP));
    }

    /// Until when others are to be asked first; none if it may be asked at once.
    pub(crate) fn avoid_until(&self, now: Instant) -> Option<Instant> {
        if self.standing.load(Ordering::Acquire) != DOWN {
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

/// What a store does not use any more is not up for it.
impl Drop for Health {
    fn drop(&mut self) {
        if self.is_up() {
            self.stands(DOWN);
        }
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
        let health = Health::unknown("a:1".into());
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
        let health = Health::unknown("a:1".into());
        for _ in 0..1000 {
            health.failed("refused");
        }
        let now = Instant::now();
        assert!(health.avoid_until(now).unwrap() <= now + FIRST_WAIT);
        advance(Duration::from_secs(6)).await;
        assert_eq!(health.avoid_until(Instant::now()), None);
    }
}
