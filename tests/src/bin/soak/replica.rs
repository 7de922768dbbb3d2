//! A follower with a mirror, at work until it is dropped.

use std::time::Duration;

use futures::StreamExt;
use keyval::testing::history::{FollowRecord, Followed, Recorder};
use keyval::{FollowOptions, KeyRange, Revision, follow};
use keyval_etcd::EtcdStore;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// A watch that brings nothing for this long is replaced.
const SILENCE: Duration = Duration::from_secs(6);
/// How long to wait for an answer.
const ANSWER: Duration = Duration::from_secs(4);

/// A request for what was recorded.
struct Take {
    losses: usize,
    until: Revision,
    record: oneshot::Sender<FollowRecord>,
}

/// Follows a range of the store and records what it is told.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) name: String,
    /// How often the history was lost to it since it was last asked.
    pub(crate) losses: usize,
    reached: watch::Receiver<Option<Revision>>,
    orders: mpsc::Sender<Take>,
    task: JoinHandle<()>,
}

impl Replica {
    pub(crate) fn start(
        name: &str,
        store: &EtcdStore,
        recorder: &Recorder,
        range: KeyRange,
    ) -> Self {
        let (told, reached) = watch::channel(None);
        let (orders, asked) = mpsc::channel(1);
        let options = FollowOptions::default()
            .with_name("soak")
            .with_silence(SILENCE)
            .with_operation_timeout(ANSWER);
        let updates = follow(recorder.client(store.clone()), range.clone(), options);
        let followed = Followed::new(name, range);
        Self {
            name: name.to_owned(),
            losses: 0,
            reached,
            orders,
            task: tokio::spawn(run(updates, followed, told, asked)),
        }
    }

    /// The last revision that was delivered.
    pub(crate) fn reached(&self) -> Revision {
        self.reached.borrow().unwrap_or_default()
    }

    /// Waits until everything up to a revision has been delivered.
    pub(crate) async fn wait_for(&self, revision: Revision) {
        let mut reached = self.reached.clone();
        let there = |reached: &Option<Revision>| *reached >= Some(revision);
        // An end is told by the record.
        drop(reached.wait_for(there).await);
    }

    /// What was recorded since the last time.
    pub(crate) async fn take(&mut self, until: Revision) -> FollowRecord {
        let (record, taken) = oneshot::channel();
        let order = Take {
            losses: std::mem::take(&mut self.losses),
            until,
            record,
        };
        self.orders.send(order).await.expect("the task is there");
        taken.await.expect("the task answers")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    updates: impl futures::Stream<Item = keyval::Result<keyval::Update>>,
    mut followed: Followed,
    told: watch::Sender<Option<Revision>>,
    mut asked: mpsc::Receiver<Take>,
) {
    let mut updates = std::pin::pin!(updates.fuse());
    let mut over = false;
    loop {
        tokio::select! {
            item = updates.next(), if !over => match item {
                Some(Ok(update)) => {
                    followed.apply(update);
                    told.send_replace(followed.reached());
                }
                // What somebody has to repair; it goes on.
                Some(Err(error)) => println!("  a follower was refused: {error}"),
                None => {
                    followed.ended("the follower ended");
                    over = true;
                }
            },
            Some(order) = asked.recv() => {
                let losses = order.losses..=order.losses;
                drop(order.record.send(followed.take(losses, Some(order.until))));
            }
        }
    }
}
