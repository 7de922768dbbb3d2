//! A store as a plugin.

mod backends;
mod config;
mod handle;
mod link;
mod open;
mod plugin;

pub use backends::{BackendError, Backends};
pub use config::{MemoryBackend, MemorySettings};
pub use handle::KvHandle;
pub use link::WaitPolicy;
pub use plugin::KvPlugin;
