//! Why encryption as it is configured is of no use, told of the key at fault or as an error.

use std::path::Path;

use keyval::Error;

/// A key that is of no use.
#[derive(Debug)]
pub(crate) struct Unusable {
    /// The key; empty for the configuration as a whole.
    pub(crate) key: &'static str,
    /// What is wrong and what to do, which goes on from the key.
    pub(crate) told: String,
}

impl Unusable {
    #[cfg_attr(
        not(feature = "tls"),
        expect(dead_code, reason = "no file is read then")
    )]
    pub(super) fn file(key: &'static str, path: &Path, why: &str, remedy: &str) -> Self {
        let told = format!("{} is of no use: {why}; {remedy}", path.display());
        Self { key, told }
    }
}

impl From<Unusable> for Error {
    fn from(Unusable { key, told }: Unusable) -> Self {
        let between = if key.is_empty() { "" } else { " " };
        Self::invalid(format!("in the etcd configuration, {key}{between}{told}"))
    }
}
