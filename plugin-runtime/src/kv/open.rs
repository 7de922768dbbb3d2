//! How the store of one backend is opened, from its settings.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use futures::future::BoxFuture;
use keyval::{BoxError, Connector, Hosting, ManagedStore, Observe};
use keyval_config::{ConfigDir, Origin, Settings};

/// A store whose settings are read, and that can be connected to.
pub(crate) struct Prepared {
    /// Which backend it is, and where, for a line of a log.
    pub(crate) about: String,
    /// What the settings say to the host.
    pub(crate) hosting: Hosting,
    /// Where the settings come from, to be shown in a status.
    pub(crate) origin: Origin,
    /// Connects; again after a failure.
    pub(crate) connect: Box<Connect>,
}

pub(crate) type Connect = dyn Fn() -> BoxFuture<'static, keyval::Result<Opened>> + Send + Sync;

/// A store that is connected, and observed. It is shown as what it is below that.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ManagedStore>,
    name: Arc<str>,
}

impl Opened {
    fn new(store: impl ManagedStore, backend: &'static str) -> Self {
        let name = store.to_string().into();
        let store = Arc::new(Observe::new(store, backend));
        Self { store, name }
    }
}

impl Deref for Opened {
    type Target = dyn ManagedStore;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl fmt::Display for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Reads the settings of a plugin, whose name it is given.
pub(crate) type Prepare = dyn Fn(&ConfigDir, &str) -> Result<Prepared, BoxError> + Send + Sync;

/// The settings of one connector, in the file of the plugin.
pub(crate) fn by_connector<C>(config: &ConfigDir, plugin: &str) -> Result<Prepared, BoxError>
where
    C: Connector,
    C::Config: Settings,
{
    let settings = config.load_valid::<C::Config>(plugin)?;
    Ok(prepare::<C>(settings.value, &settings.origin))
}

/// Connects with these settings.
pub(crate) fn prepare<C: Connector>(settings: C::Config, origin: &Origin) -> Prepared {
    let about = match C::target(&settings) {
        Some(target) => format!("{} at {target}", C::BACKEND),
        None => C::BACKEND.to_owned(),
    };
    Prepared {
        about,
        hosting: C::hosting(&settings),
        origin: origin.clone(),
        connect: Box::new(move || {
            let settings = settings.clone();
            Box::pin(async move {
                let store = C::connect(&settings).await?;
                Ok(Opened::new(store, C::BACKEND))
            })
        }),
    }
}
