//! etcd as one of the backends that a plugin host can be told to use.

use keyval::{Connector, Result};

use crate::config::EtcdConfig;
use crate::store::EtcdStore;

/// Connects to an etcd, as [`EtcdStore::connect`] does.
///
/// # Examples
/// ```no_run
/// use keyval::{BrokerExt, Connector};
/// use keyval_etcd::{EtcdConfig, EtcdConnector};
///
/// # async fn run() -> keyval::Result<()> {
/// let store = EtcdConnector::connect(&EtcdConfig::default()).await?;
/// store.put("ready", "yes").await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct EtcdConnector;

impl Connector for EtcdConnector {
    type Config = EtcdConfig;
    type Store = EtcdStore;
    const BACKEND: &'static str = "etcd";

    async fn connect(config: &EtcdConfig) -> Result<EtcdStore> {
        EtcdStore::connect(config).await
    }
}
