//! Reads the configuration again whenever the process gets SIGHUP.

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use super::reloader::Reloader;
use crate::context::Context;
use crate::plugin::{Plugin, PluginResult};
use crate::status::Criticality;

/// Reads the configuration again whenever the process gets SIGHUP: what `systemctl reload` and
/// `kill -HUP` ask for.
///
/// Its status tells what came of the last one. From its start on, SIGHUP no longer ends the process; an
/// agent that has no such plugin is ended by it at once, without closing anything, as the system does by
/// default.
///
/// # Examples
/// ```
/// use plugin_runtime::{ConfigDir, Host, ReloadPlugin};
///
/// let mut host = Host::new(ConfigDir::new("config"));
/// host.add(ReloadPlugin::new(host.reloader()));
/// ```
#[derive(Debug)]
pub struct ReloadPlugin {
    reloader: Reloader,
}

impl ReloadPlugin {
    /// Reads the configuration of this host.
    #[must_use]
    pub fn new(reloader: Reloader) -> Self {
        Self { reloader }
    }
}

impl Plugin for ReloadPlugin {
    type Handle = ();

    fn name(&self) -> &str {
        "reload"
    }

    fn handle(&self) {}

    fn criticality(&self) -> Criticality {
        Criticality::Optional
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let mut signals = signal(SignalKind::hangup())?;
        let (reloader, status) = (self.reloader.clone(), cx.status().clone());
        status.ok_with("waits for SIGHUP");
        cx.spawn("hangup", async move |stop| {
            while stop
                .run_until_cancelled(signals.recv())
                .await
                .flatten()
                .is_some()
            {
                let reloader = reloader.clone();
                match spawn_blocking(move || reloader.reload()).await {
                    Ok(Ok(reloaded)) => status.ok_with(reloaded.to_string()),
                    Ok(Err(error)) => status.degraded(error.to_string()),
                    // The code of a plugin did, for what its file says; the next may be in order.
                    Err(panic) => status.degraded(format!("nothing is changed: {panic}")),
                }
            }
            Ok(())
        });
        Ok(())
    }
}
