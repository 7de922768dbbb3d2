//! The plugin that owns the typed handle on the agent's interfaces, and follows them.

use std::collections::BTreeSet;
use std::fmt;

use futures::StreamExt;
use keyval::{
    Change, Entry, Error, FollowOptions, Key, KeyRange, LeaseId, Leases, Prefixed, Revision, Update,
};
use keyval_proto::{Decoded, Typed};
use plugin_runtime::{Context, KvHandle, Plugin, PluginResult};
use tokio::sync::watch;

use crate::interface::Interface;
use crate::screen;

/// Interfaces, typed and within the agent's scope.
pub(crate) type Store = Typed<Interface, Prefixed<KvHandle>>;

/// Keeps the interfaces of this agent, and shows whatever happens to them.
pub(crate) struct Interfaces {
    store: Store,
    seen: watch::Sender<Seen>,
}

/// What others use the plugin by.
#[derive(Clone)]
pub(crate) struct InterfacesHandle {
    pub(crate) store: Store,
    seen: watch::Receiver<Seen>,
}

/// How far the plugin has come, and which keys it knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) revision: Revision,
    keys: BTreeSet<Key>,
}

impl Interfaces {
    pub(crate) fn new(store: Store) -> Self {
        let seen = watch::Sender::default();
        Self { store, seen }
    }
}

impl InterfacesHandle {
    /// Waits until the plugin has seen that much.
    pub(crate) async fn seen(&mut self, enough: impl FnMut(&Seen) -> bool) {
        if self.seen.wait_for(enough).await.is_err() {
            // The plugin is gone, and with it soon whoever waits here.
            std::future::pending::<()>().await;
        }
    }
}

impl Plugin for Interfaces {
    type Handle = InterfacesHandle;

    fn name(&self) -> &str {
        "interfaces"
    }

    fn handle(&self) -> InterfacesHandle {
        InterfacesHandle {
            store: self.store.clone(),
            seen: self.seen.subscribe(),
        }
    }

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        Ok(())
    }

    async fn after_init(&mut self, cx: &mut Context) -> PluginResult {
        let options = FollowOptions::default()
            .with_name("interfaces")
            .with_previous();
        let mut updates = self.store.follow_opts(KeyRange::all(), options);
        let (store, seen, status) = (self.store.clone(), self.seen.clone(), cx.status().clone());
        let mut known = Seen::default();
        let mut link = updates.inner().state();
        cx.spawn("follow", async move |stop| {
            loop {
                let update = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    Ok(()) = link.changed() => {
                        match link.borrow_and_update().outage() {
                            Some(outage) => status.degraded(format!("cut off: {}", outage.cause)),
                            None => status.ok_with(known.to_string()),
                        }
                        continue;
                    }
                    update = updates.next() => update,
                };
                let update = match update {
                    Some(Ok(update)) => update,
                    // The follower goes on, unless it can never succeed: it ends then.
                    Some(Err(error)) => {
                        status.error(error.to_string());
                        continue;
                    }
                    None => return Ok(()),
                };
                show(&store, &update).await;
                // Reported before it is passed on: who has seen it finds the status up to date.
                known.take(&update);
                status.ok_with(known.to_string());
                seen.send_replace(known.clone());
            }
        });
        Ok(())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, revision) = (self.keys.len(), self.revision);
        write!(f, "{count} interfaces at revision {revision}")
    }
}

impl Seen {
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains(key.as_bytes())
    }

    fn take(&mut self, update: &Update<Decoded<Interface>>) {
        self.revision = update.revision();
        match update {
            Update::Resync(snapshot) => {
                self.keys = snapshot
                    .entries
                    .iter()
                    .map(|entry| entry.key.clone())
                    .collect();
            }
            Update::Changes(changes) => {
                for change in &changes.changes {
                    match change.entry() {
                        Some(entry) => self.keys.insert(entry.key.clone()),
                        None => self.keys.remove(change.key()),
                    };
                }
            }
        }
    }
}

/// Shows an update: the revision beside the first line of what it did.
async fn show(store: &Store, update: &Update<Decoded<Interface>>) {
    match update {
        Update::Resync(snapshot) => {
            let count = match snapshot.entries.len() {
                1 => "1 entry".to_owned(),
                count => format!("{count} entries"),
            };
            screen::update(Some(snapshot.revision), "resync", &count);
            for entry in &snapshot.entries {
                screen::update(None, "", &described(entry));
            }
        }
        Update::Changes(changes) => {
            let mut revision = Some(changes.revision);
            for change in &changes.changes {
                let (word, text) = match change {
                    Change::Put { entry, prev } => {
                        let note = note(entry, prev.as_ref());
                        ("put", format!("{}{note}", described(entry)))
                    }
                    Change::Delete { key, prev } => {
                        let lease = prev.as_ref().and_then(|entry| entry.lease);
                        (ending(store, lease).await, key.to_string())
                    }
                };
                screen::update(revision.take(), word, &text);
            }
        }
    }
}

/// The key and the value, or why it is none.
fn described(entry: &Entry<Decoded<Interface>>) -> String {
    let value = match &entry.value {
        Ok(interface) => interface.to_string(),
        Err(error) => format!("cannot be decoded: {}", error.message),
    };
    format!("{:<4}  {value}", entry.key.to_string())
}

/// What a put changed, if it is worth telling.
fn note(entry: &Entry<Decoded<Interface>>, prev: Option<&Entry<Decoded<Interface>>>) -> String {
    let was = prev.and_then(|prev| prev.value.as_ref().ok());
    match (was, &entry.value) {
        (Some(was), Ok(is)) if was.mtu != is.mtu => format!("  mtu was {}", was.mtu),
        _ => String::new(),
    }
}

/// Whether a key that went was deleted, or went with its lease.
async fn ending(store: &Store, lease: Option<LeaseId>) -> &'static str {
    if let Some(lease) = lease
        && let Err(Error::LeaseLost { .. }) = store.store().time_to_live(lease).await
    {
        return "expired";
    }
    "delete"
}
