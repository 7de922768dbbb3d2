//! Promises about locks: one holder at a time, in turn, and nothing left behind.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use crate::broker::{Broker, BrokerExt};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::Leases;
use crate::options::{ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::recipes::{Lock, LockGuard, Loss, Session};
use crate::store::Store;
use crate::testing::conformance::gate::{has_leases, has_transactions, has_watches_from};
use crate::testing::conformance::subject::{Subject, refused_as_invalid};
use crate::testing::{Fault, Faulty, Operation};
use crate::txn::{Op, Txn};

/// Longer than any promise takes.
const TTL: Duration = Duration::from_secs(60);

/// Whether the store has all that locks and elections are built on.
pub(crate) async fn has_queues(s: &Subject) -> bool {
    has_watches_from(s).await && has_transactions(s).await && has_leases(s).await
}

pub(crate) async fn session(s: &Subject) -> Result<Session> {
    Session::open(Arc::clone(s.store()), TTL).await
}

async fn lock(s: &Subject, name: &str) -> Result<Lock> {
    Ok(Lock::new(&session(s).await?, s.key(name)))
}

async fn acquire(s: &Subject, lock: &Lock) -> Result<LockGuard> {
    s.within("acquiring the lock", lock.acquire()).await
}

/// Waits until so many keys are in the queue of this name.
pub(crate) async fn until_queued(s: &Subject, name: &str, count: usize) -> Result<Vec<Key>> {
    let range = KeyRange::prefix(s.key(format!("{name}/")));
    let mut events = s.watch_opts(&range, WatchOptions::default()).await?;
    loop {
        let entries = s.list(&range, ListOptions::default()).await?;
        if entries.len() == count {
            return Ok(entries.into_iter().map(|entry| entry.key).collect());
        }
        events.next().await?;
    }
}

/// Only one holds the lock at a time, and the next one holds it once it is released.
pub async fn a_lock_has_one_holder(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (one, other) = (lock(s, "lock").await?, lock(s, "lock").await?);
    let held = acquire(s, &one).await?;
    let mut waiting = Box::pin(other.acquire());
    assert!((&mut waiting).now_or_never().is_none());
    let _ = tokio::select! {
        biased;
        _ = &mut waiting => panic!("two hold the lock"),
        queued = until_queued(s, "lock", 2) => queued?,
    };
    assert!(s.holds(held.guard()).await?);
    assert!(held.release().await?, "it was held until now");
    let next = s.within("the next one", waiting).await?;
    assert!(s.holds(next.guard()).await?);
    assert!(next.release().await?);
    until_queued(s, "lock", 0).await?;
    Ok(())
}

/// The keys of a lock are laid out as etcd's own clients do it: the name, a slash, and the lease
/// in hexadecimal; without a value.
pub async fn a_lock_is_laid_out_as_etcd_does_it(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let session = session(s).await?;
    let held = acquire(s, &Lock::new(&session, s.key("lock"))).await?;
    let entry = s
        .entry(&format!("lock/{:x}", session.lease().get()))
        .await?;
    assert_eq!(*held.key(), entry.key);
    assert_eq!(entry.value, "");
    assert_eq!(entry.lease, Some(session.lease()));
    assert_eq!(held.fence().revision(), entry.created);
    held.release().await?;
    Ok(())
}

/// Those who wait hold the lock in the order in which they came, each with a greater token.
pub async fn first_come_is_first_served(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let held = acquire(s, &lock(s, "lock").await?).await?;
    let mut last = held.fence();
    let mut waiting = Vec::new();
    for place in 0..5 {
        let lock = lock(s, "lock").await?;
        waiting.push(tokio::spawn(async move { lock.acquire().await }));
        until_queued(s, "lock", place + 2).await?;
    }
    held.release().await?;
    for task in waiting {
        let held = s.within("the next one", task).await;
        let held = held.expect("it does not panic")?;
        assert!(held.fence() > last, "{} after {last}", held.fence());
        last = held.fence();
        assert!(held.release().await?);
    }
    Ok(())
}

/// What a holder writes with its guard is written while it holds the lock, and not afterwards.
pub async fn a_former_holder_can_write_nothing(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (one, other) = (lock(s, "lock").await?, lock(s, "lock").await?);
    let held = acquire(s, &one).await?;
    let former = held.guard();
    let write = |guard, value: &str| {
        let put = Op::put(s.key("written"), value.to_owned());
        s.store().commit(Txn::new().when(guard).then(put))
    };
    assert!(write(former.clone(), "one").await?.succeeded);
    held.release().await?;
    assert!(!write(former.clone(), "nobody").await?.succeeded);
    let held = acquire(s, &other).await?;
    assert!(!write(former, "one again").await?.succeeded);
    assert!(write(held.guard(), "other").await?.succeeded);
    assert_eq!(s.entry("written").await?.value, "other");
    held.release().await?;
    Ok(())
}

/// A session that holds the lock anew is another holder: its earlier guard holds no more.
pub async fn the_same_session_gets_a_new_token_each_time(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let lock = lock(s, "lock").await?;
    let first = acquire(s, &lock).await?;
    let (token, guard) = (first.fence(), first.guard());
    assert!(first.release().await?);
    let second = acquire(s, &lock).await?;
    assert!(second.fence() > token);
    assert!(!s.holds(guard).await?);
    assert!(s.holds(second.guard()).await?);
    second.release().await?;
    Ok(())
}

/// A release that comes after the holder's key was removed says so, and leaves the key that stands
/// there since.
pub async fn a_late_release_does_not_free_a_successor(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let late = acquire(s, &lock(s, "lock").await?).await?;
    let key = late.key().clone();
    assert!(s.store().delete(key.clone()).await?);
    s.store().put(key.clone(), "its successor").await?;
    assert!(!late.release().await?, "it was lost before");
    let left = s.store().get(key.clone()).await?;
    assert!(left.is_some_and(|entry| entry.value == "its successor"));
    s.store().delete(key).await?;
    Ok(())
}

/// When the lease of the holder ends, the next one holds the lock.
pub async fn the_lock_of_one_who_is_gone_is_free(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    // A lease that nobody renews, with the key that a program left that died.
    let lease = s.store().grant(Duration::from_secs(1)).await?.id;
    let options = PutOptions::default().with_lease(lease);
    let dead = s.put_opts(format!("lock/{lease}"), "", options).await?;
    let held = acquire(s, &lock(s, "lock").await?).await?;
    assert!(held.fence().revision() > dead.revision);
    assert_eq!(s.get(format!("lock/{lease}")).await?, None);
    held.release().await?;
    Ok(())
}

/// A holder is told that its lease has ended.
pub async fn a_holder_without_its_lease_is_told(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let session = session(s).await?;
    let held = acquire(s, &Lock::new(&session, s.key("lock"))).await?;
    s.store().revoke(session.lease()).await?;
    // Here the lease is gone and the key with it; either may be noticed first.
    let loss = s.within("the loss", held.lost()).await;
    assert!(matches!(loss, Loss::Session(_) | Loss::Removed), "{loss}");
    assert!(!s.holds(held.guard()).await?);
    assert!(!held.release().await?);
    Ok(())
}

/// A holder is told that somebody removed its key, even if the key was put again since.
pub async fn a_holder_without_its_key_is_told(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    for again in [false, true] {
        let held = acquire(s, &lock(s, "lock").await?).await?;
        let mut lost = Box::pin(held.lost());
        assert!((&mut lost).now_or_never().is_none());
        s.store().delete(held.key().clone()).await?;
        if again {
            s.store().put(held.key().clone(), "").await?;
        }
        let loss = s.within("the loss", lost).await;
        assert!(matches!(loss, Loss::Removed), "{loss}");
        s.store().delete(held.key().clone()).await?;
    }
    Ok(())
}

/// One who tries does not wait, and leaves nothing behind.
pub async fn a_try_does_not_wait(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (one, other) = (lock(s, "lock").await?, lock(s, "lock").await?);
    let held = one.try_acquire().await?.expect("nobody holds it");
    assert!(s.holds(held.guard()).await?);
    assert!(other.try_acquire().await?.is_none());
    assert!(
        one.try_acquire().await?.is_none(),
        "not through the same session either"
    );
    assert_eq!(until_queued(s, "lock", 1).await?, [held.key().clone()]);
    held.release().await?;
    let held = other.try_acquire().await?.expect("nobody holds it");
    held.release().await?;
    until_queued(s, "lock", 0).await?;
    Ok(())
}

/// One whose time has passed does not hold the lock, and leaves nothing behind.
pub async fn a_deadline_that_passes_leaves_nothing_behind(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (one, other) = (lock(s, "lock").await?, lock(s, "lock").await?);
    let held = acquire(s, &one).await?;
    let short = Duration::from_millis(200);
    let late = s
        .within("the deadline", other.acquire_within(short))
        .await?;
    assert!(late.is_none());
    assert_eq!(until_queued(s, "lock", 1).await?, [held.key().clone()]);
    held.release().await?;
    let patience = s.settings().patience;
    let held = other.acquire_within(patience).await?.expect("it is free");
    held.release().await?;
    Ok(())
}

/// One who waits no more leaves the queue, and those behind move up.
pub async fn one_who_waits_no_more_leaves_the_queue(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let held = acquire(s, &lock(s, "lock").await?).await?;
    let mut tasks = Vec::new();
    for place in 0..2 {
        let lock = lock(s, "lock").await?;
        tasks.push(tokio::spawn(async move { lock.acquire().await }));
        until_queued(s, "lock", place + 2).await?;
    }
    tasks[0].abort();
    until_queued(s, "lock", 2).await?;
    held.release().await?;
    let last = tasks.pop().expect("there are two");
    let held = s.within("the last one", last).await;
    held.expect("it does not panic")?.release().await?;
    Ok(())
}

/// A lock that is dropped is released.
pub async fn a_lock_that_is_dropped_is_released(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (one, other) = (lock(s, "lock").await?, lock(s, "lock").await?);
    drop(acquire(s, &one).await?);
    acquire(s, &other).await?.release().await?;
    Ok(())
}

/// Tasks of one session wait for each other as sessions do.
pub async fn tasks_of_one_session_wait_for_each_other(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let session = session(s).await?;
    let (one, other) = (
        Lock::new(&session, s.key("lock")),
        Lock::new(&session, s.key("lock")),
    );
    let held = acquire(s, &one).await?;
    let token = held.fence();
    let short = Duration::from_millis(200);
    assert!(other.acquire_within(short).await?.is_none());
    assert!(s.holds(held.guard()).await?, "who waited took nothing away");
    held.release().await?;
    let held = acquire(s, &other).await?;
    assert!(held.fence() > token);
    held.release().await?;
    Ok(())
}

/// Locks of other names are other locks, also those whose names begin alike.
pub async fn names_that_begin_alike_are_different_locks(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let session = session(s).await?;
    let mut held = Vec::new();
    for name in ["lock", "lock/below", "lockable", "lock/", "loc", "\u{ff}\0"] {
        let lock = Lock::new(&session, s.key(name));
        let guard = lock.try_acquire().await?;
        held.push(guard.unwrap_or_else(|| panic!("the lock {name:?} is free")));
    }
    for guard in held {
        assert!(guard.release().await?);
    }
    Ok(())
}

/// One who waits is told when its session has lost its lease.
pub async fn one_who_waits_without_a_lease_is_told(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let held = acquire(s, &lock(s, "lock").await?).await?;
    let session = session(s).await?;
    let lease = session.lease();
    let waiting = Lock::new(&session, s.key("lock"));
    let waiting = tokio::spawn(async move { waiting.acquire().await });
    until_queued(s, "lock", 2).await?;
    session.close().await?;
    let told = s.within("the error", waiting).await;
    let error = told.expect("it does not panic").expect_err("it is lost");
    assert!(
        matches!(error, Error::LeaseLost { lease: lost } if lost == lease),
        "{error:?}"
    );
    held.release().await?;
    Ok(())
}

/// A lock without a name is refused.
pub async fn a_lock_without_a_name_is_refused(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let lock = Lock::new(&session(s).await?, "");
    refused_as_invalid(lock.acquire().await);
    refused_as_invalid(lock.try_acquire().await);
    Ok(())
}

/// The store with faults in front of it, and a session through them; others see the store itself.
pub(crate) async fn faulty_session(s: &Subject) -> Result<(Faulty<Arc<dyn Store>>, Session)> {
    let store = Faulty::new(Arc::clone(s.store()));
    let session = Session::open(store.clone(), TTL).await?;
    Ok((store, session))
}

/// An entrance that the store carries out only after the lock was released holds nobody up: neither
/// others nor the session that asked for it.
pub async fn an_entrance_that_comes_late_holds_nobody_up(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (store, session) = faulty_session(s).await?;
    let (one, other) = (Lock::new(&session, s.key("lock")), lock(s, "lock").await?);
    let control = store.control();
    control.fail_next_of(Operation::Commit, 1, Fault::request_held());
    let held = acquire(s, &one).await?;
    let key = KeyRange::key(held.key());
    let mut events = s.watch_opts(&key, WatchOptions::default()).await?;
    assert!(held.release().await?, "it was held until now");
    let place = format!("lock/{}", session.lease());
    let deleted = format!("delete {place}");
    assert_eq!(s.told(&events.next().await?), [&*deleted]);

    assert_eq!(store.deliver_held().await, 1);
    assert_eq!(s.told(&events.next().await?), [format!("put {place}=")]);
    acquire(s, &other).await?.release().await?;
    assert_eq!(s.told(&events.next().await?), [deleted]);
    assert!(session.is_alive(), "it was not the end of its lease");
    acquire(s, &one).await?.release().await?;
    Ok(())
}
