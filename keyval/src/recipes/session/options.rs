//! How a session is opened and kept.

use std::time::Duration;

use crate::backoff::BackoffPolicy;
use crate::recipes::keeper::LeaseKeeper;

/// How a session is opened and kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// How long the session outlives its last sign of life; 60 s by default, at least 1 s. The store
    /// may raise it. A short one is noticed sooner when a program dies, and costs more requests:
    /// three in each TTL.
    pub ttl: Duration,
    /// Whether a lost lease is replaced by a new one, with which the keys are put again; so by
    /// default. If not, the session is over with its first loss.
    pub regrant: bool,
    /// How long to wait after a failed attempt to renew, to grant anew or to put again. Renewing
    /// waits never longer than a sixth of the TTL.
    pub backoff: BackoffPolicy,
    /// The most that [`close`](crate::recipes::Session::close) waits for the store; 5 s by default.
    pub close_timeout: Duration,
    /// The task that does the work; one for this session alone by default, as nothing else that it
    /// could share outlives it. Give one to all sessions of a program that opens many.
    pub keeper: Option<LeaseKeeper>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(60),
            regrant: true,
            backoff: BackoffPolicy::default(),
            close_timeout: Duration::from_secs(5),
            keeper: None,
        }
    }
}

impl SessionOptions {
    /// Sets how long the session outlives its last sign of life.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Ends the session with its first loss, instead of granting anew.
    #[must_use]
    pub fn without_regrant(mut self) -> Self {
        self.regrant = false;
        self
    }

    /// Sets how long to wait after a failed attempt.
    #[must_use]
    pub fn with_backoff(mut self, backoff: BackoffPolicy) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the most that closing waits for the store.
    #[must_use]
    pub fn with_close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Shares the task of this keeper.
    #[must_use]
    pub fn with_keeper(mut self, keeper: LeaseKeeper) -> Self {
        self.keeper = Some(keeper);
        self
    }
}
