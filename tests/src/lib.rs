//! Real servers for the tests of this workspace.

pub mod auth;
pub mod black_hole;
pub mod certificates;
pub mod cluster;
pub mod etcd;
pub mod fake;
pub mod figures;
mod find;
pub mod http;
pub mod known;
pub mod name_server;
mod port;
pub mod probes;
mod process;
pub mod proxied;
pub mod proxy;
mod pump;
mod ready;
pub mod replica;
pub mod simulation;
pub mod tls;
mod watchdog;

#[cfg(feature = "containers")]
mod container;
#[cfg(feature = "containers")]
pub mod containers;

pub use find::etcdctl;
