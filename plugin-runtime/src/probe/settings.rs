//! The settings of the probes, as YAML spells them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use keyval_config::{Findings, HumanDuration, Validate, duration, schemars};
use serde::{Deserialize, Serialize};

/// The least time that counts as standing still; the heart beats once a second.
pub(super) const LEAST_STALL: Duration = Duration::from_secs(2);

/// The settings of the probes; a setting left out has its default.
///
/// # Examples
/// ```
/// use plugin_runtime::ProbeSettings;
///
/// let yaml = "listen: 0.0.0.0:9191\nnon-fatal-plugins: [telemetry]";
/// let settings: ProbeSettings = keyval_config::parse("probe.yaml", yaml)?;
/// assert_eq!(settings.listen.port(), 9191);
/// assert_eq!(settings.stalled_after.as_secs(), 10);
/// # Ok::<_, keyval_config::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(
    crate = "keyval_config::schemars",
    description = "The settings of the probes."
)]
#[non_exhaustive]
pub struct ProbeSettings {
    /// The address and port to listen on; 127.0.0.1:9191 by default. Port 0 takes any that is free.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Plugins that the agent is well without, besides those that say so themselves; none by default.
    pub non_fatal_plugins: Vec<String>,
    /// How long the agent's runtime may stand still before `/livez` says so; 10s by default, at
    /// least 2s.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub stalled_after: Duration,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9191)),
            non_fatal_plugins: Vec::new(),
            stalled_after: Duration::from_secs(10),
        }
    }
}

impl Validate for ProbeSettings {
    fn validate(&self, findings: &mut Findings) {
        if self.stalled_after < LEAST_STALL {
            findings.refuse(
                "stalled-after",
                "must be at least 2s: the heart of the agent beats once a second",
            );
        }
    }
}

impl ProbeSettings {
    /// Sets the address and port to listen on.
    #[must_use]
    pub fn with_listen(mut self, listen: SocketAddr) -> Self {
        self.listen = listen;
        self
    }

    /// Sets the plugins that the agent is well without.
    #[must_use]
    pub fn with_non_fatal_plugins(
        mut self,
        plugins: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.non_fatal_plugins = plugins.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long the agent's runtime may stand still.
    #[must_use]
    pub fn with_stalled_after(mut self, stalled_after: Duration) -> Self {
        self.stalled_after = stalled_after;
        self
    }
}
