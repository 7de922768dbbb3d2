//! The connections to the endpoints, what is known of them, and the one way in which calls are
//! made.

mod access;
mod attempts;
mod carrier;
mod channel;
mod client;
mod deadline;
mod dial;
mod health;
mod monitor;
mod node;
mod nodes;
mod opener;
mod pool;
#[cfg(feature = "srv")]
mod srv;
mod start;
mod sync;
mod tasks;
mod whole;
mod wire;

pub(crate) use self::client::{Client, StubResult};
pub(crate) use self::node::Node;
pub use self::opener::{Io, Open};
pub(crate) use self::tasks::Tasks;
