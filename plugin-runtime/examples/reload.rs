//! A plugin whose configuration changes while it runs.
//!
//! ```text
//! cargo run -p plugin-runtime --example reload
//! ```
//!
//! The example writes its file itself, and asks for each reload by a call. An agent that adds a
//! `ReloadPlugin` also reloads at SIGHUP.

use std::fs;
use std::path::Path;

use keyval_config::{Findings, Validate};
use plugin_runtime::{
    BoxError, ConfigDir, Context, Host, Hysteresis, Live, Plugin, PluginResult, Reload, Reloader,
    State, StatusHandle, run_program,
};
use tokio::sync::watch;

/// What is in greeter.yaml.
#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    text: String,
    port: u16,
}

impl Validate for Settings {
    fn validate(&self, findings: &mut Findings) {
        if self.text.is_empty() {
            findings.refuse("text", "must not be empty");
        }
    }
}

impl Reload for Settings {
    /// The port is taken at the start, and kept.
    fn check_change(&self, next: &Self, findings: &mut Findings) {
        findings.fixed("port", self.port == next.port);
    }
}

/// Says its text at the start, and whenever it is another.
#[derive(Default)]
struct Greeter {
    said: watch::Sender<String>,
}

impl Plugin for Greeter {
    type Handle = watch::Receiver<String>;

    fn name(&self) -> &str {
        "greeter"
    }

    fn handle(&self) -> Self::Handle {
        self.said.subscribe()
    }

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        let mut settings: Live<Settings> = cx.live()?;
        say(&self.said, &settings.current().text);
        let said = self.said.clone();
        cx.spawn("greet", async move |stop| {
            while let Some(next) = stop.run_until_cancelled(settings.changed()).await {
                say(&said, &next.text);
            }
            Ok(())
        });
        Ok(())
    }
}

fn say(said: &watch::Sender<String>, text: &str) {
    println!("greeter: {text}");
    said.send_replace(text.to_owned());
}

fn main() -> Result<(), BoxError> {
    run_program(run())?
}

async fn run() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("greeter.yaml");
    fs::write(&file, "text: hello\nport: 80\n")?;

    let mut host = Host::new(ConfigDir::new(folder.path())).with_hysteresis(Hysteresis::none());
    let said = host.add(Greeter::default());
    let (reloader, status) = (host.reloader(), host.status());
    let (tell, told) = tokio::sync::oneshot::channel();
    host.run(async move {
        // The other end waits below.
        let _ = tell.send(play(&file, &reloader, &status, said).await);
    })
    .await?;
    told.await?
}

async fn play(
    file: &Path,
    reloader: &Reloader,
    status: &StatusHandle,
    mut said: watch::Receiver<String>,
) -> Result<(), BoxError> {
    status.wait_for(|agent| agent.state() == State::Ok).await;

    fs::write(file, "text: good morning\nport: 80\n")?;
    let reloaded = reloader.reload()?;
    said.wait_for(|said| said == "good morning").await?;
    println!("{reloaded}");

    for wrong in ["txet: hi\n", "text: hi\nport: 81\n", "text: ''\nport: 80\n"] {
        fs::write(file, wrong)?;
        if let Err(refused) = reloader.reload() {
            for (plugin, error) in refused.refused {
                // The first line has the place; those below show it.
                let error = error
                    .to_string()
                    .replace(&format!("{}", file.display()), "");
                println!(
                    "refused: {plugin}: {}",
                    error.lines().next().unwrap_or_default()
                );
            }
        }
    }
    println!("{}: {}", status.current().state(), *said.borrow());

    fs::write(file, "text: good night\nport: 80\n")?;
    let reloaded = reloader.reload()?;
    said.wait_for(|said| said == "good night").await?;
    println!("{reloaded}");
    println!("{}", status.current().state());
    Ok(())
}
