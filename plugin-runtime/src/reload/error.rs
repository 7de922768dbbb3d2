//! What came of reading the configuration again.

use std::fmt;
use std::sync::Arc;

/// What came of a reload that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The plugins that have another configuration now.
    pub changed: Vec<Arc<str>>,
    /// The keys that are set differently than when the agent started, and that only a restart takes up, as
    /// `store.etcd.endpoints`; the name of a plugin alone where it would be disabled, or no longer be.
    pub needs_restart: Vec<String>,
}

/// Why nothing was changed: what the configurations of these plugins are refused for.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is not changed: {}", text(.refused))]
#[non_exhaustive]
pub struct ReloadError {
    /// The plugins and what is wrong, in their order.
    pub refused: Vec<(Arc<str>, keyval_config::Error)>,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed.is_empty() {
            true => f.write_str("nothing changed")?,
            false => write!(f, "changed: {}", self.changed.join(", "))?,
        }
        match self.needs_restart.is_empty() {
            true => Ok(()),
            false => write!(f, "; needs a restart: {}", self.needs_restart.join(", ")),
        }
    }
}

fn text(refused: &[(Arc<str>, keyval_config::Error)]) -> String {
    let refused = refused.iter();
    let refused = refused.map(|(plugin, error)| {
        let error = error.to_string();
        // The rest of it is the line with a mark, for people who look at a screen.
        format!("{plugin}: {}", error.lines().next().unwrap_or_default())
    });
    let refused: Vec<String> = refused.collect();
    refused.join("; ")
}
