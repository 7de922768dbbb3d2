//! The connections to the endpoints, what is known of them, and the one way in which calls are
//! made.

mod attempts;
mod client;
mod dial;
mod endpoint;
mod health;
mod monitor;
mod node;
mod nodes;
mod pool;
mod state;

pub(crate) use self::client::{Client, StubResult};
pub(crate) use self::node::Node;
pub use self::state::{Connection, ConnectionState, EndpointFailure};
