//! From a configuration to a store.

use std::fmt::Debug;
use std::future::Future;

use crate::error::Result;
use crate::hosting::Hosting;
use crate::store::ManagedStore;

/// Connects to one kind of store; what a backend offers to plugin hosts.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Connector, MemoryConfig, MemoryConnector};
///
/// # tokio_test::block_on(async {
/// let store = MemoryConnector::connect(&MemoryConfig::default()).await?;
/// store.put("ready", "yes").await?;
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
pub trait Connector: Send + Sync + 'static {
    /// The configuration of such a store.
    type Config: Debug + Clone + Send + Sync + 'static;
    /// The store.
    type Store: ManagedStore + Clone;
    /// The name of the backend, as configuration files spell it.
    const BACKEND: &'static str;

    /// Connects, within the deadline that the configuration sets.
    ///
    /// # Errors
    /// If the configuration makes no sense, or the store cannot be reached.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the connection.
    fn connect(config: &Self::Config) -> impl Future<Output = Result<Self::Store>> + Send;

    /// Where the store is, for a line of a log: its endpoints, without secrets. By default there is
    /// nothing to say.
    #[must_use]
    fn target(config: &Self::Config) -> Option<String> {
        let _ = config;
        None
    }

    /// What the configuration says to a plugin host; the defaults, unless the backend's
    /// configuration has keys for it.
    #[must_use]
    fn hosting(config: &Self::Config) -> Hosting {
        let _ = config;
        Hosting::default()
    }
}
