//! An agent that starts before its store: its handles are good from the first line on.
//!
//! ```text
//! cargo run -p plugin-runtime --example delayed_start
//! ```
//!
//! The store is one in memory behind a door that is closed at first, so that no server is needed.

use std::sync::LazyLock;
use std::time::Duration;

use futures::StreamExt;
use keyval::{
    BrokerExt, Connector, Error, KeyRange, Memory, Outcome, Prefixed, Revision, StoreExt,
};
use keyval_config::{Validate, schemars};
use plugin_runtime::{
    AgentStatus, BoxError, ConfigDir, Context, Host, Hysteresis, KvHandle, KvPlugin, Plugin,
    PluginResult, State, WaitPolicy, run_program,
};
use tokio::sync::watch;

/// Whether the store can be reached.
static DOOR: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

/// Connects to the store behind the door.
struct BehindDoor;

/// This backend has no settings.
#[derive(Clone, Debug, Default, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
struct Nothing {}

impl Validate for Nothing {}

impl Connector for BehindDoor {
    type Config = Nothing;
    type Store = Memory;
    const BACKEND: &'static str = "behind-door";

    async fn connect(_: &Nothing) -> keyval::Result<Memory> {
        match *DOOR.borrow() {
            true => Ok(Memory::new()),
            false => Err(Error::unavailable(
                "the door is closed",
                Outcome::NotApplied,
            )),
        }
    }
}

/// Follows its part of the store, from before there is one.
struct Follower {
    store: Prefixed<KvHandle>,
    seen: watch::Sender<Revision>,
}

impl Plugin for Follower {
    type Handle = watch::Receiver<Revision>;

    fn name(&self) -> &str {
        "follower"
    }

    fn handle(&self) -> Self::Handle {
        self.seen.subscribe()
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        // The watch attaches once the store is connected; nothing is done here for that.
        let mut updates = self.store.follow(KeyRange::all());
        let seen = self.seen.clone();
        cx.spawn("follow", async move |stop| {
            while let Some(Some(update)) = stop.run_until_cancelled(updates.next()).await {
                let revision = update?.revision();
                seen.send_replace(revision);
            }
            Ok(())
        });
        println!("the follower is up");
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    run_program(run())?
}

async fn run() -> Result<(), BoxError> {
    let mut host = Host::new(ConfigDir::from_env("config")?)
        // What happens to the store is shown at once, since nobody flaps here.
        .with_hysteresis(Hysteresis::none());
    // In a file it is `allow-delayed-start: true`; without, the agent would end with the error.
    let plugin = KvPlugin::<BehindDoor>::named("store").with_hosting(|hosting| {
        hosting.allow_delayed_start = true;
        hosting.reconnect_interval = Duration::from_millis(50);
    });
    let store = host.add(plugin);
    let mut seen = host.add(Follower {
        store: store.prefixed("mine/"),
        seen: watch::Sender::default(),
    });
    let status = host.status();
    let (tell, told) = tokio::sync::oneshot::channel();
    host.run(async move {
        let work = async {
            // Not ready, and not dead: a store out of reach is no reason to restart an agent.
            let missing = |agent: &AgentStatus| {
                let store = agent.plugin("store");
                agent.up.is_some() && store.is_some_and(|store| store.state == State::Init)
            };
            let agent = status.wait_for(missing).await;
            let cause = agent.plugin("store").and_then(|it| it.cause.clone());
            println!("the store is missing: {}", cause.unwrap_or_default());

            // Who cannot wait says so. By default an operation waits for a while.
            let hurried = store.with_wait(WaitPolicy::FailFast);
            if let Err(error) = hurried.get("mine/name").await {
                println!("in a hurry: {} ({})", error.kind(), error.code());
            }
            let patient = store.with_wait(WaitPolicy::UntilConnected);
            let put = tokio::spawn(async move { patient.put("mine/name", "left").await });

            println!("the door opens");
            DOOR.send_replace(true);
            let revision = put.await??;
            println!("the put that waited is revision {revision}");
            seen.wait_for(|seen| *seen >= revision).await?;
            println!("the follower has seen revision {revision}");
            Ok::<_, BoxError>(())
        };
        // The other end waits below.
        let _ = tell.send(work.await);
    })
    .await?;
    told.await?
}
