//! Where the configuration of each plugin is: its file, and what covers it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::layers::{Override, variables_for};
use crate::names::check_name;
use crate::node::in_variables;
use crate::origin::Origin;
use crate::tree::Tree;

/// The variable that names the folder.
const FOLDER_VARIABLE: &str = "CONFIG_DIR";
/// The endings of a plugin's file, in the order they are looked for; the last is cn-infra's.
pub(crate) const ENDINGS: [&str; 3] = ["yaml", "yml", "conf"];

/// A folder of YAML files, one per plugin, and single values that cover what they say.
///
/// The file of a plugin named `etcd` is, the first that applies:
///
/// 1. the one given to [`with_file`](Self::with_file),
/// 2. the one that the variable `ETCD_CONFIG` names (the name in upper case, `-` as `_`),
/// 3. `etcd.yaml`, `etcd.yml` or `etcd.conf` in the folder, of which the first two must not both be there.
///
/// A file named in the first two ways must exist; without any the plugin runs on its defaults. A
/// relative path there is looked for as given, then inside the folder, as cn-infra does. Nothing is
/// kept: each call looks at the files as they are now.
///
/// # Single values
/// Over the defaults of the type and over the file come, each over those before it:
///
/// - variables: `ETCD__DIAL_TIMEOUT=2s` sets `dial-timeout` of the plugin `etcd`, and
///   `STORE__ETCD__DIAL_TIMEOUT` the same key in the section `etcd` of the plugin `store`. Two
///   underscores lead into a map, one stands for `-`. Variables without two, such as `ETCD_ENDPOINTS`,
///   have nothing to do with it.
/// - flags, `--set etcd.dial-timeout=2s`: [`with_flag`](Self::with_flag).
/// - what the program itself sets: [`with_value`](Self::with_value).
///
/// A value is the text itself where a text is expected, so that a password needs no quotes, and YAML
/// where something else is. A list may also be written with commas, `a:2379,b:2379`. Lists and maps are
/// replaced as a whole. Unknown keys and wrong values are errors that name the variable or flag, as
/// those in a file name the line.
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
    pub(crate) files: BTreeMap<String, PathBuf>,
    /// Of flags and of the program, in the order in which they were given.
    pub(crate) overrides: BTreeMap<String, Vec<Override>>,
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
            overrides: BTreeMap::new(),
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
            Some(folder) => Self::new(PathBuf::from(folder)).must_exist(FOLDER_VARIABLE)?,
            None => Self::new(default),
        };
        Ok(folder.with_environment(environment))
    }

    /// Refuses a folder that is not there, as what names it, such as `--config-dir`, means it.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is nothing, [`Error::Read`] if it is something else than a folder.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::ConfigDir;
    ///
    /// let error = ConfigDir::new("/no/such/folder").must_exist("--config-dir").unwrap_err();
    /// assert_eq!(error.to_string(), "--config-dir names /no/such/folder, which does not exist");
    /// ```
    pub fn must_exist(self, named_by: &str) -> Result<Self> {
        let read_error = |source| Error::Read {
            path: self.folder.clone(),
            source,
        };
        match fs::metadata(&self.folder) {
            Ok(metadata) if metadata.is_dir() => Ok(self),
            Ok(_) => {
                let message = format!("{named_by} names it, but it is not a folder");
                Err(read_error(io::Error::other(message)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Missing {
                named_by: named_by.to_owned(),
                tried: vec![self.folder.clone()],
            }),
            Err(source) => Err(read_error(source)),
        }
    }

    /// Looks for the plugins' variables, such as `ETCD_CONFIG` and `ETCD__DIAL_TIMEOUT`, in this
    /// environment.
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
    /// a file named explicitly but not there, [`Error::TwoFiles`] if there are both a `.yaml` and a `.yml`,
    /// [`Error::Read`] if the folder cannot be looked into.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(keyval_config::ConfigDir::new("/no/such/folder").find("etcd")?, None);
    /// # keyval_config::Result::Ok(())
    /// ```
    pub fn find(&self, plugin: &str) -> Result<Option<PathBuf>> {
        check_name(plugin)?;
        if let Some((path, by)) = self.explicit(plugin) {
            return self.named(&path, || by).map(Some);
        }
        let mut found = Vec::new();
        for ending in ENDINGS {
            let path = self.folder.join(format!("{plugin}.{ending}"));
            if exists(&path)? {
                found.push((path, ending));
            }
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            // A file of cn-infra may stay beside its successor.
            (Some((first, _)), Some((second, ending))) if ending != "conf" => {
                Err(Error::TwoFiles { first, second })
            }
            (first, _) => Ok(first.map(|(path, _)| path)),
        }
    }

    /// The file that is named explicitly for a plugin, and what names it.
    pub(crate) fn explicit(&self, plugin: &str) -> Option<(PathBuf, String)> {
        if let Some(path) = self.files.get(plugin) {
            return Some((path.clone(), format!("the option for plugin {plugin}")));
        }
        let variable = variable_of(plugin);
        let path = self.environment.get(&variable)?;
        Some((path.into(), variable))
    }

    /// What to tell of a plugin that is disabled because nothing is said about it; see
    /// [`Section::disabled_unless_configured`](crate::Section::disabled_unless_configured).
    ///
    /// # Examples
    /// ```
    /// assert_eq!(
    ///     keyval_config::ConfigDir::new("config").unconfigured("etcd"),
    ///     "nothing configures it; write config/etcd.yaml to enable it"
    /// );
    /// ```
    #[must_use]
    pub fn unconfigured(&self, plugin: &str) -> String {
        let file = self.folder.join(format!("{plugin}.{}", ENDINGS[0]));
        format!(
            "nothing configures it; write {} to enable it",
            file.display()
        )
    }

    /// Everything that is said about a plugin.
    pub(crate) fn tree(&self, plugin: &str) -> Result<Tree> {
        let tree = match self.find(plugin)? {
            Some(path) => Tree::of_file(&path)?,
            None => Tree::empty(),
        };
        self.cover(plugin, tree)
    }

    /// What variables, flags and the program say about a plugin, whatever its file says.
    pub(crate) fn single_values(&self, plugin: &str) -> Result<Tree> {
        self.cover(plugin, Tree::empty())
    }

    /// Puts the single values over what a file says.
    fn cover(&self, plugin: &str, tree: Tree) -> Result<Tree> {
        let mut tree = tree.with_environment(self.environment.clone());
        for value in variables_for(plugin, &self.environment)? {
            tree.cover(&value)?;
        }
        let above = self.overrides.get(plugin);
        let (code, flags): (Vec<&Override>, Vec<_>) = above
            .into_iter()
            .flatten()
            .partition(|value| matches!(value.origin(), Origin::Code(_)));
        for value in flags.into_iter().chain(code) {
            tree.cover(value)?;
        }
        Ok(tree)
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

fn variable_of(plugin: &str) -> String {
    format!("{}_CONFIG", in_variables(plugin))
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
