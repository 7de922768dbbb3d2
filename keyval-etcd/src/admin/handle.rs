//! The handle on the administration of an etcd.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use etcd_client::{AuthClient, ClusterClient, MaintenanceClient};
use keyval::{Error, Result};

use crate::connection::{Client, Node, StubResult};
use crate::error::Call;

/// What the administrator of an etcd does: look after its members, its storage, and who may do
/// what.
///
/// It comes from [`EtcdStore::admin`](crate::EtcdStore::admin) and shares the connections of the
/// store. Where the server wants a login, nearly all of this takes the role `root`. What concerns
/// the cluster goes to any endpoint; what concerns one member names its endpoint, out of
/// [`endpoints`](Self::endpoints). Each call has the operation timeout, but for those that can take
/// as long as the storage is large: these are told how long they may take.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use keyval_config::Secret;
/// use keyval::KeyRange;
/// use keyval_etcd::{EtcdConfig, EtcdStore, Permission};
///
/// # async fn run() -> keyval::Result<()> {
/// let store = EtcdStore::connect(&EtcdConfig::default()).await?;
/// let admin = store.admin();
/// for endpoint in admin.status().await? {
///     println!("{endpoint}");
/// }
/// for endpoint in admin.endpoints()? {
///     admin.defragment(&endpoint, Duration::from_secs(60)).await?;
/// }
/// admin.add_role("agent").await?;
/// let own = Permission::read_write(KeyRange::prefix("agents/1/"));
/// admin.grant_permission("agent", &own).await?;
/// admin.add_user("agent-1", &Secret::new("open sesame")).await?;
/// admin.grant_role("agent-1", "agent").await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EtcdAdmin {
    client: Arc<Client>,
}

impl EtcdAdmin {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self { client }
    }

    /// The endpoints as they are now, by the names that the other functions take.
    ///
    /// # Errors
    /// [`Error::Closed`] once the store is closed.
    pub fn endpoints(&self) -> Result<Vec<String>> {
        let nodes = self.client.nodes()?;
        Ok(nodes
            .all()
            .iter()
            .map(|node| node.endpoint.to_string())
            .collect())
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The endpoint of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming those that there are.
    pub(super) fn node(&self, endpoint: &str) -> Result<Arc<Node>> {
        let nodes = self.client.nodes()?;
        let mut all = nodes.all().iter();
        match all.find(|node| *node.endpoint == *endpoint) {
            Some(node) => Ok(node.clone()),
            // The name itself may hold a password by mistake.
            None => Err(Error::invalid(format!(
                "this is not an endpoint of the store; name one of {}",
                self.endpoints()?.join(", ")
            ))),
        }
    }

    pub(super) async fn auth<T, F>(
        &self,
        call: Call<'_>,
        ask: impl Fn(AuthClient) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        self.client.call(call, |node| ask(node.auth.clone())).await
    }

    pub(super) async fn cluster<T, F>(
        &self,
        call: Call<'_>,
        ask: impl Fn(ClusterClient) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        self.client
            .call(call, |node| ask(node.cluster.clone()))
            .await
    }

    pub(super) async fn maintenance<T, F>(
        &self,
        call: Call<'_>,
        ask: impl Fn(MaintenanceClient) -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = StubResult<T>> + Send,
    {
        self.client
            .call(call, |node| ask(node.maintenance.clone()))
            .await
    }
}

/// The store that it administers.
impl fmt::Display for EtcdAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.client.name())
    }
}

impl fmt::Debug for EtcdAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdAdmin({self})")
    }
}

/// Refuses what etcd would take for no name at all.
///
/// # Errors
/// [`Error::Invalid`], saying whose name it is.
pub(super) fn check_name(of: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("a {of} needs a name: it is empty")));
    }
    Ok(())
}
