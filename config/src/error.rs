//! What can be wrong with a configuration, told so that the person who wrote it can mend it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::node::in_variables;
use crate::suggest::closest;

/// The result of finding, reading or parsing a configuration.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a configuration cannot be used.
///
/// Every message names the file or variable to change. None shows a [`Secret`](crate::Secret), whatever the
/// name of its key, and of a text that is no YAML none shows any value. Neither is the value of a key shown
/// whose name contains `password`, `passwd`, `passphrase`, `secret`, `token`, `credential` or `username`.
/// The lines of keys that have `key`, `apikey`, `auth` or `pin` as a word are not shown either; what was
/// expected of such a value is told as of any other, and may repeat it.
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
        "{name:?} cannot name a plugin's configuration: use at most 63 ASCII letters, digits, - and _, \
         beginning with a letter or digit"
    )]
    PluginName {
        /// The name as given, cut where it is too long.
        name: String,
    },
    /// The flag for a plugin's file would be one that means something else.
    #[error("no plugin can be named {name:?}, as --{name}-config means something else: rename it")]
    TakenName {
        /// The name.
        name: String,
    },
    /// Variables cannot tell two plugins apart.
    #[error(
        "the variables of the plugins {first:?} and {second:?} begin alike, with {}_: rename one of them",
        shorter(first, second)
    )]
    SameVariables {
        /// One plugin.
        first: String,
        /// The other.
        second: String,
    },
    /// A plugin has two files, one of which would be passed over.
    #[error("there are both {} and {}: keep one of them", first.display(), second.display())]
    TwoFiles {
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
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
    /// Every value is of its type, but some make no sense, or not together.
    #[error("{}", lines(.0))]
    Refused(Vec<Invalid>),
    /// A single value is not set as it should be: `--set plugin.key=value`.
    #[error("{given:?} sets nothing: {problem}")]
    Setting {
        /// The part before the value.
        given: String,
        /// What is wrong with it, and what to write.
        problem: &'static str,
    },
    /// A flag is about a plugin that there is not.
    #[error("{given} is about no plugin of this program{}; there are: {}", meant(.plugin, .known), .known.join(", "))]
    UnknownPlugin {
        /// The flag, without its value.
        given: String,
        /// The name that no plugin has.
        plugin: String,
        /// The names that can be configured.
        known: Vec<String>,
    },
    /// The settings of a choice stand in two places.
    #[error("the settings of {name} stand both in {first} and in {second}; keep one of them")]
    TwoPlaces {
        /// What was chosen.
        name: String,
        /// The file that chooses.
        first: String,
        /// What else has settings.
        second: String,
    },
    /// A file, a section or a single value is there for what is not chosen.
    #[error(
        "there is {what} for {other}, and {plugin} uses {chosen}: write `{key}: {other}` in the file of \
         {plugin}, or `{key}: {chosen}`{}",
        and_no_file(.other, *.is_named)
    )]
    NotChosen {
        /// What is there: a file and what names it, a section and its place, a variable or a flag.
        what: String,
        /// Whether it is a file that a variable or flag names, which no choice passes over.
        is_named: bool,
        /// Whose it is.
        other: String,
        /// The plugin that chooses.
        plugin: String,
        /// The key of the choice.
        key: &'static str,
        /// What is chosen.
        chosen: String,
    },
    /// A configuration cannot be shown as YAML.
    #[error("cannot show the configuration of {name}: {problem}")]
    Show {
        /// The plugin.
        name: String,
        /// The reason.
        problem: String,
    },
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
    pub(crate) path: String,
    /// Whether the variable or flag in place of the file names the path already.
    pub(crate) path_is_told: bool,
    pub(crate) message: String,
    pub(crate) did_you_mean: Option<String>,
    pub(crate) snippet: Option<String>,
}

impl Invalid {
    /// The file, or the name given to [`parse`](crate::parse); or the variable or flag that sets the
    /// value.
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

    /// The path of the value at fault, as in `limits.hosts[2].name`; for an unknown or missing key that
    /// of the map, and empty for the whole.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong and what was expected, on one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The known name closest to an unknown one.
    #[must_use]
    pub fn did_you_mean(&self) -> Option<&str> {
        self.did_you_mean.as_deref()
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
        if !self.path.is_empty() && !self.path_is_told {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(snippet) = &self.snippet {
            write!(f, "\n{snippet}")?;
        }
        Ok(())
    }
}

/// What both begin with, as variables have it.
fn shorter(first: &str, second: &str) -> String {
    in_variables(if first.len() < second.len() {
        first
    } else {
        second
    })
}

fn lines(findings: &[Invalid]) -> String {
    let shown: Vec<_> = findings.iter().map(Invalid::to_string).collect();
    shown.join("\n")
}

fn meant(plugin: &str, known: &[String]) -> String {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let meant = closest(plugin, &known);
    meant.map_or_else(String::new, |meant| format!(", did you mean {meant}?"))
}

fn and_no_file(other: &str, is_named: bool) -> String {
    match is_named {
        true => format!(" and name no file for {other}"),
        false => String::new(),
    }
}

fn paths(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    shown.join(" or ")
}
