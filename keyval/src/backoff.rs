//! Waiting longer after each failure, by chance, and briefly again after calm.

use std::time::Duration;

use tokio::time::Instant;

/// How long to wait between attempts: exponential growth with full jitter, so that many clients do
/// not come back at once, and a fresh start after a time without failure.
///
/// Full jitter draws each wait evenly between zero and the grown bound, as described in "Exponential
/// Backoff And Jitter" (AWS Architecture Blog, 2015). To never be a hot loop, a wait is at least a
/// tenth of the first bound.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BackoffPolicy {
    /// The bound of the first wait; 100 ms by default.
    pub initial: Duration,
    /// The bound that is never passed; 5 s by default.
    pub max: Duration,
    /// How much the bound grows from wait to wait; 2 by default.
    pub factor: f64,
    /// After this time without a failure the bound is the first one again; 30 s by default.
    pub reset_after: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(5),
            factor: 2.0,
            reset_after: Duration::from_secs(30),
        }
    }
}

impl BackoffPolicy {
    /// Sets the bound of the first wait.
    #[must_use]
    pub fn with_initial(mut self, initial: Duration) -> Self {
        self.initial = initial;
        self
    }

    /// Sets the bound that is never passed.
    #[must_use]
    pub fn with_max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// The bound of the wait after this many failures in a row, counted from zero.
    #[must_use]
    pub fn bound(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures).unwrap_or(i32::MAX);
        let bound = self.initial.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        // Also where the product is infinite.
        if bound >= self.max.as_secs_f64() {
            self.max
        } else {
            Duration::from_secs_f64(bound)
        }
    }

    /// Starts counting failures.
    #[must_use]
    pub fn start(self) -> Backoff {
        Backoff {
            policy: self,
            failures: 0,
            last: None,
        }
    }
}

/// Counts failures and says how long to wait after each.
///
/// # Examples
/// ```
/// use keyval::BackoffPolicy;
///
/// # tokio_test::block_on(async {
/// let mut backoff = BackoffPolicy::default().start();
/// let first = backoff.next_wait();
/// assert!(first <= BackoffPolicy::default().initial);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// Notes a failure and says how long to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let now = Instant::now();
        if self
            .last
            .is_some_and(|last| now.duration_since(last) > self.policy.reset_after)
        {
            self.failures = 0;
        }
        let bound = self.policy.bound(self.failures);
        let wait = bound
            .mul_f64(fastrand::f64())
            .max(self.policy.bound(0) / 10);
        self.failures = self.failures.saturating_add(1);
        self.last = Some(now + wait);
        wait
    }

    /// The failures in a row so far.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
