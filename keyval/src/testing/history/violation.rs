//! What a history can violate: a rule, what happened, and where.

use std::fmt;

/// A rule that every history of a correct store and client keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The list of all changes has no gap, and each change follows from what stood there before.
    Truth,
    /// No two calls wrote at the same revision.
    Distinct,
    /// A write that began after another call had ended has a greater revision than that saw.
    RealTime,
    /// A write that was acknowledged is in the list of all changes, at its revision.
    Lost,
    /// A call that may have been applied was applied once at most; an acknowledged one, once.
    AppliedTwice,
    /// A call that certainly was not applied, as its error said, was not applied.
    Refused,
    /// Every change was asked for by some call, or is the end of a lease.
    Unexplained,
    /// A transaction, or a put with a condition, did what its compares say.
    Branch,
    /// What a write answered agrees with the state it was applied to.
    Reply,
    /// What a read answered was so at its revision.
    Read,
    /// A read sees everything that was there before it began, and a lease that was ended is gone.
    Stale,
    /// A delivery is within the range that was asked for.
    Filter,
    /// Revisions rise within a stream, and keys within a revision.
    Ordered,
    /// No change is delivered twice.
    Unique,
    /// All changes of one revision come together.
    Atomic,
    /// Nothing comes at or below the revision to which progress was told, which never goes back.
    Bookmarkable,
    /// The first delivery is the first change from the revision that was asked for on.
    Resumable,
    /// What is delivered is what happened, and nothing is left out.
    Reliable,
    /// A put says rightly whether it made the key: its version and the revision of its creation.
    IsCreate,
    /// The entry that stood there before is the one that stood there, and comes only when asked for.
    PrevKv,
    /// Nothing comes after the end of a stream.
    AfterEnd,
    /// A resync is the whole range as it was at its revision.
    Snapshot,
    /// A resync comes at first, and then once for each loss of history, and says what it follows.
    Resync,
    /// The changes that a mirror reports are the difference of its two pictures, deletions included.
    Implied,
    /// In the end a copy is what the store is.
    Converged,
}

impl Rule {
    /// The rule in one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Truth => "truth",
            Self::Distinct => "distinct",
            Self::RealTime => "real-time",
            Self::Lost => "lost",
            Self::AppliedTwice => "applied-twice",
            Self::Refused => "refused",
            Self::Unexplained => "unexplained",
            Self::Branch => "branch",
            Self::Reply => "reply",
            Self::Read => "read",
            Self::Stale => "stale",
            Self::Filter => "filter",
            Self::Ordered => "ordered",
            Self::Unique => "unique",
            Self::Atomic => "atomic",
            Self::Bookmarkable => "bookmarkable",
            Self::Resumable => "resumable",
            Self::Reliable => "reliable",
            Self::IsCreate => "is-create",
            Self::PrevKv => "prev-kv",
            Self::AfterEnd => "after-end",
            Self::Snapshot => "snapshot",
            Self::Resync => "resync",
            Self::Implied => "implied",
            Self::Converged => "converged",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing in a history that cannot be, if store and client keep their promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that is broken.
    pub rule: Rule,
    /// What happened, and what should have.
    pub what: String,
    /// Where: the call, the revision, or the stream and the item of it.
    pub place: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}: {}", self.rule, self.place, self.what)
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Violation>);

impl Findings {
    pub(super) fn add(&mut self, rule: Rule, place: impl fmt::Display, what: impl fmt::Display) {
        self.0.push(Violation {
            rule,
            what: what.to_string(),
            place: place.to_string(),
        });
    }
}
