//! A lease that is kept alive, with the keys that live and come back with it.

mod away;
mod driver;
mod handle;
mod keys;
mod options;
mod renewal;
mod shared;
mod state;
mod tenure;

pub use crate::recipes::session::handle::Session;
pub use crate::recipes::session::options::SessionOptions;
pub use crate::recipes::session::state::{LossCause, SessionState};
