//! The in-memory store as a backend that a configuration can name.

use std::time::Duration;

use crate::connector::Connector;
use crate::error::{Error, Result};
use crate::memory::options::MemoryOptions;
use crate::memory::store::Memory;

/// The configuration of an in-memory store; what is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// The most operations in each list of a transaction; 128 by default.
    pub max_txn_ops: Option<usize>,
    /// The most bytes of keys and values in one write; 1,572,864 (1.5 MiB) by default.
    pub max_request_bytes: Option<usize>,
    /// The least TTL of a lease; 2 s by default.
    pub min_ttl: Option<Duration>,
    /// Keep at least this many revisions; all until compacted by default.
    pub retain_revisions: Option<u64>,
    /// Keep the revisions of at least this long; all until compacted by default.
    pub retain_for: Option<Duration>,
}

impl MemoryConfig {
    /// The options that this configuration stands for.
    #[must_use]
    pub fn options(&self) -> MemoryOptions {
        let mut options = MemoryOptions::default();
        if let Some(limit) = self.max_txn_ops {
            options.max_txn_ops = limit;
        }
        if let Some(limit) = self.max_request_bytes {
            options.max_request_bytes = limit;
        }
        if let Some(ttl) = self.min_ttl {
            options.min_ttl = ttl;
        }
        options.retain_revisions = self.retain_revisions;
        options.retain_for = self.retain_for;
        options
    }

    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit of zero, for a least TTL below a millisecond, and for a
    /// retention that keeps nothing for those who watch.
    pub fn check(&self) -> Result<()> {
        let short =
            |time: Option<Duration>| time.is_some_and(|time| time < Duration::from_millis(1));
        for (setting, refused, remedy) in [
            (
                "max_txn_ops",
                self.max_txn_ops == Some(0),
                "allow at least 1",
            ),
            (
                "max_request_bytes",
                self.max_request_bytes == Some(0),
                "allow at least 1",
            ),
            (
                "min_ttl",
                short(self.min_ttl),
                "in YAML a bare number is nanoseconds: write a unit",
            ),
            (
                "retain_revisions",
                self.retain_revisions == Some(0),
                "keep at least 1, or leave it out",
            ),
            (
                "retain_for",
                short(self.retain_for),
                "in YAML a bare number is nanoseconds: write a unit",
            ),
        ] {
            if refused {
                return Err(Error::invalid(format!(
                    "the in-memory store is configured with too little {setting}: {remedy}"
                )));
            }
        }
        Ok(())
    }
}

/// Makes in-memory stores: each connection is a new, empty store of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryConnector;

impl Connector for MemoryConnector {
    type Config = MemoryConfig;
    type Store = Memory;
    const BACKEND: &'static str = "memory";

    async fn connect(config: &Self::Config) -> Result<Self::Store> {
        config.check()?;
        Ok(Memory::with_options(config.options()))
    }
}
