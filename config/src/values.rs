//! Sets single values over files and variables: by flags, and by the program itself.

use crate::dir::ConfigDir;
use crate::error::{Error, Result};
use crate::layers::Override;
use crate::names::check_name;
use crate::origin::Origin;

impl ConfigDir {
    /// Sets one value over files and variables, as a flag `--set plugin.key=value` does.
    ///
    /// The path has a point before each key, and at least one key; see [above](Self#single-values) for
    /// the value. Later ones cover earlier ones.
    ///
    /// # Errors
    /// [`Error::Setting`] for what is not written so.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{ConfigDir, duration};
    /// use std::time::Duration;
    ///
    /// #[derive(Default, serde::Deserialize)]
    /// #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
    /// struct Etcd {
    ///     endpoints: Vec<String>,
    ///     #[serde(with = "duration")]
    ///     dial_timeout: Duration,
    /// }
    ///
    /// let config = ConfigDir::new("/no/such/folder")
    ///     .with_flag("etcd.dial-timeout=2s")?
    ///     .with_flag("etcd.endpoints=a:2379,b:2379")?;
    /// let etcd = config.load::<Etcd>("etcd")?.value;
    /// assert_eq!(etcd.dial_timeout, Duration::from_secs(2));
    /// assert_eq!(etcd.endpoints, ["a:2379", "b:2379"]);
    ///
    /// let wrong = config.with_flag("etcd.dial-timout=2s")?;
    /// assert_eq!(
    ///     wrong.load::<Etcd>("etcd").err().map(|error| error.to_string()).as_deref(),
    ///     Some("--set etcd.dial-timout: unknown key \"dial-timout\", did you mean \"dial-timeout\"?")
    /// );
    /// # keyval_config::Result::Ok(())
    /// ```
    pub fn with_flag(mut self, setting: &str) -> Result<Self> {
        let refuse = |given: &str, problem| {
            Err(Error::Setting {
                given: given.to_owned(),
                problem,
            })
        };
        let Some((path, value)) = setting.split_once('=') else {
            // What there is may be a secret, with its key forgotten.
            return refuse("--set", "write plugin.key=value");
        };
        let mut steps = path.split('.').map(str::to_owned);
        let plugin = steps.next().unwrap_or_default();
        check_name(&plugin)?;
        let keys: Vec<String> = steps.collect();
        if keys.is_empty() || keys.iter().any(String::is_empty) {
            return refuse(path, "write plugin.key=value, with a key after each point");
        }
        let origin = Origin::Flag(path.to_owned());
        self.push(plugin, Override::new(keys, value.to_owned(), origin));
        Ok(self)
    }

    /// Sets one value of a plugin over files, variables and flags, for what a program decides itself.
    ///
    /// The path has a point between keys; see [above](Self#single-values) for the value.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::ConfigDir;
    ///
    /// #[derive(Default, serde::Deserialize)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Probe {
    ///     port: u16,
    /// }
    ///
    /// let config = ConfigDir::new("/no/such/folder")
    ///     .with_value("probe", "port", "0")
    ///     .with_flag("probe.port=9191")?;
    /// assert_eq!(config.load::<Probe>("probe")?.value.port, 0);
    /// # keyval_config::Result::Ok(())
    /// ```
    #[must_use]
    pub fn with_value(
        mut self,
        plugin: impl Into<String>,
        path: &str,
        value: impl Into<String>,
    ) -> Self {
        let plugin = plugin.into();
        let origin = Origin::Code(format!("{plugin}.{path}"));
        let keys = path.split('.').map(str::to_owned).collect();
        self.push(plugin, Override::new(keys, value.into(), origin));
        self
    }

    fn push(&mut self, plugin: String, value: Override) {
        self.overrides.entry(plugin).or_default().push(value);
    }

    /// Refuses what is set for plugins that there are not, which would be ignored else.
    ///
    /// Looks at flags and at what the program sets, not at variables, which may belong to anybody.
    ///
    /// # Errors
    /// [`Error::UnknownPlugin`] for a name that is none of those known.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::ConfigDir;
    ///
    /// let config = ConfigDir::new("config").with_flag("ectd.dial-timeout=2s")?;
    /// assert_eq!(
    ///     config.check_plugins(["store", "etcd"]).unwrap_err().to_string(),
    ///     "--set ectd.dial-timeout is about no plugin of this program, did you mean etcd?; \
    ///      there are: store, etcd"
    /// );
    /// # keyval_config::Result::Ok(())
    /// ```
    pub fn check_plugins<'a>(&self, known: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let files = self.files.keys().map(|plugin| {
            let given = format!("the option for the file of plugin {plugin}");
            (plugin, given)
        });
        let values = self.overrides.iter().flat_map(|(plugin, overrides)| {
            let given = overrides.iter().map(|value| value.origin().to_string());
            given.map(move |given| (plugin, given))
        });
        match files
            .chain(values)
            .find(|(plugin, _)| !known.contains(plugin))
        {
            None => Ok(()),
            Some((plugin, given)) => Err(Error::UnknownPlugin {
                given,
                plugin: plugin.clone(),
                known,
            }),
        }
    }
}
