//! Opens the store of one backend, from its settings.

use std::sync::Arc;

use futures::future::BoxFuture;
use keyval::{BoxError, Connector, ManagedStore};
use keyval_config::{ConfigDir, Origin};
use serde::de::DeserializeOwned;

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ManagedStore>,
    /// Where the settings come from, to be shown in a status.
    pub(crate) origin: String,
}

/// Opens the store of a plugin, whose name it is given.
pub(crate) type Open =
    dyn Fn(ConfigDir, Arc<str>) -> BoxFuture<'static, Result<Opened, BoxError>> + Send + Sync;

/// Opens by a connector, with the settings in the file of the plugin.
pub(crate) fn by_connector<C>(
    config: ConfigDir,
    plugin: Arc<str>,
) -> BoxFuture<'static, Result<Opened, BoxError>>
where
    C: Connector,
    C::Config: DeserializeOwned + Default,
{
    Box::pin(async move {
        let settings = config.load::<C::Config>(&plugin)?;
        connect::<C>(&settings.value, &settings.origin).await
    })
}

/// Connects with these settings.
pub(crate) async fn connect<C: Connector>(
    settings: &C::Config,
    origin: &Origin,
) -> Result<Opened, BoxError> {
    let store = C::connect(settings).await?;
    Ok(Opened {
        store: Arc::new(store),
        origin: origin.to_string(),
    })
}
