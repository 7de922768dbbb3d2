//! Two plugins share one store, and each sees its own part of it alone.
//!
//! ```text
//! cargo run -p plugin-runtime --example two_scopes
//! ```

use keyval::{BrokerExt, KeyRange, Prefixed, StoreExt};
use plugin_runtime::{
    Backends, BoxError, ConfigDir, Context, Host, KvHandle, KvPlugin, Plugin, PluginResult, State,
    run_program,
};

/// A team keeps its color in the store.
struct Team {
    name: &'static str,
    color: &'static str,
    /// A handle that cannot name a key outside of the team's prefix.
    store: Prefixed<KvHandle>,
}

impl Plugin for Team {
    type Handle = ();

    fn name(&self) -> &str {
        self.name
    }

    fn handle(&self) {}

    /// Both write the key "color", and neither is in the other's way.
    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        self.store.put("color", self.color).await?;
        Ok(())
    }

    /// Here every plugin is up, so both have written; and "all there is" is the team's own.
    async fn after_init(&mut self, _cx: &mut Context) -> PluginResult {
        for entry in self.store.list(KeyRange::all()).await?.collect().await? {
            let value = String::from_utf8_lossy(&entry.value);
            println!("{} sees {} = {value}", self.name, entry.key);
        }
        Ok(())
    }
}

fn main() -> Result<(), BoxError> {
    run_program(run())?
}

async fn run() -> Result<(), BoxError> {
    let mut host = Host::new(ConfigDir::from_env("config")?);
    // Without a file config/store.yaml it is the store in memory.
    let store = host.add(KvPlugin::chosen("store", Backends::new()));
    for (name, color) in [("red", "#f00"), ("blue", "#00f")] {
        host.add(Team {
            name,
            color,
            // The prefix ends in "/", so that the scope of "red" does not cover "redwood".
            store: store.prefixed(format!("teams/{name}/")),
        });
    }
    let status = host.status();
    // Who has the whole store sees the keys in full.
    let whole = store.clone();
    let (tell, told) = tokio::sync::oneshot::channel();
    host.run(async move {
        status.wait_for(|agent| agent.state() == State::Ok).await;
        let keys = async { whole.keys(KeyRange::all()).await?.collect().await };
        // The other end waits below.
        let _ = tell.send(keys.await);
    })
    .await?;
    for entry in told.await?? {
        println!("the store has {}", entry.key);
    }
    Ok(())
}
