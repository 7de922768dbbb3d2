//! What a type of configuration says about values that are of their types, and yet make no sense.

use crate::node::{Step, read_path, show_path};

/// The rules of a configuration beyond its types: ranges, and keys that go together.
///
/// The loader asks for them by [`ConfigDir::load_valid`](crate::ConfigDir::load_valid), and tells each
/// finding with the line that wrote the value, or the variable or flag that set it. Rules look at
/// nothing but the values; [`inspect`](Self::inspect) may look at files that they name.
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

    /// Tells what is wrong with what the values name, such as files; nothing by default.
    ///
    /// Asked where a configuration is loaded to be used, and by [`Section::check`](crate::Section::check),
    /// once the rules find no fault. It may read files, but not wait for the network. One that holds
    /// others passes it on by [`Findings::within`], as its rules do.
    fn inspect(&self, findings: &mut Findings) {
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
    found: Vec<Finding>,
    asked: Asked,
}

/// What a configuration is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    /// What is wrong with its values.
    #[default]
    Rules,
    /// What is wrong with what its values name.
    Named,
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: Vec<Step>,
    pub(crate) message: String,
    /// Whether the value may be a secret.
    pub(crate) is_hidden: bool,
}

impl Findings {
    /// Everything that is wrong with a configuration.
    pub fn of(configuration: &impl Validate) -> Self {
        let mut findings = Self::default();
        configuration.validate(&mut findings);
        findings
    }

    /// Everything that is wrong with what a configuration names, such as files.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{Findings, Validate};
    ///
    /// struct Tls {
    ///     ca_file: &'static str,
    /// }
    ///
    /// impl Validate for Tls {
    ///     fn inspect(&self, findings: &mut Findings) {
    ///         if !std::path::Path::new(self.ca_file).exists() {
    ///             findings.refuse("ca-file", "does not exist");
    ///         }
    ///     }
    /// }
    ///
    /// struct Server {
    ///     tls: Tls,
    /// }
    ///
    /// impl Validate for Server {
    ///     fn validate(&self, findings: &mut Findings) {
    ///         findings.within("tls", &self.tls);
    ///     }
    ///
    ///     fn inspect(&self, findings: &mut Findings) {
    ///         findings.within("tls", &self.tls);
    ///     }
    /// }
    ///
    /// let tls = Tls { ca_file: "/no/such/file" };
    /// let server = Server { tls };
    /// assert!(Findings::of(&server).is_empty());
    /// let findings = Findings::of_inspecting(&server);
    /// let told: Vec<_> = findings.iter().collect();
    /// assert_eq!(told, [("tls.ca-file".to_owned(), "does not exist")]);
    /// ```
    pub fn of_inspecting(configuration: &impl Validate) -> Self {
        let mut findings = Self {
            asked: Asked::Named,
            ..Self::default()
        };
        configuration.inspect(&mut findings);
        findings
    }

    /// Refuses the value of a key; the message goes on from its name: `must be at least 1s`.
    ///
    /// The key is as the file spells it, and may be a path: `limits.hosts[2]`. An empty one is the
    /// whole. A message names no value that may be a secret.
    pub fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.push(path, message.into(), false);
    }

    /// As [`refuse`](Self::refuse), of a value that may hold a secret by mistake, such as a URL with a
    /// password in it: the line is told without it.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{Findings, Validate, parse_valid};
    ///
    /// #[derive(Debug, serde::Deserialize)]
    /// struct Server {
    ///     url: String,
    /// }
    ///
    /// impl Validate for Server {
    ///     fn validate(&self, findings: &mut Findings) {
    ///         if self.url.contains('@') {
    ///             findings.refuse_hidden("url", "has a password in it: write password instead");
    ///         }
    ///     }
    /// }
    ///
    /// let error = parse_valid::<Server>("server.yaml", "url: http://root:hunter2@a").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "server.yaml:1:6: url: has a password in it: write password instead\n  \
    ///        |\n\
    ///      1 | url: ***\n  \
    ///        |      ^"
    /// );
    /// ```
    pub fn refuse_hidden(&mut self, path: &str, message: impl Into<String>) {
        self.push(path, message.into(), true);
    }

    fn push(&mut self, path: &str, message: String, is_hidden: bool) {
        let mut steps = self.within.clone();
        steps.extend(read_path(path));
        self.found.push(Finding {
            path: steps,
            message,
            is_hidden,
        });
    }

    /// Asks the value of a key for what is asked here: in [`validate`](Validate::validate) for its own rules,
    /// in [`inspect`](Validate::inspect) for what it finds there. The paths that it names are below that key.
    pub fn within(&mut self, path: &str, value: &impl Validate) {
        let depth = self.within.len();
        self.within.extend(read_path(path));
        match self.asked {
            Asked::Rules => value.validate(self),
            Asked::Named => value.inspect(self),
        }
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
        found.map(|finding| (show_path(&finding.path), &*finding.message))
    }

    pub(crate) fn into_found(self) -> impl Iterator<Item = Finding> {
        self.found.into_iter()
    }
}
