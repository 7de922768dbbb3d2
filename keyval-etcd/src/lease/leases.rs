//! Leases on etcd: whole seconds, and numbers chosen here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{LeaseClient, LeaseGrantOptions, LeaseTimeToLiveOptions};
use keyval::{Error, Key, LeaseGrant, LeaseId, LeaseStatus, Leases, Lifetime, Outcome, Result};
use tracing::debug;

use crate::connection::{Client, StubResult};
use crate::convert;
use crate::error::{self, Call};
use crate::lease::remaining::{TimeToLive, ask_time_to_live};
use crate::store::EtcdStore;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Leases for EtcdStore {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        grant(&self.client, ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        let call = Call::write("keep_alive", &lease)
            .of_lease(Some(lease))
            .repeatable();
        let id = convert::wire_lease(lease);
        let ttl = self
            .client
            .call(call, |node| {
                let renewals = Arc::clone(&self.renewals);
                let (endpoint, channel) = (node.endpoint.clone(), node.channel.clone());
                let leases = node.lease.clone();
                async move {
                    match channel {
                        Some(channel) => renewals.renew(&endpoint, &channel, id).await,
                        None => renew_alone(leases, id).await,
                    }
                }
            })
            .await?;
        if ttl <= 0 {
            return Err(Error::LeaseLost { lease });
        }
        Ok(convert::seconds(ttl))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        revoke(&self.client, lease).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<LeaseStatus> {
        let reply = time_to_live(&self.client, lease, true).await?;
        let mut keys: Vec<Key> = reply.keys.into_iter().map(Key::from).collect();
        keys.sort_unstable();
        Ok(LeaseStatus {
            id: lease,
            granted: convert::seconds(reply.granted_ttl),
            remaining: convert::seconds(reply.ttl),
            keys,
        })
    }
}

/// Grants a lease under a number chosen here, so that sending the request twice does no harm: one that
/// comes only after the lease was revoked makes it anew, without keys, and it ends by itself.
///
/// # Errors
/// [`Error::Invalid`] for a TTL that is too short or too long.
pub(crate) async fn grant(client: &Client, ttl: Duration) -> Result<LeaseGrant> {
    Lifetime::Ttl(ttl).check()?;
    let id = random_id();
    let wire = convert::wire_ttl(ttl);
    let granted = client
        .call(Call::write("grant", &id).repeatable(), |node| {
            let mut leases = node.lease.clone();
            async move {
                let options = LeaseGrantOptions::new().with_id(convert::wire_lease(id));
                granted_ttl(leases.grant(wire, Some(options)).await, wire)
            }
        })
        .await?;
    Ok(LeaseGrant {
        id,
        ttl: convert::seconds(granted),
    })
}

/// Grants the lease of a put, which is sent only afterwards.
///
/// # Errors
/// As [`grant`]; whatever became of the lease, which ends by itself, the put was not applied.
pub(crate) async fn grant_for_put(client: &Client, ttl: Duration) -> Result<LeaseId> {
    match grant(client, ttl).await {
        Ok(grant) => Ok(grant.id),
        Err(mut error) => {
            if let Error::Unavailable { outcome, .. }
            | Error::Timeout { outcome, .. }
            | Error::Backend { outcome, .. } = &mut error
            {
                *outcome = Outcome::NotApplied;
            }
            Err(error)
        }
    }
}

/// Ends a lease.
///
/// # Errors
/// [`Error::LeaseLost`] if it has already ended.
pub(crate) async fn revoke(client: &Client, lease: LeaseId) -> Result<()> {
    let call = Call::write("revoke", &lease).of_lease(Some(lease));
    client
        .call(call, |node| {
            let mut leases = node.lease.clone();
            async move { leases.revoke(convert::wire_lease(lease)).await }
        })
        .await?;
    Ok(())
}

/// What is left of a lease, with its keys or without them.
///
/// # Errors
/// [`Error::LeaseLost`] if it does not exist.
async fn time_to_live(client: &Client, lease: LeaseId, keys: bool) -> Result<TimeToLive> {
    let id = convert::wire_lease(lease);
    let call = Call::read("time_to_live", &lease).of_lease(Some(lease));
    let reply = client
        .call(call, |node| {
            let (channel, leases) = (node.channel.clone(), node.lease.clone());
            async move {
                match channel {
                    Some(channel) => ask_time_to_live(channel, id, keys).await,
                    None => ask_stub(leases, id, keys).await,
                }
            }
        })
        .await?;
    // For a lease that does not exist etcd answers so, and not with an error.
    if reply.granted_ttl <= 0 {
        return Err(Error::LeaseLost { lease });
    }
    Ok(reply)
}

/// Asks where the connection cannot be had for a call of our own; the stub takes keys of 4 MiB in all.
async fn ask_stub(mut leases: LeaseClient, id: i64, keys: bool) -> StubResult<TimeToLive> {
    let options = LeaseTimeToLiveOptions::new();
    let options = if keys { options.with_keys() } else { options };
    let reply = leases.time_to_live(id, Some(options)).await?.0;
    Ok(TimeToLive {
        ttl: reply.ttl,
        granted_ttl: reply.granted_ttl,
        keys: reply.keys,
    })
}

/// The first of these leases that does not exist; none if all do, or it cannot be known now.
pub(crate) async fn first_lost(client: &Client, leases: &[LeaseId]) -> Option<LeaseId> {
    for &lease in leases {
        match time_to_live(client, lease, false).await {
            Ok(_) => {}
            Err(Error::LeaseLost { lease }) => return Some(lease),
            Err(_) => return None,
        }
    }
    None
}

/// Ends leases that were granted for puts that did not take place; without that they would end by
/// themselves, only later.
pub(crate) async fn give_back(client: &Client, leases: impl IntoIterator<Item = LeaseId>) {
    for lease in leases {
        if let Err(error) = revoke(client, lease).await {
            debug!(%lease, %error, "a lease without a key is left to end by itself");
        }
    }
}

/// Renews a lease on a stream of its own, where the connection cannot be had for a shared one.
async fn renew_alone(mut leases: LeaseClient, lease: i64) -> StubResult<i64> {
    // The stub answers its first request itself, without the TTL: the second tells it.
    let (mut keeper, mut replies) = leases.keep_alive(lease).await?;
    keeper.keep_alive().await?;
    let reply = replies.message().await?;
    reply
        .map(|reply| reply.ttl())
        .ok_or_else(|| etcd_client::Error::WatchError("the lease stream ended".to_owned()))
}

/// A number no lease has: 63 random bits, positive as etcd's tools expect, never zero.
fn random_id() -> LeaseId {
    LeaseId::new(fastrand::u64(1..=i64::MAX.cast_unsigned())).expect("the range leaves out zero")
}

/// That this very lease is there already is what a repeated grant finds.
fn granted_ttl(reply: StubResult<etcd_client::LeaseGrantResponse>, asked: i64) -> StubResult<i64> {
    match reply {
        Ok(reply) => Ok(reply.ttl()),
        Err(failure) if error::lease_exists(&failure) => Ok(asked),
        Err(failure) => Err(failure),
    }
}
