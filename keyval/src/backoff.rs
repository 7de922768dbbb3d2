//! Waiting longer after each failure, by chance, and briefly again after calm.

use std::time::Duration;

use tokio::time::Instant;

/// How long to wait between attempts: exponential growth with full jitter, so that many clients do
/// not come back at once, and a fresh start after a time without failure.
///
/// Full jitter draws each wait evenly between zero and the grown bound, as described in "Exponential
/// Backoff And Jitter" (AWS Architecture Blog, 2015). To never be a hot loop, a wait is at least a
/// tenth of the first bound, and at least a millisecond whatever the bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BackoffPolicy {
    /// The bound of the first wait; 100 ms by default.
    pub initial: Duration,
    /// The bound that is never passed; 5 s by default.
    pub max: Duration,
    /// How much the bound grows from wait to wait; 2 by default.
    pub factor: f64,
    /// After this time without a failure the bound is the first one again; 5 s by default, the longest
    /// wait: a store that keeps failing sooner is asked ever less often, one that has worked for
    /// longer is asked again at once.
    pub reset_after: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(5),
            factor: 2.0,
            reset_after: Duration::from_secs(5),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_bound_grows_to_the_greatest_and_stays_there() {
        let policy = BackoffPolicy::default();
        let bounds: Vec<_> = (0..8).map(|n| policy.bound(n).as_millis()).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(policy.bound(u32::MAX), policy.max);
    }

    #[test]
    fn a_broken_factor_neither_shrinks_nor_panics() {
        for factor in [0.0, -3.0, f64::NAN, f64::INFINITY] {
            let policy = BackoffPolicy {
                factor,
                ..BackoffPolicy::default()
            };
            for failures in [0, 1, 50, u32::MAX] {
                let bound = policy.bound(failures);
                assert!(
                    bound >= policy.initial && bound <= policy.max,
                    "{factor} {failures}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_spread_below_the_bound_and_never_nothing() {
        let policy = BackoffPolicy::default();
        let mut backoff = policy.start();
        let mut waits = BTreeSet::new();
        for failures in 0..200 {
            let wait = backoff.next_wait();
            assert!(
                wait >= policy.initial / 10 && wait <= policy.bound(failures),
                "{wait:?}"
            );
            waits.insert(wait);
        }
        assert!(
            waits.len() > 100,
            "jitter makes nearly every wait another one"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calm_makes_the_next_failure_the_first_again() {
        let policy = BackoffPolicy::default();
        let mut backoff = policy.start();
        for _ in 0..10 {
            tokio::time::sleep(backoff.next_wait()).await;
        }
        assert_eq!(backoff.failures(), 10);
        tokio::time::sleep(policy.reset_after + Duration::from_secs(1)).await;
        assert!(backoff.next_wait() <= policy.initial);
        assert_eq!(backoff.failures(), 1);
    }
}
