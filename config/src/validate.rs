//! What a type of configuration says about values that are of their types, and yet make no sense.

use crate::node::{Step, read_path};

/// The rules of a configuration beyond its types: ranges, and keys that go together.
///
/// The loader asks for them by [`ConfigDir::load_valid`](crate::ConfigDir::load_valid), and tells each
/// finding with the line that wrote the value, or the variable or flag that set it. Rules look at
/// nothing but the values: no files, no network.
///
/// # Examples
/// ```
/// use keyval_config::{Findings, Validate, parse_valid};
///
/// #[derive(Debug, Default, serde::Deserialize)]
/// #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
/// struct Server {
///     cert_file: Option<String>,
///     key_file: Option<String>,
///     workers: u16,
/// }
///
/// impl Validate for Server {
///     fn validate(&self, findings: &mut Findings) {
///         if self.cert_file.is_some() && self.key_file.is_none() {
///             findings.refuse("cert-file", "is set without key-file: write both, or none");
///         }
///         if self.workers > 64 {
///             findings.refuse("workers", "must be at most 64");
///         }
///     }
/// }
///
/// let error = parse_valid::<Server>("server.yaml", "workers: 3\ncert-file: a.pem\n").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "server.yaml:2:12: cert-file: is set without key-file: write both, or none\n  \
///        |\n\
///      2 | cert-file: a.pem\n  \
///        |            ^"
/// );
/// ```
pub trait Validate {
    /// Tells what is wrong; nothing by default.
    fn validate(&self, findings: &mut Findings) {
        let _ = findings;
    }

    /// Variables of their own names that set a key if nothing else does, such as `ETCD_ENDPOINTS` for
    /// `endpoints`: each key with its variables, the first that is set counts. None by default.
    ///
    /// Asked of what was read without them, so that it can tell whether they are wanted.
    fn own_variables(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[]
    }
}

/// What is wrong with a configuration, each with the path of a value.
///
/// # Examples
/// ```
/// use keyval_config::{Findings, Validate};
///
/// struct Port(u16);
///
/// impl Validate for Port {
///     fn validate(&self, findings: &mut Findings) {
///         if self.0 == 0 {
///             findings.refuse("", "must not be 0");
///         }
///     }
/// }
///
/// let mut findings = Findings::default();
/// findings.within("listen.port", &Port(0));
/// let told: Vec<_> = findings.iter().collect();
/// assert_eq!(told, [("listen.port".to_owned(), "must not be 0")]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The path that is being looked at.
    within: Vec<Step>,
    found: Vec<(Vec<Step>, String)>,
}

impl Findings {
    /// Everything that is wrong with a configuration.
    pub fn of(configuration: &impl Validate) -> Self {
        let mut findings = Self::default();
        configuration.validate(&mut findings);
        findings
    }

    /// Refuses the value of a key; the message goes on from its name: `must be at least 1s`.
    ///
    /// The key is as the file spells it, and may be a path: `limits.hosts[2]`. An empty one is the
    /// whole. A message names no value that may be a secret.
    pub fn refuse(&mut self, path: &str, message: impl Into<String>) {
        let mut steps = self.within.clone();
        steps.extend(read_path(path));
        self.found.push((steps, message.into()));
    }

    /// Asks the value of a key for its own rules; the paths that it names are below that key.
    pub fn within(&mut self, path: &str, value: &impl Validate) {
        let depth = self.within.len();
        self.within.extend(read_path(path));
        value.validate(self);
        self.within.truncate(depth);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The path and the message of everything found, in the order in which it was.
    pub fn iter(&self) -> impl Iterator<Item = (String, &str)> {
        let found = self.found.iter();
        found.map(|(path, message)| (crate::node::show_path(path), &**message))
    }

    pub(crate) fn into_steps(self) -> impl Iterator<Item = (Vec<Step>, String)> {
        self.found.into_iter()
    }
}
