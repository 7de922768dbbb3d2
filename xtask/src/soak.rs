//! Runs the soak: a cluster under faults, with everything that is seen checked.

use crate::error::{Error, Result};
use crate::etcd::{self, Etcd};
use crate::shell::{cargo, command, root, run};

/// How to use this command.
pub(crate) const HELP: &str = "\
usage: cargo xtask soak [--minutes N] [--seed S]

Three members of etcd behind proxies, a random fault every 20 seconds, and clients, watches and
followers at work. Every minute all that they saw is checked; at the end memory, tasks and
descriptors must not have grown. If something is wrong, the history is kept in target/soak.

options:
  --minutes N   how long to run, 10 by default
  --seed S      a number that repeats the faults and what clients do; a new one by default
  --help        this text
";

/// Runs `cargo xtask soak` with these arguments.
pub(crate) fn soak(arguments: &[String]) -> Result<()> {
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        print!("{HELP}");
        return Ok(());
    }
    check(arguments)?;
    let etcd = etcd::find()?;
    println!("{etcd}");
    run_on(&etcd, arguments)
}

/// Runs the soak on this etcd.
pub(crate) fn run_on(etcd: &Etcd, arguments: &[String]) -> Result<()> {
    // As the tests are built, so that nothing is built twice.
    run(cargo(&[
        "build",
        "--workspace",
        "--all-features",
        "--bin",
        "soak",
    ]))?;
    let program = root().join("target/debug/soak");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = command(&program.to_string_lossy(), &arguments);
    etcd.pass_to(&mut command);
    run(command)
}

/// Refuses what the soak would refuse, before anything is built.
fn check(arguments: &[String]) -> Result<()> {
    for pair in arguments.chunks(2) {
        let is_option = matches!(pair[0].as_str(), "--minutes" | "--seed");
        let has_number = pair.get(1).is_some_and(|word| word.parse::<u64>().is_ok());
        if !is_option || !has_number {
            return Err(Error::usage(format!(
                "{:?} is not understood\n\n{HELP}",
                pair.join(" ")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    fn words(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_with_whole_numbers_are_understood() {
        for good in ["", "--minutes 2", "--seed 7 --minutes 30"] {
            assert!(check(&words(good)).is_ok(), "{good}");
        }
    }

    #[test]
    fn everything_else_is_told() {
        for bad in ["--minutes", "--minutes two", "--seconds 3", "2"] {
            let told = check(&words(bad)).unwrap_err().to_string();
            assert!(
                told.starts_with(&format!("{bad:?} is not understood")),
                "{told}"
            );
        }
    }
}
