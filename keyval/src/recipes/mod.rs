//! What programs build on a store again and again, written once over any of them.

mod claim;
mod election;
mod fence;
mod keeper;
mod leaders;
mod lock;
mod loss;
mod members;
mod once;
mod place;
mod queue;
mod session;
mod spot;

pub use self::election::{Election, Leadership};
pub use self::fence::FencingToken;
pub use self::keeper::LeaseKeeper;
pub use self::leaders::{Leader, Leaders};
pub use self::lock::{Lock, LockGuard};
pub use self::loss::Loss;
pub use self::once::{commit_once, put_once};
pub use self::session::{LossCause, Session, SessionOptions, SessionState};
