//! How plugins and their agent are.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::about::BuildInfo;

/// How a plugin is.
///
/// In rising order of concern, so that the worst of many is their maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum State {
    /// Switched off on purpose; does not count.
    Disabled,
    /// Works.
    Ok,
    /// Works, but not as well as it should.
    Degraded,
    /// Not yet up.
    Init,
    /// Was closed.
    Stopped,
    /// Does not work.
    Error,
}

/// Whether an agent can do without a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Criticality {
    /// The agent is no better than this plugin.
    #[default]
    Required,
    /// The agent is well without it. Its state is shown, but is not the agent's.
    Optional,
}

/// Where an agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The plugins are being brought up.
    Starting,
    /// The `init` and `after_init` of every plugin are done.
    Running,
    /// The plugins are being closed.
    Stopping,
    /// Every plugin that had been started is closed.
    Stopped,
}

/// How one plugin is, why, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginStatus {
    /// The plugin.
    pub plugin: Arc<str>,
    /// Whether the agent can do without it.
    pub criticality: Criticality,
    /// How it is.
    pub state: State,
    /// What explains it, in a few words; a plugin that works may tell what with.
    pub cause: Option<Arc<str>>,
    /// Since when it is in this state, whatever the causes since then.
    pub since: SystemTime,
    /// When its state or cause changed last.
    pub changed: SystemTime,
}

/// How a whole agent is: its plugins, in the order in which they were added.
///
/// `Display` prints a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentStatus {
    /// The program.
    pub build: Arc<BuildInfo>,
    /// Where the agent is in its life.
    pub phase: Phase,
    /// When its host was made.
    pub started: SystemTime,
    /// When the `init` and `after_init` of every plugin were done; that some are still
    /// [starting](crate::Reporter::starting), as a store that is not there yet, does not count.
    pub up: Option<SystemTime>,
    /// Since when the agent as a whole is in its [`state`](Self::state).
    pub since: SystemTime,
    /// When anything of this changed last.
    pub changed: SystemTime,
    /// The plugins.
    pub plugins: Vec<PluginStatus>,
}

impl AgentStatus {
    pub(crate) fn new(build: BuildInfo) -> Self {
        let now = SystemTime::now();
        Self {
            build: Arc::new(build),
            phase: Phase::Starting,
            started: now,
            up: None,
            since: now,
            changed: now,
            plugins: Vec::new(),
        }
    }

    /// The state of the agent: the worst of its required plugins, and no better than
    /// [`State::Init`] before every plugin is up, or than [`State::Stopped`] once it shuts down.
    #[must_use]
    pub fn state(&self) -> State {
        let at_best = match self.phase {
            Phase::Starting => State::Init,
            Phase::Running => State::Ok,
            Phase::Stopping | Phase::Stopped => State::Stopped,
        };
        let required = self.plugins.iter().filter(|plugin| plugin.is_required());
        let worst = required.map(|plugin| plugin.state).max();
        worst.unwrap_or(State::Ok).max(at_best)
    }

    /// Whether the agent can be given work: it runs, and no required plugin is worse than degraded.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state() <= State::Degraded
    }

    /// The status of one plugin.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&PluginStatus> {
        self.plugins.iter().find(|plugin| *plugin.plugin == *name)
    }
}

impl PluginStatus {
    /// Whether the agent is no better than this plugin.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.criticality == Criticality::Required
    }
}

impl State {
    /// Every state, in rising order of concern.
    pub(crate) const ALL: [Self; 6] = [
        Self::Disabled,
        Self::Ok,
        Self::Degraded,
        Self::Init,
        Self::Stopped,
        Self::Error,
    ];

    /// The name of the state, as in `Display`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Init => "init",
            Self::Stopped => "stopped",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        })
    }
}

/// A table: one line per plugin, and the agent's last.
impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGENT: &str = "agent";
        let names = self.plugins.iter().map(|plugin| plugin.plugin.len());
        let width = names.max().unwrap_or(0).max("plugin".len());
        let now = SystemTime::now();
        writeln!(
            f,
            "{:<width$}  {:<8}  {:>6}  cause",
            "plugin", "state", "for"
        )?;
        for plugin in &self.plugins {
            // A clock that was set back makes it "since now".
            let age = now.duration_since(plugin.since).unwrap_or_default();
            let (name, state, age) = (&*plugin.plugin, plugin.state, age_text(age));
            let line = format!("{name:<width$}  {state:<8}  {age:>6}  ");
            let cause = plugin.cause.as_deref().unwrap_or_default();
            // A cause of several lines would break the table.
            let cause = cause.lines().next().unwrap_or_default();
            let optional = match plugin.criticality {
                Criticality::Required => "",
                Criticality::Optional => " (optional)",
            };
            writeln!(f, "{}", format!("{line}{cause}{optional}").trim_end())?;
        }
        write!(f, "{AGENT:<width$}  {}", self.state())
    }
}

/// A duration in about three digits: `12ms`, `3.4s`, `15m`, `7h`, `2d`.
pub(crate) fn age_text(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0 => format!("{}ms", age.as_millis()),
        1..10 => format!("{:.1}s", age.as_secs_f64()),
        10..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::age_text;

    #[test]
    fn ages_take_about_three_digits() {
        for (age, text) in [
            (Duration::from_micros(12_345), "12ms"),
            (Duration::from_millis(3_410), "3.4s"),
            (Duration::from_secs(119), "119s"),
            (Duration::from_secs(15 * 60), "15m"),
            (Duration::from_secs(7 * 3_600), "7h"),
            (Duration::from_secs(50 * 3_600), "2d"),
        ] {
            assert_eq!(age_text(age), text);
        }
    }
}
