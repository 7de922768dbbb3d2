//! Shared and boxed stores are stores: `Arc<S>`, `Box<S>`, also of `dyn Store`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::broker::Broker;
use crate::capability::Capabilities;
use crate::connection::Connection;
use crate::entry::Entry;
use crate::error::Result;
use crate::key::Key;
use crate::lease::{LeaseGrant, LeaseStatus, Leases};
use crate::lease_id::LeaseId;
use crate::options::{DeleteOptions, GetOptions, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, Listing, PutReply, TxnReply};
use crate::revision::Revision;
use crate::store::{Maintenance, StoreStatus};
use crate::txn::Txn;
use crate::watcher::{ChangeStream, Watcher};

macro_rules! forward {
    ($pointer:ident) => {
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<B: Broker + ?Sized> Broker for $pointer<B> {
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }

            async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
                (**self).get_opts(key, options).await
            }

            async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
                (**self).list_opts(range, options).await
            }

            async fn put_opts(
                &self,
                key: &Key,
                value: Bytes,
                options: PutOptions,
            ) -> Result<PutReply> {
                (**self).put_opts(key, value, options).await
            }

            async fn delete_opts(
                &self,
                range: &KeyRange,
                options: DeleteOptions,
            ) -> Result<DeleteReply> {
                (**self).delete_opts(range, options).await
            }

            async fn commit(&self, txn: Txn) -> Result<TxnReply> {
                (**self).commit(txn).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<W: Watcher + ?Sized> Watcher for $pointer<W> {
            async fn watch_opts(
                &self,
                range: &KeyRange,
                options: WatchOptions,
            ) -> Result<ChangeStream> {
                (**self).watch_opts(range, options).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<L: Leases + ?Sized> Leases for $pointer<L> {
            async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
                (**self).grant(ttl).await
            }

            async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
                (**self).keep_alive(lease).await
            }

            async fn revoke(&self, lease: LeaseId) -> Result<()> {
                (**self).revoke(lease).await
            }

            async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
                (**self).time_to_live(lease).await
            }
        }

        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<M: Maintenance + ?Sized> Maintenance for $pointer<M> {
            async fn status(&self) -> Result<StoreStatus> {
                (**self).status().await
            }

            fn connection(&self) -> Option<Connection> {
                (**self).connection()
            }

            async fn compact(&self, to: Revision) -> Result<()> {
                (**self).compact(to).await
            }

            async fn close(&self) -> Result<()> {
                (**self).close().await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
