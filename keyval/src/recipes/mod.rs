//! What programs build on a store again and again, written once over any of them.

mod keeper;
mod once;
mod session;

pub use self::keeper::LeaseKeeper;
pub use self::once::{commit_once, put_once};
pub use self::session::{LossCause, Session, SessionOptions, SessionState};
