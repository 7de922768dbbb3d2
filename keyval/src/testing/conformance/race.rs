//! Promises about many at once: no lost update, one winner, nothing seen by halves.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::broker::{Broker, BrokerExt};
use crate::entry::Entry;
use crate::error::Result;
use crate::options::{Condition, ListOptions};
use crate::testing::conformance::gate::has_transactions;
use crate::testing::conformance::subject::Subject;
use crate::txn::{Compare, Op, Txn};

/// Runs these at once, each as a task of its own, and waits for them all.
async fn together<T, F>(s: &Subject, tasks: impl IntoIterator<Item = F>) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    // Dropped with the promise, it ends what still runs.
    let mut set: JoinSet<Result<T>> = tasks.into_iter().collect();
    let mut outputs = Vec::new();
    while let Some(output) = s.within("a task of many", set.join_next()).await {
        match output {
            Ok(output) => outputs.push(output?),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    Ok(outputs)
}

fn number(entry: &Entry) -> u64 {
    let text = std::str::from_utf8(&entry.value).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{} holds no number", entry.key))
}

/// Of many who put a key if it is absent, exactly one wins, and the others see what it put.
pub async fn put_if_absent_has_exactly_one_winner(s: &Subject) -> Result<()> {
    for round in 0..5 {
        let key = s.key(format!("key {round}"));
        let tasks = (0..8).map(|task| {
            let (store, key) = (Arc::clone(s.store()), key.clone());
            async move { store.put_if_absent(key, task.to_string()).await }
        });
        let replies = together(s, tasks).await?;
        let (won, lost): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.written);
        assert_eq!(won.len(), 1, "exactly one wins");
        let stands = s.store().get(&key).await?;
        assert_eq!(
            stands.as_ref().map(|entry| entry.modified),
            Some(won[0].revision)
        );
        assert!(lost.iter().all(|reply| reply.prev == stands));
    }
    Ok(())
}

/// Of many who count up by compare-and-swap, no step is lost.
pub async fn compare_and_swap_loses_no_update(s: &Subject) -> Result<()> {
    let (tasks, steps) = (6, 10);
    let key = s.key("counter");
    s.put("counter", "0").await?;
    let tasks_of = (0..tasks).map(|_| {
        let (store, key) = (Arc::clone(s.store()), key.clone());
        async move {
            let mut seen = store.get(&key).await?.expect("it was put");
            for _ in 0..steps {
                loop {
                    let next = (number(&seen) + 1).to_string();
                    let expected = Condition::Modified(seen.modified);
                    let reply = store.compare_and_swap(&key, expected, next).await?;
                    if reply.written {
                        seen = store.get(&key).await?.expect("nobody deletes it");
                        break;
                    }
                    seen = reply.prev.expect("a lost race tells what stands there");
                }
            }
            Ok(())
        }
    });
    together(s, tasks_of).await?;
    let counter = s.entry("counter").await?;
    assert_eq!(number(&counter), tasks * steps);
    assert_eq!(counter.version, tasks * steps + 1, "a put for each step");
    Ok(())
}

/// Of many who move units between two keys by transactions, none is lost or made, and whoever
/// looks meanwhile sees the sum unchanged.
pub async fn transactions_do_not_see_each_other_by_halves(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("a", "100").await?;
    s.put("b", "100").await?;
    let movers = (0..4).map(|mover| {
        let (store, a, b) = (Arc::clone(s.store()), s.key("a"), s.key("b"));
        async move {
            let mut moved = 0;
            while moved < 5 {
                let from = store.get(&a).await?.expect("it was put");
                let to = store.get(&b).await?.expect("it was put");
                let step = 1 + mover % 2;
                let txn = Txn::new()
                    .when(Compare::modified(&a, from.modified))
                    .when(Compare::modified(&b, to.modified))
                    .then(Op::put(&a, (number(&from) - step).to_string()))
                    .then(Op::put(&b, (number(&to) + step).to_string()));
                if store.commit(txn).await?.succeeded {
                    moved += 1;
                }
            }
            Ok(())
        }
    });
    let done = Arc::new(AtomicBool::new(false));
    let look = async {
        let mut looks = 0;
        while looks == 0 || !done.load(Ordering::Acquire) {
            let listed = s.list(&s.all(), ListOptions::default()).await?;
            assert_eq!(listed.iter().map(number).sum::<u64>(), 200, "{listed:?}");
            looks += 1;
            tokio::task::yield_now().await;
        }
        Result::Ok(())
    };
    let moving = async {
        let moved = together(s, movers).await;
        done.store(true, Ordering::Release);
        moved
    };
    let (moved, looked) = futures::join!(moving, look);
    moved?;
    looked?;
    assert_eq!(number(&s.entry("a").await?), 100 - 2 * 5 - 2 * 10);
    Ok(())
}

/// A list in small pages shows one revision, while writers overwrite all of it in transactions.
pub async fn a_list_shows_no_transaction_by_halves(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let keys: Vec<_> = (0..10).map(|i| s.key(i.to_string())).collect();
    let write = |keys: &[_], value: &str| {
        let put = |txn: Txn, key| txn.then(Op::put(key, Bytes::copy_from_slice(value.as_bytes())));
        keys.iter().fold(Txn::new(), put)
    };
    s.store().commit(write(&keys, "start")).await?;
    let done = Arc::new(AtomicBool::new(false));
    let writers = (0..3).map(|writer| {
        let (store, keys) = (Arc::clone(s.store()), keys.clone());
        async move {
            for i in 0..15 {
                store.commit(write(&keys, &format!("{writer}/{i}"))).await?;
            }
            Ok(())
        }
    });
    let writing = async {
        let written = together(s, writers).await;
        done.store(true, Ordering::Release);
        written
    };
    let look = async {
        let mut options = ListOptions::default().with_page(3);
        let mut looks = 0;
        while looks == 0 || !done.load(Ordering::Acquire) {
            let listed = s.list(&s.all(), options).await?;
            assert_eq!(listed.len(), 10);
            let first = &listed[0];
            let alike =
                |entry: &Entry| entry.value == first.value && entry.modified == first.modified;
            assert!(listed.iter().all(alike), "{listed:?}");
            options = options.reverse();
            looks += 1;
            tokio::task::yield_now().await;
        }
        Result::Ok(())
    };
    let (written, looked) = futures::join!(writing, look);
    written?;
    looked
}

/// Many who put different keys at once all get what they asked for, each at a revision of its own.
pub async fn every_put_has_a_revision_of_its_own(s: &Subject) -> Result<()> {
    let tasks = (0..8).map(|task| {
        let (store, key) = (Arc::clone(s.store()), s.key(format!("key {task}")));
        async move {
            let mut revisions = Vec::new();
            for i in 0..10_u32 {
                let revision = store.put(&key, i.to_string()).await?;
                let entry = store.get(&key).await?.expect("it was just put");
                assert_eq!(entry.modified, revision, "one reads one's own write");
                revisions.push(revision);
            }
            assert!(revisions.is_sorted());
            Ok(revisions)
        }
    });
    let revisions: Vec<_> = together(s, tasks).await?.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = revisions.iter().copied().collect();
    assert_eq!(distinct.len(), revisions.len());
    Ok(())
}

/// Of many who delete one key at once, exactly one is told that it existed.
pub async fn a_key_is_deleted_once(s: &Subject) -> Result<()> {
    for round in 0..5 {
        s.put("key", round.to_string()).await?;
        let tasks = (0..6).map(|_| {
            let (store, key) = (Arc::clone(s.store()), s.key("key"));
            async move { store.delete(key).await }
        });
        let existed = together(s, tasks).await?;
        assert_eq!(existed.iter().filter(|existed| **existed).count(), 1);
    }
    Ok(())
}
