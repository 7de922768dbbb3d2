//! A backend of one's own, which a YAML file chooses.
//!
//! ```text
//! cargo run -p plugin-runtime --example own_backend
//! ```
//!
//! [`shelf`] is the store: the traits, and nothing else. What is built on them comes for free: scopes,
//! typed values, following, the plugin, its status. This file is how a program offers it.

mod shelf;

use std::fs;

use futures::StreamExt;
use keyval::{BrokerExt, Connector, KeyRange, StoreExt};
use keyval_config::{Findings, Validate, schemars};
use plugin_runtime::{Backends, BoxError, ConfigDir, Host, KvPlugin, State, run_program};

use crate::shelf::Shelf;

/// What is below `shelf:` in store.yaml.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(crate = "keyval_config::schemars")]
struct Settings {
    /// The largest request, in bytes; 65536 by default.
    max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_bytes: 65_536 }
    }
}

impl Validate for Settings {
    fn validate(&self, findings: &mut Findings) {
        if self.max_bytes == 0 {
            findings.refuse("max-bytes", "must be at least 1");
        }
    }
}

/// From the settings to the store.
struct ToShelf;

impl Connector for ToShelf {
    type Config = Settings;
    type Store = Shelf;
    const BACKEND: &'static str = "shelf";

    async fn connect(settings: &Settings) -> keyval::Result<Shelf> {
        Ok(Shelf::new(settings.max_bytes))
    }
}

fn main() -> Result<(), BoxError> {
    run_program(run())?
}

async fn run() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let yaml = "backend: shelf\nshelf:\n  max-bytes: 100\n";
    fs::write(folder.path().join("store.yaml"), yaml)?;

    let mut host = Host::new(ConfigDir::new(folder.path()));
    let backends = Backends::new().with::<ToShelf>();
    let store = host.add(KvPlugin::chosen("store", backends));
    let status = host.status();
    let (tell, told) = tokio::sync::oneshot::channel();
    host.run(async move {
        let work = async {
            status.wait_for(|agent| agent.state() == State::Ok).await;
            println!("the store is a {store}");
            let mine = store.prefixed("mine/");
            let mut updates = mine.follow(KeyRange::all());
            // The first update is all there is: nothing.
            updates.next().await.transpose()?;
            mine.put("name", "left").await?;
            if let Some(update) = updates.next().await.transpose()? {
                println!("seen at revision {}", update.revision());
            }
            for (what, error) in [
                ("too much", mine.put("name", vec![0; 101]).await.err()),
                ("a session", store.session("mine/").await.err()),
            ] {
                println!(
                    "{what}: {}",
                    error.map_or_else(String::new, |it| it.to_string())
                );
            }
            Ok::<_, BoxError>(())
        };
        // The other end waits below.
        let _ = tell.send(work.await);
    })
    .await?;
    told.await?
}
