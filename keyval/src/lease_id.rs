//! The number of a lease.

use std::fmt;

/// The number of a lease, chosen by the store that granted it; never zero.
///
/// Shown as hexadecimal, as etcd's tools show it.
///
/// # Examples
/// ```
/// use keyval::LeaseId;
///
/// assert_eq!(LeaseId::new(255).unwrap().to_string(), "ff");
/// assert!(LeaseId::new(0).is_none(), "zero means: no lease");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(std::num::NonZeroU64);

impl LeaseId {
    /// The lease with this number, or `None` for zero, which stores use for "no lease".
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        match std::num::NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}
