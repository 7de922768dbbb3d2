//! Where a configuration, or a value of it, comes from.

use std::fmt;
use std::path::PathBuf;

/// Where a configuration, or one value of it, comes from; later ones cover earlier ones.
///
/// Prints as what to look at in order to change it.
///
/// # Examples
/// ```
/// use keyval_config::Origin;
///
/// assert_eq!(Origin::Defaults.to_string(), "defaults");
/// assert_eq!(Origin::File("config/etcd.yaml".into()).to_string(), "config/etcd.yaml");
/// assert_eq!(Origin::Variable("ETCD__DIAL_TIMEOUT".into()).to_string(), "ETCD__DIAL_TIMEOUT");
/// assert_eq!(Origin::Flag("etcd.dial-timeout".into()).to_string(), "--set etcd.dial-timeout");
/// assert_eq!(
///     Origin::Code("etcd.dial-timeout".into()).to_string(),
///     "the program's own etcd.dial-timeout"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nothing was said: the defaults of the plugin.
    Defaults,
    /// A file.
    File(PathBuf),
    /// The variable of this name.
    Variable(String),
    /// The flag `--set`, for this value.
    Flag(String),
    /// The program itself set this value, by
    /// [`ConfigDir::with_value`](crate::ConfigDir::with_value).
    Code(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(path) => write!(f, "--set {path}"),
            Self::Code(path) => write!(f, "the program's own {path}"),
        }
    }
}
