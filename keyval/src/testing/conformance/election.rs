//! Promises about elections: one leads, the others see who.

use std::time::Duration;

use futures::StreamExt;

use crate::broker::BrokerExt;
use crate::error::Result;
use crate::lease::Leases;
use crate::options::{PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::recipes::{Election, Leader, Leaders, Leadership, Loss};
use crate::testing::conformance::lock::{faulty_session, has_queues, session, until_queued};
use crate::testing::conformance::subject::Subject;
use crate::testing::{Fault, Operation};

async fn election(s: &Subject) -> Result<Election> {
    Ok(Election::new(&session(s).await?, s.key("election")))
}

async fn campaign(s: &Subject, election: &Election, value: &str) -> Result<Leadership> {
    let campaign = election.campaign(value.to_owned());
    s.within("the election", campaign).await
}

async fn next(s: &Subject, leaders: &mut Leaders) -> Result<Option<Leader>> {
    let next = s.within("the next leader", leaders.next()).await;
    next.expect("it goes on for ever")
}

/// What the next leader proclaims; nothing if nobody leads.
async fn next_value(s: &Subject, leaders: &mut Leaders) -> Result<String> {
    let leader = next(s, leaders).await?;
    Ok(leader.map_or_else(String::new, |leader| {
        String::from_utf8_lossy(&leader.value).into_owned()
    }))
}

/// One leads, and everyone can see which, with its value and its token.
pub async fn one_leads_and_is_seen(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (one, other) = (election(s).await?, election(s).await?);
    assert_eq!(one.leader().await?, None);
    let leading = campaign(s, &one, "one").await?;
    let expected = Leader {
        key: leading.key().clone(),
        value: "one".into(),
        token: leading.token(),
    };
    let seen = other.leader().await?;
    assert_eq!(seen.as_ref(), Some(&expected));
    assert!(s.holds(leading.guard()).await?);
    leading.resign().await?;
    assert_eq!(other.leader().await?, None);
    Ok(())
}

/// When the leader resigns, the one leads that stood next, with a greater token.
pub async fn resigning_elects_the_next(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let mut leading = campaign(s, &election(s).await?, "0").await?;
    let mut waiting = Vec::new();
    for place in 1..4 {
        let election = election(s).await?;
        waiting.push(tokio::spawn(async move {
            election.campaign(place.to_string()).await
        }));
        until_queued(s, "election", place + 1).await?;
    }
    let observer = election(s).await?;
    for (place, task) in waiting.into_iter().enumerate() {
        let (token, guard) = (leading.token(), leading.guard());
        assert!(leading.resign().await?);
        leading = s.within("the next one", task).await.expect("no panic")?;
        assert!(leading.token() > token);
        assert!(!s.holds(guard).await?);
        let seen = observer.leader().await?.expect("one leads");
        assert_eq!(seen.value, (place + 1).to_string());
    }
    leading.resign().await?;
    Ok(())
}

/// The next one leads when the leader's lease ends.
pub async fn the_next_leads_when_the_leader_is_gone(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let session = session(s).await?;
    let gone = Election::new(&session, s.key("election"));
    let gone = campaign(s, &gone, "gone").await?;
    let standing = election(s).await?;
    let waiting = tokio::spawn(async move { standing.campaign("next").await });
    until_queued(s, "election", 2).await?;
    s.store().revoke(session.lease()).await?;
    let loss = s.within("the loss", gone.lost()).await;
    assert!(matches!(loss, Loss::Session(_) | Loss::Removed), "{loss}");
    let next = s.within("the next one", waiting).await.expect("no panic")?;
    assert!(next.token() > gone.token());
    assert!(!gone.resign().await?);
    assert!(next.resign().await?);
    Ok(())
}

/// A leader is told that somebody removed its key, and then leads no more.
pub async fn a_leader_that_is_deposed_is_told(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let leading = campaign(s, &election(s).await?, "x").await?;
    assert!(leading.proclaim("to proclaim is no loss").await?);
    s.store().delete(leading.key().clone()).await?;
    let loss = s.within("the loss", leading.lost()).await;
    assert!(matches!(loss, Loss::Removed), "{loss}");
    assert!(!leading.resign().await?);
    Ok(())
}

/// What a leader proclaims is seen; what a former one proclaims is not written.
pub async fn only_the_leader_proclaims(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (one, other) = (election(s).await?, election(s).await?);
    let leading = campaign(s, &one, "first").await?;
    let token = leading.token();
    assert!(leading.proclaim("second").await?);
    let seen = other.leader().await?.expect("one leads");
    assert_eq!((seen.value, seen.token), ("second".into(), token));
    s.store().delete(leading.key().clone()).await?;
    assert!(!leading.proclaim("third").await?);
    assert_eq!(other.leader().await?, None);
    Ok(())
}

/// What a leader proclaims lives by its lease still.
pub async fn what_is_proclaimed_goes_with_the_leader(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let session = session(s).await?;
    let election = Election::new(&session, s.key("election"));
    let leading = campaign(s, &election, "first").await?;
    assert!(leading.proclaim("second").await?);
    s.store().revoke(session.lease()).await?;
    assert_eq!(s.store().get(leading.key().clone()).await?, None);
    Ok(())
}

/// Whoever observes sees who leads at first, and every change of it, in order.
pub async fn observers_see_every_leader_in_order(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let observer = election(s).await?;
    let mut leaders = observer.observe();
    assert_eq!(next(s, &mut leaders).await?, None, "nobody leads yet");
    let leading = campaign(s, &election(s).await?, "a").await?;
    assert_eq!(next_value(s, &mut leaders).await?, "a");
    let standing = election(s).await?;
    let waiting = tokio::spawn(async move { standing.campaign("b").await });
    until_queued(s, "election", 2).await?;
    leading.proclaim("a2").await?;
    assert_eq!(
        next_value(s, &mut leaders).await?,
        "a2",
        "not who only stands"
    );
    leading.resign().await?;
    assert_eq!(next_value(s, &mut leaders).await?, "b");
    let leading = s.within("b", waiting).await.expect("no panic")?;
    let mut late = observer.observe();
    assert_eq!(next_value(s, &mut late).await?, "b");
    leading.resign().await?;
    assert_eq!(next(s, &mut leaders).await?, None);
    Ok(())
}

/// A candidate that is given up is withdrawn.
pub async fn a_candidate_that_is_dropped_is_withdrawn(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let leading = campaign(s, &election(s).await?, "leads").await?;
    let standing = election(s).await?;
    let short = Duration::from_millis(200);
    let given_up = tokio::time::timeout(short, standing.campaign("stands")).await;
    assert!(given_up.is_err());
    until_queued(s, "election", 1).await?;
    drop(leading);
    until_queued(s, "election", 0).await?;
    Ok(())
}

/// A program that keeps its lease over a restart finds its leadership again; one that does not
/// lead finds none, and keeps its place.
pub async fn a_leadership_is_resumed_by_its_lease(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let session = session(s).await?;
    let election = Election::new(&session, s.key("election"));
    assert!(election.resume().await?.is_none());
    // What this session's earlier life has left.
    let lease = session.lease();
    let options = PutOptions::default().with_lease(lease);
    let left = s.put_opts(format!("election/{lease}"), "before", options);
    let left = left.await?;
    let resumed = election.resume().await?.expect("it leads");
    assert_eq!(resumed.token().revision(), left.revision);
    assert!(election.resume().await?.is_none(), "once at a time");
    assert!(resumed.proclaim("after").await?);
    assert!(resumed.resign().await?);
    let leading = campaign(s, &self::election(s).await?, "another").await?;
    let options = PutOptions::default().with_lease(lease);
    s.put_opts(format!("election/{lease}"), "stands", options)
        .await?;
    assert!(election.resume().await?.is_none());
    until_queued(s, "election", 2).await?;
    let campaign = tokio::spawn(async move { election.campaign("anew").await });
    leading.resign().await?;
    let leading = s.within("its turn", campaign).await.expect("no panic")?;
    let now = s.store().get(leading.key().clone()).await?;
    assert!(now.is_some_and(|entry| entry.value == "anew"));
    leading.resign().await?;
    Ok(())
}

/// A candidate that the store takes in only after it resigned is withdrawn: the others lead.
pub async fn a_candidate_that_comes_late_is_withdrawn(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (store, session) = faulty_session(s).await?;
    let election = Election::new(&session, s.key("election"));
    let control = store.control();
    control.fail_next_of(Operation::Commit, 1, Fault::request_held());
    let leading = campaign(s, &election, "late").await?;
    assert!(leading.resign().await?);

    let all = KeyRange::prefix(s.key("election/"));
    let mut events = s.watch_opts(&all, WatchOptions::default()).await?;
    assert_eq!(store.deliver_held().await, 1);
    let late = format!("put election/{}=late", session.lease());
    assert_eq!(s.told(&events.next().await?), [late]);
    let standing = self::election(s).await?;
    let leading = campaign(s, &standing, "next").await?;
    let seen = election.leader().await?.expect("one leads");
    assert_eq!((seen.value, seen.token), ("next".into(), leading.token()));
    leading.resign().await?;
    until_queued(s, "election", 0).await?;
    assert!(session.is_alive(), "it was not the end of its lease");
    Ok(())
}

/// What a leader proclaimed without an answer, and the store takes in late, overwrites nothing that
/// the leader proclaimed since.
pub async fn a_value_that_comes_late_overwrites_none(s: &Subject) -> Result<()> {
    if !has_queues(s).await {
        return Ok(());
    }
    let (store, session) = faulty_session(s).await?;
    let election = Election::new(&session, s.key("election"));
    let leading = campaign(s, &election, "first").await?;
    let control = store.control();
    for fault in [Fault::request_held(), Fault::answer_lost()] {
        control.fail_next_of(Operation::Commit, 1, fault);
        let error = leading.proclaim("early").await.expect_err("no answer");
        assert!(error.may_have_applied(), "{error:?}");
    }
    assert!(leading.proclaim("last").await?);
    assert_eq!(store.deliver_held().await, 1);
    let seen = election.leader().await?.expect("one leads");
    assert_eq!((seen.value, seen.token), ("last".into(), leading.token()));
    leading.resign().await?;
    Ok(())
}
