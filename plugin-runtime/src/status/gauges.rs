//! The status as metrics.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Label, SharedString};
use parking_lot::Mutex;

use super::agent::{AgentStatus, State};

/// Keeps the gauges of one host.
///
/// `plugin_state{plugin,state}` is 1 for the state that a plugin is in and 0 for the others;
/// `agent_build_info` is always 1, its labels tell the build. Those of an agent with a label have it, too, as
/// `agent`: it tells the hosts of one process from each other.
#[derive(Debug)]
pub(crate) struct Gauges {
    /// The label of the agent.
    agent: Option<SharedString>,
    /// The states that were set last.
    set: Mutex<Vec<State>>,
}

impl Gauges {
    /// The gauges of the agent with this label.
    pub(crate) fn new(agent: Option<&str>) -> Self {
        Self {
            agent: agent.map(|label| SharedString::from(label.to_owned())),
            set: Mutex::default(),
        }
    }

    /// Describes the metrics of a host, and sets the one that does not change.
    pub(crate) fn begin(&self, agent: &AgentStatus) {
        metrics::describe_gauge!("plugin_state", "Whether a plugin is in a state: 1 or 0.");
        metrics::describe_gauge!(
            "plugin_init_duration_seconds",
            metrics::Unit::Seconds,
            "How long the init of a plugin took."
        );
        metrics::describe_gauge!("agent_build_info", "Always 1; the labels tell the build.");
        let build = &agent.build;
        let text = |text: &Cow<'static, str>| SharedString::from(text.clone());
        let labels = self.labels([
            Label::new("name", text(&build.name)),
            Label::new("version", text(&build.version)),
            Label::new("commit", text(&build.commit)),
        ]);
        metrics::gauge!("agent_build_info", labels).set(1.0);
        self.set(agent);
    }

    /// Sets what has changed since it was set last.
    pub(crate) fn set(&self, agent: &AgentStatus) {
        let mut set = self.set.lock();
        for (index, plugin) in agent.plugins.iter().enumerate() {
            let Some(state) = set.get_mut(index) else {
                for state in State::ALL {
                    self.set_state(&plugin.plugin, state, f64::from(state == plugin.state));
                }
                set.push(plugin.state);
                continue;
            };
            if *state != plugin.state {
                self.set_state(&plugin.plugin, *state, 0.0);
                self.set_state(&plugin.plugin, plugin.state, 1.0);
                *state = plugin.state;
            }
        }
    }

    /// Sets how long the init of a plugin took.
    pub(crate) fn set_init(&self, plugin: &Arc<str>, took: Duration) {
        let labels = self.labels([of(plugin)]);
        metrics::gauge!("plugin_init_duration_seconds", labels).set(took.as_secs_f64());
    }

    fn set_state(&self, plugin: &Arc<str>, state: State, value: f64) {
        let labels = self.labels([of(plugin), Label::new("state", state.as_str())]);
        metrics::gauge!("plugin_state", labels).set(value);
    }

    /// These and that of the agent.
    fn labels<const N: usize>(&self, labels: [Label; N]) -> Vec<Label> {
        let agent = self.agent.clone().map(|agent| Label::new("agent", agent));
        agent.into_iter().chain(labels).collect()
    }
}

fn of(plugin: &Arc<str>) -> Label {
    Label::new("plugin", SharedString::from(Arc::clone(plugin)))
}
