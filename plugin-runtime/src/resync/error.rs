//! What can be wrong with a request for resync.

use std::sync::Arc;

/// Why a participant is not taken, or a round does not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResyncError {
    /// There is a participant of that name.
    #[error("two participants of resync are named {name:?}: give each its own name")]
    DuplicateName {
        /// The name.
        name: Arc<str>,
    },
    /// There will be no more rounds: the plugin, or the driver, has ended.
    #[error("there are no more rounds of resync: what drives them has ended")]
    Ended,
}
