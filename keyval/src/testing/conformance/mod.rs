//! The conformance kit: every promise of the contract as one function, to run on any store.

mod events;
pub mod kv;
pub mod lease;
pub mod list;
mod log;
mod patient;
mod subject;
pub mod txn;
pub mod watch;

pub use crate::testing::conformance::events::Events;
pub use crate::testing::conformance::subject::{Settings, Subject, run};
