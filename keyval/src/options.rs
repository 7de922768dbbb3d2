//! The options of each operation; their defaults are what most callers want.

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::revision::Revision;

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Sees every write that ended before the read began.
    #[default]
    Linearizable,
    /// May be answered from a copy that lags behind; cheaper, and works without a quorum.
    Serializable,
}

/// How to read one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetOptions {
    /// How fresh the read must be; linearizable by default.
    pub consistency: Consistency,
    /// Read the past, as it was at this revision; the present by default.
    pub at: Option<Revision>,
}

impl GetOptions {
    /// Sets how fresh the read must be.
    #[must_use]
    pub fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// Reads the past, as it was at this revision.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }
}

/// What a list returns of each entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Projection {
    /// Whole entries.
    #[default]
    Entries,
    /// Entries with empty values: the keys and their revisions.
    Keys,
    /// No entries at all, only their number.
    Count,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The least key first.
    #[default]
    Ascending,
    /// The greatest key first.
    Descending,
}

/// How to list a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListOptions {
    /// How fresh the read must be; linearizable by default.
    pub consistency: Consistency,
    /// Read the past, as it was at this revision; the present by default.
    pub at: Option<Revision>,
    /// At most this many entries, at least 1; all by default.
    pub limit: Option<usize>,
    /// What to return of each entry; whole entries by default.
    pub projection: Projection,
    /// The order of the entries; ascending by default.
    pub order: Order,
    /// How many entries to ask the store for at a time, at least 1; the store's choice by default.
    /// Pages are invisible to the caller: all are of one revision.
    pub page: Option<usize>,
}

impl ListOptions {
    /// Sets how fresh the read must be.
    #[must_use]
    pub fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// Reads the past, as it was at this revision.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> Self {
        self.at = Some(revision);
        self
    }

    /// Returns at most this many entries.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Returns entries with empty values.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.projection = Projection::Keys;
        self
    }

    /// Returns no entries, only their number.
    #[must_use]
    pub fn count_only(mut self) -> Self {
        self.projection = Projection::Count;
        self
    }

    /// Begins with the greatest key.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        self.order = Order::Descending;
        self
    }

    /// Asks the store for this many entries at a time.
    #[must_use]
    pub fn with_page(mut self, page: usize) -> Self {
        self.page = Some(page);
        self
    }
}

impl ListOptions {
    /// Refuses what no store accepts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit or a page of zero.
    pub fn check(&self) -> Result<()> {
        if self.limit == Some(0) || self.page == Some(0) {
            return Err(Error::invalid(
                "the limit or the page of a list is 0: leave it out or ask for at least 1",
            ));
        }
        Ok(())
    }
}

/// How long a key lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until it is deleted; a put without a lifetime detaches the key from its lease.
    #[default]
    Permanent,
    /// At least this long, on a lease of its own that nobody renews. At least one second; stores
    /// count in whole seconds, rounded up, and have a minimum of their own.
    Ttl(Duration),
    /// As long as this lease.
    Lease(LeaseId),
    /// As long as it lived before this put: keeps the lease of a key that exists.
    Keep,
}

impl Lifetime {
    /// The least TTL that can be asked for: one second.
    pub const MIN_TTL: Duration = Duration::from_secs(1);

    /// The greatest TTL that can be asked for, in seconds, as etcd limits it.
    pub const MAX_TTL: Duration = Duration::from_secs(9_000_000_000);

    /// Refuses a TTL that no store accepts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a TTL below [`MIN_TTL`](Self::MIN_TTL) or above
    /// [`MAX_TTL`](Self::MAX_TTL).
    pub fn check(self) -> Result<()> {
        match self {
            Self::Ttl(ttl) if ttl < Self::MIN_TTL => Err(Error::invalid(format!(
                "the TTL {ttl:?} is too short: ask for at least {:?}",
                Self::MIN_TTL
            ))),
            Self::Ttl(ttl) if ttl > Self::MAX_TTL => Err(Error::invalid(format!(
                "the TTL {ttl:?} is too long: ask for at most {:?}",
                Self::MAX_TTL
            ))),
            _ => Ok(()),
        }
    }
}

/// What must hold for a put to take place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The key does not exist.
    Absent,
    /// The key exists.
    Exists,
    /// The key was last put at this revision. [`Revision::ZERO`] holds for a key that does not
    /// exist, as in every compare of revisions.
    Modified(Revision),
    /// The key exists with exactly this value.
    Value(Bytes),
}

/// How to put a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOptions {
    /// How long the key lives; until deleted by default.
    pub lifetime: Lifetime,
    /// Return the entry that stood there before; not by default.
    pub previous: bool,
    /// Put only if this holds; always by default.
    pub only_if: Option<Condition>,
    /// Keep the value of a key that exists, and only renew its revision and lifetime. The value of
    /// the put must then be empty.
    pub keep_value: bool,
}

impl PutOptions {
    /// Sets how long the key lives.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Lets the key live at least this long.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        self.with_lifetime(Lifetime::Ttl(ttl))
    }

    /// Lets the key live as long as this lease.
    #[must_use]
    pub fn with_lease(self, lease: LeaseId) -> Self {
        self.with_lifetime(Lifetime::Lease(lease))
    }

    /// Returns the entry that stood there before.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        self.previous = true;
        self
    }

    /// Puts only if this holds.
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        self.only_if = Some(condition);
        self
    }

    /// Keeps the value of a key that exists.
    #[must_use]
    pub fn keep_value(mut self) -> Self {
        self.keep_value = true;
        self
    }
}

impl PutOptions {
    /// Refuses a put that no store accepts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty key, for a value beside `keep_value`, and for a TTL that is
    /// too short or too long.
    pub fn check(&self, key: &Key, value: &Bytes) -> Result<()> {
        key.check()?;
        self.lifetime.check()?;
        if self.keep_value && !value.is_empty() {
            return Err(Error::invalid(format!(
                "the put of \"{key}\" keeps the value and brings one of {} bytes: \
                 leave one of them out",
                value.len()
            )));
        }
        Ok(())
    }
}

impl From<Lifetime> for PutOptions {
    fn from(lifetime: Lifetime) -> Self {
        Self::default().with_lifetime(lifetime)
    }
}

/// How to delete a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// Return the entries that went; not by default.
    pub previous: bool,
}

impl DeleteOptions {
    /// Returns the entries that went.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        self.previous = true;
        self
    }
}

/// How to watch a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchOptions {
    /// The first revision to deliver; from now on by default. Zero is refused.
    pub from: Option<Revision>,
    /// Deliver with each change the entry that stood there before; not by default.
    pub previous: bool,
    /// Ask the store for word at least this often while nothing happens to the range; the store's
    /// own habit by default, which may be rarely or never.
    pub progress: Option<Duration>,
}

impl WatchOptions {
    /// Delivers this revision first.
    #[must_use]
    pub fn starting_at(mut self, revision: Revision) -> Self {
        self.from = Some(revision);
        self
    }

    /// Delivers with each change the entry that stood there before.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        self.previous = true;
        self
    }

    /// Asks for word at least this often while nothing happens to the range.
    #[must_use]
    pub fn with_progress(mut self, every: Duration) -> Self {
        self.progress = Some(every);
        self
    }

    /// Refuses what no store accepts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a start at revision zero, and for a progress interval of zero.
    pub fn check(&self) -> Result<()> {
        if self.from == Some(Revision::ZERO) {
            return Err(Error::invalid(
                "a watch cannot start at revision 0: the first change is at 1; \
                 leave the start out to watch from now on",
            ));
        }
        if self.progress == Some(Duration::ZERO) {
            return Err(Error::invalid(
                "the progress interval of a watch is 0: give it a length",
            ));
        }
        Ok(())
    }
}
