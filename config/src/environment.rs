//! The environment variables a configuration may look at, real or given.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::sync::Arc;

/// Where variables are looked up: the process's environment, a fixed list, or nowhere.
///
/// Given lists let tests and hosts that share a process have an environment each. `Debug` shows no
/// value, as variables hold secrets. The default is [`Environment::empty`].
///
/// # Examples
/// ```
/// use keyval_config::Environment;
///
/// let environment = Environment::from_iter([("ETCD_ENDPOINTS", "a:2379,b:2379"), ("EMPTY", "")]);
/// assert_eq!(environment.get("ETCD_ENDPOINTS").as_deref(), Some("a:2379,b:2379".as_ref()));
/// assert_eq!(environment.get("EMPTY"), None);
/// ```
#[derive(Clone, Default)]
pub struct Environment(Source);

#[derive(Clone)]
enum Source {
    Process,
    Given(Arc<BTreeMap<OsString, OsString>>),
}

impl Environment {
    /// The environment of this process, read anew at each look-up.
    ///
    /// # Examples
    /// ```
    /// assert!(keyval_config::Environment::process().get("PATH").is_some());
    /// ```
    #[must_use]
    pub fn process() -> Self {
        Self(Source::Process)
    }

    /// An environment without any variable.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(keyval_config::Environment::empty().get("PATH"), None);
    /// ```
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The value of a variable; one set to nothing counts as not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<OsString> {
        let value = match &self.0 {
            Source::Process => std::env::var_os(name),
            Source::Given(variables) => variables.get(OsStr::new(name)).cloned(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// The variables whose names begin so, in the order of their names, but for those set to nothing.
    /// A name that is not UTF-8 is nobody's.
    pub(crate) fn beginning_with(&self, prefix: &str) -> BTreeMap<String, OsString> {
        let wanted = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok()?;
            (name.starts_with(prefix) && !value.is_empty()).then_some((name, value))
        };
        match &self.0 {
            Source::Process => std::env::vars_os().filter_map(wanted).collect(),
            Source::Given(variables) => {
                let variables = variables.iter();
                let variables = variables.map(|(name, value)| (name.clone(), value.clone()));
                variables.filter_map(wanted).collect()
            }
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Self::Given(Arc::default())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self(Source::Given(Arc::new(variables)))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Process => f.write_str("Environment(process)"),
            Source::Given(variables) => write!(f, "Environment({:?})", variables.keys()),
        }
    }
}
