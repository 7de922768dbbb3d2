//! Promises about sessions: how long they live, what is told of a loss, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lease::Leases;
use crate::lease_id::LeaseId;
use crate::options::{PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::recipes::{LeaseKeeper, LossCause, Session, SessionOptions, SessionState};
use crate::testing::conformance::gate::{has_leases, has_watches};
use crate::testing::conformance::subject::Subject;
use crate::testing::{Fault, Faulty, Operation};

/// Short enough that a renewal, and so a loss, is not waited for long; real seconds on most stores.
const TTL: Duration = Duration::from_secs(3);

async fn open(s: &Subject) -> Result<Session> {
    Session::open(Arc::clone(s.store()), TTL).await
}

async fn put(s: &Subject, session: &Session, name: &str, value: &'static str) -> Result<()> {
    session.put(s.key(name), value).await?;
    Ok(())
}

/// Takes the session's lease away, and waits until the session has another: returns the new lease and
/// the names of the keys that were refused.
async fn renew(s: &Subject, session: &Session) -> Result<(LeaseId, Vec<String>)> {
    let lost = session.lease();
    s.store().revoke(lost).await?;
    let mut state = session.state();
    let renewed = state
        .wait_for(|state| matches!(state, SessionState::Renewed { lease, .. } if *lease != lost));
    let renewed = s.within("the renewal of a session", renewed).await;
    match renewed.as_deref() {
        Ok(SessionState::Renewed { lease, refused, .. }) => {
            Ok((*lease, refused.iter().map(|key| s.name(key)).collect()))
        }
        other => panic!("a session is not renewed: {other:?}"),
    }
}

/// A session outlives its TTL by renewing its lease, which changes no entry and wakes no watcher.
pub async fn a_session_outlives_its_ttl_and_wakes_no_watcher(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !has_watches(s).await {
        return Ok(());
    }
    let session = open(s).await?;
    put(s, &session, "key", "x").await?;
    let before = s.entry("key").await?;
    assert_eq!(before.lease, Some(session.lease()));
    let mut events = s.watch().await?;
    // Time is what this promise is about.
    tokio::time::sleep(session.ttl() * 2).await;
    assert!(session.is_alive());
    let lease = session.lease();
    assert_eq!(*session.state().borrow(), SessionState::Alive { lease });
    assert_eq!(s.entry("key").await?, before);
    let last = s.put("last", "x").await?;
    let all = events.until(last).await?;
    assert_eq!(all.len(), 1, "{all:?}");
    session.close().await
}

/// The time for which a session says that its lease certainly lives is not longer than what the store
/// says.
pub async fn the_safe_deadline_is_not_later_than_the_stores(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let session = open(s).await?;
    assert!(session.ttl() >= TTL);
    for _ in 0..6 {
        let asked = tokio::time::Instant::now();
        let safe = session.remaining();
        assert!(safe <= session.ttl());
        let status = s.store().time_to_live(session.lease()).await?;
        // A store that counts in seconds may say one less.
        let at_most = status.remaining + Duration::from_secs(1) + asked.elapsed();
        assert!(safe <= at_most, "{safe:?} and {:?}", status.remaining);
        tokio::time::sleep(session.ttl() / 6).await;
    }
    assert!(session.is_alive());
    session.close().await?;
    assert_eq!(session.remaining(), Duration::ZERO);
    Ok(())
}

/// When a session is closed, its keys go, at one revision.
pub async fn a_closed_session_takes_its_keys_at_one_revision(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !has_watches(s).await {
        return Ok(());
    }
    let session = open(s).await?;
    for name in ["c", "a", "b"] {
        put(s, &session, name, "x").await?;
    }
    s.put("stays", "x").await?;
    let mut events = s.watch().await?;
    let lost = session.lost(session.lease());
    session.close().await?;
    assert_eq!(s.names().await?, ["stays"], "they are gone on return");
    let gone = events.next().await?;
    assert_eq!(s.told(&gone), ["delete a", "delete b", "delete c"]);
    assert_eq!(s.within("the loss", lost).await, LossCause::Closed);
    assert_eq!(*session.state().borrow(), SessionState::Closed);
    Ok(())
}

/// Closing a session again, by whatever clone and at the same time too, is harmless; it does nothing
/// more.
pub async fn closing_a_session_again_is_harmless(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let session = open(s).await?;
    let clone = session.clone();
    let (one, other) = tokio::join!(session.close(), clone.close());
    one.and(other)?;
    session.close().await?;
    let error = session.put(s.key("key"), "x").await;
    assert!(matches!(error, Err(Error::LeaseLost { .. })), "{error:?}");
    assert_eq!(s.get("key").await?, None);
    Ok(())
}

/// When the last handle of a session is dropped, its keys go too, long before its TTL.
pub async fn a_dropped_session_takes_its_keys_too(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !has_watches(s).await {
        return Ok(());
    }
    let session = Session::open(Arc::clone(s.store()), Duration::from_secs(3600)).await?;
    put(s, &session, "key", "x").await?;
    let mut events = s.watch().await?;
    let clone = session.clone();
    drop(session);
    put(s, &clone, "key", "y").await?;
    assert_eq!(s.told(&events.next().await?), ["put key=y"]);
    drop(clone);
    assert_eq!(s.told(&events.next().await?), ["delete key"]);
    Ok(())
}

/// The loss of a lease is told with its cause, and stays told for that lease when the session has
/// another.
pub async fn a_lost_lease_of_a_session_is_told_with_its_cause(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let session = open(s).await?;
    let (first, mut state) = (session.lease(), session.state());
    assert_eq!(
        *state.borrow_and_update(),
        SessionState::Alive { lease: first }
    );
    let lost = session.lost(first);
    let (second, _) = renew(s, &session).await?;
    assert_ne!(first, second);
    assert_eq!(session.lease(), second);
    assert_eq!(s.within("the loss", lost).await, LossCause::Revoked);
    let again = s.within("the loss, again", session.lost(first)).await;
    assert_eq!(again, LossCause::Revoked);
    let renewed = SessionState::Renewed {
        lease: second,
        lost: LossCause::Revoked,
        refused: Arc::default(),
    };
    assert_eq!(*state.borrow_and_update(), renewed);
    assert!(session.is_alive());
    session.close().await
}

/// A session whose lease was lost grants another, and puts its keys again with their last values.
pub async fn a_renewed_session_has_its_keys_again(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let session = open(s).await?;
    for (name, value) in [("b", "1"), ("a", "2"), ("b", "3")] {
        put(s, &session, name, value).await?;
    }
    for _ in 0..2 {
        let (lease, refused) = renew(s, &session).await?;
        assert!(refused.is_empty(), "{refused:?}");
        for (name, value) in [("a", "2"), ("b", "3")] {
            let entry = s.entry(name).await?;
            assert_eq!(
                (entry.value.as_ref(), entry.lease),
                (value.as_bytes(), Some(lease))
            );
        }
        assert_eq!(s.store().time_to_live(lease).await?.keys.len(), 2);
    }
    put(s, &session, "new", "4").await?;
    session.close().await?;
    assert!(s.names().await?.is_empty());
    Ok(())
}

/// A session that is not to grant anew is over with its lease, and says so.
pub async fn a_session_without_regrant_ends_with_its_lease(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let options = SessionOptions::default().with_ttl(TTL).without_regrant();
    let session = Session::open_opts(Arc::clone(s.store()), options).await?;
    let lease = session.lease();
    put(s, &session, "key", "x").await?;
    s.store().revoke(lease).await?;
    let cause = s.within("the loss", session.lost(lease)).await;
    assert_eq!(cause, LossCause::Revoked);
    assert!(!session.is_alive());
    let put = session.put(s.key("key"), "x").await;
    assert!(matches!(put, Err(Error::LeaseLost { lease: lost }) if lost == lease));
    assert_eq!(s.get("key").await?, None);
    session.close().await
}

/// After a loss, a key is not put again over what somebody else put there meanwhile, and this is told.
pub async fn what_others_put_meanwhile_is_not_overwritten(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let (session, other) = (open(s).await?, open(s).await?);
    for name in ["mine", "plain", "leased"] {
        put(s, &session, name, "mine").await?;
    }
    // Over the session's own keys: they are detached from its lease, and stay when it ends.
    s.put("plain", "theirs").await?;
    let theirs = PutOptions::default().with_lease(other.lease());
    s.put_opts("leased", "theirs", theirs).await?;
    let (lease, refused) = renew(s, &session).await?;
    assert_eq!(refused, ["plain", "leased"]);
    assert_eq!(s.entry("mine").await?.lease, Some(lease));
    for (name, lease) in [("plain", None), ("leased", Some(other.lease()))] {
        let entry = s.entry(name).await?;
        assert_eq!((entry.value.as_ref(), entry.lease), (&b"theirs"[..], lease));
    }
    session.close().await?;
    assert_eq!(s.names().await?, ["leased", "plain"]);
    other.close().await
}

/// A key that was removed is gone, and does not come back after a loss.
pub async fn a_removed_key_does_not_come_back(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !s.capabilities().txn {
        return Ok(());
    }
    let session = open(s).await?;
    put(s, &session, "goes", "x").await?;
    put(s, &session, "stays", "x").await?;
    assert!(session.remove(s.key("goes")).await?);
    assert!(!session.remove(s.key("goes")).await?);
    assert_eq!(s.names().await?, ["stays"]);
    renew(s, &session).await?;
    assert_eq!(s.names().await?, ["stays"]);
    session.close().await
}

/// A key that somebody else put over one of the session is not removed with it.
pub async fn a_key_that_somebody_else_put_is_not_removed(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !s.capabilities().txn {
        return Ok(());
    }
    let session = open(s).await?;
    put(s, &session, "key", "mine").await?;
    s.put("key", "theirs").await?;
    assert!(!session.remove(s.key("key")).await?);
    assert_eq!(s.entry("key").await?.value, "theirs");
    session.close().await?;
    assert_eq!(s.names().await?, ["key"]);
    Ok(())
}

/// A key that was removed does not stay where the store carries out an earlier put of it only then,
/// also if another put of it was refused meanwhile. If the key was put again, it stays.
pub async fn a_removed_key_does_not_come_back_late(s: &Subject) -> Result<()> {
    if !has_leases(s).await || !has_watches(s).await || !s.capabilities().txn {
        return Ok(());
    }
    let store = Faulty::new(Arc::clone(s.store()));
    let session = Session::open(store.clone(), TTL).await?;
    put(s, &session, "goes", "x").await?;
    put(s, &session, "stays", "x").await?;
    let control = store.control();
    control.fail_next_of(Operation::Put, 1, Fault::request_held());
    renew(s, &session).await?;
    assert!(session.remove(s.key("goes")).await?);

    let key = KeyRange::key(s.key("goes"));
    let mut events = s.watch_opts(&key, WatchOptions::default()).await?;
    assert_eq!(store.deliver_held().await, 1);
    assert_eq!(s.told(&events.next().await?), ["put goes=x"]);
    assert_eq!(s.told(&events.next().await?), ["delete goes"]);
    assert_eq!(s.names().await?, ["stays"]);

    control.fail_next_of(Operation::Put, 1, Fault::request_held());
    assert!(put(s, &session, "goes", "y").await.is_err());
    assert!(!session.remove(s.key("goes")).await?);
    control.fail_next_of(Operation::Put, 1, Fault::refused());
    assert!(put(s, &session, "goes", "z").await.is_err());
    assert_eq!(store.deliver_held().await, 1);
    assert_eq!(s.told(&events.next().await?), ["put goes=y"]);
    assert_eq!(s.told(&events.next().await?), ["delete goes"]);

    // Who keeps the key away sees this one come, too.
    put(s, &session, "goes", "wanted").await?;
    let last = session.put(s.key("goes"), "last").await?;
    let changes = events.until(last).await?;
    let told: Vec<_> = changes.iter().flat_map(|one| s.told(one)).collect();
    assert_eq!(told, ["put goes=wanted", "put goes=last"]);
    assert_eq!(s.names().await?, ["goes", "stays"]);
    session.close().await
}

/// Sessions that share a keeper end and lose their leases each by itself.
pub async fn sessions_of_one_keeper_are_independent(s: &Subject) -> Result<()> {
    if !has_leases(s).await {
        return Ok(());
    }
    let options = SessionOptions::default()
        .with_ttl(TTL)
        .with_keeper(LeaseKeeper::new());
    let mut sessions = Vec::new();
    for name in ["a", "b", "c"] {
        let session = Session::open_opts(Arc::clone(s.store()), options.clone()).await?;
        put(s, &session, name, "x").await?;
        sessions.push(session);
    }
    let lease = sessions[2].lease();
    sessions[0].close().await?;
    renew(s, &sessions[1]).await?;
    assert_eq!(s.names().await?, ["b", "c"]);
    assert_eq!(*sessions[2].state().borrow(), SessionState::Alive { lease });
    sessions[1].close().await?;
    sessions[2].close().await?;
    assert!(s.names().await?.is_empty());
    Ok(())
}
