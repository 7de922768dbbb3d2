//! The status in the words of cn-infra, so that what read its agents can read these.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::agent::{AgentStatus, PluginStatus, State};

/// How the values are written; cn-infra had two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As its store has them, canonical JSON of protobuf: `"state": "OK"`, times as strings, nothing
    /// that is zero.
    Stored,
    /// As its HTTP probes had them: `"state": 1`, times as numbers.
    #[cfg(feature = "probe")]
    Probed,
}

/// The fields of the agent.
pub(crate) fn agent(agent: &AgentStatus, form: Form) -> Map<String, Value> {
    let mut fields = Map::new();
    text(&mut fields, "build_version", &agent.build.version);
    text(&mut fields, "build_date", &agent.build.date);
    state(&mut fields, agent.state(), form);
    time(&mut fields, "start_time", agent.started, form);
    time(&mut fields, "last_change", agent.since, form);
    time(&mut fields, "last_update", SystemTime::now(), form);
    text(&mut fields, "commit_hash", &agent.build.commit);
    fields
}

/// The fields of a plugin.
pub(crate) fn plugin(plugin: &PluginStatus, form: Form) -> Map<String, Value> {
    let mut fields = Map::new();
    text(&mut fields, "name", &plugin.plugin);
    state(&mut fields, plugin.state, form);
    time(&mut fields, "last_change", plugin.since, form);
    time(&mut fields, "last_update", SystemTime::now(), form);
    text(&mut fields, "error", error(plugin));
    fields
}

/// What keeps a plugin from being well; a cause that only tells what it works with is none.
pub(crate) fn error(plugin: &PluginStatus) -> &str {
    match plugin.state {
        State::Ok | State::Disabled => "",
        _ => plugin.cause.as_deref().unwrap_or_default(),
    }
}

/// The number of a state, as cn-infra's probes and metrics have it.
pub(crate) fn number(state: State) -> u8 {
    named(state).1
}

/// cn-infra has three states: what is neither well nor on its way there is an error.
fn named(state: State) -> (&'static str, u8) {
    match state {
        State::Init => ("INIT", 0),
        State::Ok | State::Degraded | State::Disabled => ("OK", 1),
        State::Stopped | State::Error => ("ERROR", 2),
    }
}

fn state(fields: &mut Map<String, Value>, state: State, form: Form) {
    let (name, number) = named(state);
    match form {
        Form::Stored if number == 0 => {}
        Form::Stored => drop(fields.insert("state".to_owned(), name.into())),
        #[cfg(feature = "probe")]
        Form::Probed => drop(fields.insert("state".to_owned(), number.into())),
    }
}

fn text(fields: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        fields.insert(name.to_owned(), text.into());
    }
}

/// In whole seconds since 1970.
fn time(fields: &mut Map<String, Value>, name: &str, time: SystemTime, form: Form) {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let value = match form {
        Form::Stored => seconds.to_string().into(),
        #[cfg(feature = "probe")]
        Form::Probed => seconds.into(),
    };
    fields.insert(name.to_owned(), value);
}
