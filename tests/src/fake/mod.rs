//! An etcd without etcd: its protocol over the in-memory store, for networks that are simulated.

mod kv;
mod lease;
mod login;
mod maintenance;
mod plight;
mod server;
mod watch;
mod wire;

pub use self::login::{PASSWORD, TOKEN, USER};
pub use self::plight::Plight;
pub use self::server::FakeEtcd;
