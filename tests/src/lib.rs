//! Real servers for the tests of this workspace.

pub mod auth;
pub mod certificates;
pub mod etcd;
pub mod fake;
mod find;
mod http;
mod process;
pub mod tls;
mod watchdog;

#[cfg(feature = "containers")]
mod container;

pub use find::etcdctl;
