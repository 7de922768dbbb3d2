//! An agent: a store chosen by YAML, a plugin that keeps typed values under its own prefix, and a
//! host that runs both.
//!
//! ```text
//! cargo run -p plugin-runtime --example agent -- --demo
//! cargo run -p plugin-runtime --features probe --example agent -- --probe 127.0.0.1:9191
//! cargo run -p plugin-runtime --features etcd --example agent -- --config-dir config/samples/etcd
//! ```

mod demo;
mod interface;
mod interfaces;
mod options;
mod screen;

use std::process::ExitCode;

use keyval::StoreExt;
use keyval_proto::{Protobuf, Typed};
use plugin_runtime::{
    Backends, BoxError, BuildInfo, Host, KvPlugin, State, StatusHandle, run_program,
    shutdown_signal,
};
use tokio::sync::oneshot;

use crate::demo::Demo;
use crate::interfaces::Interfaces;
use crate::options::Options;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os()) {
        Ok(options) => options,
        Err(told) => {
            // Where it is printed says what it is: an error, or the help that was asked for.
            let code = if told.use_stderr() { 2 } else { 0 };
            let _ = told.print();
            return ExitCode::from(code);
        }
    };
    log_to_stderr();
    let ended = run_program(run(options)).map_err(BoxError::from);
    match ended.and_then(|result| result) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::error(error);
            ExitCode::FAILURE
        }
    }
}

/// Builds the agent and runs it until the demo has ended, or a signal comes.
async fn run(options: Options) -> Result<(), BoxError> {
    let scope = options.label.prefix().nest(&"interfaces/".into());
    let mut host = Host::new(options.standard.config("config")?)
        .with_build(BuildInfo::new("agent", env!("CARGO_PKG_VERSION")))
        .with_label(options.label);
    #[cfg(feature = "probe")]
    let probe = options.probe.map(|address| add_probe(&mut host, address));
    let store = host.add(KvPlugin::chosen("store", backends()));
    let typed = Typed::new(store.prefixed(scope.clone()), Protobuf);
    let interfaces = host.add(Interfaces::new(typed));
    let status = host.status();
    let (ended, end) = oneshot::channel();
    if options.demo {
        host.add(Demo::new(interfaces, status.clone(), ended));
    }
    if let Some(answer) = options.standard.answer(&host)? {
        screen::line(answer.trim_end());
        return Ok(());
    }
    screen::line(format_args!(
        "agent {}, scope {scope}",
        env!("CARGO_PKG_VERSION")
    ));

    let signal = shutdown_signal();
    let shown = status.clone();
    let shutdown = async move {
        let work = async {
            if options.demo {
                // Also if the demo ends without a word.
                let _ = end.await;
            } else {
                #[cfg(feature = "probe")]
                if let Some(probe) = probe {
                    let address = probe.address().await;
                    screen::line(format_args!("\nhealth at http://{address}/readyz?verbose"));
                }
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
    let mut agent = status.wait_for(|agent| agent.up.is_some()).await;
    screen::line(format_args!("\n{agent}\n\nCtrl-C stops it.\n"));
    loop {
        let before = agent.state();
        agent = status.wait_for(|agent| agent.state() != before).await;
        screen::line(format_args!("\n{agent}\n"));
    }
}

/// Tells of the agent's health at this address.
#[cfg(feature = "probe")]
fn add_probe(host: &mut Host, address: std::net::SocketAddr) -> plugin_runtime::ProbeHandle {
    use plugin_runtime::{ProbePlugin, ProbeSettings};

    let settings = ProbeSettings::default().with_listen(address);
    host.add(ProbePlugin::new(host.status()).with_settings(settings))
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
    // What was never started was not closed either.
    plugins.retain(|plugin| plugin.state == State::Stopped);
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
