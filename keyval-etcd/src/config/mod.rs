//! How to reach an etcd: endpoints, encryption, login, deadlines and limits.

mod check;
mod etcd;
mod optional;
mod shown;
mod transport;

pub use self::etcd::EtcdConfig;
pub(crate) use self::transport::Transport;
