//! Finds, reads and parses the file of each plugin.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::file::read_text;
use crate::yaml::parse;

/// The variable that names the folder.
const FOLDER_VARIABLE: &str = "CONFIG_DIR";
/// The endings of a plugin's file, in the order they are looked for; the last is cn-infra's.
const ENDINGS: [&str; 3] = ["yaml", "yml", "conf"];

/// A folder of YAML files, one per plugin.
///
/// The file of a plugin named `etcd` is, the first that applies:
///
/// 1. the one given to [`with_file`](Self::with_file),
/// 2. the one that the variable `ETCD_CONFIG` names (the name in upper case, `-` as `_`),
/// 3. `etcd.yaml`, `etcd.yml` or `etcd.conf` in the folder.
///
/// A file named in the first two ways must exist; without any the plugin runs on its defaults. A
/// relative path there is looked for as given, then inside the folder, as cn-infra does. Nothing is
/// kept: each call looks at the files as they are now.
///
/// # Examples
/// ```
/// use keyval_config::{ConfigDir, Origin};
///
/// #[derive(Default, serde::Deserialize)]
/// #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
/// struct Etcd {
///     endpoints: Vec<String>,
///     insecure_transport: bool,
/// }
///
/// # let folder = std::env::temp_dir().join(format!("keyval-config-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
/// let file = folder.join("etcd.yaml");
/// std::fs::write(&file, "endpoints: [127.0.0.1:2379]").expect("the folder is writable");
///
/// let config = ConfigDir::new(&folder);
/// let etcd = config.load::<Etcd>("etcd")?;
/// assert_eq!(etcd.value.endpoints, ["127.0.0.1:2379"]);
/// assert_eq!(etcd.origin, Origin::File(file));
///
/// let backup = config.load::<Etcd>("etcd-backup")?;
/// assert!(backup.value.endpoints.is_empty());
/// assert_eq!(backup.origin, Origin::Defaults);
/// # std::fs::remove_dir_all(&folder).ok();
/// # keyval_config::Result::Ok(())
/// ```
#[derive(Clone, Debug)]
pub struct ConfigDir {
    folder: PathBuf,
    environment: Environment,
    files: BTreeMap<String, PathBuf>,
}

impl ConfigDir {
    /// Takes the folder as given and looks at no environment variable.
    ///
    /// A folder that does not exist holds no files.
    ///
    /// # Examples
    /// ```
    /// let config = keyval_config::ConfigDir::new("/etc/agent");
    /// assert_eq!(config.path(), std::path::Path::new("/etc/agent"));
    /// ```
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            environment: Environment::empty(),
            files: BTreeMap::new(),
        }
    }

    /// Takes the folder that `CONFIG_DIR` names, or else `default`, and looks at the variables of
    /// the process for each plugin.
    ///
    /// # Errors
    /// [`Error::Missing`] if `CONFIG_DIR` names nothing that exists, [`Error::Read`] if it names
    /// something else than a folder. `default` need not exist.
    ///
    /// # Examples
    /// ```
    /// let config = keyval_config::ConfigDir::from_env("config")?;
    /// println!("configuration in {}", config.path().display());
    /// # keyval_config::Result::Ok(())
    /// ```
    pub fn from_env(default: impl Into<PathBuf>) -> Result<Self> {
        Self::from_environment(default, Environment::process())
    }

    /// Does as [`from_env`](Self::from_env) in the environment given.
    ///
    /// # Errors
    /// [`Error::Missing`] if `CONFIG_DIR` names nothing that exists, [`Error::Read`] if it names
    /// something else than a folder. `default` need not exist.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{ConfigDir, Environment};
    ///
    /// let environment = Environment::from_iter([("CONFIG_DIR", "/no/such/folder")]);
    /// let error = ConfigDir::from_environment("config", environment).unwrap_err();
    /// assert_eq!(error.to_string(), "CONFIG_DIR names /no/such/folder, which does not exist");
    /// ```
    pub fn from_environment(default: impl Into<PathBuf>, environment: Environment) -> Result<Self> {
        let folder = match environment.get(FOLDER_VARIABLE) {
            Some(folder) => named_folder(PathBuf::from(folder))?,
            None => default.into(),
        };
        Ok(Self::new(folder).with_environment(environment))
    }

    /// Looks for the plugins' variables, such as `ETCD_CONFIG`, in this environment.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{ConfigDir, Environment};
    ///
    /// let environment = Environment::from_iter([("ETCD_CONFIG", "/no/such/file")]);
    /// let config = ConfigDir::new("config").with_environment(environment);
    /// let error = config.find("etcd").unwrap_err();
    /// assert_eq!(error.to_string(), "ETCD_CONFIG names /no/such/file, which does not exist");
    /// ```
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// Sets the file of one plugin, before any variable: what a flag `--etcd-config` does.
    ///
    /// # Examples
    /// ```
    /// let config = keyval_config::ConfigDir::new("config").with_file("etcd", "/no/such/file");
    /// let error = config.find("etcd").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "the option for plugin etcd names /no/such/file, which does not exist"
    /// );
    /// ```
    #[must_use]
    pub fn with_file(mut self, plugin: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.files.insert(plugin.into(), path.into());
        self
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The environment, for plugins that have variables of their own.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The file of a plugin, or `None` if there is none and none was named.
    ///
    /// # Errors
    /// [`Error::PluginName`] for a name that cannot be part of a file name, [`Error::Missing`] for
    /// a file named explicitly but not there, [`Error::Read`] if the folder cannot be looked into.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(keyval_config::ConfigDir::new("/no/such/folder").find("etcd")?, None);
    /// # keyval_config::Result::Ok(())
    /// ```
    pub fn find(&self, plugin: &str) -> Result<Option<PathBuf>> {
        check_name(plugin)?;
        if let Some(path) = self.files.get(plugin) {
            return self
                .named(path, || format!("the option for plugin {plugin}"))
                .map(Some);
        }
        let variable = variable_of(plugin);
        if let Some(path) = self.environment.get(&variable) {
            return self.named(Path::new(&path), || variable).map(Some);
        }
        for ending in ENDINGS {
            let path = self.folder.join(format!("{plugin}.{ending}"));
            if exists(&path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// The configuration of a plugin: what its file says, or its defaults if it has no file.
    ///
    /// What the file does not say is up to the type: `#[serde(default)]` on it takes its defaults.
    /// Reads files, so it may block for as long as the file system does.
    ///
    /// # Errors
    /// As [`find`](Self::find), [`Error::Read`], [`Error::TooLarge`] beyond 1 MiB, and
    /// [`Error::Invalid`] with the place of the fault.
    pub fn load<T: DeserializeOwned + Default>(&self, plugin: &str) -> Result<Loaded<T>> {
        Ok(match self.find(plugin)? {
            Some(path) => Loaded {
                value: read(&path)?,
                origin: Origin::File(path),
            },
            None => Loaded {
                value: T::default(),
                origin: Origin::Defaults,
            },
        })
    }

    /// The file as given, or else inside the folder; named explicitly, so it must exist.
    fn named(&self, path: &Path, by: impl FnOnce() -> String) -> Result<PathBuf> {
        let mut tried = vec![path.to_owned()];
        if path.is_relative() {
            tried.push(self.folder.join(path));
        }
        for candidate in &tried {
            if exists(candidate)? {
                return Ok(candidate.clone());
            }
        }
        Err(Error::Missing {
            named_by: by(),
            tried,
        })
    }
}

/// A configuration and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// Where it comes from, to be shown in a status.
    pub origin: Origin,
}

/// Where a configuration comes from; prints as the path or `defaults`.
///
/// # Examples
/// ```
/// use keyval_config::Origin;
///
/// assert_eq!(Origin::File("config/etcd.yaml".into()).to_string(), "config/etcd.yaml");
/// assert_eq!(Origin::Defaults.to_string(), "defaults");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// A file, over the defaults.
    File(PathBuf),
    /// No file: the defaults alone.
    Defaults,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Defaults => f.write_str("defaults"),
        }
    }
}

/// Reads and parses one file, wherever it is; see [`parse`] for what is accepted.
///
/// Blocks for as long as the file system does.
///
/// # Errors
/// [`Error::Read`] if it is not there or not a regular file, [`Error::TooLarge`] beyond 1 MiB,
/// [`Error::Invalid`] with the place of the fault.
///
/// # Examples
/// ```
/// use keyval_config::{Error, read};
///
/// let error = read::<Vec<String>>("/no/such/file.yaml").unwrap_err();
/// assert!(matches!(error, Error::Read { .. }));
/// ```
pub fn read<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T> {
    let path = path.as_ref();
    parse(&path.display().to_string(), &read_text(path)?)
}

/// The folder that the variable names, if it is one.
fn named_folder(folder: PathBuf) -> Result<PathBuf> {
    match fs::metadata(&folder) {
        Ok(metadata) if metadata.is_dir() => Ok(folder),
        Ok(_) => {
            let source = io::Error::other("CONFIG_DIR names it, but it is not a folder");
            Err(Error::Read {
                path: folder,
                source,
            })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Missing {
            named_by: FOLDER_VARIABLE.into(),
            tried: vec![folder],
        }),
        Err(source) => Err(Error::Read {
            path: folder,
            source,
        }),
    }
}

fn check_name(plugin: &str) -> Result<()> {
    let letters = |c: u8| c.is_ascii_alphanumeric();
    let fits = plugin.bytes().next().is_some_and(letters)
        && plugin.bytes().all(|c| letters(c) || c == b'-' || c == b'_');
    if fits {
        Ok(())
    } else {
        Err(Error::PluginName {
            name: plugin.to_owned(),
        })
    }
}

fn variable_of(plugin: &str) -> String {
    format!("{}_CONFIG", plugin.to_ascii_uppercase().replace('-', "_"))
}

/// True if anything is there, even a link to nowhere: reading it will tell what is wrong.
fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
