//! The configuration of a plugin without its type: to check it, show it and describe it to editors.

use std::fmt;
use std::sync::Arc;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::choice::Choice;
use crate::described::{Described, Settings, Typed};
use crate::dir::ConfigDir;
use crate::effective::Effective;
use crate::error::Result;
use crate::origin::Origin;
use crate::print::Printer;

/// The configuration of one plugin, without its type.
///
/// A host collects those of all its plugins, and can check and show their configurations without
/// starting any.
///
/// # Examples
/// ```
/// use keyval_config::{ConfigDir, Section, Validate, schemars};
///
/// #[derive(Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
/// #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
/// struct Probe {
///     listen_on: String,
///     port: u16,
/// }
///
/// impl Validate for Probe {}
///
/// let section = Section::of::<Probe>("probe");
/// let config = ConfigDir::new("/no/such/folder").with_flag("probe.port=9191")?;
/// section.check(&config)?;
/// assert_eq!(
///     section.print(&config)?,
///     "listen-on: \"\"  # default\nport: 9191  # --set probe.port\n"
/// );
/// assert!(section.schema().contains("\"listen-on\""));
/// # keyval_config::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Section {
    name: Arc<str>,
    shape: Shape,
    /// Whether the plugin is disabled where nothing is said about it.
    must_be_configured: bool,
}

#[derive(Clone)]
enum Shape {
    Of(Arc<dyn Described>),
    Choice(Arc<Choice>),
}

impl Section {
    /// The configuration of the plugin of this name, as this type has it.
    #[must_use]
    pub fn of<T: Settings>(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            shape: Shape::Of(Arc::new(Typed::<T>::new())),
            must_be_configured: false,
        }
    }

    /// The configuration of a plugin that is a choice; see [`Choice`].
    #[must_use]
    pub fn choice(name: impl Into<Arc<str>>, choice: Choice) -> Self {
        Self {
            name: name.into(),
            shape: Shape::Choice(Arc::new(choice)),
            must_be_configured: false,
        }
    }

    /// The same of a plugin that is disabled, instead of running on its defaults, where nothing is said
    /// about it: no file, no variable, no flag. An empty file says enough.
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{ConfigDir, Section, Validate, schemars};
    ///
    /// #[derive(Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Probe {
    ///     port: u16,
    /// }
    ///
    /// impl Validate for Probe {}
    ///
    /// let section = Section::of::<Probe>("probe").disabled_unless_configured();
    /// let config = ConfigDir::new("config");
    /// assert_eq!(
    ///     section.print(&config)?,
    ///     "# disabled: nothing configures it; write config/probe.yaml to enable it\n"
    /// );
    /// let config = config.with_flag("probe.port=9191")?;
    /// assert_eq!(section.print(&config)?, "port: 9191  # --set probe.port\n");
    /// # keyval_config::Result::Ok(())
    /// ```
    #[must_use]
    pub fn disabled_unless_configured(mut self) -> Self {
        self.must_be_configured = true;
        self
    }

    /// The name of the plugin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names under which there may be files and single values: the plugin's, and of a choice those
    /// that can be chosen.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let chosen = match &self.shape {
            Shape::Of(_) => None,
            Shape::Choice(choice) => Some(choice.names()),
        };
        let chosen = chosen.into_iter().flatten();
        let chosen = chosen.filter(|name| **name != *self.name);
        std::iter::once(&*self.name).chain(chosen.map(|name| -> &str { name }))
    }

    /// Reads the configuration and checks it as a start does, by its rules and with the files that it
    /// names; tells where it comes from.
    ///
    /// # Errors
    /// As [`ConfigDir::load_valid`]; of a choice as [`Choice`] says.
    pub fn check(&self, config: &ConfigDir) -> Result<Origin> {
        match &self.shape {
            Shape::Of(described) => {
                let mut tree = config.tree(&self.name)?;
                described.check(&mut tree, &[])?;
                Ok(tree.origin().clone())
            }
            Shape::Choice(choice) => choice.check(&self.name, config),
        }
    }

    /// Why the plugin is disabled, if it is: see
    /// [`disabled_unless_configured`](Self::disabled_unless_configured).
    ///
    /// # Errors
    /// As [`print`](Self::print).
    pub fn disabled(&self, config: &ConfigDir) -> Result<Option<String>> {
        Ok(self.disabled_by(&self.printed(config)?.1, config))
    }

    /// What holds in the end, as YAML that can be loaded again, with the origin of each value; of a
    /// plugin that is disabled, why.
    ///
    /// A secret is shown as `***`, in a comment, so that it is missing where this is loaded; but of one
    /// in a file the file is named, as it was.
    ///
    /// # Errors
    /// As [`check`](Self::check), but for the files that it names, which are not looked at;
    /// [`Error::Show`](crate::Error::Show) if the type cannot be serialized.
    pub fn print(&self, config: &ConfigDir) -> Result<String> {
        let (yaml, origin) = self.printed(config)?;
        let disabled = self.disabled_by(&origin, config);
        Ok(disabled.map_or(yaml, |cause| {
            format!("# disabled: {}\n", cause.replace(char::is_control, " "))
        }))
    }

    fn disabled_by(&self, origin: &Origin, config: &ConfigDir) -> Option<String> {
        let disabled = self.must_be_configured && *origin == Origin::Defaults;
        disabled.then(|| config.unconfigured(&self.name))
    }

    /// What holds in the end, and where it comes from.
    fn printed(&self, config: &ConfigDir) -> Result<(String, Origin)> {
        match &self.shape {
            Shape::Of(described) => {
                let mut tree = config.tree(&self.name)?;
                let effective = described.effective(&self.name, &mut tree, &[])?;
                let out = String::new();
                let mut printer = Printer { out, tree: &tree };
                printer.map(&effective, &mut Vec::new(), 0);
                Ok((printer.out, tree.origin().clone()))
            }
            Shape::Choice(choice) => choice.print(&self.name, config),
        }
    }

    /// What holds in the end, to be compared with what holds later: which keys are set differently now.
    ///
    /// A secret is compared as what it is, also where a file has it: that may have been replaced.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    ///
    /// # Examples
    /// ```
    /// use keyval_config::{ConfigDir, Section, Validate, schemars};
    ///
    /// #[derive(Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
    /// #[serde(default, deny_unknown_fields)]
    /// struct Probe {
    ///     port: u16,
    ///     host: String,
    /// }
    ///
    /// impl Validate for Probe {}
    ///
    /// let section = Section::of::<Probe>("probe");
    /// let config = ConfigDir::new("/no/such/folder");
    /// let before = section.effective(&config)?;
    /// let after = section.effective(&config.with_flag("probe.port=9191")?)?;
    /// assert_eq!(before.differences(&after), ["port"]);
    /// # keyval_config::Result::Ok(())
    /// ```
    pub fn effective(&self, config: &ConfigDir) -> Result<Effective> {
        match &self.shape {
            Shape::Of(described) => {
                let mut tree = config.tree(&self.name)?;
                let node = described.effective(&self.name, &mut tree, &[])?;
                let mut effective = Effective::default();
                effective.take(&node, &[], &tree, &[]);
                Ok(effective)
            }
            Shape::Choice(choice) => choice.effective(&self.name, config),
        }
    }

    /// The JSON Schema (draft 7) of the plugin's file, for editors.
    #[must_use]
    pub fn schema(&self) -> String {
        let mut generator = SchemaSettings::draft07().into_generator();
        let schema = match &self.shape {
            Shape::Of(described) => described.schema(&mut generator),
            Shape::Choice(choice) => choice.schema(&mut generator),
        };
        let mut schema = Schema::try_from(schema).unwrap_or_default();
        let draft = json!("http://json-schema.org/draft-07/schema#");
        schema.insert("$schema".into(), draft);
        let definitions = generator.take_definitions(true);
        for transform in generator.transforms_mut() {
            transform.transform(&mut schema);
        }
        if !definitions.is_empty() {
            schema.insert("definitions".into(), Value::Object(definitions));
        }
        format!("{:#}\n", schema.to_value())
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Section").field(&self.name).finish()
    }
}
