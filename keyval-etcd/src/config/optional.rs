//! Keys that may be left out, written empty or written as null, all of which mean the same.

use std::path::PathBuf;

use keyval_config::Secret;
use serde::de::{Deserialize, Deserializer};

/// Reads the path of a file.
pub(super) fn path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    Ok(text(deserializer)?.map(PathBuf::from))
}

/// Reads a text.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}

/// Reads a text that is never shown.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let secret: Option<Secret> = Option::deserialize(deserializer)?;
    Ok(secret.unwrap_or_default())
}
