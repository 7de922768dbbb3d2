//! A configuration that chooses one of several, each with settings of its own.

use std::fmt;
use std::sync::Arc;

use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use crate::described::{Described, Settings, Typed};
use crate::dir::ConfigDir;
use crate::effective::Effective;
use crate::error::{Error, Result};
use crate::fault::Fault;
use crate::node::{Entry, Step};
use crate::origin::Origin;
use crate::print::{Printer, origin_of, quoted, to_node};
use crate::tree::Tree;

/// A configuration that chooses one of several, such as the backend of a store.
///
/// One key names the choice, and each choice has a section under its own name:
///
/// ```yaml
/// backend: etcd
/// etcd:
///   endpoints: [127.0.0.1:2379]
/// ```
///
/// Without a section, the settings are those under the choice's own name, in a file or single values:
/// `etcd.yaml`, `ETCD_CONFIG`, `--set etcd.dial-timeout=2s`. Both is an error, as one would be ignored.
///
/// Where the key is written, sections of what is not chosen may stay, and so may files in the folder and
/// single values. Their keys and types must be right, but nothing is required of them, and no file is
/// opened for them. Where the key is missing, all of that is refused: whoever writes `etcd:`, `etcd.yaml`,
/// `--set store.etcd.endpoints=a:2379` or `ETCD__ENDPOINTS=a:2379` means etcd, and has forgotten to choose
/// it. Variables that a type has of its own ([`own_variables`](crate::Validate::own_variables), such as
/// `ETCD_ENDPOINTS`) choose nothing and are no reason to refuse: they are there for other programs, too.
///
/// # Examples
/// ```
/// use keyval_config::{Choice, ConfigDir, Section, Validate, schemars};
///
/// #[derive(Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
/// #[serde(default, deny_unknown_fields)]
/// struct Memory {
///     limit: u32,
/// }
///
/// impl Validate for Memory {}
///
/// let choice = Choice::new("backend", "memory")
///     .with::<Memory>("memory")
///     .without("etcd", "rebuild with --features etcd");
/// let section = Section::choice("store", choice);
///
/// let config = ConfigDir::new("/no/such/folder");
/// let shown = section.print(&config.clone().with_flag("store.memory.limit=9")?)?;
/// assert_eq!(
///     shown,
///     "backend: memory  # default\nmemory:\n  limit: 9  # --set store.memory.limit\n"
/// );
/// assert_eq!(
///     section.check(&config.with_flag("store.backend=etcd")?).unwrap_err().to_string(),
///     "--set store.backend: \"etcd\" is not compiled in; rebuild with --features etcd, or choose one \
///      of: memory"
/// );
/// # keyval_config::Result::Ok(())
/// ```
#[derive(Clone)]
pub struct Choice {
    key: &'static str,
    default: &'static str,
    beside: Option<Arc<dyn Described>>,
    present: Vec<(&'static str, Arc<dyn Described>)>,
    absent: Vec<(&'static str, &'static str)>,
}

/// What was chosen, and where its settings are.
#[derive(Debug)]
pub struct Chosen {
    name: &'static str,
    /// Where in the tree the settings are.
    tree: Tree,
    path: Vec<Step>,
    beside: Tree,
}

impl Choice {
    /// A choice by this key, which is that one where the key is missing.
    #[must_use]
    pub fn new(key: &'static str, default: &'static str) -> Self {
        Self {
            key,
            default,
            beside: None,
            present: Vec::new(),
            absent: Vec::new(),
        }
    }

    /// Adds what can be chosen, with the type of its settings.
    #[must_use]
    pub fn with<T: Settings>(mut self, name: &'static str) -> Self {
        self.absent.retain(|(absent, _)| *absent != name);
        self.present.retain(|(present, _)| *present != name);
        self.present.push((name, Arc::new(Typed::<T>::new())));
        self
    }

    /// Tells of what could be chosen in another build of the program, and what to do to have it.
    #[must_use]
    pub fn without(mut self, name: &'static str, remedy: &'static str) -> Self {
        self.absent.push((name, remedy));
        self
    }

    /// Sets the type of the keys that stand beside the choice, whatever is chosen.
    #[must_use]
    pub fn beside<T: Settings>(mut self) -> Self {
        self.beside = Some(Arc::new(Typed::<T>::new()));
        self
    }

    /// What can be chosen.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.present.iter().map(|(name, _)| *name)
    }

    /// Reads what the configuration of a plugin chooses.
    ///
    /// # Errors
    /// As [`ConfigDir::load`], [`Error::Invalid`] for what is none of those present and for unknown
    /// keys, [`Error::TwoPlaces`] if there are both a section and settings under its own name, and
    /// [`Error::NotChosen`] if a file is named for what is not chosen, or if anything is said of it
    /// although nothing is chosen but by default.
    pub fn choose(&self, plugin: &str, config: &ConfigDir) -> Result<Chosen> {
        let tree = config.tree(plugin)?;
        self.check_keys(&tree)?;
        let (name, by_default) = self.chosen(&tree)?;
        self.check_others(plugin, name, &tree, config)?;
        self.check_meant(plugin, name, by_default, &tree, config)?;
        let section = vec![Step::Key(name.to_owned())];
        let is_beside = |entry: &Entry| {
            let mut others = self.known_but_beside();
            !others.any(|key| entry.is_for(key))
        };
        let beside = tree.only(is_beside);
        // A plugin of the same name has but one file.
        let own = match name == plugin {
            true => Tree::empty(),
            false => config.tree(name)?,
        };
        let said = *own.origin() != Origin::Defaults;
        if said && tree.has(&section) {
            return Err(Error::TwoPlaces {
                name: name.to_owned(),
                first: tree.origin().to_string(),
                second: own.origin().to_string(),
            });
        }
        let (tree, path) = match said {
            true => (own, Vec::new()),
            false => (tree, section),
        };
        Ok(Chosen {
            name,
            tree,
            path,
            beside,
        })
    }

    /// The key of the choice, and of each section.
    fn known_but_beside(&self) -> impl Iterator<Item = &'static str> {
        let absent = self.absent.iter().map(|(name, _)| *name);
        [self.key].into_iter().chain(self.names()).chain(absent)
    }

    fn check_keys(&self, tree: &Tree) -> Result<()> {
        let Some(entries) = tree.root().entries() else {
            let fault = Fault::new(format!("expected a map with the key {}", self.key));
            // A line that is no map may be the rest of anything, a password included.
            return Err(tree.invalid(fault.hidden().at(&tree.root().place), &[]));
        };
        let beside = self
            .beside
            .as_ref()
            .map_or_else(Vec::new, |beside| beside.keys());
        let mut keys: Vec<&str> = self.known_but_beside().collect();
        keys.extend(beside.iter().map(String::as_str));
        let is_known = |entry: &&Entry| keys.iter().any(|key| entry.is_for(key));
        match entries.iter().find(|entry| !is_known(entry)) {
            None => Ok(()),
            Some(entry) => {
                let fault = Fault::unknown("key", &entry.key.text, &keys);
                Err(tree.invalid(fault.at(&entry.place).of_the_key(), &[]))
            }
        }
    }

    /// What is chosen, and whether that is so because nothing was.
    fn chosen(&self, tree: &Tree) -> Result<(&'static str, bool)> {
        let step = [Step::Key(self.key.to_owned())];
        let said: Option<String> = tree.read_or_default(&step)?;
        let name = said.as_deref().unwrap_or(self.default);
        if let Some((name, _)) = self.find(name) {
            return Ok((name, said.is_none()));
        }
        let place = tree.place_of(&step).unwrap_or(&tree.root().place);
        let names: Vec<&str> = self.names().collect();
        let fault = match self.absent.iter().find(|(known, _)| *known == name) {
            Some((name, remedy)) => Fault::new(format!(
                "{name:?} is not compiled in; {remedy}, or choose one of: {}",
                names.join(", ")
            )),
            None => Fault::unknown("value", name, &names),
        };
        Err(tree.invalid(fault.at(place), &step))
    }

    /// Refuses to pass over what somebody means: a file that is named for what is not chosen, and where
    /// nothing was chosen everything that is said of others.
    fn check_meant(
        &self,
        plugin: &str,
        chosen: &str,
        by_default: bool,
        tree: &Tree,
        config: &ConfigDir,
    ) -> Result<()> {
        let others = self.known_but_beside().skip(1);
        for other in others.filter(|other| *other != chosen) {
            // A plugin of the same name has that file itself.
            let named = config.explicit(other).filter(|_| other != plugin);
            let is_named = named.is_some();
            let what = match named {
                Some((_, by)) => Some(format!("a file, by {by},")),
                None if by_default => said_of(other, plugin, tree, config)?,
                None => None,
            };
            if let Some(what) = what {
                return Err(Error::NotChosen {
                    what,
                    is_named,
                    other: other.to_owned(),
                    plugin: plugin.to_owned(),
                    key: self.key,
                    chosen: chosen.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Refuses what is said of those that are not chosen if they do not know it. Nothing is required of
    /// them, no rule is asked and no file is opened.
    fn check_others(
        &self,
        plugin: &str,
        chosen: &str,
        tree: &Tree,
        config: &ConfigDir,
    ) -> Result<()> {
        let others = self.present.iter().filter(|(name, _)| *name != chosen);
        for (name, described) in others {
            described.check_shape(tree, &[Step::Key((*name).to_owned())])?;
            if *name != plugin {
                described.check_shape(&config.single_values(name)?, &[])?;
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<(&'static str, &dyn Described)> {
        let found = self.present.iter().find(|(known, _)| *known == name);
        found.map(|(name, described)| (*name, &**described))
    }

    /// What holds in the end, as YAML, and where it comes from: what chooses, or else the settings.
    pub(crate) fn print(&self, plugin: &str, config: &ConfigDir) -> Result<(String, Origin)> {
        let Chosen {
            name,
            mut tree,
            mut path,
            mut beside,
        } = self.choose(plugin, config)?;
        let said = config.tree(plugin)?;
        let key = [Step::Key(self.key.to_owned())];
        let origin = origin_of(said.place_of(&key));
        let mut out = format!("{}: {}  # {origin}\n", self.key, quoted(name));
        if let Some(described) = &self.beside {
            let settings = described.effective(plugin, &mut beside, &[])?;
            let mut printer = Printer { out, tree: &beside };
            printer.map(&settings, &mut Vec::new(), 0);
            out = printer.out;
        }
        if let Some((_, described)) = self.find(name) {
            let settings = described.effective(name, &mut tree, &path)?;
            if settings
                .entries()
                .is_some_and(|entries| !entries.is_empty())
            {
                out.push_str(&format!("{name}:\n"));
            }
            let mut printer = Printer { out, tree: &tree };
            printer.map(&settings, &mut path, 2);
            out = printer.out;
        }
        Ok((out, origin_in(&said, &tree)))
    }

    /// Refuses what a start would refuse, and tells where the configuration comes from.
    pub(crate) fn check(&self, plugin: &str, config: &ConfigDir) -> Result<Origin> {
        let Chosen {
            name,
            mut tree,
            path,
            mut beside,
        } = self.choose(plugin, config)?;
        if let Some(described) = &self.beside {
            described.check(&mut beside, &[])?;
        }
        if let Some((_, described)) = self.find(name) {
            described.check(&mut tree, &path)?;
        }
        Ok(origin_in(&config.tree(plugin)?, &tree))
    }

    /// What holds in the end, to be compared.
    pub(crate) fn effective(&self, plugin: &str, config: &ConfigDir) -> Result<Effective> {
        let Chosen {
            name,
            mut tree,
            path,
            mut beside,
        } = self.choose(plugin, config)?;
        let mut effective = Effective::default();
        let key = [Step::Key(self.key.to_owned())];
        let chosen = to_node(plugin, &name)?;
        // A name is no secret: where it was written does not matter.
        effective.take(&chosen, &key, &Tree::empty(), &key);
        if let Some(described) = &self.beside {
            let node = described.effective(plugin, &mut beside, &[])?;
            effective.take(&node, &[], &beside, &[]);
        }
        if let Some((_, described)) = self.find(name) {
            let node = described.effective(name, &mut tree, &path)?;
            effective.take(&node, &[Step::Key(name.to_owned())], &tree, &path);
        }
        Ok(effective)
    }

    pub(crate) fn schema(&self, generator: &mut SchemaGenerator) -> Value {
        let names: Vec<&str> = self.names().collect();
        let beside = self.beside.as_ref();
        let beside = beside.map_or(Value::Null, |beside| beside.schema(generator));
        let mut properties = match beside.get("properties") {
            Some(Value::Object(properties)) => properties.clone(),
            _ => Map::new(),
        };
        properties.insert(
            self.key.to_owned(),
            json!({ "enum": names, "default": self.default }),
        );
        for (name, described) in &self.present {
            let settings = described.schema(generator);
            // Nothing in a section is as good as no section.
            let settings = json!({ "anyOf": [settings, { "type": "null" }] });
            properties.insert((*name).to_owned(), settings);
        }
        json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

impl Chosen {
    /// What was chosen.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where its settings come from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        self.tree.origin()
    }

    /// Its settings, which are of the type that the choice has for it.
    ///
    /// # Errors
    /// As [`ConfigDir::load_valid`].
    pub fn settings<T: Settings>(&mut self) -> Result<T> {
        self.tree.read_inspected(&self.path)
    }

    /// The keys beside the choice, of the type that the choice has for them.
    ///
    /// # Errors
    /// As [`ConfigDir::load_valid`].
    pub fn beside<T: Settings>(&mut self) -> Result<T> {
        self.beside.read_inspected(&[])
    }
}

/// The first thing that is said of one that can be chosen: a section, a file or a single value.
fn said_of(other: &str, plugin: &str, tree: &Tree, config: &ConfigDir) -> Result<Option<String>> {
    let sections = tree.root().entries().unwrap_or_default();
    if let Some(section) = sections.iter().find(|entry| entry.is_for(other)) {
        let source = &section.place.source.name;
        return Ok(Some(match section.place.position {
            Some((line, _)) => format!("a section, at {source}:{line},"),
            None => source.clone(),
        }));
    }
    if other == plugin {
        return Ok(None);
    }
    if let Some(file) = config.find(other)? {
        return Ok(Some(file.display().to_string()));
    }
    Ok(match config.single_values(other)?.origin() {
        Origin::Defaults => None,
        origin => Some(origin.to_string()),
    })
}

/// Where a configuration comes from: what chooses, or else the settings.
fn origin_in(said: &Tree, settings: &Tree) -> Origin {
    match said.origin() {
        Origin::Defaults => settings.origin().clone(),
        origin => origin.clone(),
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Choice")
            .field("key", &self.key)
            .field("default", &self.default)
            .field("present", &self.names().collect::<Vec<_>>())
            .field("absent", &self.absent)
            .finish()
    }
}
