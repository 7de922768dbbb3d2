//! Reads what is said about a plugin, in its types and by its rules.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::dir::ConfigDir;
use crate::error::Result;
use crate::node::read_path;
use crate::origin::Origin;
use crate::tree::Tree;
use crate::validate::Validate;

impl ConfigDir {
    /// The configuration of a plugin: its defaults, its file, and what covers that.
    ///
    /// What is not said is up to the type: `#[serde(default)]` on it takes its defaults. Where nothing
    /// is said at all, it is `T::default()`, with [`Origin::Defaults`]: a plugin that is to be disabled
    /// without a configuration looks at that, and [`unconfigured`](Self::unconfigured) is what it tells. Reads files, so it may block for as long as the file
    /// system does.
    ///
    /// # Errors
    /// As [`find`](Self::find), [`Error::Read`](crate::Error::Read),
    /// [`Error::TooLarge`](crate::Error::TooLarge) beyond 1 MiB, and
    /// [`Error::Invalid`](crate::Error::Invalid) with the place of the fault.
    pub fn load<T: DeserializeOwned + Default>(&self, plugin: &str) -> Result<Loaded<T>> {
        let tree = self.tree(plugin)?;
        Ok(Loaded {
            value: tree.read_or_default(&[])?,
            origin: tree.origin().clone(),
            tree: Arc::new(tree),
        })
    }

    /// The configuration of a plugin, as [`load`](Self::load) reads it, by the rules of its type, and
    /// with the variables that the type has of its own. The files that it names are looked at, where the
    /// type does so.
    ///
    /// # Errors
    /// As [`load`](Self::load), and [`Error::Refused`](crate::Error::Refused) with every value that
    /// the type's [`Validate`] finds fault with.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{ConfigDir, Findings, Validate};
    ///
    /// #[derive(Debug, Default, serde::Deserialize)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Probe {
    ///     port: u16,
    /// }
    ///
    /// impl Validate for Probe {
    ///     fn validate(&self, findings: &mut Findings) {
    ///         if (1..1024).contains(&self.port) {
    ///             findings.refuse("port", "must be 0 or at least 1024");
    ///         }
    ///     }
    /// }
    ///
    /// let config = ConfigDir::new("/no/such/folder").with_flag("probe.port=80")?;
    /// assert_eq!(
    ///     config.load_valid::<Probe>("probe").unwrap_err().to_string(),
    ///     "--set probe.port: must be 0 or at least 1024"
    /// );
    /// # keyval_config::Result::Ok(())
    /// ```
    pub fn load_valid<T>(&self, plugin: &str) -> Result<Loaded<T>>
    where
        T: DeserializeOwned + Default + Validate,
    {
        let mut tree = self.tree(plugin)?;
        Ok(Loaded {
            value: tree.read_inspected(&[])?,
            origin: tree.origin().clone(),
            tree: Arc::new(tree),
        })
    }
}

/// A configuration and where it comes from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// Where it comes from, to be shown in a status: the file, or without one the first variable or
    /// flag that says something, or the defaults.
    pub origin: Origin,
    pub(crate) tree: Arc<Tree>,
}

impl<T> Loaded<T> {
    /// Where the value of a key comes from; the key may be a path, as in `limits.hosts[2]`.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{ConfigDir, Environment, Origin};
    ///
    /// #[derive(Default, serde::Deserialize)]
    /// #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
    /// struct Probe {
    ///     port: u16,
    ///     listen_on: String,
    /// }
    ///
    /// let environment = Environment::from_iter([("PROBE__LISTEN_ON", "127.0.0.1")]);
    /// let config = ConfigDir::new("/no/such/folder").with_environment(environment);
    /// let probe = config.load::<Probe>("probe")?;
    /// assert_eq!(probe.origin_of("listen-on"), Origin::Variable("PROBE__LISTEN_ON".into()));
    /// assert_eq!(probe.origin_of("port"), Origin::Defaults);
    /// # keyval_config::Result::Ok(())
    /// ```
    #[must_use]
    pub fn origin_of(&self, path: &str) -> Origin {
        let place = self.tree.place_of(&read_path(path));
        place.map_or(Origin::Defaults, |place| place.source.origin.clone())
    }
}

/// Reads and parses one file, wherever it is; see [`parse`] for what is accepted.
///
/// Blocks for as long as the file system does.
///
/// # Errors
/// [`Error::Read`](crate::Error::Read) if it is not there or not a regular file,
/// [`Error::TooLarge`](crate::Error::TooLarge) beyond 1 MiB,
/// [`Error::Invalid`](crate::Error::Invalid) with the place of the fault.
///
/// # Examples
/// ```
/// use keyval_config::{Error, read};
///
/// let error = read::<Vec<String>>("/no/such/file.yaml").unwrap_err();
/// assert!(matches!(error, Error::Read { .. }));
/// ```
pub fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    Tree::of_file(path.as_ref())?.read(&[])
}

/// Parses a YAML text into a typed value; `name` stands for the file in errors.
///
/// An empty text, or one of comments only, is an empty map: all defaults. So is an empty value where a
/// map or a list is expected. Twice the same key, more than one document, more than 1 MiB, nesting
/// beyond 32 levels, aliases that multiply and tags are errors. A type refuses unknown keys by
/// `#[serde(deny_unknown_fields)]`, and should. Nothing in a value is expanded, ever.
///
/// # Errors
/// [`Error::TooLarge`](crate::Error::TooLarge) and [`Error::Invalid`](crate::Error::Invalid).
///
/// # Examples
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "kebab-case", deny_unknown_fields)]
/// struct Probe {
///     listen_on: std::net::SocketAddr,
/// }
///
/// let probe: Probe = keyval_config::parse("probe.yaml", "listen-on: 127.0.0.1:9191")?;
/// assert_eq!(probe.listen_on.port(), 9191);
/// # keyval_config::Result::Ok(())
/// ```
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    Tree::of_text(Path::new(name), text.to_owned())?.read(&[])
}

/// Parses a YAML text as [`parse`] does, by the rules of its type.
///
/// # Errors
/// As [`parse`], and [`Error::Refused`](crate::Error::Refused) with every value that the type's
/// [`Validate`] finds fault with.
///
/// # Examples
/// ```
/// use keyval_config::{Findings, Validate, parse_valid};
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Probe {
///     port: u16,
/// }
///
/// impl Validate for Probe {
///     fn validate(&self, findings: &mut Findings) {
///         if self.port < 1024 {
///             findings.refuse("port", "must be at least 1024");
///         }
///     }
/// }
///
/// assert_eq!(parse_valid::<Probe>("probe.yaml", "port: 9191")?.port, 9191);
/// let error = parse_valid::<Probe>("probe.yaml", "port: 80").unwrap_err().to_string();
/// assert!(error.starts_with("probe.yaml:1:7: port: must be at least 1024"), "{error}");
/// # keyval_config::Result::Ok(())
/// ```
pub fn parse_valid<T: DeserializeOwned + Validate>(name: &str, text: &str) -> Result<T> {
    let tree = Tree::of_text(Path::new(name), text.to_owned())?;
    let value = tree.read(&[])?;
    tree.check(&value, &[])?;
    Ok(value)
}
