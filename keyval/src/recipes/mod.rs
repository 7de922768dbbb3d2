//! What programs build on a store again and again, written once over any of them.

mod once;

pub use self::once::{commit_once, put_once};
