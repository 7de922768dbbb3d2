//! Promises about leases: what is granted, what goes when it ends, and what renewing changes.

use std::time::{Duration, Instant};

use crate::broker::{Broker, BrokerExt};
use crate::entry::Change;
use crate::error::{Error, Result};
use crate::lease::Leases;
use crate::lease_id::LeaseId;
use crate::options::{Condition, Lifetime, PutOptions, WatchOptions};
use crate::reply::OpReply;
use crate::testing::conformance::gate::{has_leases, has_previous, has_transactions, has_watches};
use crate::testing::conformance::subject::{Subject, refused, refused_as_invalid};
use crate::txn::{Op, Txn};

/// Whether the store has leases and watches, by which their end is seen.
async fn can_be_watched(s: &Subject) -> bool {
    has_watches(s).await && has_leases(s).await
}

pub(crate) async fn grant(s: &Subject, seconds: u64) -> Result<LeaseId> {
    Ok(s.store().grant(Duration::from_secs(seconds)).await?.id)
}

async fn put_with(s: &Subject, name: &str, lease: LeaseId) -> Result<()> {
    let options = PutOptions::default().with_lease(lease);
    s.put_opts(name, "leased", options).await?;
    Ok(())
}

async fn keys_of(s: &Subject, lease: LeaseId) -> Result<Vec<String>> {
    let keys = s.store().time_to_live(lease).await?.keys;
    Ok(keys.iter().map(|key| s.name(key)).collect())
}

fn is_lost<T: std::fmt::Debug>(result: Result<T>, lease: LeaseId) {
    let error = refused(result);
    let lost = matches!(error, Error::LeaseLost { lease: told } if told == lease);
    assert!(lost, "lease {lease} is lost, and this is told: {error:?}");
}

/// A grant says which TTL it is of: at least what was asked for, and the store's minimum.
pub async fn a_grant_is_of_at_least_the_ttl_asked_for(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let minimum = s.capabilities().min_ttl.unwrap_or_default();
    for millis in [1_000, 1_500, 60_000, 3_600_000] {
        let asked = Duration::from_millis(millis);
        let grant = s.store().grant(asked).await?;
        assert!(grant.ttl >= asked, "{:?} for {asked:?}", grant.ttl);
        assert!(grant.ttl >= minimum);
        assert_eq!(grant.ttl.subsec_nanos(), 0, "leases count in seconds");
        let status = s.store().time_to_live(grant.id).await?;
        assert_eq!((status.id, status.granted), (grant.id, grant.ttl));
        assert!(status.remaining <= grant.ttl);
        assert!(status.keys.is_empty());
        s.store().revoke(grant.id).await?;
    }
    Ok(())
}

/// Less than a second is refused, for a lease and for a key.
pub async fn less_than_a_second_is_refused(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    for millis in [0, 1, 999] {
        let ttl = Duration::from_millis(millis);
        refused_as_invalid(s.store().grant(ttl).await);
        let options = PutOptions::default().with_ttl(ttl);
        refused_as_invalid(s.put_opts("key", "x", options).await);
    }
    assert_eq!(s.get("key").await?, None);
    Ok(())
}

/// Every grant is a lease of its own.
pub async fn every_grant_is_a_lease_of_its_own(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let (one, other) = (grant(s, 60).await?, grant(s, 60).await?);
    assert_ne!(one, other);
    put_with(s, "one", one).await?;
    put_with(s, "other", other).await?;
    s.store().revoke(one).await?;
    assert_eq!(s.names().await?, ["other"]);
    s.store().revoke(other).await
}

/// A key that was put with a lease names it, and the lease lists its keys in order.
pub async fn a_lease_and_its_keys_know_each_other(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    for name in ["c", "a", "b"] {
        put_with(s, name, lease).await?;
        assert_eq!(s.entry(name).await?.lease, Some(lease));
    }
    s.put("d", "without").await?;
    assert_eq!(keys_of(s, lease).await?, ["a", "b", "c"]);
    s.store().delete(s.key("b")).await?;
    assert_eq!(keys_of(s, lease).await?, ["a", "c"]);
    s.store().revoke(lease).await
}

/// A key goes when its lease expires, as an ordinary delete; all keys of a lease at one revision.
pub async fn keys_go_when_their_lease_expires(s: &Subject) -> Result<()> {
    if !can_be_watched(s).await {
        return Ok(());
    }
    let previous = has_previous(s).await;
    let mut options = WatchOptions::default();
    if previous {
        options = options.with_previous();
    }
    let mut events = s.watch_opts(&s.all(), options).await?;
    let lease = grant(s, 1).await?;
    s.put("stays", "x").await?;
    put_with(s, "goes/b", lease).await?;
    put_with(s, "goes/a", lease).await?;
    let written = s.entry("goes/a").await?;
    events.until(written.modified).await?;
    let gone = events.next().await?;
    assert_eq!(s.told(&gone), ["delete goes/a", "delete goes/b"]);
    assert!(gone.revision > written.modified);
    if previous {
        let Change::Delete { prev, .. } = &gone.changes[0] else {
            panic!("{gone:?}")
        };
        assert_eq!(prev.as_ref(), Some(&written));
    }
    assert_eq!(s.names().await?, ["stays"]);
    is_lost(s.store().keep_alive(lease).await, lease);
    Ok(())
}

/// A key does not go before its TTL has passed.
pub async fn a_key_lives_as_long_as_its_ttl(s: &Subject) -> Result<()> {
    if !can_be_watched(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let asked = Duration::from_secs(2);
    let (before, paused) = (Instant::now(), tokio::time::Instant::now());
    let options = PutOptions::default().with_ttl(asked);
    let reply = s.put_opts("key", "x", options).await?;
    let lease = reply.lease.expect("a put with a TTL makes a lease");
    assert_eq!(s.entry("key").await?.lease, Some(lease));
    assert_eq!(keys_of(s, lease).await?, ["key"]);
    events.until(reply.revision).await?;
    let gone = events.next().await?;
    assert_eq!(s.told(&gone), ["delete key"]);
    // Whichever clock the store lives by, a tenth of a second is allowed for its granularity.
    let lived = before.elapsed().max(paused.elapsed());
    assert!(
        lived + Duration::from_millis(100) >= asked,
        "it lived {lived:?}"
    );
    Ok(())
}

/// Two keys put with a TTL are on two leases.
pub async fn every_put_with_a_ttl_has_its_own_lease(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let options = PutOptions::default().with_ttl(Duration::from_secs(60));
    let a = s.put_opts("a", "x", options.clone()).await?.lease;
    let b = s.put_opts("b", "x", options).await?.lease;
    let a = a.expect("a put with a TTL makes a lease");
    let b = b.expect("a put with a TTL makes a lease");
    assert_ne!(a, b);
    s.store().revoke(a).await?;
    assert_eq!(s.names().await?, ["b"]);
    s.store().revoke(b).await
}

/// Revoking a lease deletes its keys, at one revision.
pub async fn revoking_deletes_the_keys_at_one_revision(s: &Subject) -> Result<()> {
    if !can_be_watched(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    for name in ["c", "a", "b"] {
        put_with(s, name, lease).await?;
    }
    s.put("stays", "x").await?;
    let mut events = s.watch().await?;
    s.store().revoke(lease).await?;
    assert_eq!(s.names().await?, ["stays"], "they are gone on return");
    let gone = events.next().await?;
    assert_eq!(s.told(&gone), ["delete a", "delete b", "delete c"]);
    Ok(())
}

/// Revoking or granting a lease without keys changes nothing.
pub async fn a_lease_without_keys_changes_nothing(s: &Subject) -> Result<()> {
    if !can_be_watched(s).await {
        return Ok(());
    }
    let mut events = s.watch().await?;
    let lease = grant(s, 60).await?;
    put_with(s, "a", lease).await?;
    s.put("a", "detached").await?;
    s.store().revoke(lease).await?;
    let last = s.put("b", "x").await?;
    let all = events.until(last).await?;
    let told: Vec<_> = all.iter().flat_map(|changes| s.told(changes)).collect();
    assert_eq!(told, ["put a=leased", "put a=detached", "put b=x"]);
    Ok(())
}

/// A later put without a lease detaches the key.
pub async fn a_plain_put_detaches_the_key(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    put_with(s, "detached", lease).await?;
    put_with(s, "attached", lease).await?;
    s.put("detached", "x").await?;
    assert_eq!(s.entry("detached").await?.lease, None);
    assert_eq!(keys_of(s, lease).await?, ["attached"]);
    s.store().revoke(lease).await?;
    assert_eq!(s.names().await?, ["detached"]);
    Ok(())
}

/// A put can keep the lease that the key has, and keeps it without one if it has none.
pub async fn a_put_can_keep_the_lease(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    let keep = PutOptions::default().with_lifetime(Lifetime::Keep);
    put_with(s, "leased", lease).await?;
    s.put("plain", "old").await?;
    let reply = s.put_opts("leased", "new", keep.clone()).await?;
    s.put_opts("plain", "new", keep).await?;
    let entry = s.entry("leased").await?;
    assert_eq!(entry.value, "new");
    assert_eq!((entry.lease, entry.modified), (Some(lease), reply.revision));
    assert_eq!(s.entry("plain").await?.lease, None);
    s.store().revoke(lease).await?;
    assert_eq!(s.names().await?, ["plain"]);
    Ok(())
}

/// There is no lifetime to keep of a key that does not exist.
pub async fn keeping_the_lifetime_of_nothing_is_refused(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let keep = PutOptions::default().with_lifetime(Lifetime::Keep);
    refused_as_invalid(s.put_opts("key", "x", keep).await);
    assert_eq!(s.get("key").await?, None);
    Ok(())
}

/// A put with another lease moves the key to it.
pub async fn a_key_moves_from_lease_to_lease(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let (old, new) = (grant(s, 60).await?, grant(s, 60).await?);
    put_with(s, "key", old).await?;
    put_with(s, "key", new).await?;
    assert!(keys_of(s, old).await?.is_empty());
    assert_eq!(keys_of(s, new).await?, ["key"]);
    s.store().revoke(old).await?;
    assert_eq!(s.entry("key").await?.lease, Some(new));
    s.store().revoke(new).await?;
    assert_eq!(s.get("key").await?, None);
    Ok(())
}

/// Deleting a key leaves its lease alive.
pub async fn a_lease_outlives_its_keys(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    put_with(s, "key", lease).await?;
    s.store().delete(s.key("key")).await?;
    assert!(keys_of(s, lease).await?.is_empty());
    s.store().keep_alive(lease).await?;
    put_with(s, "key", lease).await?;
    assert_eq!(keys_of(s, lease).await?, ["key"]);
    s.store().revoke(lease).await
}

/// A lease that is renewed does not end, and its keys stay; when it is renewed no longer, they go.
pub async fn a_renewed_lease_goes_on(s: &Subject) -> Result<()> {
    if !can_be_watched(s).await {
        return Ok(());
    }
    let granted = s.store().grant(Duration::from_secs(1)).await?;
    put_with(s, "key", granted.id).await?;
    let before = s.entry("key").await?;
    let mut events = s.watch().await?;
    // Over two TTLs in steps of a third: time is what this promise is about.
    for _ in 0..7 {
        tokio::time::sleep(granted.ttl / 3).await;
        let renewed = s.store().keep_alive(granted.id).await?;
        assert!(renewed >= Duration::from_secs(1));
        assert_eq!(s.entry("key").await?, before, "renewing changes no entry");
    }
    let gone = events.next().await?;
    assert_eq!(s.told(&gone), ["delete key"]);
    Ok(())
}

/// Renewing a lease changes no revision and wakes no watcher.
pub async fn renewing_wakes_no_watcher(s: &Subject) -> Result<()> {
    if !can_be_watched(s).await {
        return Ok(());
    }
    let granted = s.store().grant(Duration::from_secs(60)).await?;
    put_with(s, "key", granted.id).await?;
    let before = s.entry("key").await?;
    let mut events = s.watch().await?;
    for _ in 0..5 {
        assert_eq!(s.store().keep_alive(granted.id).await?, granted.ttl);
    }
    assert_eq!(s.entry("key").await?, before);
    let last = s.put("last", "x").await?;
    let all = events.until(last).await?;
    assert_eq!(all.len(), 1, "{all:?}");
    s.store().revoke(granted.id).await
}

/// Whatever is asked of a lease that has ended, it is told to be lost, and nothing is put with it.
pub async fn a_lost_lease_is_told(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    s.store().revoke(lease).await?;
    is_lost(s.store().keep_alive(lease).await, lease);
    is_lost(s.store().time_to_live(lease).await, lease);
    is_lost(s.store().revoke(lease).await, lease);
    let options = PutOptions::default().with_lease(lease);
    is_lost(s.put_opts("key", "x", options.clone()).await, lease);
    if has_transactions(s).await {
        let put = Op::Put(s.key("key"), "x".into(), options);
        is_lost(s.store().commit(Txn::new().then(put)).await, lease);
    }
    assert!(s.names().await?.is_empty());
    Ok(())
}

/// A lease that was never granted is told to be lost too, or, by a scope, to be none of its own.
pub async fn a_lease_that_was_never_granted_is_refused(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let number = 0x7ABC_DEF0_0000_0000 | u64::from(fastrand::u32(1..));
    let lease = LeaseId::new(number).expect("it is not zero");
    let told = |error: Error| {
        let told = matches!(error, Error::LeaseLost { .. } | Error::Denied { .. });
        assert!(told, "{error:?}");
    };
    told(refused(s.store().keep_alive(lease).await));
    told(refused(s.store().time_to_live(lease).await));
    told(refused(s.store().revoke(lease).await));
    let options = PutOptions::default().with_lease(lease);
    told(refused(s.put_opts("key", "x", options).await));
    assert_eq!(s.get("key").await?, None);
    Ok(())
}

/// A put within a transaction can have a lease or a TTL.
pub async fn a_put_in_a_transaction_can_be_leased(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !has_transactions(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    let options = PutOptions::default().with_lease(lease);
    let put = |name: &str| Op::Put(s.key(name), "x".into(), options.clone());
    let txn = Txn::new().then(put("a")).then(put("b"));
    let reply = s.store().commit(txn).await?;
    assert!(reply.succeeded);
    assert_eq!(keys_of(s, lease).await?, ["a", "b"]);
    s.store().revoke(lease).await?;
    assert!(s.names().await?.is_empty());
    Ok(())
}

/// A conditional put that does not take place attaches nothing to its lease.
pub async fn a_lost_race_attaches_nothing(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let lease = grant(s, 60).await?;
    s.put("key", "x").await?;
    let options = PutOptions::default()
        .with_lease(lease)
        .only_if(Condition::Absent);
    assert!(!s.put_opts("key", "y", options.clone()).await?.written);
    assert!(keys_of(s, lease).await?.is_empty());
    assert!(s.put_opts("new", "y", options).await?.written);
    assert_eq!(keys_of(s, lease).await?, ["new"]);
    s.store().revoke(lease).await?;
    assert_eq!(s.names().await?, ["key"]);
    Ok(())
}

/// A put within a transaction can have a TTL: its answer names the lease that was made for it.
pub async fn a_put_in_a_transaction_can_have_a_ttl(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !has_transactions(s).await {
        return Ok(());
    }
    let options = PutOptions::default().with_ttl(Duration::from_secs(60));
    let put = |name: &str| Op::Put(s.key(name), "x".into(), options.clone());
    let txn = Txn::new().then(put("a")).then(put("b"));
    let reply = s.store().commit(txn).await?;
    let mut leases = Vec::new();
    for (name, reply) in ["a", "b"].into_iter().zip(reply.replies) {
        let OpReply::Put(reply) = reply else {
            panic!("a put was answered by {reply:?}")
        };
        let lease = reply.lease.expect("a put with a TTL makes a lease");
        assert_eq!(s.entry(name).await?.lease, Some(lease));
        leases.push(lease);
    }
    assert_ne!(leases[0], leases[1]);
    s.store().revoke(leases[0]).await?;
    assert_eq!(s.names().await?, ["b"]);
    s.store().revoke(leases[1]).await
}

/// A conditional put with a TTL that does not take place leaves no lease to care for.
pub async fn a_lost_race_makes_no_lease(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    s.put("key", "x").await?;
    let options = PutOptions::default()
        .with_ttl(Duration::from_secs(60))
        .only_if(Condition::Absent);
    let lost = s.put_opts("key", "y", options.clone()).await?;
    assert!(!lost.written);
    assert_eq!(lost.lease, None);
    assert_eq!(s.entry("key").await?.lease, None);
    let won = s.put_opts("new", "y", options).await?;
    let lease = won.lease.expect("a put with a TTL makes a lease");
    assert_eq!(keys_of(s, lease).await?, ["new"]);
    s.store().revoke(lease).await
}
