//! What can go wrong, by what the caller can do about it.

use std::fmt;
use std::time::Duration;

use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::revision::Revision;

/// Any error that can cross a task.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of an operation on a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether a failed write can have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Certainly not applied: the store refused it, or it was never sent. Safe to try again.
    NotApplied,
    /// It may have been applied: it was sent, and no answer came. Read before trying again.
    Unknown,
}

/// Why an operation failed; the variants are what a caller can tell apart and act on.
///
/// No error text holds a value or a secret. [`Error::hint`] says what to do, [`Error::code`] is
/// stable and can be searched for, and [`Error::may_have_applied`] says whether a failed write can
/// have taken effect all the same.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Error, Memory};
///
/// # tokio_test::block_on(async {
/// let error = Memory::new().put("", "value").await.unwrap_err();
/// assert!(matches!(error, Error::Invalid { .. }));
/// assert!(!error.may_have_applied());
/// assert_eq!(error.code(), "KV0405");
/// # });
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be reached, or cannot serve now (no leader, too busy, starting).
    #[error("the store is unavailable: {message}")]
    Unavailable {
        /// What was tried, where, and what happened.
        message: String,
        /// Whether a write can have been applied.
        outcome: Outcome,
        /// The cause below.
        #[source]
        source: Option<BoxError>,
    },
    /// The operation did not end within its deadline.
    #[error("{operation} did not end within {after:?}{}", detail_text(.message))]
    Timeout {
        /// The operation, by its method name.
        operation: &'static str,
        /// The deadline that passed.
        after: Duration,
        /// Whether a write can have been applied.
        outcome: Outcome,
        /// What was asked of whom, as far as whoever set the deadline knows; empty if it does not.
        message: String,
    },
    /// The history that was asked for has been compacted away.
    #[error("revision {requested} has been compacted{}", oldest_text(.oldest.as_ref()))]
    Compacted {
        /// The revision that was asked for.
        requested: Revision,
        /// The revision to which the store was compacted, where the store tells it: the oldest that
        /// can still be read. Changes can be watched from the one after it.
        oldest: Option<Revision>,
    },
    /// The revision that was asked for lies in the future of this store.
    #[error("revision {requested} is in the future{}", current_text(.current.as_ref()))]
    FutureRevision {
        /// The revision that was asked for.
        requested: Revision,
        /// The present revision of the store, where the store tells it.
        current: Option<Revision>,
    },
    /// The lease does not exist: it expired, was revoked, or was never granted.
    #[error("lease {lease} does not exist: it expired, was revoked or was never granted")]
    LeaseLost {
        /// The lease.
        lease: LeaseId,
    },
    /// The store forbids this to the user that asked.
    #[error("permission denied: {message}")]
    Denied {
        /// What was forbidden.
        message: String,
    },
    /// The store does not accept the credentials, or wants some.
    #[error("not authenticated: {message}")]
    Unauthenticated {
        /// What the store said.
        message: String,
    },
    /// The request is larger than the store accepts.
    #[error("the request is too large: {size} bytes{}", beyond(*limit))]
    TooLarge {
        /// The size of the request: all its keys and values, in bytes.
        size: usize,
        /// The limit, in bytes; `None` if the store refused the request and did not say it.
        limit: Option<usize>,
    },
    /// The transaction has more compares or operations than the store accepts.
    #[error(
        "the transaction is too long: {count} compares or operations{}",
        beyond(*limit)
    )]
    TooManyOps {
        /// The longest of its three lists.
        count: usize,
        /// The limit for each of them; `None` if the store refused the transaction and did not say
        /// it.
        limit: Option<usize>,
    },
    /// One key is written twice in one branch of a transaction.
    #[error("the transaction writes the key \"{key}\" twice")]
    DuplicateKey {
        /// The key.
        key: Key,
    },
    /// The store has no room left for writes.
    #[error("the store is full: {message}")]
    StorageFull {
        /// What the store said.
        message: String,
    },
    /// The request makes no sense; it was refused before it was sent.
    #[error("invalid request: {message}")]
    Invalid {
        /// What is wrong, and what would be right.
        message: String,
    },
    /// The store cannot do this; its capabilities say so beforehand.
    #[error("{store} does not support {operation}")]
    NotSupported {
        /// What was asked for.
        operation: &'static str,
        /// The store, as it displays itself.
        store: String,
    },
    /// The request, or an answer of the store, lies outside the scope of this handle.
    #[error("{what} is outside the scope \"{scope}\"")]
    OutOfScope {
        /// What was asked for or received.
        what: String,
        /// The scope.
        scope: String,
    },
    /// The store failed in a way that fits no other variant.
    #[error("the store failed: {message}")]
    Backend {
        /// What the store said.
        message: String,
        /// Whether a write can have been applied.
        outcome: Outcome,
        /// The cause below.
        #[source]
        source: Option<BoxError>,
    },
    /// The store was closed by this program.
    #[error("{store} is closed")]
    Closed {
        /// The store, as it displays itself.
        store: String,
    },
}

impl Error {
    /// An [`Error::Invalid`] with this message.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid {
            message: message.into(),
        }
    }

    /// An [`Error::Unavailable`] without a cause below.
    #[must_use]
    pub fn unavailable(message: impl Into<String>, outcome: Outcome) -> Self {
        Self::Unavailable {
            message: message.into(),
            outcome,
            source: None,
        }
    }

    /// An [`Error::Timeout`] of a deadline that was set from outside, where nobody knows whom the
    /// store asked.
    #[must_use]
    pub fn timeout(operation: &'static str, after: Duration, outcome: Outcome) -> Self {
        Self::Timeout {
            operation,
            after,
            outcome,
            message: String::new(),
        }
    }

    /// An [`Error::Backend`] without a cause below.
    #[must_use]
    pub fn backend(message: impl Into<String>, outcome: Outcome) -> Self {
        Self::Backend {
            message: message.into(),
            outcome,
            source: None,
        }
    }

    /// Whether a write that failed with this error was certainly not applied.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unavailable { outcome, .. }
            | Self::Timeout { outcome, .. }
            | Self::Backend { outcome, .. } => *outcome,
            // The answer to the write was received, but lay outside the scope.
            Self::OutOfScope { .. } => Outcome::Unknown,
            Self::Compacted { .. }
            | Self::FutureRevision { .. }
            | Self::LeaseLost { .. }
            | Self::Denied { .. }
            | Self::Unauthenticated { .. }
            | Self::TooLarge { .. }
            | Self::TooManyOps { .. }
            | Self::DuplicateKey { .. }
            | Self::StorageFull { .. }
            | Self::Invalid { .. }
            | Self::NotSupported { .. }
            | Self::Closed { .. } => Outcome::NotApplied,
        }
    }

    /// Whether a write that failed with this error can have taken effect all the same.
    #[must_use]
    pub fn may_have_applied(&self) -> bool {
        self.outcome() == Outcome::Unknown
    }

    /// Whether the same read may succeed later, with nothing else changed.
    ///
    /// A write may be tried again only if, besides, it was certainly not applied.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }

    /// A stable code of this kind of error, to search for and to match logs on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.words().0
    }

    /// The kind of this error in one word, as metrics label it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.words().1
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.words().2
    }

    fn words(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Unavailable { .. } => (
                "KV0101",
                "unavailable",
                "check that the store runs and that its address is right; the operation can be tried again if it was certainly not applied",
            ),
            Self::Timeout { .. } => (
                "KV0102",
                "timeout",
                "check the load of the store and the network, or allow a longer deadline",
            ),
            Self::Compacted { .. } => (
                "KV0201",
                "compacted",
                "read the present state and go on from its revision; follow() does so by itself",
            ),
            Self::FutureRevision { .. } => (
                "KV0202",
                "future_revision",
                "the store may have been wiped or restored: read the present state and go on from its revision",
            ),
            Self::LeaseLost { .. } => (
                "KV0203",
                "lease_lost",
                "grant a new lease and put its keys again",
            ),
            Self::Denied { .. } => (
                "KV0301",
                "denied",
                "grant the user a role with permission on this prefix",
            ),
            Self::Unauthenticated { .. } => (
                "KV0302",
                "unauthenticated",
                "check the user name and the password",
            ),
            Self::TooLarge { .. } => (
                "KV0401",
                "too_large",
                "store less under one key, or split the value over several; if the store takes less than it is configured to, correct its limit",
            ),
            Self::TooManyOps { .. } => (
                "KV0402",
                "too_many_ops",
                "split the transaction, which makes it several revisions, or use the bulk writer; if the store takes fewer than it is configured to, correct its limit",
            ),
            Self::DuplicateKey { .. } => (
                "KV0403",
                "duplicate_key",
                "write each key once in a branch: the last value alone",
            ),
            Self::StorageFull { .. } => (
                "KV0404",
                "storage_full",
                "compact and defragment the store or raise its quota, then disarm its alarm",
            ),
            Self::Invalid { .. } => ("KV0405", "invalid", "correct the request"),
            Self::NotSupported { .. } => (
                "KV0406",
                "not_supported",
                "ask capabilities() first, or choose another store",
            ),
            Self::OutOfScope { .. } => (
                "KV0501",
                "out_of_scope",
                "use a handle whose scope covers the key; if the store sent it, its permissions are too wide or it is broken",
            ),
            Self::Backend { .. } => ("KV0502", "backend", "see the message of the store"),
            Self::Closed { .. } => ("KV0503", "closed", "use the store only before it is closed"),
        }
    }
}

fn detail_text(message: &str) -> impl fmt::Display {
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{colon}{message}")
}

fn oldest_text(oldest: Option<&Revision>) -> impl fmt::Display {
    oldest.map_or_else(String::new, |oldest| {
        format!(": the store was compacted to {oldest}")
    })
}

fn current_text(current: Option<&Revision>) -> impl fmt::Display {
    current.map_or_else(String::new, |current| {
        format!(": the store is at {current}")
    })
}

fn beyond(limit: Option<usize>) -> impl fmt::Display {
    limit.map_or_else(
        || ", more than the store takes".to_owned(),
        |limit| format!(" where the limit is {limit}"),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn one_of_each() -> Vec<Error> {
        let message = || "why".to_owned();
        vec![
            Error::unavailable("why", Outcome::NotApplied),
            Error::timeout("get", Duration::from_secs(3), Outcome::NotApplied),
            Error::Compacted {
                requested: Revision::new(3),
                oldest: Some(Revision::new(9)),
            },
            Error::FutureRevision {
                requested: Revision::new(9),
                current: Some(Revision::new(3)),
            },
            Error::LeaseLost {
                lease: LeaseId::new(255).unwrap(),
            },
            Error::Denied { message: message() },
            Error::Unauthenticated { message: message() },
            Error::TooLarge {
                size: 2_000_000,
                limit: Some(1_572_864),
            },
            Error::TooManyOps {
                count: 129,
                limit: Some(128),
            },
            Error::DuplicateKey {
                key: Key::from("a"),
            },
            Error::StorageFull { message: message() },
            Error::invalid("why"),
            Error::NotSupported {
                operation: "compact",
                store: "flat file".to_owned(),
            },
            Error::OutOfScope {
                what: "the key \"b\"".to_owned(),
                scope: "a/".to_owned(),
            },
            Error::backend("why", Outcome::NotApplied),
            Error::Closed {
                store: "memory".to_owned(),
            },
        ]
    }

    #[test]
    fn every_kind_of_error_has_its_own_code_and_word_and_a_remedy() {
        let errors = one_of_each();
        let codes: BTreeSet<_> = errors.iter().map(Error::code).collect();
        let kinds: BTreeSet<_> = errors.iter().map(Error::kind).collect();
        assert_eq!((codes.len(), kinds.len()), (errors.len(), errors.len()));
        assert!(errors.iter().all(|error| !error.hint().is_empty()));
    }

    #[test]
    fn texts_hold_the_numbers() {
        let texts: Vec<_> = one_of_each().iter().map(Error::to_string).collect();
        for expected in [
            "get did not end within 3s",
            "revision 3 has been compacted: the store was compacted to 9",
            "revision 9 is in the future: the store is at 3",
            "lease ff does not exist: it expired, was revoked or was never granted",
            "the request is too large: 2000000 bytes where the limit is 1572864",
            "the transaction is too long: 129 compares or operations where the limit is 128",
            "the transaction writes the key \"a\" twice",
        ] {
            assert!(
                texts.iter().any(|text| text == expected),
                "{expected} is none of {texts:#?}"
            );
        }
    }

    #[test]
    fn only_what_was_sent_without_an_answer_may_have_applied() {
        for error in one_of_each() {
            let expected = matches!(error, Error::OutOfScope { .. });
            assert_eq!(error.may_have_applied(), expected, "{error}");
        }
        assert!(Error::unavailable("reset", Outcome::Unknown).may_have_applied());
        assert!(Error::backend("reset", Outcome::Unknown).may_have_applied());
    }

    #[test]
    fn only_an_absent_store_or_a_deadline_is_worth_a_second_try() {
        for error in one_of_each() {
            let expected = matches!(error, Error::Unavailable { .. } | Error::Timeout { .. });
            assert_eq!(error.is_retryable(), expected, "{error}");
        }
    }
}
