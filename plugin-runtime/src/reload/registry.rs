//! All configurations of an agent that can be read again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use keyval_config::{ConfigDir, Effective, Reload, Section};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::error::{ReloadError, Reloaded};
use super::live::Live;
use crate::status::Reporter;

/// All configurations of a host that can be read again. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Reloads(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    live: Vec<Box<dyn Slot>>,
    /// What configures the plugins, and what it said at the start, where that was in order.
    sections: Vec<(Section, Option<Said>)>,
    reporters: BTreeMap<Arc<str>, Reporter>,
    config: Option<ConfigDir>,
}

/// What the configuration of a plugin says.
struct Said {
    effective: Effective,
    is_disabled: bool,
}

impl Said {
    fn by(section: &Section, config: &ConfigDir) -> keyval_config::Result<Self> {
        Ok(Self {
            effective: section.effective(config)?,
            is_disabled: section.disabled(config)?.is_some(),
        })
    }

    /// What is said otherwise now: keys, or the plugin itself where it is disabled or no longer is.
    fn differences(&self, now: &Self, plugin: &str) -> Vec<String> {
        if self.is_disabled != now.is_disabled {
            return vec![plugin.to_owned()];
        }
        let differs = self.effective.differences(&now.effective).into_iter();
        differs.map(|key| format!("{plugin}.{key}")).collect()
    }
}

/// The configuration of a plugin, without its type.
trait Slot: Send {
    fn plugin(&self) -> &Arc<str>;

    /// Reads it again; what is returned puts it in force, and is `None` if it is as before.
    fn read(&self, config: &ConfigDir) -> keyval_config::Result<Option<Box<dyn FnOnce()>>>;
}

struct Typed<T> {
    plugin: Arc<str>,
    values: watch::Sender<Arc<T>>,
}

impl<T> Slot for Typed<T>
where
    T: DeserializeOwned + Default + Reload + PartialEq + Send + Sync + 'static,
{
    fn plugin(&self) -> &Arc<str> {
        &self.plugin
    }

    fn read(&self, config: &ConfigDir) -> keyval_config::Result<Option<Box<dyn FnOnce()>>> {
        let in_force = Arc::clone(&self.values.borrow());
        let next = config.load_again(&self.plugin, &*in_force)?.value;
        if next == *in_force {
            return Ok(None);
        }
        let values = self.values.clone();
        let put = move || drop(values.send_replace(Arc::new(next)));
        Ok(Some(Box::new(put)))
    }
}

impl Reloads {
    /// From now on a reload reads this configuration, and tells here what it refuses.
    pub(crate) fn begin(&self, config: &ConfigDir, reporters: BTreeMap<Arc<str>, Reporter>) {
        let mut book = self.0.lock();
        book.reporters = reporters;
        book.config = Some(config.clone());
    }

    /// Remembers what these say at the start. Reads files.
    pub(crate) fn remember(&self, config: &ConfigDir, sections: Vec<Section>) {
        let said = |section: &Section| Said::by(section, config).ok();
        let sections = sections.into_iter().map(|section| {
            let said = said(&section);
            (section, said)
        });
        let sections: Vec<_> = sections.collect();
        self.0.lock().sections = sections;
    }

    /// Reads the configuration of a plugin for the first time, and puts it in force.
    pub(crate) fn add<T>(
        &self,
        plugin: Arc<str>,
        config: &ConfigDir,
    ) -> keyval_config::Result<Live<T>>
    where
        T: DeserializeOwned + Default + Reload + PartialEq + Send + Sync + 'static,
    {
        // Under the lock: a reload is either before that, or finds it.
        let mut book = self.0.lock();
        let in_force = config.load_valid::<T>(&plugin)?.value;
        let (values, live) = watch::channel(Arc::new(in_force));
        book.live.push(Box::new(Typed { plugin, values }));
        Ok(Live::new(live))
    }

    /// Reads all of it again, and puts it in force if all of it is in order.
    pub(crate) fn reload(&self) -> Result<Reloaded, ReloadError> {
        let book = self.0.lock();
        let Some(config) = &book.config else {
            return Ok(Reloaded::default());
        };
        let (mut changes, mut refused) = (Vec::new(), Vec::new());
        for slot in &book.live {
            match slot.read(config) {
                Ok(change) => changes.extend(change.map(|put| (slot.plugin(), put))),
                Err(error) => refused.push((Arc::clone(slot.plugin()), error)),
            }
        }
        let live: BTreeSet<&Arc<str>> = book.live.iter().map(|slot| slot.plugin()).collect();
        let mut reloaded = Reloaded::default();
        for (section, before) in &book.sections {
            let plugin = section.name();
            if live.iter().any(|live| &***live == plugin) {
                continue;
            }
            match (Said::by(section, config), before) {
                (Ok(now), Some(before)) => {
                    let differs = before.differences(&now, plugin);
                    reloaded.needs_restart.extend(differs);
                }
                // It was not in order at the start, and so is not in use.
                (Ok(_), None) | (Err(_), None) => {}
                (Err(error), Some(_)) => refused.push((plugin.into(), error)),
            }
        }
        book.tell(&refused);
        if !refused.is_empty() {
            return Err(ReloadError { refused });
        }
        for (plugin, put) in changes {
            put();
            if !reloaded.changed.contains(plugin) {
                reloaded.changed.push(Arc::clone(plugin));
            }
        }
        Ok(reloaded)
    }
}

impl Book {
    /// Puts into the status of each plugin whether its new configuration was refused.
    fn tell(&self, refused: &[(Arc<str>, keyval_config::Error)]) {
        for (plugin, reporter) in &self.reporters {
            let error = refused.iter().find(|(refused, _)| refused == plugin);
            let cause = error.map(|(_, error)| {
                let error = error.to_string();
                // The rest of it is the line with a mark, for people who look at a screen.
                let first = error.lines().next().unwrap_or_default();
                format!("works as before; its new configuration is refused: {first}").into()
            });
            reporter.refused(cause);
        }
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloads")
    }
}
