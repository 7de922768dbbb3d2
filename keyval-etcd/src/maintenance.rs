//! What the owner of a whole etcd may do.

use async_trait::async_trait;
use keyval::{Connection, Maintenance, Result, Revision, StoreStatus};

use crate::admin;
use crate::convert;
use crate::error::Call;
use crate::store::EtcdStore;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Maintenance for EtcdStore {
    async fn status(&self) -> Result<StoreStatus> {
        let call = Call::read("status", self);
        let reply = self
            .client
            .call(call, |node| {
                let mut maintenance = node.maintenance.clone();
                async move { maintenance.status().await }
            })
            .await?
            .0;
        let mut status = StoreStatus::new(format!("etcd {}", reply.version));
        status.revision = Some(convert::header_revision(reply.header.as_ref()));
        status.size = u64::try_from(reply.db_size).ok();
        status.problems = reply.errors;
        status.serves = reply.leader != 0;
        // Before 3.4 had learnt to say so itself.
        if !status.serves && status.problems.is_empty() {
            status.problems.push("no leader".to_owned());
        }
        Ok(status)
    }

    fn connection(&self) -> Option<Connection> {
        Some(self.client.connection())
    }

    async fn compact(&self, to: Revision) -> Result<()> {
        admin::compact(&self.client, to, None).await
    }

    async fn close(&self) -> Result<()> {
        self.client.close().await
    }
}
