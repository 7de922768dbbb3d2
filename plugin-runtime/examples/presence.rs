//! A key that lives as long as the plugin that put it, and another plugin that sees it come and go.
//!
//! ```text
//! cargo run -p plugin-runtime --example presence
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use keyval::recipes::Session;
use keyval::{Change, Entry, Key, KeyRange, Prefixed, StoreExt, Update};
use plugin_runtime::{
    Backends, BoxError, ConfigDir, Context, Host, KvHandle, KvPlugin, Plugin, PluginResult,
    run_program,
};
use tokio::sync::watch;

/// How long the key of a worker outlives it if it dies without a word.
const TTL: Duration = Duration::from_secs(10);

/// Knows who is there. Its handle is what the others use it by.
struct Observer {
    store: Prefixed<KvHandle>,
    present: watch::Sender<BTreeSet<Key>>,
}

impl Plugin for Observer {
    type Handle = watch::Receiver<BTreeSet<Key>>;

    fn name(&self) -> &str {
        "observer"
    }

    fn handle(&self) -> Self::Handle {
        self.present.subscribe()
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let mut updates = self.store.follow(KeyRange::all());
        let present = self.present.clone();
        cx.spawn("follow", async move |stop| {
            while let Some(Some(update)) = stop.run_until_cancelled(updates.next()).await {
                match update? {
                    // All there is, also after an outage: who is not in it is gone.
                    Update::Resync(snapshot) => {
                        present.send_modify(|present| resync(present, &snapshot.entries));
                    }
                    Update::Changes(changes) => {
                        for change in changes.changes {
                            present.send_modify(|present| match change {
                                Change::Put { entry, .. } => here(present, &entry),
                                Change::Delete { key, .. } => gone(present, &key),
                            });
                        }
                    }
                }
            }
            Ok(())
        });
        Ok(())
    }
}

fn resync(present: &mut BTreeSet<Key>, entries: &[Entry]) {
    let keys: BTreeSet<Key> = entries.iter().map(|entry| entry.key.clone()).collect();
    for key in &present.clone() - &keys {
        gone(present, &key);
    }
    for entry in entries {
        here(present, entry);
    }
}

fn here(present: &mut BTreeSet<Key>, entry: &Entry) {
    if present.insert(entry.key.clone()) {
        let address = String::from_utf8_lossy(&entry.value);
        println!("{} is here, at {address}", entry.key);
    }
}

fn gone(present: &mut BTreeSet<Key>, key: &Key) {
    if present.remove(key) {
        println!("{key} is gone");
    }
}

/// Says where it is for as long as it lives.
struct Worker {
    store: Prefixed<KvHandle>,
    present: watch::Receiver<BTreeSet<Key>>,
    session: Option<Session>,
}

impl Plugin for Worker {
    type Handle = ();

    fn name(&self) -> &str {
        "worker"
    }

    fn handle(&self) {}

    /// The session renews its lease by itself. If the lease is lost in an outage that lasts longer, the
    /// session gets another and puts the key again. `KvHandle::session` is one that is shared by all
    /// plugins, and ends with the store's.
    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        let session = Session::open(self.store.clone(), TTL).await?;
        session.put("worker", "10.0.0.7").await?;
        self.session = Some(session);
        Ok(())
    }

    /// The observer was added earlier, and so is closed later: it sees this.
    async fn close(&mut self) -> PluginResult {
        if let Some(session) = self.session.take() {
            session.close().await?;
            let gone = |present: &BTreeSet<Key>| !present.contains(&b"worker"[..]);
            self.present.wait_for(gone).await?;
        }
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    run_program(run())?
}

async fn run() -> Result<(), BoxError> {
    let mut host = Host::new(ConfigDir::from_env("config")?);
    let store = host.add(KvPlugin::chosen("store", Backends::new()));
    let store = store.prefixed("present/");
    let present = watch::Sender::default();
    let mut seen = host.add(Observer {
        store: store.clone(),
        present,
    });
    host.add(Worker {
        store,
        present: seen.clone(),
        session: None,
    });
    host.run(async move {
        let here = |present: &BTreeSet<Key>| present.contains(&b"worker"[..]);
        // An error means that the observer is gone: a reason to end as well.
        let _ = seen.wait_for(here).await;
        println!("everybody is here: closing");
    })
    .await?;
    Ok(())
}
