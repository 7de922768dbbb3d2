//! Locks and elections through faults: fair, without a herd, and never two holders that matter.

#![cfg(feature = "testing")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use futures::{FutureExt, StreamExt};
use keyval::recipes::{Election, FencingToken, Lock, LockGuard, Loss, LossCause, Session};
use keyval::testing::{Fault, FaultControl, Faulty, Operation};
use keyval::{
    Broker, BrokerExt, Error, KeyRange, Leases, Maintenance, Memory, Op, Result, StoreExt, Txn,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

const TTL: Duration = Duration::from_secs(30);
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(600);

fn faulty() -> (Faulty<Memory>, FaultControl) {
    let store = Faulty::new(Memory::new());
    let control = store.control();
    (store, control)
}

async fn lock(store: &Faulty<Memory>) -> Result<Lock> {
    Ok(Lock::new(&Session::open(store.clone(), TTL).await?, "lock"))
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(LONG, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not end in time"))
}

/// Waits until so many are in the queue, as the store itself has it.
async fn until_queued(store: &Faulty<Memory>, count: u64) -> Result<()> {
    let mut updates = store.inner().follow(KeyRange::all());
    while store.inner().count(KeyRange::prefix("lock/")).await? != count {
        soon("the queue", updates.next()).await.expect("for ever")?;
    }
    Ok(())
}

/// Lets one wait for the lock, and returns once it is in the queue as the last of so many.
async fn wait_in_line(
    store: &Faulty<Memory>,
    lock: Lock,
    place: u64,
) -> Result<JoinHandle<Result<LockGuard>>> {
    let waiting = tokio::spawn(async move { lock.acquire().await });
    until_queued(store, place).await?;
    Ok(waiting)
}

#[tokio::test(start_paused = true)]
async fn a_release_wakes_one_of_fifty_who_wait_and_the_first_of_them() -> Result<()> {
    const WAITING: u64 = 50;
    let (store, control) = faulty();
    let mut held = lock(&store).await?.acquire().await?;
    let mut waiting = Vec::new();
    for place in 0..WAITING {
        waiting.push(wait_in_line(&store, lock(&store).await?, place + 2).await?);
    }
    control.until_called(Operation::Watch, WAITING).await;
    let calls = |operation| control.calls(operation);
    assert_eq!(calls(Operation::Watch), WAITING, "each watches one key");
    assert_eq!(calls(Operation::Commit), WAITING + 1, "each enters at once");
    assert_eq!(calls(Operation::List), 0, "and sees the queue as it enters");

    for (place, next) in waiting.into_iter().enumerate() {
        let token = held.fence();
        assert!(held.release().await?);
        held = soon("the next one", next).await.expect("no panic")?;
        assert!(held.fence() > token, "they come in order");
        assert_eq!(calls(Operation::List), place as u64 + 1, "one looks again");
        assert_eq!(calls(Operation::Watch), WAITING, "nobody watches anew");
    }
    assert!(held.release().await?);
    assert_eq!(control.open_watches(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_the_middle_of_the_queue_wakes_only_the_one_behind() -> Result<()> {
    let (store, control) = faulty();
    let held = lock(&store).await?.acquire().await?;
    let mut waiting = Vec::new();
    for place in 0..5 {
        waiting.push(wait_in_line(&store, lock(&store).await?, place + 2).await?);
    }
    control.until_called(Operation::Watch, 5).await;
    let leaving = waiting.remove(2);
    leaving.abort();
    control.until_called(Operation::Watch, 6).await;
    until_queued(&store, 5).await?;
    assert_eq!(control.calls(Operation::List), 1, "the one behind looked");
    held.release().await?;
    for next in waiting {
        let held = soon("the next one", next).await.expect("no panic")?;
        held.release().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_entrance_whose_answer_is_lost_enters_once() -> Result<()> {
    let (store, control) = faulty();
    let session = Session::open(store.clone(), TTL).await?;
    control.fail_next_of(Operation::Commit, 3, Fault::answer_lost());
    let held = Lock::new(&session, "lock").acquire().await?;
    assert_eq!(store.inner().count(KeyRange::prefix("lock/")).await?, 1);
    let entry = store.inner().get(held.key().clone()).await?;
    let entry = entry.expect("it is held");
    assert_eq!((entry.created, entry.version), (held.fence().revision(), 1));

    control.fail_next_of(Operation::Commit, 1, Fault::answer_lost());
    assert!(held.release().await?, "it was held until the lost answer");
    assert_eq!(store.inner().count(KeyRange::prefix("lock/")).await?, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_entrance_that_is_given_up_before_its_answer_leaves_nothing_behind() -> Result<()> {
    let (store, control) = faulty();
    let session = Session::open(store.clone(), TTL).await?;
    let waiting = Lock::new(&session, "lock");
    control.delay(Duration::from_secs(1));
    let given_up = timeout(Duration::from_millis(500), waiting.acquire()).await;
    assert!(given_up.is_err());
    // Once to enter, although nobody waits any more, and once to leave.
    control.until_called(Operation::Commit, 2).await;
    until_queued(&store, 0).await?;
    control.heal();
    // The same session is not in its own way.
    soon("the lock", waiting.acquire()).await?.release().await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_entrance_in_doubt_costs_one_watch_and_not_the_next_try() -> Result<()> {
    let (store, control) = faulty();
    let session = Session::open(store.clone(), TTL).await?;
    let lock = Lock::new(&session, "lock");
    control.fail_next_of(Operation::Commit, 2, Fault::request_held());
    control.fail_next_of(Operation::Commit, 1, Fault::answer_lost());
    let mut held = lock.acquire().await?;
    control.until_called(Operation::Watch, 1).await;
    for _ in 0..10 {
        assert!(held.release().await?);
        let again = lock.try_acquire().await?;
        held = again.expect("nobody else wants it, and nothing came late");
    }
    assert_eq!(control.calls(Operation::Watch), 1);
    assert_eq!(store.deliver_held().await, 2);
    assert!((&mut Box::pin(held.lost())).now_or_never().is_none());
    assert!(held.release().await?, "what comes late takes nothing away");
    soon("the close", session.close()).await?;
    assert_eq!(control.open_watches(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_late_entrance_is_looked_out_for_until_twenty_minutes_after_the_doubt() -> Result<()> {
    let (store, control) = faulty();
    let session = Session::open(store.clone(), TTL).await?;
    let lock = Lock::new(&session, "lock");
    let minutes = |minutes: u64| tokio::time::sleep(Duration::from_secs(minutes * 60));
    for _ in 0..2 {
        control.fail_next_of(Operation::Commit, 1, Fault::request_held());
        assert!(lock.acquire().await?.release().await?);
        control.until_called(Operation::Watch, 1).await;
        minutes(15).await;
        assert_eq!(control.open_watches(), 1, "one for both doubts");
    }
    assert_eq!(store.deliver_held().await, 2);
    until_queued(&store, 0).await?;
    minutes(6).await;
    assert_eq!(control.open_watches(), 0);

    control.fail_next_of(Operation::Commit, 1, Fault::request_held());
    assert!(lock.acquire().await?.release().await?);
    assert_eq!(store.deliver_held().await, 1);
    until_queued(&store, 0).await?;
    assert!(session.is_alive(), "it was not the end of its lease");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_entrance_that_failed_is_withdrawn_if_it_comes_even_in_an_outage() -> Result<()> {
    let (store, control) = faulty();
    let lock = lock(&store).await?;
    let denied = || Error::Denied {
        message: "not any more".to_owned(),
    };
    control.fail_next_of(Operation::Commit, 1, Fault::request_held());
    control.fail_next_of(Operation::Commit, 1, Fault::new(denied));
    assert!(matches!(lock.acquire().await, Err(Error::Denied { .. })));
    control.cut();
    assert_eq!(store.deliver_held().await, 1);
    until_queued(&store, 1).await?;
    tokio::time::sleep(TTL / 3).await;
    control.heal();
    until_queued(&store, 0).await?;
    assert!(lock.try_acquire().await?.is_some(), "its lease lives");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_lease_costs_nobody_the_lock() -> Result<()> {
    let (store, control) = faulty();
    let held = lock(&store).await?.acquire().await?;
    let mut lost = Box::pin(held.lost());
    assert!((&mut lost).now_or_never().is_none());
    let waiting = wait_in_line(&store, lock(&store).await?, 2).await?;
    for _ in 0..3 {
        control.cut();
        tokio::time::sleep(TTL / 3).await;
        control.heal();
        tokio::time::sleep(TTL / 2).await;
        assert!((&mut lost).now_or_never().is_none(), "it is still held");
        assert!(!waiting.is_finished());
    }
    // The release is asked for in an outage, and takes place after it.
    control.cut();
    let release = tokio::spawn(held.release());
    tokio::time::sleep(TTL / 3).await;
    control.heal();
    assert!(soon("the release", release).await.expect("no panic")?);
    soon("the next", waiting)
        .await
        .expect("no panic")?
        .release()
        .await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_holder_is_told_of_its_loss_before_another_one_holds_the_lock() -> Result<()> {
    let (store, control) = faulty();
    let session = Session::open(store.clone(), TTL).await?;
    let held = Lock::new(&session, "lock").acquire().await?;
    let clear = Session::open(store.inner().clone(), TTL).await?;
    let clear = Lock::new(&clear, "lock");
    let next =
        tokio::spawn(async move { clear.acquire().await.map(|held| (held, Instant::now())) });
    control.cut();
    let loss = soon("the loss", held.lost()).await;
    let told = Instant::now();
    assert!(
        matches!(loss, Loss::Session(LossCause::Expired { .. })),
        "{loss}"
    );
    let (next, since) = soon("the next", next).await.expect("no panic")?;
    assert!(told <= since, "told {:?} too late", told - since);
    assert!(!held.release().await?, "it was lost before");
    assert!(next.release().await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_session_that_was_renewed_can_have_the_lock_again() -> Result<()> {
    let (store, control) = faulty();
    let session = Session::open(store.clone(), TTL).await?;
    let lock = Lock::new(&session, "lock");
    let lost = lock.acquire().await?;
    let lease = session.lease();
    store.inner().revoke(lease).await?;
    let mut state = session.state();
    let renewed = state.wait_for(|state| state.is_alive() && session.lease() != lease);
    soon("the renewal", renewed).await.expect("it goes on");
    let held = soon("the lock", lock.acquire()).await?;
    assert!(held.fence() > lost.fence());
    assert!(!lost.release().await?);
    let write = Txn::new().when(held.guard()).then(Op::put("x", ""));
    assert!(store.commit(write).await?.succeeded);
    assert_eq!(control.calls(Operation::Grant), 2);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_whose_key_was_removed_takes_a_new_place_at_the_end() -> Result<()> {
    let (store, control) = faulty();
    let held = lock(&store).await?.acquire().await?;
    let first = wait_in_line(&store, lock(&store).await?, 2).await?;
    let keys = store.inner().keys(KeyRange::prefix("lock/")).await?;
    let keys = keys.collect().await?;
    let removed = keys.into_iter().max_by_key(|entry| entry.created);
    let second = wait_in_line(&store, lock(&store).await?, 3).await?;
    control.until_called(Operation::Watch, 2).await;
    store.delete(removed.expect("it waits").key).await?;
    until_queued(&store, 2).await?;
    held.release().await?;
    let second = soon("the second", second).await.expect("no panic")?;
    let token = second.fence();
    until_queued(&store, 2).await?;
    second.release().await?;
    let first = soon("the first", first).await.expect("no panic")?;
    assert!(first.fence() > token);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_compaction_past_one_who_waits_costs_it_nothing() -> Result<()> {
    let (store, control) = faulty();
    let held = lock(&store).await?.acquire().await?;
    let waiting = wait_in_line(&store, lock(&store).await?, 2).await?;
    control.until_called(Operation::Watch, 1).await;
    control.cut();
    for i in 0..10 {
        store.inner().put("elsewhere", i.to_string()).await?;
    }
    store.compact_now().await?;
    control.heal();
    held.release().await?;
    let held = soon("the lock", waiting).await.expect("no panic")?;
    assert!(held.release().await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_keeps_nobody_waiting_for_ever() -> Result<()> {
    let (store, control) = faulty();
    let held = lock(&store).await?.acquire().await?;
    let waiting = wait_in_line(&store, lock(&store).await?, 2).await?;
    control.until_called(Operation::Watch, 1).await;
    control.silence();
    held.release().await?;
    let held = soon("the lock", waiting).await.expect("no panic")?;
    assert!(held.release().await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_waiting_does_not_mend_is_told() -> Result<()> {
    let (store, control) = faulty();
    let lock = lock(&store).await?;
    let denied = || Error::Denied {
        message: "not yours".to_owned(),
    };
    control.fail_next_of(Operation::Commit, 1, Fault::new(denied));
    assert!(matches!(lock.acquire().await, Err(Error::Denied { .. })));
    store.close().await?;
    let closed = soon("the error", lock.acquire()).await;
    assert!(
        matches!(closed, Err(Error::Closed { .. } | Error::LeaseLost { .. })),
        "{closed:?}"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn closing_a_session_ends_all_that_its_locks_left_to_do() -> Result<()> {
    let (store, control) = faulty();
    // The store has a task of its own, from its first lease on.
    store.grant(LONG).await?;
    let before = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let session = Session::open(store.clone(), TTL).await?;
    let held = Lock::new(&session, "lock").acquire().await?;
    let key = held.key().clone();
    control.fail_next_of(Operation::Commit, 1_000, Fault::refused());
    drop(held);
    control.until_called(Operation::Commit, 3).await;
    soon("the close", session.close()).await?;
    let after = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(after, before, "no task is left");
    assert!(store.get(key).await?.is_none());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_guard_keeps_its_session_alive() -> Result<()> {
    let (store, _) = faulty();
    let held = lock(&store).await?.acquire().await?;
    // The handles of the session are gone but for the one in the guard.
    tokio::time::sleep(TTL * 3).await;
    assert!((&mut Box::pin(held.lost())).now_or_never().is_none());
    assert!(held.release().await?);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn observers_see_the_present_leader_after_an_outage() -> Result<()> {
    let (store, control) = faulty();
    let clear = Session::open(store.inner().clone(), TTL).await?;
    let election = Election::new(&clear, "lock");
    let observer = Session::open(store.clone(), TTL).await?;
    let mut leaders = Election::new(&observer, "lock").observe();
    assert_eq!(leaders.next().await.expect("for ever")?, None);
    control.cut();
    for value in ["a", "b", "c"] {
        election.campaign(value).await?.resign().await?;
    }
    let last = election.campaign("last").await?;
    store.compact_now().await?;
    control.heal();
    let seen = soon("the leader", leaders.next())
        .await
        .expect("for ever")?;
    let seen = seen.expect("one leads");
    assert_eq!((seen.value, seen.token), ("last".into(), last.token()));
    Ok(())
}

/// One participant of the chaos: takes the lock again and again, and writes under its guard.
async fn participate(
    store: Faulty<Memory>,
    seed: u64,
    rounds: usize,
    written: Arc<AtomicU64>,
) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut session = open(&store).await?;
    for _ in 0..rounds {
        let lock = Lock::new(&session, "lock");
        let patience = Duration::from_secs(random.u64(1..60));
        let acquired = match random.u8(0..4) {
            0 => lock.try_acquire().await,
            1 => lock.acquire_within(patience).await,
            // Dropped at any moment.
            2 => timeout(patience, lock.acquire())
                .await
                .map_or(Ok(None), |acquired| acquired.map(Some)),
            _ => lock.acquire().await.map(Some),
        };
        match acquired {
            Ok(Some(held)) => hold(&store, held, &mut random, &written).await?,
            Ok(None) => {}
            Err(Error::LeaseLost { .. } | Error::Unavailable { .. }) => {
                // In an outage it cannot be closed in order; its lease ends.
                drop(session.close().await);
                session = open(&store).await?;
            }
            Err(error) => return Err(error),
        }
    }
    drop(session.close().await);
    Ok(())
}

/// Opens a session, however often it takes.
async fn open(store: &Faulty<Memory>) -> Result<Session> {
    loop {
        match Session::open(store.clone(), TTL).await {
            Err(error) if error.is_retryable() => tokio::time::sleep(TTL / 30).await,
            opened => return opened,
        }
    }
}

async fn hold(
    store: &Faulty<Memory>,
    held: LockGuard,
    random: &mut fastrand::Rng,
    written: &AtomicU64,
) -> Result<()> {
    for _ in 0..random.u8(1..5) {
        if random.u8(0..12) == 0 {
            // The program stands still for longer than its lease, or an operator interferes.
            let lease = held.key().to_string();
            let lease = lease.rsplit('/').next().unwrap_or_default();
            let lease = u64::from_str_radix(lease, 16).ok();
            let lease = lease.and_then(keyval::LeaseId::new).expect("a lease");
            drop(store.inner().revoke(lease).await);
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..2_000))).await;
        let put = Op::put("written", held.fence().to_string());
        let txn = Txn::new().when(held.guard()).then(put);
        match store.commit(txn).await {
            Ok(reply) if reply.succeeded => {
                written.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => break,
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(error),
        }
    }
    match random.u8(0..3) {
        0 => drop(held),
        _ => match held.release().await {
            Ok(_) | Err(Error::LeaseLost { .. }) => {}
            Err(error) => return Err(error),
        },
    }
    Ok(())
}

/// Cuts the store off, slows it down, loses answers and lets writes come late, until it is dropped.
async fn disturb(store: Faulty<Memory>, seed: u64) {
    let control = store.control();
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        tokio::time::sleep(Duration::from_millis(random.u64(1..8_000))).await;
        match random.u8(0..6) {
            0 => control.cut(),
            1 => control.delay(Duration::from_millis(random.u64(1..3_000))),
            2 => control.fail_next(random.usize(1..6), Fault::answer_lost()),
            3 => control.fail_next(random.usize(1..6), Fault::request_lost()),
            4 => control.fail_next(random.usize(1..6), Fault::request_held()),
            _ => control.silence(),
        }
        tokio::time::sleep(Duration::from_millis(random.u64(1..8_000))).await;
        control.heal();
        if random.bool() {
            store.deliver_held().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn guarded_writes_of_two_holders_never_interleave_whatever_fails() -> Result<()> {
    const PARTICIPANTS: u64 = 8;
    const ROUNDS: usize = 25;
    let seed = std::env::var("KEYVAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("KEYVAL_SEED={seed}");
    let (store, _) = faulty();
    let mut follow = store.inner().follow(KeyRange::key("written"));
    let chaos = tokio::spawn(disturb(store.clone(), seed));
    let written = Arc::new(AtomicU64::new(0));
    let participants = (0..PARTICIPANTS).map(|number| {
        let (store, written) = (store.clone(), Arc::clone(&written));
        tokio::spawn(participate(store, seed ^ (number + 1), ROUNDS, written))
    });
    let finish = async {
        for done in join_all(participants).await {
            done.expect("no panic")?;
        }
        store.inner().put("written", "end").await
    };
    let watch = async {
        let mut last: Option<FencingToken> = None;
        let mut tokens = 0;
        while let Some(update) = follow.next().await {
            let keyval::Update::Changes(changes) = update? else {
                continue;
            };
            for entry in changes.changes.iter().filter_map(keyval::Change::entry) {
                let value = std::str::from_utf8(&entry.value).expect("text");
                let Ok(number) = value.parse::<u64>() else {
                    return Ok::<_, Error>(tokens);
                };
                let token = FencingToken::from(keyval::Revision::new(number));
                assert!(
                    last.is_none_or(|last| last <= token),
                    "{token} wrote after {last:?}"
                );
                last = Some(token);
                tokens += 1;
            }
        }
        Ok(tokens)
    };
    let deadline = Duration::from_secs(24 * 3600);
    let (finished, seen) = timeout(deadline, async { tokio::join!(finish, watch) })
        .await
        .expect("nobody waits for ever");
    finished?;
    let seen: u64 = seen?;
    chaos.abort();
    let written = written.load(Ordering::Relaxed);
    assert!(
        written > 50,
        "{written} writes are too few to mean anything"
    );
    assert!(seen >= written, "{seen} were seen of {written}");
    until_queued(&store, 0).await
}
