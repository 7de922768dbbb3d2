//! The operations of a store, to count them and to aim faults at them.

use std::fmt;

/// One operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Reading one key.
    Get,
    /// Listing a range.
    List,
    /// Putting a key.
    Put,
    /// Deleting a range.
    Delete,
    /// Committing a transaction.
    Commit,
    /// Opening a watch.
    Watch,
    /// Granting a lease.
    Grant,
    /// Renewing a lease.
    KeepAlive,
    /// Ending a lease.
    Revoke,
    /// Asking how long a lease has left.
    TimeToLive,
    /// Asking the store how it is.
    Status,
    /// Compacting the history.
    Compact,
    /// Closing the store.
    Close,
}

impl Operation {
    /// How many operations there are.
    pub(crate) const COUNT: usize = Self::Close as usize + 1;

    /// The name of the operation, as errors and metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Commit => "commit",
            Self::Watch => "watch",
            Self::Grant => "grant",
            Self::KeepAlive => "keep_alive",
            Self::Revoke => "revoke",
            Self::TimeToLive => "time_to_live",
            Self::Status => "status",
            Self::Compact => "compact",
            Self::Close => "close",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
