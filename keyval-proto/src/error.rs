//! What can go wrong between a value and its bytes.

use std::sync::Arc;

use keyval::{BoxError, Key, Revision};

/// The result of an operation on a typed handle.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A value, or why its bytes are none: a broken value never hides its neighbours.
pub type Decoded<T> = std::result::Result<T, DecodeError>;

/// Why an operation on a typed handle failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store failed, or refused the request.
    #[error(transparent)]
    Store(#[from] keyval::Error),
    /// The value cannot be encoded; nothing was sent.
    #[error("cannot encode the value of \"{key}\": {source}")]
    Encode {
        /// The key it was to be put under.
        key: Key,
        /// What the codec said.
        #[source]
        source: BoxError,
    },
    /// What stands in the store is no such value.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The function that makes an edit gave it up; nothing was written.
    #[error("the edit was refused: {source}")]
    Refused {
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Others were faster at each of the attempts that an edit may make; nothing was written.
    #[error(
        "the edit lost the race for \"{key}\" {attempts} times: try later, or allow more attempts"
    )]
    Contended {
        /// A key that somebody else had changed at the last attempt.
        key: Key,
        /// How often the edit was tried.
        attempts: u32,
    },
}

impl Error {
    /// The function that makes an edit gives it up, for this reason; see
    /// [`View::edit`](crate::View::edit).
    #[must_use]
    pub fn refused(cause: impl Into<BoxError>) -> Self {
        Self::Refused {
            source: cause.into(),
        }
    }

    /// Whether a write that failed with this error can have taken effect all the same.
    #[must_use]
    pub fn may_have_applied(&self) -> bool {
        match self {
            Self::Store(error) => error.may_have_applied(),
            Self::Encode { .. }
            | Self::Decode(_)
            | Self::Refused { .. }
            | Self::Contended { .. } => false,
        }
    }

    /// Whether the same read or edit may succeed later, with nothing else changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Contended { .. } => true,
            Self::Encode { .. } | Self::Decode(_) | Self::Refused { .. } => false,
        }
    }
}

/// An entry whose bytes are no value of the type that was asked for.
///
/// Two are equal if they tell the same of the same key at the same revision, so that a local copy
/// can see that nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot decode the value of \"{key}\" at revision {revision}: {message}")]
#[non_exhaustive]
pub struct DecodeError {
    /// The key.
    pub key: Key,
    /// The revision at which the bytes were put.
    pub revision: Revision,
    /// What the codec said.
    pub message: String,
    #[source]
    source: Arc<dyn std::error::Error + Send + Sync>,
}

impl DecodeError {
    /// The bytes that were put under this key at this revision are no value, for this reason.
    #[must_use]
    pub fn new(key: Key, revision: Revision, cause: impl Into<BoxError>) -> Self {
        let source: Arc<dyn std::error::Error + Send + Sync> = Arc::from(cause.into());
        Self {
            key,
            revision,
            message: source.to_string(),
            source,
        }
    }
}

impl PartialEq for DecodeError {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, self.revision, &self.message) == (&other.key, other.revision, &other.message)
    }
}

impl Eq for DecodeError {}
