//! Everything that happens to the cluster, as its members tell it past all faults of the network.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keyval::{Changes, KeyRange, Revision, WatchOptions, Watcher};
use keyval_etcd::EtcdStore;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A watch that brings nothing for this long is replaced by one on the next member.
const SILENCE: Duration = Duration::from_secs(4);
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches all keys on one member after the other, and keeps what they tell.
#[derive(Debug)]
pub(crate) struct Truth {
    kept: Arc<Mutex<Vec<Changes>>>,
    reached: watch::Receiver<Revision>,
    task: JoinHandle<()>,
}

impl Truth {
    /// Begins after this revision. Each of the stores is one member, reached directly.
    pub(crate) fn start(members: Vec<EtcdStore>, after: Revision) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (told, reached) = watch::channel(after);
        let task = tokio::spawn(collect(members, kept.clone(), told));
        Self {
            kept,
            reached,
            task,
        }
    }

    /// Waits until a revision is known.
    pub(crate) async fn wait_for(&self, revision: Revision) {
        let mut reached = self.reached.clone();
        let there = reached.wait_for(|reached| *reached >= revision).await;
        there.expect("the members are watched for ever");
    }

    /// Takes out what happened up to a revision.
    pub(crate) fn take(&self, until: Revision) -> Vec<Changes> {
        let mut kept = self.kept.lock();
        let later = kept.partition_point(|changes| changes.revision <= until);
        kept.drain(..later).collect()
    }
}

impl Drop for Truth {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn collect(
    members: Vec<EtcdStore>,
    kept: Arc<Mutex<Vec<Changes>>>,
    told: watch::Sender<Revision>,
) {
    for member in members.iter().cycle() {
        let options = WatchOptions::default()
            .starting_at(told.borrow().next())
            .with_previous()
            .with_progress(Duration::from_secs(1));
        let all = KeyRange::all();
        let opening = member.watch_opts(&all, options);
        let Ok(Ok(mut watch)) = timeout(SILENCE, opening).await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        while let Ok(Some(Ok(changes))) = timeout(SILENCE, watch.next()).await {
            let expected = told.borrow().next();
            if changes.is_progress() || changes.revision < expected {
                continue;
            }
            if changes.revision > expected {
                println!(
                    "  a member tells {} where {expected} is next: asking another",
                    changes.revision
                );
                break;
            }
            kept.lock().push(changes);
            told.send_replace(expected);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
