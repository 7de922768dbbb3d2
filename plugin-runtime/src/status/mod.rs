//! How each plugin is, for whoever wants to know, without waiting for anybody.

mod agent;
mod board;
pub(crate) mod cn_infra;
mod gauges;
mod handle;
mod hysteresis;
mod reporter;

#[cfg(feature = "probe")]
pub(crate) use self::agent::age_text;
pub use self::agent::{AgentStatus, Criticality, Phase, PluginStatus, State};
pub(crate) use self::board::Board;
pub(crate) use self::gauges::Gauges;
pub use self::handle::StatusHandle;
pub use self::hysteresis::Hysteresis;
pub use self::reporter::Reporter;
