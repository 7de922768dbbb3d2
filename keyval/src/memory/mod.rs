//! The in-memory store: every promise of the contract, no server.

mod connector;
mod group;
mod history;
mod index;
mod interest;
mod lease;
mod options;
mod pace;
mod read;
mod reaper;
mod shared;
mod signs;
mod slot;
mod state;
mod store;
mod txn;
mod watch;

pub use crate::memory::connector::{MemoryConfig, MemoryConnector};
pub use crate::memory::options::MemoryOptions;
pub use crate::memory::store::Memory;
