//! The conformance kit: every promise of the contract as one function, to run on any store.

pub mod compact;
pub mod election;
mod events;
mod gate;
pub mod kv;
pub mod lease;
pub mod list;
pub mod lock;
mod log;
pub mod model;
mod patient;
pub mod race;
mod reference;
pub mod scope;
mod script;
pub mod session;
mod subject;
mod suite;
pub mod txn;
pub mod watch;
pub mod whole;

pub use crate::testing::conformance::events::Events;
pub use crate::testing::conformance::subject::{Settings, Subject, run};
