//! The plugin that plays a short scene on the agent's interfaces, and ends the agent.

use std::time::Duration;

use keyval::{Broker, Leases, Op, PutOptions, Revision, Txn};
use plugin_runtime::{BoxError, Context, Plugin, PluginResult, StatusHandle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::interface::Interface;
use crate::interfaces::{InterfacesHandle, Seen};
use crate::screen;

/// The keys of the scene; no others are touched.
const KEYS: [&str; 4] = ["eth0", "eth1", "eth2", "tap0"];
/// How long tap0 is to live; the store may raise it.
const TTL: Duration = Duration::from_secs(1);
/// How long to wait for anything to be seen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays the scene.
pub(crate) struct Demo {
    interfaces: InterfacesHandle,
    status: StatusHandle,
    ended: Option<oneshot::Sender<()>>,
}

impl Demo {
    pub(crate) fn new(
        interfaces: InterfacesHandle,
        status: StatusHandle,
        ended: oneshot::Sender<()>,
    ) -> Self {
        Self {
            interfaces,
            status,
            ended: Some(ended),
        }
    }
}

impl Plugin for Demo {
    type Handle = ();

    fn name(&self) -> &str {
        "demo"
    }

    fn handle(&self) {}

    /// Sets the stage, before anybody follows.
    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        screen::line("\n  eth0 is there before anybody follows");
        clear(&self.interfaces).await?;
        let eth0 = Interface::up("10.0.0.1/24", 1500);
        self.interfaces.store.put("eth0", &eth0).await?;
        Ok(())
    }

    async fn after_init(&mut self, cx: &mut Context) -> PluginResult {
        let (own, status) = (cx.clone(), self.status.clone());
        let (interfaces, ended) = (self.interfaces.clone(), self.ended.take());
        cx.spawn("scene", async move |stop| {
            match stop.run_until_cancelled(play(interfaces)).await {
                None => return Ok(()),
                Some(Err(error)) => own.fatal(error),
                Some(Ok(())) => {
                    own.status().ok_with("played to the end");
                    screen::line(format_args!("\n{}", status.current()));
                }
            }
            if let Some(ended) = ended {
                // If nobody waits for it any more, the agent is ending already.
                let _ = ended.send(());
            }
            Ok(())
        });
        Ok(())
    }
}

/// Plays the scene, and waits after each step until it was seen.
async fn play(mut interfaces: InterfacesHandle) -> Result<(), BoxError> {
    let store = interfaces.store.clone();
    seen(&mut interfaces, "the resync", |seen| seen.has("eth0")).await?;

    screen::line("  insert eth1");
    let revision = store
        .put("eth1", &Interface::up("10.0.1.1/24", 1500))
        .await?;
    reached(&mut interfaces, revision).await?;

    screen::line("  update eth0");
    let revision = store
        .put("eth0", &Interface::up("10.0.0.1/24", 9000))
        .await?;
    reached(&mut interfaces, revision).await?;

    screen::line("  replace eth1 by eth2, in one transaction");
    let txn = Txn::new()
        .then(Op::delete("eth1"))
        .then(store.put_op("eth2", &Interface::up("10.0.2.1/24", 1500))?);
    let reply = store.store().commit(txn).await?;
    reached(&mut interfaces, reply.revision).await?;

    let lease = store.store().grant(TTL).await?;
    screen::line(format_args!(
        "  insert tap0 for {TTL:?}; the store grants {:?}",
        lease.ttl
    ));
    let options = PutOptions::default().with_lease(lease.id);
    let tap0 = Interface::up("10.0.9.1/30", 1400);
    let reply = store.put_opts("tap0", &tap0, options).await?;
    reached(&mut interfaces, reply.revision).await?;
    seen(&mut interfaces, "the end of tap0", |seen| !seen.has("tap0")).await?;

    screen::line("  delete what is left");
    let revision = clear(&interfaces).await?;
    reached(&mut interfaces, revision).await
}

async fn reached(interfaces: &mut InterfacesHandle, revision: Revision) -> Result<(), BoxError> {
    seen(interfaces, "the change", |seen| seen.revision >= revision).await
}

async fn seen(
    interfaces: &mut InterfacesHandle,
    what: &str,
    enough: impl FnMut(&Seen) -> bool,
) -> Result<(), BoxError> {
    timeout(PATIENCE, interfaces.seen(enough))
        .await
        .map_err(|_| format!("{what} was not seen within {PATIENCE:?}").into())
}

/// Deletes the keys of the scene at one revision; an earlier scene may have left some.
async fn clear(interfaces: &InterfacesHandle) -> keyval::Result<Revision> {
    let txn = KEYS
        .into_iter()
        .fold(Txn::new(), |txn, key| txn.then(Op::delete(key)));
    Ok(interfaces.store.store().commit(txn).await?.revision)
}
