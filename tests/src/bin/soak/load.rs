//! Clients that read and write all the time, and can be asked to hold still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyval::testing::history::{Recorder, Traffic};
use keyval_etcd::EtcdStore;
use tokio::sync::{RwLock, RwLockWriteGuard};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

const CLIENTS: u64 = 12;
/// Between two steps of a client: together they do about 200 in a second.
const EVERY: Duration = Duration::from_millis(60);
/// The leases of the clients, which nobody renews, end within a round.
const TTL: Duration = Duration::from_secs(15);

/// Clients at work until this is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    gate: Arc<RwLock<()>>,
    done: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    _clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients, each on one of these stores.
    pub(crate) fn start(stores: &[EtcdStore], recorder: &Recorder, seed: u64) -> Self {
        let gate = Arc::new(RwLock::new(()));
        let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for (number, store) in (0..CLIENTS).zip(stores.iter().cycle()) {
            let store = recorder.client(store.clone());
            let mut traffic = Traffic::new(store, number, seed).with_ttl(TTL);
            let (gate, done, failed) = (gate.clone(), done.clone(), failed.clone());
            clients.spawn(async move {
                let mut pace = tokio::time::interval(EVERY);
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    pace.tick().await;
                    let _open = gate.read().await;
                    let count = match traffic.step().await {
                        Ok(()) => &done,
                        Err(_) => &failed,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self {
            gate,
            done,
            failed,
            _clients: clients,
        }
    }

    /// Waits until no client does anything; they go on when the guard is dropped.
    pub(crate) async fn hold_still(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// How many steps have succeeded and failed so far.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.done), count(&self.failed))
    }
}
