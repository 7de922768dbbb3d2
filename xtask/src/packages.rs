//! The workspace's own packages, as cargo tells them.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::shell::{capture_ok, cargo};

const LIMIT: Duration = Duration::from_secs(120);

/// One package of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// `None` if it may be published anywhere; empty if it may not be published at all.
    publish: Option<Vec<String>>,
}

impl Package {
    /// Whether others can depend on it, which the tests and tools of the workspace are not for.
    pub(crate) fn is_published(&self) -> bool {
        self.publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty())
    }
}

/// Every package of the workspace.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let asked = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    read(&capture_ok(asked, LIMIT)?)
}

fn read(json: &str) -> Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let metadata: Metadata = serde_json::from_str(json)
        .map_err(|error| Error::failed(format!("cannot read what cargo metadata says: {error}")))?;
    Ok(metadata.packages)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn unpublished_packages_are_told_apart() {
        let json = r#"{"packages": [{"name": "keyval", "publish": null, "version": "0.1.0"},
                       {"name": "xtask", "publish": [], "version": "0.1.0"}], "version": 1}"#;
        let packages = read(json).unwrap();
        let published: Vec<_> = packages
            .iter()
            .map(|p| (p.name.as_str(), p.is_published()))
            .collect();
        assert_eq!(published, [("keyval", true), ("xtask", false)]);
    }
}
