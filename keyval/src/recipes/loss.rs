//! How a hold on a lock or a leadership ended without being given up.

use std::fmt;

use crate::recipes::session::LossCause;

/// How a hold on a lock or a leadership was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// The lease that it lived by has ended.
    Session(LossCause),
    /// The holder's key is gone or another one stands in its place, although its lease lives:
    /// somebody deleted it, or the store was wiped.
    Removed,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(cause) => write!(f, "its lease has ended: {cause}"),
            Self::Removed => f.write_str("its key was removed"),
        }
    }
}
