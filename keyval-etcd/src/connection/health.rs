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

/// For how long a doubt counts: nothing but a call can clear it, and an endpoint that was left gets
/// none.
const DOUBT: Duration = Duration::from_secs(30);

/// Whether an endpoint answers: unknown at first, then up or down.
///
/// One that is up can be in doubt: it knows no leader, or it answers questions for its state but left
/// a call without an answer. Then one that is not in doubt is rather asked, for a while.
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
/// Up, but in doubt.
const DOUBTFUL: u8 = 3;
const UP_METRIC: &str = "keyval_endpoint_up";

struct History {
    /// None unless it is down.
    failed: Option<Failed>,
    backoff: Backoff,
    /// When it was asked for its state last, if it knew no leader then.
    leaderless: Option<Instant>,
    /// When it left a call without an answer, if it has answered none since.
    unanswered: Option<Instant>,
}

/// Why an endpoint that is up is rather not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) since: Instant,
    pub(crate) why: &'static str,
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
                leaderless: None,
                unanswered: None,
            }),
        }
    }

    /// Whether it answered when it was last heard of.
    pub(crate) fn is_up(&self) -> bool {
        is_up(self.standing.load(Ordering::Acquire))
    }

    /// Whether it is up, and not in doubt.
    pub(crate) fn is_sound(&self) -> bool {
        self.standing.load(Ordering::Acquire) == UP
    }

    /// Why another endpoint is rather asked although it is up, and since when; none if it is not in
    /// doubt.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        if self.standing.load(Ordering::Acquire) != DOUBTFUL {
            return None;
        }
        let history = self.history.lock();
        let doubts = [
            (history.leaderless, "it knows no leader"),
            (history.unanswered, "it left a call without an answer"),
        ];
        let doubts = doubts
            .into_iter()
            .filter_map(|(since, why)| Some(Doubt { since: since?, why }));
        let now = Instant::now();
        doubts
            .filter(|doubt| now.saturating_duration_since(doubt.since) < DOUBT)
            .max_by_key(|doubt| doubt.since)
    }

    /// Notes that it answered a call which began then. A call that was left without an answer since
    /// says more.
    pub(crate) fn succeeded(&self, began: Instant) {
        let mut history = self.history.lock();
        history.leaderless = None;
        history.unanswered = history.unanswered.filter(|since| *since > began);
        self.answers(&mut history);
    }

    /// Notes that it answered when it was asked for its state, and whether it knew a leader. That
    /// says nothing of a call that it left without an answer.
    pub(crate) fn told(&self, leader: bool) {
        let mut history = self.history.lock();
        history.leaderless = (!leader).then(Instant::now);
        self.answers(&mut history);
    }

    fn answers(&self, history: &mut History) {
        history.failed = None;
        history.backoff = policy().start();
        let doubtful = history.leaderless.is_some() || history.unanswered.is_some();
        self.stands(if doubtful { DOUBTFUL } else { UP });
    }

    /// Notes that a call was sent to it and that nothing came back, though the connection stood.
    pub(crate) fn left_unanswered(&self, cause: &str) {
        self.history.lock().unanswered = Some(Instant::now());
        self.failed(cause);
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
        gauge.increment(f64::from(is_up(standing)) - f64::from(is_up(before)));
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

fn is_up(standing: u8) -> bool {
    matches!(standing, UP | DOUBTFUL)
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

    use super::{DOUBT, FIRST_WAIT, Health, LONGEST_WAIT};

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
        health.succeeded(Instant::now());
        assert!(health.is_up() && health.cause().is_none());
        health.failed("again");
        let now = Instant::now();
        assert!(health.avoid_until(now).unwrap() <= now + FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_without_a_leader_or_an_answer_is_in_doubt_until_it_has_them() {
        let health = Health::unknown("a:1".into());
        health.told(false);
        assert!(health.is_up() && !health.is_sound());
        assert_eq!(health.doubt().unwrap().why, "it knows no leader");
        health.told(true);
        assert!(health.is_sound() && health.doubt().is_none());

        let earlier = Instant::now();
        advance(Duration::from_secs(1)).await;
        health.left_unanswered("no answer within 3s");
        assert!(!health.is_up());
        health.told(true);
        assert!(health.is_up() && !health.is_sound(), "its state is not all");
        assert!(health.doubt().unwrap().why.contains("without an answer"));
        health.succeeded(earlier);
        assert!(health.doubt().is_some(), "that was asked before");
        health.succeeded(Instant::now());
        assert!(health.is_sound());
    }

    #[tokio::test(start_paused = true)]
    async fn a_doubt_that_nothing_confirms_lapses() {
        let health = Health::unknown("a:1".into());
        health.left_unanswered("no answer within 3s");
        health.told(true);
        assert!(health.doubt().is_some());
        advance(DOUBT).await;
        assert!(health.is_up() && health.doubt().is_none());
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
