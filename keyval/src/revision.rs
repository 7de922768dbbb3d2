//! A revision: one point in the life of a store.

use std::fmt;

/// A point in the life of a store: every write, delete or transaction that changes something makes
/// the next one.
///
/// Revisions of one store are totally ordered. They say nothing across stores, and nothing across
/// the wipe of a store. Zero is before the first change.
///
/// # Examples
/// ```
/// use keyval::Revision;
///
/// let seen = Revision::new(41);
/// assert_eq!(seen.next(), Revision::new(42));
/// assert_eq!(seen.to_string(), "41");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of this revision.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one; the greatest revision stays where it is.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The revision before this one; zero stays zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<u64> for Revision {
    fn from(number: u64) -> Self {
        Self(number)
    }
}
