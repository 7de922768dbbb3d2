//! What programs build on a store again and again, written once for every store.

mod claim;
mod election;
mod fence;
mod keeper;
mod leaders;
mod lock;
mod loss;
mod once;
mod queue;
mod session;
mod standing;

pub use crate::recipes::election::{Election, Leadership};
pub use crate::recipes::fence::FencingToken;
pub use crate::recipes::keeper::LeaseKeeper;
pub use crate::recipes::leaders::{Leader, Leaders};
pub use crate::recipes::lock::{Lock, LockGuard};
pub use crate::recipes::loss::Loss;
pub use crate::recipes::once::{commit_once, put_once};
pub use crate::recipes::session::{LossCause, Session, SessionOptions, SessionState};
