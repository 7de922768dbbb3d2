//! How long rounds of resync wait.

use std::time::Duration;

use keyval::{Error, Result};
use keyval_config::{Findings, HumanDuration, Validate, duration, schemars};
use serde::{Deserialize, Serialize};

/// The least of all times here.
const LEAST: Duration = Duration::from_millis(1);

/// How long rounds of resync wait, in YAML or in code.
///
/// # Examples
/// ```
/// use plugin_runtime::ResyncSettings;
///
/// let settings: ResyncSettings = keyval_config::parse("resync.yaml", "deadline: 30s")?;
/// assert_eq!(settings.deadline.as_secs(), 30);
/// # keyval_config::Result::Ok(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(
    crate = "keyval_config::schemars",
    description = "How long rounds of resync wait."
)]
#[non_exhaustive]
pub struct ResyncSettings {
    /// How long each participant has for its answer in a round, and for the changes of one revision
    /// in between; 10 s by default, 1 ms the least. One that is late has twice the time at its next
    /// visit, up to 64 times.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub deadline: Duration,
    /// The most to wait before one that failed or was late is visited again; 30 s by default, 1 ms
    /// the least. The first waits are shorter.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub retry_interval: Duration,
}

impl Default for ResyncSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            retry_interval: Duration::from_secs(30),
        }
    }
}

impl Validate for ResyncSettings {
    fn validate(&self, findings: &mut Findings) {
        for (key, time) in self.times() {
            if time < LEAST {
                findings.refuse(key, format!("is {time:?}: give it at least {LEAST:?}"));
            }
        }
    }
}

impl ResyncSettings {
    fn times(&self) -> [(&'static str, Duration); 2] {
        [
            ("deadline", self.deadline),
            ("retry-interval", self.retry_interval),
        ]
    }

    /// Sets how long each participant has for its answer, and for changes in between.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the most to wait before a participant is visited again.
    #[must_use]
    pub fn with_retry_interval(mut self, interval: Duration) -> Self {
        self.retry_interval = interval;
        self
    }

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a time below its least.
    pub fn check(&self) -> Result<()> {
        for (key, time) in self.times() {
            if time < LEAST {
                return Err(Error::invalid(format!(
                    "the {key} of resync is {time:?}: give it at least {LEAST:?}"
                )));
            }
        }
        Ok(())
    }
}
