//! The upkeep of the storage.

use std::time::Duration;

use etcd_client::{CompactionOptions, GetOptions};
use keyval::{Error, Result, Revision};

use super::handle::EtcdAdmin;
use crate::connection::Client;
use crate::convert;
use crate::error::Call;

/// A checksum over the keys of one member, to be compared with those of the others.
///
/// Those of two members say that their data differs if they differ and both were made at the same
/// [`revision`](Self::revision) with the same history [compacted](Self::compacted).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashOfKeys {
    /// The checksum.
    pub hash: u32,
    /// The revision up to which it was made.
    pub revision: Revision,
    /// The revision up to which the member had compacted its history; none if never.
    pub compacted: Option<Revision>,
}

impl EtcdAdmin {
    /// The present revision, on which a majority of the members agrees.
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn revision(&self) -> Result<Revision> {
        let call = Call::read("revision", self);
        let reply = self
            .client()
            .call(call, |node| {
                let mut kv = node.kv.clone();
                // Any read tells it; this one brings nothing else, and is not served alone.
                let options = GetOptions::new().with_count_only();
                async move { kv.get([0], Some(options)).await }
            })
            .await?
            .0;
        Ok(convert::header_revision(reply.header.as_ref()))
    }

    /// As [`Maintenance::compact`](keyval::Maintenance::compact), but returns only when the member
    /// that was asked has removed the history from its storage, for which it may take this long.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// let minute = Duration::from_secs(60);
    /// admin.compact_physically(admin.revision().await?, minute).await?;
    /// for endpoint in admin.endpoints()? {
    ///     admin.defragment(&endpoint, minute).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As `compact`.
    ///
    /// # Cancel safety
    /// If the future is dropped, the compaction may take place all the same.
    pub async fn compact_physically(&self, to: Revision, within: Duration) -> Result<()> {
        compact(self.client(), to, Some(within)).await
    }

    /// Has the member at this endpoint give the space of what was compacted back to its system, for
    /// which it may take this long.
    ///
    /// The member serves nobody meanwhile: take one after the other.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an endpoint that is none of the store's; any other error of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the member goes on.
    pub async fn defragment(&self, endpoint: &str, within: Duration) -> Result<()> {
        let node = self.node(endpoint)?;
        let call = Call::write("defragment", &node.endpoint).within(within);
        self.client()
            .call_at(&node, call, |node| {
                let mut maintenance = node.maintenance.clone();
                async move { maintenance.defragment().await }
            })
            .await?;
        Ok(())
    }

    /// The checksum over all keys of the member at this endpoint, with their history up to this
    /// revision, or up to the present one; it reads all of that, for which it may take this long.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an endpoint that is none of the store's; [`Error::Compacted`] and
    /// [`Error::FutureRevision`] for a revision that the member no longer or not yet has, that of the
    /// last compaction included; any other error of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn hash_of_keys(
        &self,
        endpoint: &str,
        up_to: Option<Revision>,
        within: Duration,
    ) -> Result<HashOfKeys> {
        let node = self.node(endpoint)?;
        let call = Call::read("hash_of_keys", &node.endpoint)
            .at(up_to)
            .within(within);
        // Zero is the present.
        let wire = up_to.map_or(0, |revision| convert::wire_revision(revision).max(1));
        let reply = self
            .client()
            .call_at(&node, call, |node| {
                let mut maintenance = node.maintenance.clone();
                async move { maintenance.hash_kv(wire).await }
            })
            .await?
            .0;
        Ok(HashOfKeys {
            hash: reply.hash,
            revision: up_to.unwrap_or_else(|| convert::header_revision(reply.header.as_ref())),
            compacted: (reply.compact_revision > 0)
                .then(|| convert::revision(reply.compact_revision)),
        })
    }
}

/// Gives up the history before this revision; within the given time, if the storage is to be rid of
/// it, too.
pub(crate) async fn compact(
    client: &Client,
    to: Revision,
    physical: Option<Duration>,
) -> Result<()> {
    if to == Revision::ZERO {
        // etcd takes this once, and means nothing by it.
        return Err(Error::Compacted {
            requested: to,
            oldest: None,
        });
    }
    let options = physical.map(|_| CompactionOptions::new().with_physical());
    let mut call = Call::write("compact", &to).at(Some(to));
    call.within = physical;
    client
        .call(call, |node| {
            let (mut kv, options) = (node.kv.clone(), options.clone());
            async move { kv.compact(convert::wire_revision(to), options).await }
        })
        .await?;
    Ok(())
}
