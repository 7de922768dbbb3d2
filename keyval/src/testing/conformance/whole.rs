//! Promises that only a whole store can show which nobody else uses meanwhile: exact revisions,
//! every key there is, and its close.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

use crate::broker::{Broker, BrokerExt};
use crate::error::{Error, Result};
use crate::lease::Leases;
use crate::options::{Condition, DeleteOptions, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::revision::Revision;
use crate::store::{Maintenance, ManagedStore};
use crate::testing::conformance::gate::{
    has_leases, has_transactions, has_watches, has_watches_from,
};
use crate::testing::conformance::subject::{Subject, refused};
use crate::txn::{Compare, Op, Txn};
use crate::watcher::Watcher;

type Whole = Subject<dyn ManagedStore>;

/// The present revision, as a list of nothing tells it.
async fn present(s: &Whole) -> Result<Revision> {
    Ok(s.store().list(s.prefix("nothing")).await?.revision)
}

/// Whatever has an effect makes exactly the next revision.
pub async fn every_effect_makes_the_next_revision(s: &Whole) -> Result<()> {
    let mut now = present(s).await?;
    let mut next = |revision: Revision, what: &str| {
        assert_eq!(revision, now.next(), "{what}");
        now = revision;
    };
    next(s.put("a", "1").await?, "a put");
    next(s.put("a", "1").await?, "a put of the same value");
    next(s.put("b", "1").await?, "a put of another key");
    let reply = s.store().put_if_absent(s.key("c"), "1").await?;
    next(reply.revision, "a conditional put");
    let options = DeleteOptions::default();
    let reply = s.store().delete_opts(&s.all(), options).await?;
    next(reply.revision, "a delete of three keys");
    if has_transactions(s).await {
        let txn = Txn::new()
            .then(Op::put(s.key("a"), "1"))
            .then(Op::put(s.key("b"), "1"))
            .then(Op::delete(s.key("c")));
        next(s.store().commit(txn).await?.revision, "a transaction");
    }
    Ok(())
}

/// What has no effect makes no revision, and tells the present one.
pub async fn what_has_no_effect_makes_no_revision(s: &Whole) -> Result<()> {
    let now = s.put("a", "1").await?;
    let options = DeleteOptions::default();
    let reply = s.store().delete_opts(&s.prefix("nothing"), options).await?;
    assert_eq!(reply.revision, now, "a delete of nothing");
    let reply = s.store().put_if_absent(s.key("a"), "2").await?;
    assert_eq!(reply.revision, now, "a lost race");
    if has_transactions(s).await {
        let reading = Txn::new().then(Op::get(s.key("a")));
        let reply = s.store().commit(reading).await?;
        assert_eq!(reply.revision, now, "a transaction that reads");
        let failing = Txn::new()
            .when(Compare::absent(s.key("a")))
            .then(Op::delete(s.key("a")));
        let reply = s.store().commit(failing).await?;
        assert_eq!(reply.revision, now, "a transaction that does not succeed");
        let swap = Condition::Value(Bytes::from("other"));
        assert!(!s.store().compare_and_delete(s.key("a"), swap).await?);
    }
    if has_leases(s).await {
        let lease = s.store().grant(Duration::from_secs(60)).await?.id;
        s.store().keep_alive(lease).await?;
        s.store().revoke(lease).await?;
    }
    refused(s.store().put("", "x").await);
    assert_eq!(present(s).await?, now);
    assert_eq!(s.put("a", "3").await?, now.next());
    Ok(())
}

/// A revoked lease makes one revision, with any number of keys.
pub async fn a_revoked_lease_makes_one_revision(s: &Whole) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let lease = s.store().grant(Duration::from_secs(60)).await?.id;
    let options = PutOptions::default().with_lease(lease);
    let mut now = Revision::ZERO;
    for name in ["a", "b", "c"] {
        now = s.put_opts(name, "x", options.clone()).await?.revision;
    }
    s.store().revoke(lease).await?;
    assert_eq!(present(s).await?, now.next());
    Ok(())
}

/// All keys are all keys, from the first byte to the last.
pub async fn all_is_every_key(s: &Whole) -> Result<()> {
    let store = s.store();
    let all = KeyRange::all();
    store.delete_opts(&all, DeleteOptions::default()).await?;
    let mut events = None;
    if has_watches(s).await {
        let options = WatchOptions::default();
        events = Some(s.watch_opts(&all, options).await?);
    }
    let keys: [&[u8]; 6] = [b"\0", b"\0\0", b"/", b"a", b"\xff", b"\xff\xff"];
    let mut last = Revision::ZERO;
    for key in keys {
        last = store.put(key, "x").await?;
    }
    let entries = s.list(&all, ListOptions::default()).await?;
    let listed: Vec<_> = entries.iter().map(|entry| entry.key.as_bytes()).collect();
    assert_eq!(listed, keys);
    let paged = ListOptions::default().with_page(1).reverse();
    let entries = s.list(&all, paged).await?;
    let listed: Vec<_> = entries
        .iter()
        .rev()
        .map(|entry| entry.key.as_bytes())
        .collect();
    assert_eq!(listed, keys);
    assert_eq!(store.count(KeyRange::prefix("")).await?, 6);
    assert_eq!(store.count(KeyRange::prefix(&b"\xff"[..])).await?, 2);
    assert_eq!(store.delete_prefix(&b"\xff\xff"[..]).await?, 1);
    if let Some(events) = &mut events {
        assert_eq!(events.until(last).await?.len(), 6);
    }
    let deleted = store.delete_opts(&all, DeleteOptions::default()).await?;
    assert_eq!(deleted.deleted, 5);
    Ok(())
}

/// The status tells which store it is, and where it stands.
pub async fn the_status_tells_which_store_it_is(s: &Whole) -> Result<()> {
    let now = s.put("a", "1").await?;
    let status = s.store().status().await?;
    assert!(!status.version.is_empty());
    assert!(
        status.revision.is_none_or(|revision| revision == now),
        "{status:?}"
    );
    assert!(status.size.is_none_or(|size| size > 0), "{status:?}");
    assert!(status.serves, "{status:?}");
    assert!(status.problems.is_empty(), "{status:?}");
    let again = s.store().status().await?;
    assert_eq!(again.revision, status.revision, "asking stores nothing");
    Ok(())
}

fn is_closed<T: std::fmt::Debug>(result: Result<T>) {
    let error = refused(result);
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
}

/// A closed store refuses everything, and says that it is closed.
pub async fn a_closed_store_refuses_everything(s: &Whole) -> Result<()> {
    let store = s.store();
    let revision = s.put("key", "x").await?;
    let mut lease = None;
    if has_leases(s).await {
        lease = Some(store.grant(Duration::from_secs(60)).await?.id);
    }
    store.close().await?;
    is_closed(s.get("key").await);
    is_closed(s.list(&s.all(), ListOptions::default()).await);
    is_closed(s.put("key", "y").await);
    is_closed(store.put_if_absent(s.key("new"), "y").await);
    is_closed(store.delete(s.key("key")).await);
    if s.capabilities().txn {
        is_closed(
            store
                .commit(Txn::new().then(Op::put(s.key("k"), "x")))
                .await,
        );
    }
    if s.capabilities().watch {
        let range = s.all();
        is_closed(store.watch_opts(&range, WatchOptions::default()).await);
    }
    if let Some(lease) = lease {
        is_closed(store.grant(Duration::from_secs(60)).await);
        is_closed(store.keep_alive(lease).await);
        is_closed(store.time_to_live(lease).await);
        is_closed(store.revoke(lease).await);
    }
    is_closed(store.status().await);
    if s.capabilities().compact {
        is_closed(store.compact(revision).await);
    }
    Ok(())
}

/// Closing again is harmless, one after the other or at once.
pub async fn closing_again_is_harmless(s: &Whole) -> Result<()> {
    s.put("key", "x").await?;
    let store = s.store();
    let (first, second) = futures::join!(store.close(), store.close());
    first?;
    second?;
    store.close().await?;
    is_closed(s.get("key").await);
    Ok(())
}

/// Closing ends every watch, and each says why.
pub async fn closing_ends_every_watch(s: &Whole) -> Result<()> {
    if !has_watches(s).await {
        return Ok(());
    }
    let mut first = s.watch().await?;
    let mut second = s.watch().await?;
    let options = WatchOptions::default().starting_at(Revision::new(u64::MAX >> 2));
    let mut waiting = None;
    if has_watches_from(s).await {
        waiting = Some(s.watch_opts(&s.all(), options).await?);
    }
    let revision = s.put("key", "x").await?;
    first.until(revision).await?;
    s.store().close().await?;
    for events in [&mut first, &mut second].into_iter().chain(&mut waiting) {
        is_closed(Err::<(), _>(events.failure().await));
    }
    Ok(())
}

/// A list that is under way when the store is closed is whole or fails, never short.
pub async fn a_list_under_way_at_the_close_is_whole_or_fails(s: &Whole) -> Result<()> {
    s.fill(10, |i| i.to_string()).await?;
    let options = ListOptions::default().with_page(2);
    let mut listing = s.store().list_opts(&s.all(), options).await?;
    listing.entries.next().await.expect("ten were put")?;
    s.store().close().await?;
    let mut read = 1;
    while let Some(item) = listing.entries.next().await {
        match item {
            Ok(_) => read += 1,
            Err(Error::Closed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    assert_eq!(read, 10, "a list that broke off was taken for a short one");
    Ok(())
}
