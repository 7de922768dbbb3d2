//! How a host is to keep a store, as YAML says it beside the choice of the backend.

use std::time::Duration;

use keyval::Hosting;
use keyval_config::{Findings, HumanDuration, Validate, duration, schemars};
use serde::{Deserialize, Serialize};

/// What a file says, with cn-infra's keys; where it says nothing, the backend's own settings do.
#[derive(Clone, Debug, Default, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
pub(crate) struct HostingKeys {
    /// Whether the agent comes up without the store; what the backend's own settings say by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_delayed_start: Option<bool>,
    /// The longest wait between attempts to connect for the first time; what the backend's own settings
    /// say by default.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HumanDuration>")]
    reconnect_interval: Option<Duration>,
    /// Whether an outage is followed by a resync; what the backend's own settings say by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    resync_after_reconnect: Option<bool>,
    /// How much history automatic compaction keeps, 0 for none at all; what the backend's own settings
    /// say by default.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HumanDuration>")]
    auto_compact: Option<Duration>,
    /// How long what a session holds outlives its program; what the backend's own settings say by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HumanDuration>")]
    session_ttl: Option<Seconds>,
}

/// A duration of which a bare number is seconds, as cn-infra has it for this key.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Seconds(#[serde(with = "duration::seconds")] Duration);

impl Validate for HostingKeys {
    fn validate(&self, findings: &mut Findings) {
        let mut hosting = Hosting::default();
        self.clone().apply(&mut hosting);
        for (key, told) in hosting.findings() {
            findings.refuse(key, told);
        }
    }
}

impl HostingKeys {
    /// Sets what the file says.
    pub(crate) fn apply(self, hosting: &mut Hosting) {
        fn set<T>(field: &mut T, told: Option<T>) {
            if let Some(told) = told {
                *field = told;
            }
        }
        set(&mut hosting.allow_delayed_start, self.allow_delayed_start);
        set(&mut hosting.reconnect_interval, self.reconnect_interval);
        let after_reconnect = &mut hosting.resync_after_reconnect;
        set(after_reconnect, self.resync_after_reconnect);
        set(&mut hosting.auto_compact, self.auto_compact);
        set(&mut hosting.session_ttl, self.session_ttl.map(|ttl| ttl.0));
    }
}
