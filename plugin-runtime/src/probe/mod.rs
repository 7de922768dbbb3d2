//! The agent's health over HTTP.

mod checks;
mod connections;
mod heartbeat;
mod log_filter;
#[cfg(feature = "prometheus")]
mod metrics;
mod plugin;
mod routes;
mod server;
mod settings;

pub use self::log_filter::LogFilter;
#[cfg(feature = "prometheus")]
pub use self::metrics::{MetricsError, MetricsHandle};
pub use self::plugin::{ProbeHandle, ProbePlugin};
pub use self::settings::ProbeSettings;
