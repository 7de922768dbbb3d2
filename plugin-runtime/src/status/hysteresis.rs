//! How long a state must last to be shown.

use std::time::Duration;

use super::agent::State;

/// How long a plugin must be in another state before that is shown, so that one that comes and goes
/// does not make its agent ready and unready many times a second.
///
/// By default trouble is shown at once, and its end after a second without trouble. What is no
/// flapping is always shown at once: the first state after [`State::Init`], to be switched off or
/// on, and the close.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use plugin_runtime::{ConfigDir, Host, Hysteresis};
///
/// let hysteresis = Hysteresis::default()
///     .with_worse_after(Duration::from_millis(200)) // a short outage is nobody's business
///     .with_better_after(Duration::from_secs(10));
/// let host = Host::new(ConfigDir::new("config")).with_hysteresis(hysteresis);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hysteresis {
    /// How long a plugin must be worse before that is shown; nothing by default, that is, at once.
    pub worse_after: Duration,
    /// How long a plugin must be better before that is shown; 1 s by default.
    pub better_after: Duration,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Self {
            worse_after: Duration::ZERO,
            better_after: Duration::from_secs(1),
        }
    }
}

impl Hysteresis {
    /// Shows every state at once.
    #[must_use]
    pub fn none() -> Self {
        Self {
            worse_after: Duration::ZERO,
            better_after: Duration::ZERO,
        }
    }

    /// Sets how long a plugin must be worse before that is shown.
    #[must_use]
    pub fn with_worse_after(mut self, worse_after: Duration) -> Self {
        self.worse_after = worse_after;
        self
    }

    /// Sets how long a plugin must be better before that is shown.
    #[must_use]
    pub fn with_better_after(mut self, better_after: Duration) -> Self {
        self.better_after = better_after;
        self
    }

    /// How long the change from one state to another must have lasted to be shown.
    pub(crate) fn hold(&self, from: State, to: State) -> Duration {
        let counts = |state| matches!(state, State::Ok | State::Degraded | State::Error);
        if !counts(from) || !counts(to) {
            Duration::ZERO
        } else if to > from {
            self.worse_after
        } else {
            self.better_after
        }
    }
}
