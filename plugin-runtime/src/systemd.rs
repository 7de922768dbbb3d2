//! Tells systemd how the agent is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::context::Context;
use crate::plugin::{Plugin, PluginResult};
use crate::status::{AgentStatus, Criticality, Phase, Reporter, State, StatusHandle};

/// How soon news that could not be told are told again.
const RETRY: Duration = Duration::from_secs(1);

/// Tells systemd that the agent is up, how it is, that it is alive and that it stops: for a unit of
/// `Type=notify`, with `WatchdogSec=` if wanted.
///
/// `READY=1` is told when the agent is ready for the first time: every plugin is up and no required
/// one worse than degraded. `STATUS=` follows the state of the agent, `STOPPING=1` comes before the
/// first plugin is closed, and `WATCHDOG=1` as often as the unit asks for, from a task of the agent's
/// runtime: if that cannot go on, systemd ends the agent. What cannot be told is told again, at every
/// beat of the watchdog and every second, and the plugin is degraded meanwhile. Without systemd it is
/// disabled.
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
        let systemd = Arc::new(Systemd {
            reporter: cx.status().clone(),
            failure: Mutex::default(),
        });
        let own = Arc::clone(&systemd);
        // It ends by itself once the agent stops, which it has to tell first.
        cx.spawn("notify", async move |_stop| {
            tell(&own, &status).await;
            Ok(())
        });
        if let Some(limit) = sd_notify::watchdog_enabled() {
            cx.spawn("watchdog", async move |stop| {
                stop.run_until_cancelled(beat(&systemd, limit)).await;
                Ok(())
            });
        }
        Ok(())
    }
}

/// The socket of systemd, and what came of the last message.
struct Systemd {
    reporter: Reporter,
    failure: Mutex<Option<String>>,
}

impl Systemd {
    /// Tells this; returns whether it was told. Whatever is other than the last time is logged and
    /// reported.
    fn notify(&self, news: &[NotifyState<'_>]) -> bool {
        let failure = sd_notify::notify(news).err().map(|error| error.to_string());
        let told = failure.is_none();
        let mut before = self.failure.lock();
        if *before != failure {
            if let Some(error) = &failure {
                tracing::warn!(error, "cannot tell systemd; it is tried again");
                self.reporter
                    .degraded(format!("cannot tell systemd: {error}"));
            } else {
                tracing::info!("systemd can be told again");
                self.reporter.ok();
            }
            *before = failure;
        }
        told
    }
}

/// Tells of the agent until it stops.
async fn tell(systemd: &Systemd, status: &StatusHandle) {
    let mut ready = false;
    let mut agent = status.current();
    loop {
        let text = text(&agent);
        let mut news = vec![NotifyState::Status(&text)];
        let first_ready = agent.is_ready() && !ready;
        if first_ready {
            news.push(NotifyState::Ready);
        }
        if agent.phase >= Phase::Stopping {
            news.push(NotifyState::Stopping);
            systemd.notify(&news);
            return;
        }
        let told = systemd.notify(&news);
        ready |= first_ready && told;
        let (state, phase) = (agent.state(), agent.phase);
        // While it is well, what it tells of itself is no news.
        let other = status.wait_for(|agent| {
            let changed = agent.state() != state || agent.phase != phase;
            changed || (state != State::Ok && self::text(agent) != text)
        });
        agent = if told {
            other.await
        } else {
            // The same again if there is no other.
            timeout(RETRY, other).await.unwrap_or(agent)
        };
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
async fn beat(systemd: &Systemd, limit: Duration) -> Infallible {
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        systemd.notify(&[NotifyState::Watchdog]);
    }
}
