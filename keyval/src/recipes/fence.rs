//! The number by which a holder is told from those before and after it.

use std::fmt;

use crate::revision::Revision;

/// The number of one holder of a lock or a leadership: it grows with each.
///
/// It is the revision at which the holder's key came to be. Give it to whatever the holder acts
/// upon, and let that refuse a token below the greatest that it has seen: then a holder that lost
/// its hold without noticing can do no harm. What is kept in the same store needs no comparing:
/// add the holder's guard to the transaction.
///
/// Tokens of one name in one store are ordered. They say nothing across stores, and nothing across
/// the wipe of a store.
///
/// # Examples
/// ```
/// use keyval::Revision;
/// use keyval::recipes::FencingToken;
///
/// let (earlier, later) = (Revision::new(41), Revision::new(42));
/// assert!(FencingToken::from(earlier) < FencingToken::from(later));
/// assert_eq!(FencingToken::from(later).to_string(), "42");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(Revision);

impl FencingToken {
    /// The revision at which the holder's key came to be.
    #[must_use]
    pub fn revision(self) -> Revision {
        self.0
    }

    /// The number, for what keeps tokens as numbers.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<Revision> for FencingToken {
    fn from(created: Revision) -> Self {
        Self(created)
    }
}
