//! A store as a plugin.

mod backends;
mod compact;
mod complaints;
mod config;
mod handle;
mod hooks;
mod hosting;
mod link;
mod open;
mod owner;
mod plugin;
mod sessions;
mod upkeep;

pub use backends::Backends;
pub use config::{MemoryBackend, MemorySettings};
pub use handle::KvHandle;
pub use link::WaitPolicy;
pub use owner::KvOwner;
pub use plugin::KvPlugin;
