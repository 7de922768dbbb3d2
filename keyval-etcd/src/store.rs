//! The handle on an etcd.

use std::fmt;
use std::sync::Arc;

use keyval::{Capabilities, Result};
use keyval_config::Environment;

use crate::config::EtcdConfig;
use crate::connection::{Client, Connection};
use crate::watch::{Hub, requested_progress_is_exact};

/// A store in an etcd server or cluster. Clones share their connections.
///
/// `Display` and `Debug` show the endpoints only.
///
/// # Examples
/// ```no_run
/// use keyval::BrokerExt;
/// use keyval_etcd::{EtcdConfig, EtcdStore};
///
/// # async fn run() -> keyval::Result<()> {
/// let store = EtcdStore::connect(&EtcdConfig::default()).await?;
/// assert_eq!(store.to_string(), "etcd(127.0.0.1:2379)");
/// store.put("greeting", "hello").await?;
/// # Ok(()) }
/// ```
#[doc(alias = "BytesConnectionEtcd")]
#[derive(Clone)]
pub struct EtcdStore {
    pub(crate) client: Arc<Client>,
    pub(crate) watches: Arc<Hub>,
    pub(crate) limits: Capabilities,
}

impl EtcdStore {
    /// Connects to an etcd; the process's environment names the endpoints if the configuration
    /// does not.
    ///
    /// # Errors
    /// [`Error::Invalid`](keyval::Error::Invalid) for a configuration that makes no sense;
    /// [`Error::Unavailable`](keyval::Error::Unavailable), with the cause of each endpoint, if
    /// none answers within the dial timeout.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the connections.
    pub async fn connect(config: &EtcdConfig) -> Result<Self> {
        Self::connect_in(config, &Environment::process()).await
    }

    /// As [`connect`](Self::connect), with the environment given.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the connections.
    pub async fn connect_in(config: &EtcdConfig, environment: &Environment) -> Result<Self> {
        let client = Client::connect(config, environment).await?;
        let limits = Capabilities::all()
            .with_progress(requested_progress_is_exact(client.version()))
            .with_max_txn_ops(Some(config.max_txn_ops))
            .with_max_request_bytes(Some(config.max_request_bytes));
        Ok(Self {
            client: Arc::new(client),
            watches: Arc::default(),
            limits,
        })
    }

    /// Whether the store is connected, now and from now on.
    ///
    /// It is told as it happens, also where nothing is called: a server that is killed is seen at
    /// once, one that falls silent within 15 s, or sooner by the calls that it does not answer.
    /// While there is no connection, one task tries to connect again, at first after 50 ms at
    /// most, then ever less often, up to every 5 s.
    pub fn connection(&self) -> Connection {
        self.client.connection()
    }
}

impl fmt::Display for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.client.name())
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.client.name())
    }
}
