//! A copy of all that a member has stored, in a file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyval::{Error, Outcome, Result, Revision};
use tokio::time::timeout;

use super::digest::Digested;
use super::handle::EtcdAdmin;
use super::part::PartFile;
use crate::connection::Node;
use crate::convert;
use crate::error::{self, Call};

/// A copy of all that a member has stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedSnapshot {
    /// The size of the file, in bytes.
    pub size: u64,
    /// The SHA-256 that stands at the end of the file, over all before it; it has been verified.
    pub sha256: [u8; 32],
    /// A revision up to which the copy certainly holds everything; it may hold some more.
    pub revision: Revision,
}

impl EtcdAdmin {
    /// Saves a copy of all that the member at this endpoint has stored to a file, for which it may
    /// take this long; `etcdutl snapshot restore` and `etcdctl snapshot restore` make a member of it.
    ///
    /// The copy is written beside its place, with `.part` behind its name, and gets its name only
    /// when it is whole, its digest is verified and it certainly is on the disk. Otherwise no file is
    /// left. Only its owner may read it.
    ///
    /// # Examples
    /// ```no_run
    /// use std::path::Path;
    /// use std::time::Duration;
    ///
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// let endpoint = &admin.endpoints()?[0];
    /// let path = Path::new("/var/backups/etcd.db");
    /// let saved = admin.snapshot(endpoint, path, Duration::from_secs(600)).await?;
    /// println!("{} bytes, up to revision {} at least", saved.size, saved.revision);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for an endpoint that is none of the store's, and if there is a file of this
    /// name, with `.part` or without; [`Error::Backend`] if the file cannot be written, and for a copy
    /// that is not whole; any other error of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, no file is left.
    pub async fn snapshot(
        &self,
        endpoint: &str,
        path: &Path,
        within: Duration,
    ) -> Result<SavedSnapshot> {
        let node = self.node(endpoint)?;
        let save = self.save(&node, path, within);
        let saved = self.client().closing().run_until_cancelled(save);
        match timeout(within, saved).await {
            Ok(Some(saved)) => saved,
            Ok(None) => Err(self.client().closed()),
            Err(_) => Err(Error::Timeout {
                operation: "snapshot",
                after: within,
                outcome: Outcome::NotApplied,
                message: format!("{} has not sent all of it", node.endpoint),
            }),
        }
    }

    async fn save(&self, node: &Arc<Node>, path: &Path, within: Duration) -> Result<SavedSnapshot> {
        let call = Call::read("snapshot", &node.endpoint).within(within);
        let mut file = PartFile::create(path).await?;
        let status = self.client().call_at(node, call, |node| {
            let mut maintenance = node.maintenance.clone();
            async move { maintenance.status().await }
        });
        // What is known to a member is in all copies that it makes afterwards.
        let revision = convert::header_revision(status.await?.0.header.as_ref());
        let copy = self.client().call_at(node, call, |node| {
            let mut maintenance = node.maintenance.clone();
            async move { maintenance.snapshot().await }
        });
        let mut copy = copy.await?;
        let mut digested = Digested::default();
        while let Some(part) = copy
            .message()
            .await
            .map_err(|failure| error::of_call(&call, &node.endpoint, failure))?
        {
            digested.feed(part.blob());
            file.write(part.blob()).await?;
        }
        let (size, sha256) = digested.finish().map_err(|why| {
            Error::backend(
                format!("{call}: {}: {why}; it was not kept", node.endpoint),
                Outcome::NotApplied,
            )
        })?;
        file.keep().await?;
        Ok(SavedSnapshot {
            size,
            sha256,
            revision,
        })
    }
}
