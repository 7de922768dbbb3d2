//! Configurations that change while the agent runs.

mod error;
#[cfg(unix)]
mod hangup;
mod live;
mod registry;
mod reloader;

pub use self::error::{ReloadError, Reloaded};
#[cfg(unix)]
pub use self::hangup::ReloadPlugin;
pub use self::live::Live;
pub(crate) use self::registry::Reloads;
pub use self::reloader::Reloader;
