//! How to reach an etcd: endpoints, encryption, login, deadlines and limits.

mod check;
mod endpoint;
mod etcd;
mod optional;
mod shown;
mod transport;

pub(crate) use self::endpoint::{Endpoint, Scheme, not_an_endpoint};
pub(crate) use self::etcd::ENDPOINT_VARIABLES;
pub use self::etcd::EtcdConfig;
pub(crate) use self::transport::Transport;
