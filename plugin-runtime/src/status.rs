//! How each plugin is, for whoever wants to know, without waiting for anybody.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

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

/// How one plugin is, why, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginStatus {
    /// The plugin.
    pub plugin: Arc<str>,
    /// How it is.
    pub state: State,
    /// What explains it, in a few words; a plugin that works may tell what with.
    pub cause: Option<Arc<str>>,
    /// Since when it is in this state, whatever the causes since then.
    pub since: SystemTime,
}

/// How a whole agent is: its plugins, in the order in which they were added.
///
/// `Display` prints a table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentStatus {
    /// The plugins.
    pub plugins: Vec<PluginStatus>,
}

/// Reads the status of the plugins of a host, at any time, also before and after it runs.
///
/// Readers wait for nobody: a plugin that hangs, or a store that does not answer, changes what is
/// read, not when.
#[derive(Clone, Debug)]
pub struct StatusHandle {
    status: watch::Receiver<Arc<AgentStatus>>,
}

/// Reports the state of one plugin.
///
/// Reporting waits for nobody either. What is reported after the plugin was closed is ignored.
#[derive(Clone, Debug)]
pub struct Reporter {
    board: Board,
    index: usize,
}

/// Where the states of all plugins of a host are kept.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    status: Arc<watch::Sender<Arc<AgentStatus>>>,
}

impl AgentStatus {
    /// The worst state of those that are not disabled; an agent without plugins is well.
    #[must_use]
    pub fn state(&self) -> State {
        let states = self.plugins.iter().map(|plugin| plugin.state);
        states.max().unwrap_or(State::Ok).max(State::Ok)
    }

    /// The status of one plugin.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&PluginStatus> {
        self.plugins.iter().find(|plugin| *plugin.plugin == *name)
    }
}

impl StatusHandle {
    /// The status as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<AgentStatus> {
        Arc::clone(&self.status.borrow())
    }

    /// Waits until the status fulfils a condition, which may be now, and returns it. Waits for
    /// ever if it never does, even when the host is gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait_for(
        &self,
        mut condition: impl FnMut(&AgentStatus) -> bool,
    ) -> Arc<AgentStatus> {
        let mut status = self.status.clone();
        match status.wait_for(|status| condition(status)).await {
            Ok(status) => Arc::clone(&status),
            Err(_gone) => std::future::pending().await,
        }
    }
}

impl Reporter {
    /// The plugin works.
    pub fn ok(&self) {
        self.set(State::Ok, None);
    }

    /// The plugin works; the text tells what with.
    pub fn ok_with(&self, what: impl Into<Arc<str>>) {
        self.set(State::Ok, Some(what.into()));
    }

    /// The plugin works, but not as well as it should.
    pub fn degraded(&self, cause: impl Into<Arc<str>>) {
        self.set(State::Degraded, Some(cause.into()));
    }

    /// The plugin does not work.
    pub fn error(&self, cause: impl Into<Arc<str>>) {
        self.set(State::Error, Some(cause.into()));
    }

    /// The plugin is switched off on purpose.
    pub fn disabled(&self, cause: impl Into<Arc<str>>) {
        self.set(State::Disabled, Some(cause.into()));
    }

    /// The plugin was closed: its last word.
    pub(crate) fn stopped(&self, cause: Option<Arc<str>>) {
        self.set(State::Stopped, cause);
    }

    /// The plugin works, unless it has said itself how it is.
    pub(crate) fn ok_unless_told(&self) {
        self.board.change(self.index, |plugin| {
            let untold = plugin.state == State::Init;
            untold.then_some((State::Ok, plugin.cause.clone()))
        });
    }

    fn set(&self, state: State, cause: Option<Arc<str>>) {
        self.board.change(self.index, |_| Some((state, cause)));
    }
}

impl Board {
    pub(crate) fn new() -> Self {
        let empty = AgentStatus {
            plugins: Vec::new(),
        };
        Self {
            status: Arc::new(watch::Sender::new(Arc::new(empty))),
        }
    }

    /// Adds a plugin, in the state of one that is not yet up.
    pub(crate) fn add(&self, plugin: &str) -> Reporter {
        let mut index = 0;
        self.status.send_modify(|status| {
            let status = Arc::make_mut(status);
            index = status.plugins.len();
            status.plugins.push(PluginStatus {
                plugin: plugin.into(),
                state: State::Init,
                cause: None,
                since: SystemTime::now(),
            });
        });
        Reporter {
            board: self.clone(),
            index,
        }
    }

    pub(crate) fn reader(&self) -> StatusHandle {
        StatusHandle {
            status: self.status.subscribe(),
        }
    }

    /// Changes one plugin's state to what is decided on the present one.
    fn change(
        &self,
        index: usize,
        decide: impl FnOnce(&PluginStatus) -> Option<(State, Option<Arc<str>>)>,
    ) {
        self.status.send_if_modified(|status| {
            let present = &status.plugins[index];
            if present.state == State::Stopped {
                return false;
            }
            let Some((state, cause)) = decide(present) else {
                return false;
            };
            if (state, &cause) == (present.state, &present.cause) {
                return false;
            }
            let plugin = &mut Arc::make_mut(status).plugins[index];
            if plugin.state != state {
                plugin.since = SystemTime::now();
            }
            plugin.state = state;
            plugin.cause = cause;
            true
        });
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Disabled => "disabled",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Init => "init",
            Self::Stopped => "stopped",
            Self::Error => "error",
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
            writeln!(f, "{}", format!("{line}{cause}").trim_end())?;
        }
        write!(f, "{AGENT:<width$}  {}", self.state())
    }
}

/// A duration in about three digits: `12ms`, `3.4s`, `15m`, `7h`, `2d`.
fn age_text(age: Duration) -> String {
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

    use super::{Board, State, age_text};

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

    #[test]
    fn the_agent_is_as_well_as_its_worst_plugin() {
        let board = Board::new();
        let (store, cache) = (board.add("store"), board.add("cache"));
        let status = board.reader();
        assert_eq!(status.current().state(), State::Init);
        store.error("unreachable");
        // The last reporter is well, but the agent is not.
        cache.ok();
        assert_eq!(status.current().state(), State::Error);
        store.degraded("slow");
        assert_eq!(status.current().state(), State::Degraded);
        store.disabled("no file");
        assert_eq!(status.current().state(), State::Ok);
    }

    #[test]
    fn a_state_lasts_since_it_began_whatever_its_causes() {
        let board = Board::new();
        let store = board.add("store");
        store.error("unreachable");
        let began = board.reader().current().plugins[0].since;
        store.error("refused");
        let now = board.reader().current();
        assert_eq!(now.plugins[0].since, began);
        assert_eq!(now.plugins[0].cause.as_deref(), Some("refused"));
    }

    #[test]
    fn a_closed_plugin_has_no_more_to_say() {
        let board = Board::new();
        let store = board.add("store");
        store.stopped(None);
        store.ok();
        assert_eq!(board.reader().current().plugins[0].state, State::Stopped);
    }

    #[test]
    fn the_table_is_aligned() {
        let board = Board::new();
        board.add("store").ok_with("memory 0.1.0\nand more");
        board.add("interfaces").ok();
        let table = board.reader().current().to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert_eq!(lines[0], "plugin      state        for  cause");
        assert!(lines[1].starts_with("store       ok        "), "{table}");
        assert!(lines[1].ends_with("ms  memory 0.1.0"), "{table}");
        assert_eq!(lines[3], "agent       ok");
    }
}
