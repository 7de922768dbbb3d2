//! The questions that probes ask, and their answers in text.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::heartbeat::Heartbeat;
use crate::status::{AgentStatus, PluginStatus, State, age_text};

/// The answer to a probe.
pub(super) struct Verdict {
    pub(super) passed: bool,
    /// One line for each thing that was looked at.
    lines: String,
    probe: &'static str,
}

impl Verdict {
    fn new(probe: &'static str) -> Self {
        Self {
            passed: true,
            lines: String::new(),
            probe,
        }
    }

    fn line(&mut self, passed: bool, text: impl std::fmt::Display) {
        let mark = if passed { '+' } else { '-' };
        // Writing to a string cannot fail.
        let _ = writeln!(self.lines, "[{mark}]{text}");
    }

    /// What the client is told: `ok`, or all of it if it asked for it or something is wrong.
    pub(super) fn text(&self, verbose: bool) -> String {
        match (self.passed, verbose) {
            (true, false) => "ok\n".to_owned(),
            (true, true) => format!("{}{} passed\n", self.lines, self.probe),
            (false, _) => format!("{}{} failed\n", self.lines, self.probe),
        }
    }
}

/// Whether the process is alive: its runtime goes on. Never a question of any store or plugin, since
/// a new process would not have a better store.
pub(super) fn live(heartbeat: &Heartbeat, stalled_after: Duration) -> Verdict {
    let mut verdict = Verdict::new("livez");
    let age = heartbeat.age();
    verdict.passed = age < stalled_after;
    let age = age_text(age);
    verdict.line(
        verdict.passed,
        format_args!("runtime: it went on {age} ago"),
    );
    verdict
}

/// Whether the agent can be given work.
pub(super) fn ready(agent: &AgentStatus) -> Verdict {
    let mut verdict = Verdict::new("readyz");
    verdict.passed = agent.is_ready();
    verdict.line(
        verdict.passed,
        format_args!("agent: {}, {}", agent.phase, agent.state()),
    );
    for plugin in &agent.plugins {
        verdict.line(plugin.state <= State::Degraded, plugin_text(plugin));
    }
    verdict
}

/// Whether the agent has ever been up.
pub(super) fn started(agent: &AgentStatus) -> Verdict {
    let mut verdict = Verdict::new("startupz");
    verdict.passed = agent.up.is_some();
    for plugin in &agent.plugins {
        let up = verdict.passed || plugin.state != State::Init;
        verdict.line(up, plugin_text(plugin));
    }
    verdict
}

fn plugin_text(plugin: &PluginStatus) -> String {
    let age = SystemTime::now().duration_since(plugin.since);
    let mut text = format!(
        "{}: {} for {}",
        plugin.plugin,
        plugin.state,
        age_text(age.unwrap_or_default())
    );
    if !plugin.is_required() {
        text.push_str(", optional");
    }
    if let Some(cause) = &plugin.cause {
        text.push_str(": ");
        text.push_str(cause.lines().next().unwrap_or_default());
    }
    text
}
