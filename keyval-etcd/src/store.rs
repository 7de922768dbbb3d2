//! The handle on an etcd.

use std::fmt;
use std::sync::Arc;

use keyval::{Capabilities, Connection, Result};
use keyval_config::Environment;

use crate::admin::EtcdAdmin;
use crate::config::EtcdConfig;
use crate::connection::{Client, Open};
use crate::lease::Renewals;
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
    pub(crate) renewals: Arc<Renewals>,
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
    /// none answers within the dial timeout;
    /// [`Error::Unauthenticated`](keyval::Error::Unauthenticated) if etcd refuses the login.
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
        Self::connect_filtered(config, environment, |url| Some(url.to_owned())).await
    }

    /// As [`connect_in`](Self::connect_in), with a say in the endpoints that come from the list of
    /// members.
    ///
    /// With `endpoint-sync` the URLs that the members tell their clients take the place of the
    /// endpoints. Where they are not what this program can reach, behind a proxy or in another
    /// network, the filter rewrites each, or leaves it out with `None`. The endpoints of the
    /// configuration do not pass through it. A list without an endpoint that answers is never
    /// taken.
    ///
    /// # Examples
    /// ```no_run
    /// use keyval_config::Environment;
    /// use keyval_etcd::{EtcdConfig, EtcdStore};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> keyval::Result<()> {
    /// let mut config = EtcdConfig::default();
    /// config.endpoint_sync = Duration::from_secs(60);
    /// let filter = |url: &str| Some(url.replace(".internal:", ".example.org:"));
    /// let store = EtcdStore::connect_filtered(&config, &Environment::process(), filter).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the connections.
    pub async fn connect_filtered(
        config: &EtcdConfig,
        environment: &Environment,
        filter: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Self> {
        let client = Client::connect(config, environment, Arc::new(filter), None).await?;
        Ok(Self::over(client, config))
    }

    /// As [`connect`](Self::connect), over connections that are opened by the caller, in plain text:
    /// those of a network that is simulated.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`Error::Invalid`](keyval::Error::Invalid) for a
    /// configuration with TLS.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the connections.
    #[doc(hidden)]
    pub async fn connect_through(config: &EtcdConfig, open: Arc<Open>) -> Result<Self> {
        let environment = Environment::process();
        let filter = Arc::new(|url: &str| Some(url.to_owned()));
        let client = Client::connect(config, &environment, filter, Some(open)).await?;
        Ok(Self::over(client, config))
    }

    /// A store over a client that the program has already.
    ///
    /// Of the configuration it uses the timeouts and limits only: endpoints, balance and encryption
    /// are those of the client. There is no telling of its endpoints apart, so that no call goes
    /// to another one, and its watches share the connection of its calls. The state of the
    /// [connection](Self::connection) is known from calls only. Closing the store does not close
    /// the client. To have watches end when their member has lost the leader, the client needs
    /// `with_require_leader(true)`.
    ///
    /// # Examples
    /// ```no_run
    /// use keyval_etcd::{EtcdConfig, EtcdStore};
    ///
    /// # async fn run(client: etcd_client::Client) -> keyval::Result<()> {
    /// let store = EtcdStore::from_client(&client, &EtcdConfig::default()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`connect`](Self::connect), if the client does not reach a server.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    #[doc(alias = "NewEtcdConnectionUsingClient")]
    pub async fn from_client(client: &etcd_client::Client, config: &EtcdConfig) -> Result<Self> {
        let client = Client::given(client, config).await?;
        Ok(Self::over(client, config))
    }

    fn over(client: Client, config: &EtcdConfig) -> Self {
        let limits = Capabilities::all()
            .with_progress(requested_progress_is_exact(client.version()))
            .with_max_txn_ops(Some(config.max_txn_ops))
            .with_max_request_bytes(Some(config.max_request_bytes));
        let renewals = Renewals::new(client.tasks().clone(), client.closing().clone());
        Self {
            client: Arc::new(client),
            renewals: Arc::new(renewals),
            watches: Arc::default(),
            limits,
        }
    }

    /// Whether the store is connected, now and from now on.
    ///
    /// It is told as it happens, also where nothing is called: a server that is killed is seen at
    /// once, one that falls silent within 15 s, or sooner by the calls that it does not answer.
    /// While there is no connection, one task tries to connect again, at first after 50 ms at
    /// most, then ever less often, but once a second at least.
    ///
    /// # Examples
    /// ```no_run
    /// use keyval_etcd::{EtcdConfig, EtcdStore};
    ///
    /// # async fn run() -> keyval::Result<()> {
    /// let store = EtcdStore::connect(&EtcdConfig::default()).await?;
    /// assert!(store.connection().state().is_connected());
    /// # Ok(()) }
    /// ```
    pub fn connection(&self) -> Connection {
        self.client.connection()
    }

    /// The administration of this etcd: its members, its storage, and who may do what.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn run(store: keyval_etcd::EtcdStore) -> keyval::Result<()> {
    /// for member in store.admin().members().await? {
    ///     println!("{} {}", member.id, member.name);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn admin(&self) -> EtcdAdmin {
        EtcdAdmin::new(self.client.clone())
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
