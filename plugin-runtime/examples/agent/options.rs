//! What the command line asks for.

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Args, Command, FromArgMatches};
use plugin_runtime::{AgentLabel, StandardArgs};

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) demo: bool,
    pub(crate) label: AgentLabel,
    /// Where to tell of the agent's health.
    #[cfg_attr(not(feature = "probe"), expect(dead_code, reason = "it is refused"))]
    pub(crate) probe: Option<SocketAddr>,
    pub(crate) standard: StandardArgs,
}

impl Options {
    /// Reads the arguments, or tells what is wrong with them, or what was asked for.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        let standard = StandardArgs::from_arg_matches(&matches)?;
        let label = standard.label().and_then(|label| match label {
            Some(label) => Ok(label),
            None => AgentLabel::new("demo"),
        });
        let label = label.map_err(|error| refused(&error.to_string()))?;
        let probe = matches.get_one::<String>("probe");
        Ok(Self {
            demo: matches.get_flag("demo"),
            label,
            probe: probe.map(|text| address(text)).transpose()?,
            standard,
        })
    }
}

fn command() -> Command {
    let command = Command::new("agent")
        .about(
            "An agent that keeps interfaces in a store\n\nWithout --demo it runs until SIGINT or \
             SIGTERM. RUST_LOG sets what is logged; by default warn.",
        )
        .arg(
            Arg::new("demo")
                .long("demo")
                .action(ArgAction::SetTrue)
                .help("Show what happens to a few values, and end"),
        )
        .arg(Arg::new("probe").long("probe").value_name("ADDRESS").help(
            "Tell over HTTP how the agent is, at 127.0.0.1:9191 or wherever; port 0 takes any \
                       that is free. Needs a build with --features probe",
        ));
    StandardArgs::with_plugins(StandardArgs::augment_args(command), ["store", "etcd"])
}

fn address(text: &str) -> Result<SocketAddr, clap::Error> {
    if cfg!(not(feature = "probe")) {
        return Err(refused(
            "there are no probes in this build: rebuild with --features probe",
        ));
    }
    text.parse().map_err(|_| {
        refused(&format!(
            "{text:?} is no address: it needs an IP address and a port"
        ))
    })
}

fn refused(why: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n"))
}
