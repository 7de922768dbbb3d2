#![doc = include_str!("lib.md")]

mod admin;
mod broker;
mod config;
mod connection;
mod connector;
mod convert;
mod error;
mod lease;
mod list;
mod login;
mod maintenance;
mod store;
mod tls;
mod txn;
mod validate;
mod watch;

pub use crate::admin::{
    Access, Alarm, AlarmKind, EndpointStatus, EtcdAdmin, HashOfKeys, Member, MemberId,
    MemberStatus, Permission, SavedSnapshot,
};
pub use crate::config::EtcdConfig;
#[doc(hidden)]
pub use crate::connection::{Io, Open};
pub use crate::connector::EtcdConnector;
pub use crate::store::EtcdStore;
