//! Real servers for the tests of this workspace.

pub mod cluster;
pub mod etcd;
mod find;
mod http;
mod process;
pub mod proxied;
pub mod proxy;
mod pump;
mod ready;
mod watchdog;

#[cfg(feature = "containers")]
mod container;
