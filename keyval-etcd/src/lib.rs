#![doc = include_str!("lib.md")]

mod assemble;
mod broker;
mod client;
mod config;
mod connector;
mod convert;
mod error;
mod lease;
mod list;
mod login;
mod maintenance;
mod progress;
mod store;
mod tls;
mod txn;
mod watcher;

pub use crate::config::EtcdConfig;
pub use crate::connector::EtcdConnector;
pub use crate::store::EtcdStore;
