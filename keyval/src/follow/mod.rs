//! Follows a range for ever: a snapshot, then every change.

mod driver;
mod known;
mod machine;
mod options;
mod report;
mod state;
mod stream;
#[cfg(test)]
mod tests;

pub use options::FollowOptions;
pub use state::{FollowState, Outage};
pub use stream::{Follow, follow};
