//! Known bugs of servers: what they break is told by their name, and is not held against us.

use crate::testing::history::violation::{Rule, Violation};

/// A bug of the store under test that is known, published and not ours to repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBug {
    /// What it does, in a few words.
    pub name: &'static str,
    /// Where it is described.
    pub link: &'static str,
    /// The versions that have it, in words: `3.4 before 3.4.25`.
    pub versions: &'static str,
    /// The only rules it can break.
    pub rules: &'static [Rule],
}

impl KnownBug {
    /// Whether the bug can be the cause of this.
    #[must_use]
    pub fn explains(&self, violation: &Violation) -> bool {
        self.rules.contains(&violation.rule)
    }
}
