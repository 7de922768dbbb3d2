//! What the owner of a whole etcd may do.

use async_trait::async_trait;
use keyval::{Connection, Maintenance, Result, Revision, StoreStatus};
use parking_lot::Mutex;

use crate::admin;
use crate::convert;
use crate::error::{self, Call};
use crate::store::EtcdStore;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Maintenance for EtcdStore {
    async fn status(&self) -> Result<StoreStatus> {
        // What a member says that knows no leader holds for the store only if no other knows one.
        let leaderless = Mutex::new(None);
        let call = Call::read("status", self);
        let asked = self.client.call(call, |node| {
            let (node, leaderless) = (node.clone(), &leaderless);
            async move {
                let reply = node.maintenance.clone().status().await?.0;
                if reply.leader != 0 {
                    return Ok(reply);
                }
                node.health.told(false);
                *leaderless.lock() = Some(reply);
                Err(error::no_leader())
            }
        });
        let asked = asked.await;
        let reply = match (asked, leaderless.into_inner()) {
            (Ok(reply), _) | (Err(_), Some(reply)) => reply,
            (Err(error), None) => return Err(error),
        };
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
