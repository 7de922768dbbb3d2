//! How to follow a range; the defaults suit a service on a network.

use std::borrow::Cow;
use std::time::Duration;

use crate::backoff::BackoffPolicy;
use crate::error::{Error, Result};

/// How to follow a range.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::FollowOptions;
///
/// let options = FollowOptions::default()
///     .with_name("interfaces")
///     .with_silence(Duration::from_secs(10));
/// assert!(options.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FollowOptions {
    /// What metrics and logs call this follower; `unnamed` by default. Take it from a small, fixed
    /// set: it becomes a label.
    pub name: Cow<'static, str>,
    /// Deliver with each change the entry that stood there before, where the store still keeps it;
    /// not by default.
    pub previous: bool,
    /// A watch that brings neither change nor progress for this long is replaced; 30 s by default.
    /// The store is asked for progress three times as often.
    pub silence: Duration,
    /// How long to wait for the store to accept a list or a watch, to answer a check, and for each
    /// further entry of a list; 10 s by default. A long list as a whole has no deadline.
    pub operation_timeout: Duration,
    /// After an outage of this length the state is [`FollowState::Lost`]; 60 s by default.
    ///
    /// [`FollowState::Lost`]: crate::FollowState::Lost
    pub lost_after: Duration,
    /// How long to wait between attempts; at most 100 ms before the first, and at most 5 s before
    /// any, by default.
    pub backoff: BackoffPolicy,
    /// Up to how many keys the history of the range is recognised exactly, by reading the range
    /// again; 1,000 by default. Costs 32 bytes of memory for each key. Larger ranges, and ranges
    /// with more than 1 MiB of values, are recognised by samples.
    pub exact_keys: usize,
    /// How often the history is checked while the watch works, give or take a tenth; 10 minutes by
    /// default, `None` is never. Finds what no reconnection tells: a proxy that hides the wipe of
    /// the store behind it, a store that leaves out changes.
    pub verify_every: Option<Duration>,
    /// How many entries of a snapshot to ask the store for at a time, at least 1; the store's
    /// choice by default.
    pub page: Option<usize>,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self {
            name: Cow::Borrowed("unnamed"),
            previous: false,
            silence: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(10),
            lost_after: Duration::from_secs(60),
            backoff: BackoffPolicy::default(),
            exact_keys: 1_000,
            verify_every: Some(Duration::from_secs(600)),
            page: None,
        }
    }
}

impl FollowOptions {
    /// Names this follower in metrics and logs.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Delivers with each change the entry that stood there before.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        self.previous = true;
        self
    }

    /// Sets after which silence a watch is replaced.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// Sets how long to wait for each answer.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets after which outage the state is lost.
    #[must_use]
    pub fn with_lost_after(mut self, lost_after: Duration) -> Self {
        self.lost_after = lost_after;
        self
    }

    /// Sets how long to wait between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: BackoffPolicy) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets up to how many keys the history is recognised exactly.
    #[must_use]
    pub fn with_exact_keys(mut self, keys: usize) -> Self {
        self.exact_keys = keys;
        self
    }

    /// Sets how often the history is checked while the watch works; `None` is never.
    #[must_use]
    pub fn with_verify_every(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.verify_every = every.into();
        self
    }

    /// Asks the store for this many entries of a snapshot at a time.
    #[must_use]
    pub fn with_page(mut self, page: usize) -> Self {
        self.page = Some(page);
        self
    }

    /// Refuses what would never wait, or never end to wait.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time of zero, for a first wait of the backoff of less than 1 ms or
    /// above its greatest, and for pages of zero entries.
    pub fn check(&self) -> Result<()> {
        let times = [
            ("silence", self.silence),
            ("operation_timeout", self.operation_timeout),
            ("lost_after", self.lost_after),
            (
                "verify_every",
                self.verify_every.unwrap_or(Duration::from_secs(1)),
            ),
        ];
        for (name, time) in times {
            if time < Duration::from_millis(1) {
                return Err(Error::invalid(format!(
                    "{name} is {time:?}: give it at least 1ms"
                )));
            }
        }
        let (initial, max) = (self.backoff.initial, self.backoff.max);
        if initial < Duration::from_millis(1) || initial > max {
            return Err(Error::invalid(format!(
                "the backoff begins with {initial:?} and ends with {max:?}: \
                 begin with at least 1ms, and not above the end"
            )));
        }
        if self.page == Some(0) {
            return Err(Error::invalid(
                "the page of a snapshot is 0: leave it out or ask for at least 1",
            ));
        }
        Ok(())
    }
}
