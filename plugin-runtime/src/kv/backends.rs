//! The backends among which a YAML file can choose.

use std::collections::BTreeMap;
use std::fmt;

use keyval::{BoxError, Connector};
use keyval_config::{Choice, Chosen, ConfigDir, Settings};

use super::config::MemoryBackend;
use super::hosting::HostingKeys;
use super::open::{Prepared, prepare};

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
/// The keys for the host may stand beside the choice, for any backend, and win over those of the
/// backend's own settings: `allow-delayed-start`, `reconnect-interval`, `resync-after-reconnect`,
/// `auto-compact` and `session-ttl`; see [`Hosting`](keyval::Hosting).
///
/// Sections of other backends may stay in it, if their keys are right and `backend` is written: without
/// that key they are refused, as somebody forgot to choose them. Without a section of its own the
/// settings are in the file of the backend's own name (`etcd.yaml`, `etcd.conf`, `ETCD_CONFIG`), or
/// the backend's defaults. Without any file the store is in memory. See [`Choice`] for all of it.
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
    choice: Choice,
    entries: BTreeMap<&'static str, Entry>,
}

/// Reads the settings of one connector, as they were chosen.
type Entry = Box<dyn Fn(&mut Chosen) -> Result<Prepared, BoxError> + Send + Sync>;

impl Backends {
    /// The in-memory store alone, which is also what is chosen without a file.
    #[must_use]
    pub fn new() -> Self {
        let none = Self {
            choice: Choice::new(CHOICE, MemoryBackend::BACKEND).beside::<HostingKeys>(),
            entries: BTreeMap::new(),
        };
        none.with::<MemoryBackend>()
    }

    /// Adds a backend under its own name.
    #[must_use]
    pub fn with<C: Connector>(mut self) -> Self
    where
        C::Config: Settings,
    {
        let entry: Entry = Box::new(|chosen| {
            let settings = chosen.settings::<C::Config>()?;
            Ok(prepare::<C>(settings, chosen.origin()))
        });
        self.choice = self.choice.with::<C::Config>(C::BACKEND);
        self.entries.insert(C::BACKEND, entry);
        self
    }

    /// Tells of a backend that was left out of this program, and what to do to have it:
    /// `rebuild with --features etcd`.
    #[must_use]
    pub fn without(mut self, name: &'static str, remedy: &'static str) -> Self {
        self.choice = self.choice.without(name, remedy);
        self
    }

    /// The names of those that can be chosen, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries.keys().copied()
    }

    /// What the file of the plugin can say.
    pub(crate) fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Reads the settings of the store that the file of this plugin chooses.
    pub(crate) fn prepare(&self, config: &ConfigDir, plugin: &str) -> Result<Prepared, BoxError> {
        let mut chosen = self.choice.choose(plugin, config)?;
        let entry = self.entries.get(chosen.name());
        let entry = entry.expect("every choice has its entry");
        let mut prepared = entry(&mut chosen)?;
        chosen.beside::<HostingKeys>()?.apply(&mut prepared.hosting);
        Ok(prepared)
    }
}

impl Default for Backends {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backends").field(&self.choice).finish()
    }
}
