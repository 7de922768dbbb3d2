//! Rounds of resync as a plugin.

use std::sync::Arc;

use keyval_config::Section;
use tokio::sync::watch;

use super::driver::ResyncDriver;
use super::handle::{Resync, pair};
use super::report::{ParticipantState, ResyncStatus};
use super::settings::ResyncSettings;
use crate::context::Context;
use crate::kv::KvHandle;
use crate::plugin::{Plugin, PluginResult};
use crate::status::Reporter;

/// Rounds of resync for the plugins that use one store, as a plugin; its handle is a [`Resync`].
///
/// Add it behind the plugin of the store, and before those that take part: they register in their
/// constructor or `init`, and [leave](Resync::leave) at their close. Rounds begin once every plugin is up and the store is connected. The
/// settings are in the file of the plugin's name ([`ResyncSettings`]); whether there is a round
/// after each outage, those of the store say (`resync-after-reconnect`).
///
/// It is [starting](Reporter::starting) until the first round is done, then degraded for as long as a
/// participant is not in sync. If the store [is disabled](KvHandle::is_disabled), so is
/// this: nobody is visited.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, KeyRange, StoreExt, Update};
/// use plugin_runtime::{ConfigDir, Host, KvPlugin, MemoryBackend, ResyncPlugin};
///
/// # tokio_test::block_on(async {
/// let mut host = Host::new(ConfigDir::new("config"));
/// let store = host.add(KvPlugin::<MemoryBackend>::named("store"));
/// let resync = host.add(ResyncPlugin::new("resync", &store));
/// // In a plugin of one's own:
/// let interfaces = store.prefixed("interfaces/");
/// let updates = move || interfaces.follow(KeyRange::all());
/// resync.register("interfaces", updates, async |update: Update| {
///     println!("{update:?}");
///     Ok(())
/// })?;
/// host.run(async move {
///     let mut status = resync.status();
///     let status = status.wait_for(|status| status.is_in_sync()).await;
///     println!("{}", status.expect("it is up").rounds[0]);
/// })
/// .await?;
/// # Ok::<_, keyval::BoxError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct ResyncPlugin {
    name: Arc<str>,
    store: KvHandle,
    resync: Resync,
    /// Until it runs.
    driver: Option<ResyncDriver>,
}

impl ResyncPlugin {
    /// Rounds of resync with this store.
    pub fn new(name: impl Into<Arc<str>>, store: &KvHandle) -> Self {
        let (resync, driver) = pair(ResyncSettings::default());
        Self {
            name: name.into(),
            store: store.clone(),
            resync,
            driver: Some(driver),
        }
    }
}

impl Plugin for ResyncPlugin {
    type Handle = Resync;

    fn name(&self) -> &str {
        &self.name
    }

    fn handle(&self) -> Resync {
        self.resync.clone()
    }

    fn sections(&self) -> Vec<Section> {
        vec![Section::of::<ResyncSettings>(Arc::clone(&self.name))]
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        self.resync
            .configure(cx.config().load_valid::<ResyncSettings>(&self.name)?.value)?;
        if self.store.is_disabled() {
            cx.status().disabled("the store is disabled");
        } else {
            cx.status().starting("no round of resync is done yet");
        }
        Ok(())
    }

    async fn after_init(&mut self, cx: &mut Context) -> PluginResult {
        // There is one `after_init`.
        let Some(driver) = self.driver.take() else {
            return Ok(());
        };
        if self.store.is_disabled() {
            // There are no rounds, and whoever waits for one is told.
            return Ok(());
        }
        let connection = self.store.connection();
        let after_reconnect = self.store.resyncs_after_reconnect();
        cx.spawn("rounds", async move |stop| {
            let rounds = driver.run(connection, after_reconnect);
            stop.run_until_cancelled(rounds).await;
            Ok(())
        });
        let (reporter, status) = (cx.status().clone(), self.resync.status());
        cx.spawn("status", async move |stop| {
            stop.run_until_cancelled(report(reporter, status)).await;
            Ok(())
        });
        Ok(())
    }
}

async fn report(reporter: Reporter, mut status: watch::Receiver<ResyncStatus>) {
    loop {
        tell(&reporter, &status.borrow_and_update());
        if status.changed().await.is_err() {
            return;
        }
    }
}

fn tell(reporter: &Reporter, status: &ResyncStatus) {
    let Some(last) = status.rounds.back() else {
        return;
    };
    let behind: Vec<String> = status
        .participants
        .iter()
        .filter_map(|participant| match &participant.state {
            ParticipantState::InSync => None,
            ParticipantState::Waiting => Some(format!("{} waits", participant.name)),
            ParticipantState::Failed { cause } => Some(format!("{} {cause}", participant.name)),
        })
        .collect();
    if behind.is_empty() {
        let (count, number) = (status.participants.len(), last.number);
        reporter.ok_with(format!("{count} in sync since round {number}"));
    } else {
        reporter.degraded(behind.join("; "));
    }
}
