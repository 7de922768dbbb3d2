//! The status as metrics.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Label, SharedString};
use parking_lot::Mutex;

use super::agent::{AgentStatus, State};
use super::cn_infra;

/// Keeps the gauges of one host.
///
/// `plugin_state{plugin,state}` is 1 for the state that a plugin is in and 0 for the others;
/// `agent_build_info` is always 1, its labels tell the build. Those of an agent with a label have it, too, as
/// `agent`: it tells the hosts of one process from each other.
///
/// Those with cn-infra's names are kept beside them if that is asked for.
#[derive(Debug)]
pub(crate) struct Gauges {
    /// The label of the agent.
    agent: Option<SharedString>,
    /// Whether those of cn-infra are kept, too.
    as_cn_infra: bool,
    set: Mutex<Set>,
}

/// What was set last.
#[derive(Debug, Default)]
struct Set {
    /// The states of the plugins.
    plugins: Vec<State>,
    /// The state of the agent, where cn-infra's gauges are kept.
    agent: Option<State>,
}

impl Gauges {
    /// The gauges of the agent with this label.
    pub(crate) fn new(agent: Option<&str>) -> Self {
        Self {
            agent: agent.map(|label| SharedString::from(label.to_owned())),
            as_cn_infra: false,
            set: Mutex::default(),
        }
    }

    /// Keeps cn-infra's gauges, too.
    pub(crate) fn with_cn_infra(mut self, as_cn_infra: bool) -> Self {
        self.as_cn_infra = as_cn_infra;
        self
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
        if self.as_cn_infra {
            metrics::describe_gauge!(
                "service_health",
                "The health of the agent: 0 = INIT, 1 = OK, 2 = ERROR."
            );
            metrics::describe_gauge!(
                "service_dependency_health",
                "The health of a plugin: 0 = INIT, 1 = OK, 2 = ERROR."
            );
        }
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
            let Some(state) = set.plugins.get_mut(index) else {
                for state in State::ALL {
                    self.set_state(&plugin.plugin, state, f64::from(state == plugin.state));
                }
                self.set_dependency(agent, &plugin.plugin, plugin.state);
                set.plugins.push(plugin.state);
                continue;
            };
            if *state != plugin.state {
                self.set_state(&plugin.plugin, *state, 0.0);
                self.set_state(&plugin.plugin, plugin.state, 1.0);
                self.set_dependency(agent, &plugin.plugin, plugin.state);
                *state = plugin.state;
            }
        }
        let state = agent.state();
        if self.as_cn_infra && set.agent.replace(state) != Some(state) {
            let value = cn_infra::number(state);
            metrics::gauge!("service_health", vec![self.service(agent)]).set(value);
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

    /// What is a plugin here was a dependency of the service.
    fn set_dependency(&self, agent: &AgentStatus, plugin: &Arc<str>, state: State) {
        if self.as_cn_infra {
            let plugin = SharedString::from(Arc::clone(plugin));
            let labels = vec![self.service(agent), Label::new("dependency", plugin)];
            metrics::gauge!("service_dependency_health", labels).set(cn_infra::number(state));
        }
    }

    /// cn-infra's name for the agent is its label; here it may have none, but a program has a name.
    fn service(&self, agent: &AgentStatus) -> Label {
        let label = self.agent.clone();
        Label::new(
            "service",
            label.unwrap_or_else(|| SharedString::from(agent.build.name.clone())),
        )
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
