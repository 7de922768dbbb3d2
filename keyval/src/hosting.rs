//! How a plugin host is to keep a store, whatever its backend.

use std::time::Duration;

use crate::error::{Error, Result};

/// How a plugin host is to keep a store: when it may connect, what it compacts, what it holds.
///
/// A backend finds these in its own configuration, where it has them:
/// [`Connector::hosting`](crate::Connector::hosting).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use keyval::Hosting;
///
/// let mut hosting = Hosting::default();
/// hosting.allow_delayed_start = true;
/// hosting.auto_compact = Duration::from_millis(1);
/// let error = hosting.check().unwrap_err();
/// assert!(error.to_string().contains("auto-compact"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hosting {
    /// Whether the program starts without its store, and connects later; not by default.
    pub allow_delayed_start: bool,
    /// The most to wait between two attempts to connect at a delayed start; 2 s by default, 1 ms
    /// the least. The first attempts follow each other sooner.
    pub reconnect_interval: Duration,
    /// Whether plugins resync after each outage, however short; not by default.
    pub resync_after_reconnect: bool,
    /// How much history automatic compaction keeps at least; 0, the default, is off, and 1 s the
    /// least.
    pub auto_compact: Duration,
    /// How long what a session holds outlives its program; 5 s by default, 1 s the least.
    pub session_ttl: Duration,
}

impl Default for Hosting {
    fn default() -> Self {
        Self {
            allow_delayed_start: false,
            reconnect_interval: Duration::from_secs(2),
            resync_after_reconnect: false,
            auto_compact: Duration::ZERO,
            session_ttl: Duration::from_secs(5),
        }
    }
}

impl Hosting {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time below its least.
    pub fn check(&self) -> Result<()> {
        match self.findings().first() {
            None => Ok(()),
            Some((key, told)) => Err(Error::invalid(format!("{key} {told}"))),
        }
    }

    /// What makes no sense: each key, and what is wrong with it.
    #[must_use]
    pub fn findings(&self) -> Vec<(&'static str, String)> {
        let second = Duration::from_secs(1);
        let mut times = vec![
            (
                "reconnect-interval",
                self.reconnect_interval,
                Duration::from_millis(1),
            ),
            ("session-ttl", self.session_ttl, second),
        ];
        if !self.auto_compact.is_zero() {
            times.push(("auto-compact", self.auto_compact, second));
        }
        times
            .into_iter()
            .filter(|(_, time, least)| time < least)
            .map(|(key, time, least)| (key, format!("is {time:?}: give it at least {least:?}")))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        Hosting::default().check().unwrap();
    }

    #[test]
    fn a_time_below_its_least_is_refused_by_its_key() {
        let broken = |change: fn(&mut Hosting)| {
            let mut hosting = Hosting::default();
            change(&mut hosting);
            hosting.check().unwrap_err().to_string()
        };
        let nothing = broken(|it| it.reconnect_interval = Duration::ZERO);
        assert!(nothing.contains("reconnect-interval"), "{nothing}");
        let short = broken(|it| it.auto_compact = Duration::from_millis(999));
        assert!(short.contains("auto-compact is 999ms"), "{short}");
        let none = broken(|it| it.session_ttl = Duration::ZERO);
        assert!(none.contains("give it at least 1s"), "{none}");
    }
}
