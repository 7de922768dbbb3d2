//! What can be wrong with a configuration, told so that the person who wrote it can mend it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The result of finding, reading or parsing a configuration.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a configuration cannot be used.
///
/// Every message names the file or variable to change. No message shows the value of a key whose
/// name contains `password`, `passwd`, `passphrase`, `secret`, `token` or `credential`: give a
/// [`Secret`](crate::Secret) such a name, as a broken text is judged by names alone.
///
/// # Examples
/// ```
/// #[derive(Debug, Default, serde::Deserialize)]
/// #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
/// struct Etcd {
///     endpoints: Vec<String>,
/// }
///
/// let error = keyval_config::parse::<Etcd>("etcd.yaml", "endpoint: [a:2379]").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "etcd.yaml:1:1: unknown key \"endpoint\", did you mean \"endpoints\"?\n  \
///        |\n\
///      1 | endpoint: ...\n  \
///        | ^"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be part of a file name and a variable's name.
    #[error(
        "{name:?} cannot name a plugin's configuration: \
         use ASCII letters, digits, - and _, beginning with a letter or digit"
    )]
    PluginName {
        /// The name as given.
        name: String,
    },
    /// A file or folder was named explicitly, but is not there.
    #[error("{named_by} names {}, which does not exist", paths(tried))]
    Missing {
        /// The variable or the call that names it.
        named_by: String,
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The file is there, but cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The text is larger than any configuration.
    #[error("{file} is larger than {limit} bytes, too large for a configuration")]
    TooLarge {
        /// The file, or the name given to [`parse`](crate::parse).
        file: String,
        /// The largest size accepted, in bytes.
        limit: usize,
    },
    /// The text is there, but is not what the plugin expects.
    #[error("{0}")]
    Invalid(Box<Invalid>),
}

/// What is wrong in a text, and where.
///
/// # Examples
/// ```
/// use keyval_config::{Error, parse};
///
/// let Err(Error::Invalid(invalid)) = parse::<Vec<u16>>("ports.yaml", "- 80\n- many") else {
///     panic!("`many` is no number");
/// };
/// assert_eq!((invalid.line(), invalid.column()), (Some(2), Some(3)));
/// assert!(invalid.message().contains("integer"), "{}", invalid.message());
/// assert_eq!(invalid.snippet(), Some("  |\n2 | - many\n  |   ^"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub(crate) file: String,
    pub(crate) position: Option<(usize, usize)>,
    pub(crate) message: String,
    pub(crate) did_you_mean: Option<&'static str>,
    pub(crate) snippet: Option<String>,
}

impl Invalid {
    /// The file, or the name given to [`parse`](crate::parse).
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line, counted from 1, if the fault has a place.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.position.map(|(line, _)| line)
    }

    /// The column in characters, counted from 1, if the fault has a place.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.position.map(|(_, column)| column)
    }

    /// What is wrong and what was expected, on one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The known name closest to an unknown one.
    #[must_use]
    pub fn did_you_mean(&self) -> Option<&'static str> {
        self.did_you_mean
    }

    /// The line with a mark under the column; values that may be secret are hidden.
    #[must_use]
    pub fn snippet(&self) -> Option<&str> {
        self.snippet.as_deref()
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(snippet) = &self.snippet {
            write!(f, "\n{snippet}")?;
        }
        Ok(())
    }
}

fn paths(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(" or ")
}
