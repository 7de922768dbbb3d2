#![doc = include_str!("lib.md")]

mod adapt;
mod backoff;
mod broker;
mod bulk;
mod capability;
mod children;
mod connection;
mod connector;
mod entry;
mod error;
mod follow;
mod forward;
mod hosting;
mod key;
mod lease;
mod lease_id;
mod memory;
mod mirror;
mod options;
mod range;
pub mod recipes;
mod reply;
mod revision;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod txn;
mod watcher;
mod wrap;

pub use crate::adapt::StoreExt;
pub use crate::backoff::{Backoff, BackoffPolicy};
pub use crate::broker::{Broker, BrokerExt};
pub use crate::bulk::{BulkError, BulkPut, BulkReport, BulkWriter, bulk_put};
pub use crate::capability::Capabilities;
pub use crate::children::{Child, Children, children};
pub use crate::connection::{Connection, ConnectionReporter, ConnectionState, EndpointFailure};
pub use crate::connector::Connector;
pub use crate::entry::{Change, Changes, Entry, ResyncCause, Snapshot, Update};
pub use crate::error::{BoxError, Error, Outcome, Result};
pub use crate::follow::{Follow, FollowOptions, FollowState, Outage, follow};
pub use crate::hosting::Hosting;
pub use crate::key::Key;
pub use crate::lease::{LeaseGrant, LeaseStatus, Leases};
pub use crate::lease_id::LeaseId;
pub use crate::memory::{Memory, MemoryConfig, MemoryConnector, MemoryOptions};
pub use crate::mirror::{Mirror, MirrorError, MirrorSnapshot, MirrorWriter, mirror};
pub use crate::options::{
    Condition, Consistency, DeleteOptions, GetOptions, Lifetime, ListOptions, Order, Projection,
    PutOptions, WatchOptions,
};
pub use crate::range::{KeyRange, Prefix};
pub use crate::reply::{DeleteReply, Listing, OpReply, PutReply, RangeReply, TxnReply};
pub use crate::revision::Revision;
pub use crate::store::{Maintenance, ManagedStore, Store, StoreStatus};
pub use crate::txn::{Compare, Op, Relation, Target, Txn};
pub use crate::watcher::{ChangeStream, Watcher};
pub use crate::wrap::{Observe, Prefixed, Retry, RetryPolicy, Timeout};

pub use bytes::Bytes;
