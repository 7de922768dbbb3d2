#![doc = include_str!("lib.md")]

mod context;
mod error;
mod host;
mod kv;
mod plugin;
// The samples of the README are tests, here where all that they use is at hand.
#[cfg(doctest)]
mod readme;
mod signal;
mod status;
mod tasks;

pub use crate::context::Context;
pub use crate::error::{Cause, Error, Failure, Result, Stage};
pub use crate::host::Host;
pub use crate::kv::{
    BackendError, Backends, KvHandle, KvPlugin, MemoryBackend, MemorySettings, WaitPolicy,
};
pub use crate::plugin::{Plugin, PluginResult};
pub use crate::signal::shutdown_signal;
pub use crate::status::{AgentStatus, PluginStatus, Reporter, State, StatusHandle};

pub use keyval::BoxError;
pub use keyval_config::ConfigDir;
pub use tokio_util::sync::CancellationToken;
