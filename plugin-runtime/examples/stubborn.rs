//! An agent with a plugin that does not behave, to see that it can neither take the process down nor
//! keep it up.
//!
//! ```text
//! cargo run -p plugin-runtime --example stubborn -- block-init
//! ```
//!
//! A first Ctrl-C shuts down in order, a second one ends it at once with code 130.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use plugin_runtime::{
    ConfigDir, Context, Host, Plugin, PluginResult, State, run_program, shutdown_signal,
};

const USAGE: &str = "usage: stubborn behave|block-init|block-task|block-close|block-all|\
                     block-main|hang-init|hang-task|hang-close|panic-init|panic-task|panic-close|panic-drop";

/// How long each stage may take: a second, or as many as `STUBBORN_DEADLINE` says.
fn deadline() -> Duration {
    let seconds = std::env::var("STUBBORN_DEADLINE").ok();
    Duration::from_secs(
        seconds
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(1),
    )
}

/// What the plugin does wrong, and when.
struct Stubborn(String);

impl Stubborn {
    /// Does it, if now is the time.
    async fn act(&self, when: &str) {
        match self.0.strip_suffix(when) {
            Some("block-") => block(),
            Some("hang-") => std::future::pending().await,
            Some("panic-") => panic!("as asked"),
            _ => {}
        }
    }
}

impl Plugin for Stubborn {
    type Handle = ();

    fn name(&self) -> &str {
        "stubborn"
    }

    fn handle(&self) {}

    async fn init(&mut self, cx: &mut Context) -> PluginResult {
        self.act("init").await;
        let same = Self(self.0.clone());
        cx.spawn("task", async move |stop| {
            same.act("task").await;
            stop.cancelled().await;
            Ok(())
        });
        if ["block-all", "block-main"].contains(&&*self.0) {
            block_every_worker(cx)?;
        }
        Ok(())
    }

    async fn close(&mut self) -> PluginResult {
        self.act("close").await;
        Ok(())
    }
}

impl Drop for Stubborn {
    fn drop(&mut self) {
        if self.0 == "panic-drop" && !thread::panicking() {
            // Once: what it leaves behind is dropped as well.
            self.0.clear();
            panic!("as asked");
        }
    }
}

/// Keeps its thread for ever.
fn block() {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Spawns more tasks that block than there are workers, and waits until each worker has one.
fn block_every_worker(cx: &Context) -> PluginResult {
    const MORE: usize = 3;
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let (begin, begun) = std::sync::mpsc::channel();
    for number in 0..workers + MORE {
        let begin = begin.clone();
        cx.spawn(&format!("blocks {number}"), async move |_stop| {
            begin.send(())?;
            block();
            Ok(())
        });
    }
    for _ in 0..workers {
        begun.recv()?;
    }
    println!("every worker is blocked");
    Ok(())
}

/// A plugin that behaves, and tells of its end.
struct Neighbour;

impl Plugin for Neighbour {
    type Handle = ();

    fn name(&self) -> &str {
        "neighbour"
    }

    fn handle(&self) {}

    async fn init(&mut self, _cx: &mut Context) -> PluginResult {
        println!("neighbour is up");
        Ok(())
    }

    async fn close(&mut self) -> PluginResult {
        println!("neighbour is closed");
        Ok(())
    }
}

fn main() -> std::io::Result<ExitCode> {
    match std::env::args().nth(1) {
        Some(act) if USAGE.contains(&act) => run_program(run(act)),
        _ => {
            eprintln!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

async fn run(act: String) -> ExitCode {
    let mut host = Host::new(ConfigDir::new("config"))
        .with_start_deadline(deadline())
        .with_close_deadline(deadline());
    #[cfg(all(unix, feature = "systemd"))]
    host.add(plugin_runtime::SystemdPlugin::new(host.status()));
    host.add(Neighbour);
    host.add(Stubborn(act.clone()));
    let status = host.status();
    let signal = shutdown_signal();
    let shutdown = async move {
        let told = async {
            let up = status.wait_for(|agent| agent.state() != State::Init).await;
            println!("{up}");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = signal => println!("shutting down"),
            () = told => {}
        }
        if act == "block-main" {
            block();
        }
    };
    match host.run(shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
