//! The handle by which the configuration is read again.

use super::error::{ReloadError, Reloaded};
use super::registry::Reloads;

/// Reads the configuration of an agent again, while it runs; see
/// [`Host::reloader`](crate::Host::reloader).
#[derive(Clone, Debug)]
pub struct Reloader {
    reloads: Reloads,
}

impl Reloader {
    pub(crate) fn new(reloads: Reloads) -> Self {
        Self { reloads }
    }

    /// Reads every file, variable and flag again, and gives the plugins that take it
    /// ([`Context::live`](crate::Context::live)) their new configurations: all of them, or, if anything is
    /// wrong anywhere, none.
    ///
    /// What is wrong is logged, and makes the plugin that it concerns degraded until a later reload is in
    /// order; the configuration in force stays. What is set differently for plugins that read their
    /// configuration once is told, and does nothing before a restart. Blocks for as long as the file
    /// system does. Of several at once, one comes after the other. Before the host runs it does
    /// nothing.
    ///
    /// # Errors
    /// [`ReloadError`] with everything that is wrong.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let result = self.reloads.reload();
        match &result {
            Ok(reloaded) => tracing::info!(%reloaded, "the configuration was read again"),
            Err(ReloadError { refused }) => {
                for (plugin, error) in refused {
                    tracing::error!(%plugin, %error, "the new configuration is refused");
                }
            }
        }
        result
    }
}
