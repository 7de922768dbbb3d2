//! What only the owner of the whole store may do.

use std::fmt;
use std::sync::Arc;

use keyval::{Result, Revision, StoreStatus};

use super::link::{Link, WaitPolicy};

/// The rights of the owner of a whole store, which no [`KvHandle`](crate::KvHandle) has.
///
/// Taken from the plugin before that is given to the host:
/// [`KvPlugin::owner`](crate::KvPlugin::owner). It waits for the connection as handles do.
///
/// # Examples
/// ```
/// use keyval::BrokerExt;
/// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend};
///
/// # tokio_test::block_on(async {
/// let mut host = Host::new(ConfigDir::new("config"));
/// let plugin = KvPlugin::<MemoryBackend>::named("store");
/// let owner = plugin.owner();
/// let store = host.add(plugin);
/// host.run(async move {
///     let first = store.put("name", "left").await.expect("the store takes it");
///     store.put("name", "right").await.expect("the store takes it");
///     owner.compact(first).await.expect("it is past");
/// })
/// .await?;
/// # Ok::<_, plugin_runtime::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct KvOwner {
    link: Arc<Link>,
    wait: WaitPolicy,
}

impl KvOwner {
    pub(crate) fn new(link: Arc<Link>, wait: WaitPolicy) -> Self {
        Self { link, wait }
    }

    /// Asks the store how it is; as [`Maintenance::status`](keyval::Maintenance::status).
    ///
    /// # Errors
    /// If the store does not answer.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn status(&self) -> Result<StoreStatus> {
        self.link.store(self.wait).await?.status().await
    }

    /// Gives up the history before this revision; as
    /// [`Maintenance::compact`](keyval::Maintenance::compact).
    ///
    /// # Errors
    /// [`Error::Compacted`](keyval::Error::Compacted) if it was compacted before,
    /// [`Error::FutureRevision`](keyval::Error::FutureRevision) for a revision not yet reached, and
    /// what else the store says.
    ///
    /// # Cancel safety
    /// If the future is dropped, the compaction may take place all the same.
    pub async fn compact(&self, to: Revision) -> Result<()> {
        self.link.store(self.wait).await?.compact(to).await
    }
}

impl fmt::Debug for KvOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KvOwner").field(&self.link).finish()
    }
}
