//! An agent with rounds of resync, and participants that write down what they are told.

// Each test program uses some of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyval::{BoxError, Bytes, Change, KeyRange, ResyncCause, StoreExt, Update};
use plugin_runtime::{KvHandle, Resync, ResyncPlugin, ResyncStatus, Round};
use tokio::sync::watch;

use crate::kv_support::{Lab, Running, soon};

/// An agent with a store and rounds of resync.
pub(crate) struct Agent {
    pub(crate) lab: Lab,
    pub(crate) store: KvHandle,
    pub(crate) resync: Resync,
    pub(crate) running: Running,
}

impl Agent {
    /// Starts one whose participants are registered before it runs.
    pub(crate) fn start(keys: &str, register: impl FnOnce(&Resync, &KvHandle)) -> Self {
        Self::start_in(Lab::new(keys), register)
    }

    pub(crate) fn start_in(lab: Lab, register: impl FnOnce(&Resync, &KvHandle)) -> Self {
        let mut host = lab.host();
        let store = host.add(lab.plugin());
        let resync = host.add(ResyncPlugin::new("resync", &store));
        register(&resync, &store);
        Self {
            lab,
            store,
            resync,
            running: Running::start(host),
        }
    }

    pub(crate) async fn until(&self, wanted: impl Fn(&ResyncStatus) -> bool) -> ResyncStatus {
        let mut status = self.resync.status();
        let there = status.wait_for(wanted);
        soon("the status", there).await.unwrap().clone()
    }

    /// Waits for the round of this number.
    pub(crate) async fn round(&self, number: u64) -> Arc<Round> {
        let there = |status: &ResyncStatus| find(status, number).is_some();
        find(&self.until(there).await, number).unwrap()
    }

    pub(crate) fn rounds(&self) -> usize {
        self.resync.status().borrow().rounds.len()
    }
}

pub(crate) fn find(status: &ResyncStatus, number: u64) -> Option<Arc<Round>> {
    let mut rounds = status.rounds.iter();
    rounds.find(|round| round.number == number).cloned()
}

pub(crate) fn names(round: &Round) -> Vec<&str> {
    let visits = round.visits.iter();
    visits.map(|visit| &*visit.participant).collect()
}

/// What a participant does with the next update.
pub(crate) type Manner = Arc<dyn Fn(&Update) -> Doing + Send + Sync>;

/// What it does.
pub(crate) enum Doing {
    Takes,
    Fails(&'static str),
    Panics,
    Hangs,
    TakesTime(Duration),
}

/// One who writes down what it is told, and what it holds.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) told: watch::Sender<Vec<Update>>,
    pub(crate) manner: Arc<Mutex<Manner>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            told: watch::Sender::default(),
            manner: Arc::new(Mutex::new(Arc::new(|_| Doing::Takes))),
        }
    }

    pub(crate) fn behaves(&self, manner: impl Fn(&Update) -> Doing + Send + Sync + 'static) {
        *self.manner.lock().unwrap() = Arc::new(manner);
    }

    pub(crate) fn register(&self, resync: &Resync, store: &KvHandle, name: &'static str) {
        let prefixed = store.prefixed(format!("{name}/"));
        let updates = move || prefixed.follow(KeyRange::all());
        let me = self.clone();
        let reconcile = move |update: Update| {
            let me = me.clone();
            async move { me.take(update).await }
        };
        resync.register(name, updates, reconcile).unwrap();
    }

    pub(crate) async fn take(&self, update: Update) -> Result<(), BoxError> {
        let manner = Arc::clone(&self.manner.lock().unwrap());
        match manner(&update) {
            Doing::Takes => {}
            Doing::TakesTime(time) => tokio::time::sleep(time).await,
            Doing::Fails(why) => return Err(why.into()),
            Doing::Panics => panic!("no manners"),
            Doing::Hangs => std::future::pending().await,
        }
        self.told.send_modify(|told| told.push(update));
        Ok(())
    }

    pub(crate) fn told(&self) -> Vec<Update> {
        self.told.borrow().clone()
    }

    /// The causes of the snapshots it got.
    pub(crate) fn causes(&self) -> Vec<ResyncCause> {
        let told = self.told();
        let causes = told.iter().filter_map(|update| match update {
            Update::Resync(snapshot) => Some(snapshot.cause),
            Update::Changes(_) => None,
        });
        causes.collect()
    }

    pub(crate) async fn until(&self, wanted: impl Fn(&[Update]) -> bool) {
        let mut told = self.told.subscribe();
        soon("the update", told.wait_for(|told| wanted(told)))
            .await
            .unwrap();
    }

    /// What it holds after all that it was told.
    pub(crate) fn picture(&self) -> Vec<(String, Bytes)> {
        let mut picture = BTreeMap::new();
        for update in self.told() {
            match update {
                Update::Resync(snapshot) => {
                    let entries = snapshot.entries.into_iter();
                    picture = entries
                        .map(|entry| (entry.key.to_string(), entry.value))
                        .collect();
                }
                Update::Changes(changes) => {
                    for change in changes.changes {
                        match change {
                            Change::Put { entry, .. } => {
                                picture.insert(entry.key.to_string(), entry.value);
                            }
                            Change::Delete { key, .. } => {
                                picture.remove(&key.to_string());
                            }
                        }
                    }
                }
            }
        }
        picture.into_iter().collect()
    }
}

pub(crate) fn recorders<const N: usize>() -> [Recorder; N] {
    std::array::from_fn(|_| Recorder::new())
}

/// The manner of one who fails at the first snapshots.
pub(crate) fn at_first(times: usize, doing: fn() -> Doing) -> impl Fn(&Update) -> Doing {
    let left = Mutex::new(times);
    move |_| {
        let mut left = left.lock().unwrap();
        if *left == 0 {
            return Doing::Takes;
        }
        *left -= 1;
        doing()
    }
}
