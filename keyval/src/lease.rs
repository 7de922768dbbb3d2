//! Leases: lifetimes that end unless they are renewed.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::key::Key;
use crate::lease_id::LeaseId;

/// A lease as the store granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The lease.
    pub id: LeaseId,
    /// The TTL that was granted; at least what was asked for.
    pub ttl: Duration,
}

/// A lease as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The lease.
    pub id: LeaseId,
    /// The TTL that was granted.
    pub granted: Duration,
    /// The time that remains unless it is renewed.
    pub remaining: Duration,
    /// The keys that go with it, in key order.
    pub keys: Vec<Key>,
}

/// Grants, renews and ends leases.
///
/// A key put with a lease goes when the lease ends, as an ordinary delete at one revision for all
/// its keys. Renewing changes no revision and wakes no watcher.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Grants a lease of at least this TTL, counted in whole seconds, rounded up.
    ///
    /// The store may raise it to its minimum, and says what it granted.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for less than one second.
    ///
    /// # Cancel safety
    /// If the future is dropped, a lease may have been granted; it ends by itself.
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant>;

    /// Renews a lease once, to its full TTL, which is returned. Count it from the moment before
    /// the call.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) if the lease has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lease may have been renewed.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration>;

    /// Ends a lease now, and deletes its keys at one revision.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) if the lease has already ended.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lease may have been ended.
    async fn revoke(&self, lease: LeaseId) -> Result<()>;

    /// Says how long a lease has left, and which keys go with it.
    ///
    /// # Errors
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) if the lease has ended.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus>;
}
