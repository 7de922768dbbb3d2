//! The settings of the in-memory store, as YAML spells them.

use std::time::Duration;

use keyval::{Connector, Memory, MemoryConfig, MemoryConnector, MemoryOptions, Result};
use keyval_config::{Findings, HumanDuration, Validate, duration, schemars};
use serde::{Deserialize, Serialize};

/// The in-memory store as a backend that YAML configures.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBackend;

/// The settings of the in-memory store; a setting left out has the store's default.
///
/// # Examples
/// ```
/// use plugin_runtime::MemorySettings;
///
/// let settings: MemorySettings = keyval_config::parse("memory.yaml", "retain-for: 10m")?;
/// assert_eq!(settings.retain_for.map(|age| age.as_secs()), Some(600));
/// assert_eq!(settings.max_txn_ops, 128);
/// # Ok::<_, keyval_config::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(
    crate = "keyval_config::schemars",
    description = "The settings of the in-memory store."
)]
#[non_exhaustive]
pub struct MemorySettings {
    /// The most operations in each list of a transaction; 128 by default.
    #[schemars(range(min = 1))]
    pub max_txn_ops: usize,
    /// The most bytes of keys and values in one write; 1572864 (1.5 MiB) by default.
    #[schemars(range(min = 1))]
    pub max_request_bytes: usize,
    /// The least TTL of a lease, to which a shorter one is raised; 2s by default.
    #[serde(with = "duration")]
    #[schemars(with = "HumanDuration")]
    pub min_ttl: Duration,
    /// How many revisions of history to keep at least; all by default.
    pub retain_revisions: Option<u64>,
    /// How long to keep history at least; for ever by default.
    #[serde(with = "duration::option")]
    #[schemars(with = "Option<HumanDuration>")]
    pub retain_for: Option<Duration>,
}

impl Default for MemorySettings {
    fn default() -> Self {
        let options = MemoryOptions::default();
        Self {
            max_txn_ops: options.max_txn_ops,
            max_request_bytes: options.max_request_bytes,
            min_ttl: options.min_ttl,
            retain_revisions: options.retain_revisions,
            retain_for: options.retain_for,
        }
    }
}

impl Validate for MemorySettings {
    fn validate(&self, findings: &mut Findings) {
        for (key, zero) in [
            ("max-txn-ops", self.max_txn_ops == 0),
            ("max-request-bytes", self.max_request_bytes == 0),
        ] {
            if zero {
                findings.refuse(key, "is 0: give it a size or leave it out");
            }
        }
    }
}

impl Connector for MemoryBackend {
    type Config = MemorySettings;
    type Store = Memory;
    const BACKEND: &'static str = MemoryConnector::BACKEND;

    async fn connect(settings: &MemorySettings) -> Result<Memory> {
        let mut config = MemoryConfig::default();
        config.max_txn_ops = Some(settings.max_txn_ops);
        config.max_request_bytes = Some(settings.max_request_bytes);
        config.min_ttl = Some(settings.min_ttl);
        config.retain_revisions = settings.retain_revisions;
        config.retain_for = settings.retain_for;
        MemoryConnector::connect(&config).await
    }
}
