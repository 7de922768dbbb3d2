//! How a follower stands with its store, for status pages and probes.

use std::sync::Arc;

use tokio::time::Instant;

/// How a follower stands with its store.
///
/// Obtained from [`Follow::state`](crate::Follow::state). It moves only while the follower is
/// polled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowState {
    /// It has not watched yet, and nothing has failed so far.
    Connecting,
    /// It watches, and the history is the one that was delivered.
    Connected,
    /// It is cut off, and tries again. What is delivered after it continues what was delivered
    /// before, or is a resync.
    Suspended(Outage),
    /// It has been cut off for longer than `lost_after`, and still tries again; or it has ended.
    Lost(Outage),
}

/// Since when, why and how stubbornly a follower is cut off from its store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// When the store was last heard of; at first, when the follower began.
    pub since: Instant,
    /// The latest cause, in words, without values and secrets.
    pub cause: Arc<str>,
    /// The attempts that have failed since the watch last worked.
    pub attempts: u32,
}

impl FollowState {
    /// Whether the follower watches.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }

    /// The outage, if there is one.
    #[must_use]
    pub fn outage(&self) -> Option<&Outage> {
        match self {
            Self::Suspended(outage) | Self::Lost(outage) => Some(outage),
            Self::Connecting | Self::Connected => None,
        }
    }

    /// The state in one word, as metrics label it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Suspended(_) => "suspended",
            Self::Lost(_) => "lost",
        }
    }
}
