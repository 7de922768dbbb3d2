//! The backends among which a YAML file can choose.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use futures::future::BoxFuture;
use keyval::{BoxError, Connector};
use keyval_config::{ConfigDir, Loaded, Origin};
use serde::de::{
    self, Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor,
};

use super::config::MemoryBackend;
use super::open::{Opened, connect};

/// The key that chooses.
const CHOICE: &str = "backend";

/// The backends among which a YAML file can choose; the in-memory store is always one of them.
///
/// The file of the plugin names the backend and may hold its settings:
///
/// ```yaml
/// backend: etcd
/// etcd:
///   endpoints: [127.0.0.1:2379]
/// ```
///
/// Sections of other backends may stay in it; they are not looked at. Without such a section the
/// settings are in the file of the backend's own name (`etcd.yaml`, `etcd.conf`, `ETCD_CONFIG`), or
/// the backend's defaults. Without any file the store is in memory.
///
/// # Examples
/// ```
/// use plugin_runtime::{Backends, KvPlugin};
///
/// let backends = Backends::new().without("etcd", "rebuild with --features etcd");
/// assert_eq!(backends.names().collect::<Vec<_>>(), ["memory"]);
/// let plugin = KvPlugin::chosen("store", backends);
/// # drop(plugin);
/// ```
pub struct Backends {
    present: BTreeMap<&'static str, Entry>,
    /// Those that were left out of the program, and what to do to have them.
    absent: BTreeMap<&'static str, &'static str>,
    default: &'static str,
}

/// Opens a store by one connector: with the settings in this file, or where else they are.
type Entry =
    Box<dyn Fn(ConfigDir, String) -> BoxFuture<'static, Result<Opened, BoxError>> + Send + Sync>;

/// Why no backend can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// There is no backend of that name.
    #[error("{file}: unknown backend {name:?}; choose one of: {}", .available.join(", "))]
    Unknown {
        /// The file that chooses.
        file: String,
        /// The name it gives.
        name: String,
        /// The names there are.
        available: Vec<&'static str>,
    },
    /// There is such a backend, but this program was built without it.
    #[error(
        "{file}: backend {name:?} is not compiled in; {remedy}, or choose one of: {}",
        .available.join(", ")
    )]
    NotCompiledIn {
        /// The file that chooses.
        file: String,
        /// The name it gives.
        name: String,
        /// What to do to have it.
        remedy: &'static str,
        /// The names there are.
        available: Vec<&'static str>,
    },
    /// The file has a key that is neither the choice nor a backend.
    #[error("{file}: unknown key {key:?}; the keys are {CHOICE} and, for their settings, {}", .available.join(", "))]
    UnknownKey {
        /// The file that chooses.
        file: String,
        /// The key.
        key: String,
        /// The names of backends there are.
        available: Vec<&'static str>,
    },
    /// The settings of the backend are in two files, and neither is better than the other.
    #[error("the settings of backend {name:?} are in {file} and in {other}: leave one of them out")]
    TwoPlaces {
        /// The backend.
        name: &'static str,
        /// The file that chooses.
        file: String,
        /// The file of the backend's own.
        other: String,
    },
}

impl Backends {
    /// The in-memory store alone, which is also what is chosen without a file.
    #[must_use]
    pub fn new() -> Self {
        let none = Self {
            present: BTreeMap::new(),
            absent: BTreeMap::new(),
            default: MemoryBackend::BACKEND,
        };
        none.with::<MemoryBackend>()
    }

    /// Adds a backend under its own name.
    #[must_use]
    pub fn with<C: Connector>(mut self) -> Self
    where
        C::Config: DeserializeOwned + Default,
    {
        let entry: Entry = Box::new(|config, plugin| {
            Box::pin(async move {
                let (settings, origin) = settings::<C>(&config, &plugin)?;
                connect::<C>(&settings, &origin).await
            })
        });
        self.absent.remove(C::BACKEND);
        self.present.insert(C::BACKEND, entry);
        self
    }

    /// Tells of a backend that was left out of this program, and what to do to have it:
    /// `rebuild with --features etcd`.
    #[must_use]
    pub fn without(mut self, name: &'static str, remedy: &'static str) -> Self {
        self.absent.insert(name, remedy);
        self
    }

    /// The names of those that can be chosen, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.present.keys().copied()
    }

    /// Opens the store that the file of this plugin chooses.
    pub(crate) async fn open(&self, config: &ConfigDir, plugin: &str) -> Result<Opened, BoxError> {
        let choice = config.load::<Choice>(plugin)?;
        let entry = self.choose(&choice)?;
        entry(config.clone(), plugin.to_owned()).await
    }

    fn choose(&self, choice: &Loaded<Choice>) -> Result<&Entry, BackendError> {
        let file = || choice.origin.to_string();
        let available = || self.names().collect();
        for key in &choice.value.sections {
            if !self.present.contains_key(&**key) && !self.absent.contains_key(&**key) {
                return Err(BackendError::UnknownKey {
                    file: file(),
                    key: key.clone(),
                    available: available(),
                });
            }
        }
        let name = choice.value.backend.as_deref().unwrap_or(self.default);
        if let Some(entry) = self.present.get(name) {
            return Ok(entry);
        }
        Err(match self.absent.get(name) {
            Some(remedy) => BackendError::NotCompiledIn {
                file: file(),
                name: name.to_owned(),
                remedy,
                available: available(),
            },
            None => BackendError::Unknown {
                file: file(),
                name: name.to_owned(),
                available: available(),
            },
        })
    }
}

impl Default for Backends {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends")
            .field("present", &self.present.keys())
            .field("absent", &self.absent.keys())
            .field("default", &self.default)
            .finish()
    }
}

/// The settings of a backend and where they come from: its section in the plugin's file, else its
/// own file.
fn settings<C>(config: &ConfigDir, plugin: &str) -> Result<(C::Config, Origin), BoxError>
where
    C: Connector,
    C::Config: DeserializeOwned + Default,
{
    let section = config.load::<Section<C>>(plugin)?;
    // A plugin named as its backend has but one file.
    let own = match plugin == C::BACKEND {
        true => None,
        false => Some(config.load::<C::Config>(C::BACKEND)?),
    };
    match (section.value.0, own) {
        (Some(settings), None) => Ok((settings, section.origin)),
        (Some(settings), Some(own)) => match own.origin {
            Origin::File(other) => Err(Box::new(BackendError::TwoPlaces {
                name: C::BACKEND,
                file: section.origin.to_string(),
                other: other.display().to_string(),
            })),
            _ => Ok((settings, section.origin)),
        },
        (None, Some(own)) if own.origin != Origin::Defaults => Ok((own.value, own.origin)),
        (None, _) => Ok((C::Config::default(), section.origin)),
    }
}

/// What a file chooses, and which sections it has beside.
#[derive(Default)]
struct Choice {
    backend: Option<String>,
    sections: Vec<String>,
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Choice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a mapping with the key {CHOICE}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice, A::Error> {
                let mut choice = Choice::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == CHOICE {
                        choice.backend = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        choice.sections.push(key);
                    }
                }
                Ok(choice)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// The section of one backend, where the file has it.
struct Section<C: Connector>(Option<C::Config>);

impl<C: Connector> Default for Section<C> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, C: Connector> Deserialize<'de> for Section<C>
where
    C::Config: DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<C>(PhantomData<C>);

        impl<'de, C: Connector> Visitor<'de> for Keys<C>
        where
            C::Config: DeserializeOwned,
        {
            type Value = Section<C>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a mapping with the key {CHOICE}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Section<C>, A::Error> {
                let mut section = Section(None);
                while let Some(key) = map.next_key::<String>()? {
                    if key != C::BACKEND {
                        map.next_value::<IgnoredAny>()?;
                    } else if section.0.is_none() {
                        section.0 = Some(map.next_value()?);
                    } else {
                        return Err(de::Error::duplicate_field(C::BACKEND));
                    }
                }
                Ok(section)
            }
        }

        deserializer.deserialize_map(Keys(PhantomData))
    }
}
