//! Random histories of an in-memory store: calls, watches, followers, and what all of them saw.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // A module of several test programs.

use std::time::Duration;

use futures::StreamExt;
use keyval::testing::history::{Base, Followed, History, Recorded, Recorder, Traffic, read_truth};
use keyval::testing::{Fault, Faulty};
use keyval::{
    BrokerExt, ChangeStream, Changes, Follow, FollowOptions, KeyRange, Maintenance, Memory,
    Revision, WatchOptions, Watcher, follow,
};

pub type Client = Traffic<Recorded<Faulty<Memory>>>;

/// A store under record, with watches and followers at work.
pub struct Scene {
    pub store: Memory,
    pub recorder: Recorder,
    base: Base,
    truth: Vec<Changes>,
    losses: usize,
    faulty: Faulty<Memory>,
    follows: Vec<(Follow<Faulty<Memory>>, Followed)>,
    watches: Vec<ChangeStream>,
}

impl Scene {
    pub fn new() -> Self {
        let store = Memory::new();
        let faulty = Faulty::new(store.clone());
        let follows = [
            ("everything", KeyRange::all()),
            ("a", KeyRange::prefix("a/")),
        ]
        .into_iter()
        .map(|(name, range)| {
            let updates = follow(faulty.clone(), range.clone(), FollowOptions::default());
            (updates, Followed::new(name, range))
        });
        Self {
            recorder: Recorder::new(),
            base: Base::default(),
            truth: Vec::new(),
            losses: 0,
            follows: follows.collect(),
            faulty,
            watches: Vec::new(),
            store,
        }
    }

    /// Another client, with faults of its own.
    pub fn client(&self, name: u64, seed: u64) -> Client {
        let faulty = Faulty::new(self.store.clone());
        Traffic::new(self.recorder.client(faulty), name, seed)
    }

    /// Watches a range as one more client, from a revision on or from now.
    pub async fn watch(&mut self, range: KeyRange, from: Option<Revision>) {
        let client = self.recorder.client(self.store.clone());
        let mut options = WatchOptions::default().with_previous();
        options.from = from;
        self.watches
            .push(client.watch_opts(&range, options).await.unwrap());
    }

    /// Reads what has happened since, and lets everybody catch up with it.
    pub async fn catch_up(&mut self) -> Revision {
        let present = self.store.status().await.unwrap().revision.unwrap();
        let known = self.truth.last().map_or(self.base.revision, |c| c.revision);
        let more = read_truth(&self.store, known, present).await.unwrap();
        self.truth.extend(more);
        for (updates, followed) in &mut self.follows {
            while followed.reached().is_none_or(|reached| reached < present) {
                followed.apply(updates.next().await.unwrap().unwrap());
            }
        }
        self.read_watches().await;
        present
    }

    /// Reads all that the watches have to deliver.
    async fn read_watches(&mut self) {
        for watch in &mut self.watches {
            let soon = Duration::from_millis(1);
            while let Ok(item) = tokio::time::timeout(soon, watch.next()).await {
                item.unwrap().unwrap();
            }
        }
    }

    /// Cuts the followers off, lets something happen that is compacted, and lets them come back.
    pub async fn lose_history(&mut self, busy: &mut [Client]) {
        let recorded = self.recorder.client(self.store.clone());
        recorded.put("a/doomed", "1").await.unwrap();
        self.catch_up().await;
        self.faulty.control().cut();
        for client in busy.iter_mut() {
            for _ in 0..6 {
                drop(client.step().await);
            }
        }
        recorded.delete("a/doomed").await.unwrap();
        let known = self.truth.last().map_or(self.base.revision, |c| c.revision);
        let present = self.store.status().await.unwrap().revision.unwrap();
        let more = read_truth(&self.store, known, present).await.unwrap();
        self.truth.extend(more);
        self.read_watches().await;
        self.store.compact(present).await.unwrap();
        self.losses += 1;
        self.faulty.control().heal();
        self.catch_up().await;
    }

    /// The history so far; the next one goes on from there.
    pub async fn take(&mut self) -> History {
        let present = self.catch_up().await;
        let records = self.recorder.take();
        let losses = self.losses..=self.losses;
        self.losses = 0;
        let mut watches = records.watches;
        for watch in &mut watches {
            watch.until = Some(present);
        }
        History {
            base: self.base.clone(),
            truth: std::mem::take(&mut self.truth),
            calls: records.calls,
            watches,
            follows: self
                .follows
                .iter_mut()
                .map(|(_, followed)| followed.take(losses.clone(), Some(present)))
                .collect(),
        }
    }

    /// Goes on from the end of a history that was checked.
    pub fn go_on_from(&mut self, base: Base) {
        self.base = base;
    }
}

/// A random history with everything in it: losses of requests and answers, leases, a compaction
/// that the followers miss.
pub async fn good(seed: u64) -> History {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut scene = Scene::new();
    let mut clients: Vec<_> = (0..4).map(|name| scene.client(name, seed)).collect();
    scene.watch(KeyRange::all(), None).await;
    for round in 0..60 {
        let client = random.usize(..clients.len());
        if random.u8(..12) == 0 {
            let fault = match random.u8(..3) {
                0 => Fault::refused(),
                1 => Fault::request_lost(),
                _ => Fault::answer_lost(),
            };
            clients[client]
                .store()
                .inner()
                .control()
                .fail_next(1, fault);
        }
        if round == 20 {
            scene.catch_up().await;
            let early = Revision::new(3);
            scene.watch(KeyRange::prefix("a/"), Some(early)).await;
        }
        drop(clients[client].step().await);
    }
    scene.lose_history(&mut clients).await;
    for _ in 0..20 {
        let client = random.usize(..clients.len());
        drop(clients[client].step().await);
    }
    scene.take().await
}
