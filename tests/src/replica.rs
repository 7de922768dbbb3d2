//! A follower with its local copy, which writes down all that it is told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use keyval::{
    BrokerExt, Change, Changes, FollowOptions, FollowState, KeyRange, Mirror, MirrorSnapshot,
    MirrorWriter, ResyncCause, Revision, Store, Update, WatchOptions, Watcher, follow, mirror,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take that should happen soon, on a machine that is busy.
pub const SOON: Duration = Duration::from_secs(30);

/// A follower that is always read, and what it was told.
///
/// It checks that revisions never go back between two resyncs, and that none is told twice.
#[derive(Debug)]
pub struct Replica {
    local: Mirror<Bytes>,
    state: watch::Receiver<FollowState>,
    told: Arc<Mutex<Told>>,
    reading: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// All that a follower was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Each revision that changed something, without those that resyncs stand for.
    pub changes: Vec<Changes>,
    /// Why each resync came, the first one included.
    pub resyncs: Vec<ResyncCause>,
    /// The changes that the resyncs after the first one implied.
    pub implied: Vec<Change<Arc<Bytes>>>,
    /// Errors, and what must never happen.
    pub wrong: Vec<String>,
}

impl Replica {
    /// Follows a range, and waits for its first snapshot.
    ///
    /// # Panics
    /// If none comes in time.
    pub async fn start<S: Store>(store: S, range: KeyRange, options: FollowOptions) -> Self {
        let updates = follow(store, range, options);
        let (local, mut writer) = mirror();
        let state = updates.state();
        let told = Arc::new(Mutex::new(Told::default()));
        let notes = told.clone();
        let (reading, mut reads) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut updates = updates;
            while reads.wait_for(|reads| *reads).await.is_ok() {
                let update = tokio::select! {
                    biased;
                    _ = reads.changed() => continue,
                    update = updates.next() => update,
                };
                match update {
                    Some(Ok(update)) => notes.lock().note(&mut writer, update),
                    Some(Err(error)) => notes.lock().wrong.push(error.to_string()),
                    None => return,
                }
            }
        });
        let replica = Self {
            local,
            state,
            told,
            reading,
            task,
        };
        soon("the first snapshot", replica.local.ready())
            .await
            .expect("the follower goes on");
        replica
    }

    /// The copy.
    #[must_use]
    pub fn local(&self) -> &Mirror<Bytes> {
        &self.local
    }

    /// How the follower stands with its store.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<FollowState> {
        self.state.clone()
    }

    /// What it was told until now.
    ///
    /// # Panics
    /// If some of it must never happen.
    #[must_use]
    pub fn told(&self) -> Told {
        let told = self.told.lock().clone();
        assert!(told.wrong.is_empty(), "{:#?}", told.wrong);
        told
    }

    /// Stops reading: a follower does nothing unless it is read.
    pub fn stop(&self) {
        self.reading.send_replace(false);
    }

    /// Goes on reading.
    pub fn go_on(&self) {
        self.reading.send_replace(true);
    }

    /// Waits until the follower has ended, and returns the errors with which it did.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn ended(&self) -> Vec<String> {
        let mut local = self.local.clone();
        let end = async { while local.changed().await.is_ok() {} };
        soon("the end of the follower", end).await;
        self.told.lock().wrong.clone()
    }

    /// Waits until the follower stands so with its store.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn stands(&self, wanted: impl FnMut(&FollowState) -> bool) {
        let mut state = self.state();
        soon("the state", state.wait_for(wanted))
            .await
            .expect("the follower goes on");
    }

    /// Waits until the copy is at least at this revision of the history that it is in.
    ///
    /// # Panics
    /// If it is not in time.
    pub async fn reaches(&self, revision: Revision) {
        self.until(|copy| copy.revision() >= revision).await;
    }

    /// Waits until the copy is as wanted.
    ///
    /// # Panics
    /// If it is not in time.
    pub async fn until(
        &self,
        wanted: impl Fn(&MirrorSnapshot<Bytes>) -> bool,
    ) -> Arc<MirrorSnapshot<Bytes>> {
        let mut local = self.local.clone();
        let waiting = async {
            loop {
                let snapshot = local.snapshot();
                if wanted(&snapshot) {
                    return snapshot;
                }
                local.changed().await.expect("the follower goes on");
            }
        };
        soon("the copy", waiting).await
    }

    /// Waits until the copy holds exactly what this store does, which nobody changes meanwhile.
    ///
    /// # Panics
    /// If it does not in time.
    pub async fn agrees_with(&self, store: &impl Store, range: KeyRange) {
        let listing = store.list(range).await.expect("the store is well");
        let entries = listing.collect().await.expect("the store is well");
        let holds = |snapshot: &MirrorSnapshot<Bytes>| {
            snapshot.len() == entries.len()
                && snapshot.iter().zip(&entries).all(|(mine, its)| {
                    let value = (*mine.value).clone();
                    mine.clone().map(|_| value) == *its
                })
        };
        self.until(holds).await;
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Told {
    fn note(&mut self, writer: &mut MirrorWriter<Bytes>, update: Update) {
        let at = writer.mirror().revision();
        match &update {
            Update::Changes(changes) if changes.is_progress() => {
                if changes.revision < at {
                    self.wrong
                        .push(format!("progress to {} at {at}", changes.revision));
                }
            }
            Update::Changes(changes) => {
                if changes.revision <= at {
                    self.wrong
                        .push(format!("changes of {} at {at}", changes.revision));
                }
                self.changes.push(changes.clone());
            }
            Update::Resync(snapshot) => self.resyncs.push(snapshot.cause),
        }
        let resync = matches!(update, Update::Resync(_));
        let applied = writer.apply(update);
        if resync && self.resyncs.len() > 1 {
            self.implied.extend(applied.changes);
        }
    }

    /// How many resyncs came after the first one.
    #[must_use]
    pub fn losses(&self) -> usize {
        self.resyncs.len().saturating_sub(1)
    }

    /// The keys that the resyncs implied to be deleted, in order.
    #[must_use]
    pub fn implied_deletes(&self) -> Vec<String> {
        let deleted = self
            .implied
            .iter()
            .filter(|change| change.entry().is_none());
        deleted.map(|change| change.key().to_string()).collect()
    }
}

/// The true history of a range from one revision to another, as a watch of a store without trouble
/// tells it.
///
/// # Panics
/// If the store has trouble.
pub async fn history<S: Watcher>(
    store: &S,
    range: &KeyRange,
    from: Revision,
    through: Revision,
) -> Vec<Changes> {
    let options = WatchOptions::default()
        .starting_at(from)
        .with_progress(Duration::from_millis(200));
    let mut watch = store
        .watch_opts(range, options)
        .await
        .expect("the store is well");
    let reading = async {
        let mut history = Vec::new();
        while let Some(changes) = watch.next().await {
            let changes = changes.expect("the store is well");
            let at = changes.revision;
            if !changes.is_progress() && at <= through {
                history.push(changes);
            }
            if at >= through {
                return history;
            }
        }
        panic!("the watch ended");
    };
    soon("the history", reading).await
}

/// Waits for what should happen soon.
///
/// # Panics
/// If it does not.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(SOON, work).await;
    done.unwrap_or_else(|_| panic!("{what} does not come within {SOON:?}"))
}
