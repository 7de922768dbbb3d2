//! How a session stands, for its holders and for status pages.

use std::fmt;
use std::sync::Arc;

use crate::key::Key;
use crate::lease_id::LeaseId;

/// Why a lease was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossCause {
    /// No renewal was answered in time: the store may have ended the lease, or is about to.
    Expired {
        /// The last failure of a renewal, in words; `None` if no answer came at all.
        last_error: Option<Arc<str>>,
    },
    /// The store says that there is no such lease: it was revoked, it expired there before its time,
    /// or the store was wiped.
    Revoked,
    /// The session or the store was closed by this program, or the runtime has ended.
    Closed,
}

impl LossCause {
    /// The cause in one word, as metrics label it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::Revoked => "revoked",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { last_error: None } => {
                f.write_str("no renewal of the lease was answered in time")
            }
            Self::Expired {
                last_error: Some(error),
            } => write!(f, "no renewal of the lease succeeded in time: {error}"),
            Self::Revoked => f.write_str("the store says that the lease does not exist any more"),
            Self::Closed => f.write_str("the session was closed"),
        }
    }
}

/// How a session stands with its store; obtained from
/// [`Session::state`](crate::recipes::Session::state).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionState {
    /// Its first lease lives.
    Alive {
        /// The lease.
        lease: LeaseId,
    },
    /// Its lease is lost. With [`regrant`](crate::recipes::SessionOptions::regrant) it is being
    /// replaced.
    Lost {
        /// The lease that was lost.
        lease: LeaseId,
        /// Why.
        cause: LossCause,
    },
    /// A lease granted after a loss lives, and the keys of the session are back.
    Renewed {
        /// The new lease.
        lease: LeaseId,
        /// Why the lease before was lost.
        lost: LossCause,
        /// The keys that were not put again, since somebody else has put them meanwhile. The
        /// session has forgotten them.
        refused: Arc<[Key]>,
    },
    /// It was closed, all its handles were dropped, or the store was closed.
    Closed,
}

impl SessionState {
    /// Whether the session has a lease that lives, and its keys are there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Alive { .. } | Self::Renewed { .. })
    }

    /// The state in one word, as metrics label it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Alive { .. } => "alive",
            Self::Lost { .. } => "lost",
            Self::Renewed { .. } => "renewed",
            Self::Closed => "closed",
        }
    }
}
