//! An agent: a store chosen by YAML, a plugin that keeps typed values under its own prefix, and a
//! host that runs both.
//!
//! ```text
//! cargo run -p plugin-runtime --example agent -- --demo
//! cargo run -p plugin-runtime --features etcd --example agent -- --config-dir config/samples/etcd
//! ```

mod demo;
mod interface;
mod interfaces;
mod options;
mod screen;

use std::process::ExitCode;

use keyval::{Prefix, StoreExt};
use keyval_proto::{Protobuf, Typed};
use plugin_runtime::{
    AgentStatus, Backends, BoxError, ConfigDir, Host, KvPlugin, State, StatusHandle,
    shutdown_signal,
};
use tokio::sync::oneshot;

use crate::demo::Demo;
use crate::interfaces::Interfaces;
use crate::options::{Command, Options, USAGE};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            screen::line(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            screen::error(format_args!("{problem}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    log_to_stderr();
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::error(error);
            ExitCode::FAILURE
        }
    }
}

/// Builds the agent and runs it until the demo has ended, or a signal comes.
async fn run(options: Options) -> Result<(), BoxError> {
    let scope = Prefix::new(format!("/vnf-agent/{}/interfaces/", options.label));
    screen::line(format_args!(
        "agent {}, scope {scope}",
        env!("CARGO_PKG_VERSION")
    ));

    let mut host = Host::new(config(&options)?);
    let store = host.add(KvPlugin::chosen("store", backends()));
    let typed = Typed::new(store.prefixed(scope), Protobuf);
    let interfaces = host.add(Interfaces::new(typed));
    let status = host.status();
    let (ended, end) = oneshot::channel();
    if options.demo {
        host.add(Demo::new(interfaces, status.clone(), ended));
    }

    let signal = shutdown_signal();
    let shown = status.clone();
    let shutdown = async move {
        let work = async {
            if options.demo {
                // Also if the demo ends without a word.
                let _ = end.await;
            } else {
                show(&shown).await;
            }
        };
        tokio::select! {
            () = signal => {}
            () = work => {}
        }
    };
    host.run(shutdown).await?;
    screen::line(format_args!("\nclosed in order: {}", closed(&status)));
    Ok(())
}

/// Shows the status once every plugin is up, and whenever the state of the agent changes after.
async fn show(status: &StatusHandle) {
    let is_up = |agent: &AgentStatus| {
        let mut states = agent.plugins.iter().map(|plugin| plugin.state);
        states.all(|state| state != State::Init)
    };
    let mut agent = status.wait_for(is_up).await;
    screen::line(format_args!("\n{agent}\n\nCtrl-C stops it.\n"));
    loop {
        let before = agent.state();
        agent = status.wait_for(|agent| agent.state() != before).await;
        screen::line(format_args!("\n{agent}\n"));
    }
}

/// The folder with the YAML files, and what the environment says in place of them.
fn config(options: &Options) -> Result<ConfigDir, BoxError> {
    let Some(folder) = &options.config_dir else {
        return Ok(ConfigDir::from_env("config")?);
    };
    if !folder.is_dir() {
        return Err(format!(
            "--config-dir names {}, which is no folder",
            folder.display()
        )
        .into());
    }
    Ok(ConfigDir::new(folder).with_environment(keyval_config::Environment::process()))
}

/// The stores that the YAML can choose.
fn backends() -> Backends {
    let backends = Backends::new();
    #[cfg(feature = "etcd")]
    let backends = backends.with::<keyval_etcd::EtcdConnector>();
    #[cfg(not(feature = "etcd"))]
    let backends = backends.without("etcd", "rebuild with --features etcd");
    backends
}

/// The plugins in the order in which they were closed.
fn closed(status: &StatusHandle) -> String {
    let mut plugins = status.current().plugins.clone();
    // Reversed first, for clocks that cannot tell them apart.
    plugins.reverse();
    plugins.sort_by_key(|plugin| plugin.since);
    let names: Vec<&str> = plugins.iter().map(|plugin| &*plugin.plugin).collect();
    names.join(", ")
}

/// Warnings and errors, or what `RUST_LOG` asks for; standard output is the agent's own.
fn log_to_stderr() {
    use std::io::IsTerminal;

    use tracing_subscriber::filter::{EnvFilter, LevelFilter};
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
