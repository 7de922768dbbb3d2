//! What programs build on a store again and again, written once for every store.

mod keeper;
mod session;

pub use crate::recipes::keeper::LeaseKeeper;
pub use crate::recipes::session::{LossCause, Session, SessionOptions, SessionState};
