//! The command line of the agent.

use std::ffi::OsString;
use std::path::PathBuf;

/// How the agent is called.
pub(crate) const USAGE: &str = "\
usage: agent [--demo] [--config-dir DIR] [--label NAME]

  --demo            show what happens to a few values, and end
  --config-dir DIR  the folder of store.yaml; by default CONFIG_DIR, else config
  --label NAME      the agent's name in its keys, /vnf-agent/NAME/..; by default demo
  -h, --help        show this

Without --demo it runs until SIGINT or SIGTERM. RUST_LOG sets what is logged; by default warn.";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// To run.
    Run(Options),
    /// To be told how it is called.
    Help,
}

/// How to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) demo: bool,
    pub(crate) config_dir: Option<PathBuf>,
    pub(crate) label: String,
}

impl Options {
    /// Reads the arguments after the program's name, or says what is wrong with them.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
        let mut options = Self {
            demo: false,
            config_dir: None,
            label: "demo".to_owned(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = |of| {
                arguments
                    .next()
                    .ok_or_else(|| format!("{argument:?} needs {of}"))
            };
            match argument.to_str() {
                Some("--demo") => options.demo = true,
                Some("--config-dir") => options.config_dir = Some(value("a folder")?.into()),
                Some("--label") => options.label = label(&value("a name")?)?,
                Some("-h" | "--help") => return Ok(Command::Help),
                _ => return Err(format!("unknown argument {argument:?}")),
            }
        }
        Ok(Command::Run(options))
    }
}

/// A label is one segment of a key.
fn label(text: &OsString) -> Result<String, String> {
    match text.to_str() {
        Some(label) if !label.is_empty() && !label.contains('/') => Ok(label.to_owned()),
        _ => Err(format!(
            "{text:?} is no label: it needs text without a slash"
        )),
    }
}
