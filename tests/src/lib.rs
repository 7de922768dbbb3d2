//! Real servers for the tests of this workspace.

pub mod etcd;
pub mod fake;
mod find;
mod http;
mod process;
mod watchdog;

#[cfg(feature = "containers")]
mod container;
