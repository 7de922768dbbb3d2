//! What a program says of itself.

use std::borrow::Cow;

/// The build of a program: shown in its first log line, its metrics and its health reports.
///
/// # Examples
/// ```
/// use plugin_runtime::{BuildInfo, ConfigDir, Host};
///
/// let build = BuildInfo::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
///     .with_commit(option_env!("GIT_COMMIT").unwrap_or_default());
/// let host = Host::new(ConfigDir::new("config")).with_build(build);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildInfo {
    /// The name of the program; `agent` by default.
    pub name: Cow<'static, str>,
    /// Its version; empty if nobody told it, as are the others.
    pub version: Cow<'static, str>,
    /// The commit it was built from.
    pub commit: Cow<'static, str>,
    /// The date of the build, in whatever form.
    pub date: Cow<'static, str>,
}

impl BuildInfo {
    /// A program of this name and version.
    pub fn new(name: impl Into<Cow<'static, str>>, version: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            commit: Cow::Borrowed(""),
            date: Cow::Borrowed(""),
        }
    }

    /// Sets the commit that the program was built from.
    #[must_use]
    pub fn with_commit(mut self, commit: impl Into<Cow<'static, str>>) -> Self {
        self.commit = commit.into();
        self
    }

    /// Sets the date of the build.
    #[must_use]
    pub fn with_date(mut self, date: impl Into<Cow<'static, str>>) -> Self {
        self.date = date.into();
        self
    }
}

impl Default for BuildInfo {
    fn default() -> Self {
        Self::new("agent", "")
    }
}
