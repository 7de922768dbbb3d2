//! The history checker: records what clients asked and were told, and finds what cannot be true.

mod call;
mod check;
mod deliveries;
mod follows;
mod model;
mod order;
mod recorded;
mod recorder;
mod timeline;
mod traffic;
mod violation;
mod watches;
mod whole;
mod writes;

pub use call::{Answer, Call, Listed, Moment, Reply, Request};
pub use check::{Summary, check};
pub use deliveries::{Copied, Delivery, FollowRecord, Followed, FollowedUpdate, WatchRecord};
pub use recorded::Recorded;
pub use recorder::{Recorder, Records};
pub use traffic::Traffic;
pub use violation::{Rule, Violation};
pub use whole::{Base, History, read_truth};
