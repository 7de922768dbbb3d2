//! The status as metrics.

use std::sync::Arc;

use metrics::SharedString;
use parking_lot::Mutex;

use super::agent::{AgentStatus, State};

/// Keeps the gauges of one host.
///
/// `plugin_state{plugin,state}` is 1 for the state that a plugin is in and 0 for the others;
/// `agent_build_info` is always 1, its labels tell the build.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// The states that were set last.
    set: Mutex<Vec<State>>,
}

impl Gauges {
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
        let text = |text: &std::borrow::Cow<'static, str>| SharedString::from(text.clone());
        metrics::gauge!(
            "agent_build_info",
            "name" => text(&build.name),
            "version" => text(&build.version),
            "commit" => text(&build.commit),
        )
        .set(1.0);
        self.set(agent);
    }

    /// Sets what has changed since it was set last.
    pub(crate) fn set(&self, agent: &AgentStatus) {
        let mut set = self.set.lock();
        for (index, plugin) in agent.plugins.iter().enumerate() {
            let Some(state) = set.get_mut(index) else {
                for state in State::ALL {
                    gauge(&plugin.plugin, state, f64::from(state == plugin.state));
                }
                set.push(plugin.state);
                continue;
            };
            if *state != plugin.state {
                gauge(&plugin.plugin, *state, 0.0);
                gauge(&plugin.plugin, plugin.state, 1.0);
                *state = plugin.state;
            }
        }
    }
}

fn gauge(plugin: &Arc<str>, state: State, value: f64) {
    let plugin = SharedString::from(Arc::clone(plugin));
    metrics::gauge!("plugin_state", "plugin" => plugin, "state" => state.as_str()).set(value);
}
