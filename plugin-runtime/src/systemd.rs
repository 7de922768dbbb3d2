//! Tells systemd how the agent is.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use crate::context::Context;
use crate::plugin::{Plugin, PluginResult};
use crate::status::{AgentStatus, Criticality, Phase, StatusHandle};

/// Tells systemd that the agent is up, how it is, that it is alive and that it stops: for a unit of
/// `Type=notify`, with `WatchdogSec=` if wanted.
///
/// `READY=1` is told when the agent is ready for the first time: every plugin is up and no required
/// one worse than degraded. `STATUS=` follows the state of the agent, `STOPPING=1` comes before the
/// first plugin is closed, and `WATCHDOG=1` as often as the unit asks for, from a task of the agent's
/// runtime: if that cannot go on, systemd ends the agent. Without systemd the plugin is disabled.
///
/// Add it as the first plugin, so that it is the last to be closed.
///
/// # Examples
/// ```
/// use plugin_runtime::{ConfigDir, Host, SystemdPlugin};
///
/// let mut host = Host::new(ConfigDir::new("config"));
/// host.add(SystemdPlugin::new(host.status()));
/// ```
#[derive(Debug)]
pub struct SystemdPlugin {
    status: StatusHandle,
}

impl SystemdPlugin {
    /// Tells systemd of this status.
    #[must_use]
    pub fn new(status: StatusHandle) -> Self {
        Self { status }
    }
}

impl Plugin for SystemdPlugin {
    type Handle = ();

    fn name(&self) -> &str {
        "systemd"
    }

    fn handle(&self) {}

    fn criticality(&self) -> Criticality {
        Criticality::Optional
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            cx.status()
                .disabled("not started by systemd with Type=notify");
            return Ok(());
        }
        let status = self.status.clone();
        // It ends by itself once the agent stops, which it has to tell first.
        cx.spawn("notify", async move |_stop| Ok(tell(&status).await?));
        if let Some(limit) = sd_notify::watchdog_enabled() {
            cx.spawn("watchdog", async move |stop| {
                match stop.run_until_cancelled(beat(limit)).await {
                    Some(Err(error)) => Err(error.into()),
                    Some(Ok(())) | None => Ok(()),
                }
            });
        }
        Ok(())
    }
}

/// Tells of the agent until it stops.
async fn tell(status: &StatusHandle) -> io::Result<()> {
    let mut ready = false;
    let mut agent = status.current();
    loop {
        let text = text(&agent);
        let mut news = vec![NotifyState::Status(&text)];
        if agent.is_ready() && !ready {
            ready = true;
            news.push(NotifyState::Ready);
        }
        if agent.phase >= Phase::Stopping {
            news.push(NotifyState::Stopping);
            return sd_notify::notify(&news);
        }
        sd_notify::notify(&news)?;
        let (told, phase) = (agent.state(), agent.phase);
        agent = status
            .wait_for(|agent| agent.state() != told || agent.phase != phase)
            .await;
    }
}

/// The state of the agent and of whatever is the reason for it, on one line.
fn text(agent: &AgentStatus) -> String {
    let state = agent.state();
    let reasons = agent
        .plugins
        .iter()
        .filter(|plugin| plugin.is_required() && plugin.state == state);
    let reasons: Vec<String> = reasons
        .filter_map(|plugin| Some(format!("{}: {}", plugin.plugin, plugin.cause.as_deref()?)))
        .collect();
    let text = match (agent.phase, reasons.is_empty()) {
        (Phase::Running, true) => state.to_string(),
        (Phase::Running, false) => format!("{state}: {}", reasons.join("; ")),
        (phase, _) => phase.to_string(),
    };
    text.replace(char::is_control, " ")
}

/// Tells that the runtime goes on, twice as often as systemd wants to hear it.
async fn beat(limit: Duration) -> io::Result<()> {
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        sd_notify::notify(&[NotifyState::Watchdog])?;
    }
}
