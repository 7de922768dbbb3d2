//! How a view is kept, and how often it tells of changes.

use std::borrow::Cow;
use std::time::Duration;

use keyval::FollowOptions;

/// How a view is kept; the defaults suit a service on a network.
///
/// # Examples
/// ```
/// use keyval_proto::ViewOptions;
///
/// let options = ViewOptions::default().with_name("interfaces").with_attempts(3);
/// assert_eq!(options.follow.name, "interfaces");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ViewOptions {
    /// How the range is followed: its name in metrics and logs, its waits.
    pub follow: FollowOptions,
    /// How often an edit is tried before it is [`Contended`](crate::Error::Contended), at least 1; 32
    /// by default. The waits in between grow from 1 ms to at most 50 ms, by chance.
    pub attempts: u32,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            follow: FollowOptions::default(),
            attempts: 32,
        }
    }
}

impl ViewOptions {
    /// Names the view in metrics and logs.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.follow = self.follow.with_name(name);
        self
    }

    /// Sets how the range is followed.
    #[must_use]
    pub fn with_follow(mut self, follow: FollowOptions) -> Self {
        self.follow = follow;
        self
    }

    /// Sets how often an edit is tried.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`keyval::Error::Invalid`] for no attempt at all, and for what [`FollowOptions::check`]
    /// refuses.
    pub fn check(&self) -> keyval::Result<()> {
        if self.attempts == 0 {
            return Err(keyval::Error::invalid(
                "an edit of the view may be tried 0 times: allow at least 1 attempt",
            ));
        }
        self.follow.check()
    }
}

/// When to tell of changes: once it has been quiet, but never later than a longest delay after the
/// first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// How long there must be no further change; 50 ms by default, zero tells at once.
    pub quiet: Duration,
    /// How long the first change waits at most, however many follow; 1 s by default. Where it is the
    /// shorter of the two, it alone counts.
    pub longest: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(50),
            longest: Duration::from_secs(1),
        }
    }
}

impl Pace {
    /// Tells of each change at once.
    pub const AT_ONCE: Self = Self {
        quiet: Duration::ZERO,
        longest: Duration::ZERO,
    };

    /// Tells after this quiet time, and at the latest after this delay.
    #[must_use]
    pub const fn new(quiet: Duration, longest: Duration) -> Self {
        Self { quiet, longest }
    }
}
