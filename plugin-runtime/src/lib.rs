#![doc = include_str!("lib.md")]

mod about;
mod apart;
#[cfg(feature = "cli")]
mod command_line;
mod contain;
mod context;
mod error;
mod host;
mod kv;
mod label;
mod member;
mod plugin;
#[cfg(feature = "probe")]
mod probe;
mod program;
mod publish;
// The samples of the README are tests, here where all that they use is at hand.
#[cfg(doctest)]
mod readme;
mod reload;
mod resync;
mod signal;
mod status;
#[cfg(all(unix, feature = "systemd"))]
mod systemd;
mod tasks;

pub use crate::about::BuildInfo;
#[cfg(feature = "cli")]
pub use crate::command_line::{Refused, StandardArgs};
pub use crate::context::Context;
pub use crate::error::{Cause, Error, Failure, Result, Stage};
pub use crate::host::Host;
pub use crate::kv::{
    Backends, KvHandle, KvOwner, KvPlugin, MemoryBackend, MemorySettings, WaitPolicy,
};
pub use crate::label::{AgentLabel, LabelError};
pub use crate::plugin::{Plugin, PluginResult};
#[cfg(feature = "probe")]
pub use crate::probe::{LogFilter, ProbeHandle, ProbePlugin, ProbeSettings};
#[cfg(feature = "prometheus")]
pub use crate::probe::{MetricsError, MetricsHandle};
pub use crate::program::run_program;
pub use crate::publish::StatusPublisher;
#[cfg(unix)]
pub use crate::reload::ReloadPlugin;
pub use crate::reload::{Live, ReloadError, Reloaded, Reloader};
pub use crate::resync::{
    ParticipantState, ParticipantStatus, Reconcile, Resync, ResyncDriver, ResyncError,
    ResyncPlugin, ResyncSettings, ResyncStatus, Round, RoundCause, Visit, VisitOutcome, resync,
};
pub use crate::signal::shutdown_signal;
pub use crate::status::{
    AgentStatus, Criticality, Hysteresis, Phase, PluginStatus, Reporter, State, StatusHandle,
};
#[cfg(all(unix, feature = "systemd"))]
pub use crate::systemd::SystemdPlugin;

pub use keyval::BoxError;
pub use keyval_config::{ConfigDir, Reload, Section};
pub use tokio_util::sync::CancellationToken;
