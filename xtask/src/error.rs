//! What can go wrong: the command was not understood, or it was and did not succeed.

use std::fmt;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line makes no sense; exit status 2.
    Usage(String),
    /// The command ran and failed; exit status 1.
    Failed(String),
}

/// A result whose error is told to a person.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with this message.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// A misunderstanding with this message.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}
