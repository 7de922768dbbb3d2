//! Checks everything that can be checked, one step after the other.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::etcd::{self, Etcd};
use crate::etcdctl;
use crate::packages::packages;
use crate::readme;
use crate::shell::{cargo, run, run_lines};
use crate::soak;
use crate::summary::Summary;

/// One step of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Format,
    Clippy,
    Docs,
    Etcd,
    Tests,
    Versions,
    Containers,
    Lean,
    Readme,
    Soak,
}

const STEPS: [Step; 10] = [
    Step::Format,
    Step::Clippy,
    Step::Docs,
    Step::Etcd,
    Step::Tests,
    Step::Versions,
    Step::Containers,
    Step::Lean,
    Step::Readme,
    Step::Soak,
];

impl Step {
    /// The word for it on the command line.
    fn word(self) -> &'static str {
        match self {
            Self::Format => "fmt",
            Self::Clippy => "clippy",
            Self::Docs => "docs",
            Self::Etcd => "etcd",
            Self::Tests => "tests",
            Self::Versions => "versions",
            Self::Containers => "containers",
            Self::Lean => "lean",
            Self::Readme => "readme",
            Self::Soak => "soak",
        }
    }

    /// What it checks.
    fn about(self) -> &'static str {
        match self {
            Self::Format => "the code is formatted",
            Self::Clippy => "clippy has nothing to say, on all targets with all features",
            Self::Docs => "the documentation builds without a warning",
            Self::Etcd => "a real etcd is found, or fetched",
            Self::Tests => {
                "every test of every crate passes with all features, and none is ignored"
            }
            Self::Versions => "the contract is kept on every other version of etcd that can be had",
            Self::Containers => "a cluster in containers survives a cut network, where Docker runs",
            Self::Lean => "every crate builds and passes its tests with --no-default-features",
            Self::Readme => "the README's first command does what the README says",
            Self::Soak => "what is seen of a failing cluster for two minutes is right",
        }
    }
}

/// The tests that are run on every version of etcd.
const CONTRACT: [&str; 4] = [
    "conformance_etcd",
    "etcd_follow",
    "etcd_store",
    "etcd_watch",
];

/// What the steps share.
#[derive(Debug, Default)]
struct Run {
    etcd: Option<Etcd>,
    summary: Summary,
}

/// Runs `cargo xtask test` with these arguments.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        print!("{}", help());
        return Ok(());
    }
    let steps = chosen(arguments)?;
    let mut run = Run::default();
    let mut times = Vec::new();
    for step in steps {
        println!("\n==== {}: {}", step.word(), step.about());
        let started = Instant::now();
        let outcome = run.step(step);
        let took = started.elapsed();
        times.push((step, took));
        outcome.map_err(|error| {
            Error::failed(format!(
                "the step `{}` failed after {:.1} s: {error}\n\
                 to repeat it alone: cargo xtask test {}",
                step.word(),
                took.as_secs_f64(),
                step.word()
            ))
        })?;
        println!("==== {} ok, {:.1} s", step.word(), took.as_secs_f64());
    }
    println!();
    let all: Duration = times.iter().map(|(_, took)| *took).sum();
    for (step, took) in &times {
        println!("{:>8.1} s  {}", took.as_secs_f64(), step.word());
    }
    println!("{:>8.1} s  in all", all.as_secs_f64());
    if let Some(etcd) = &run.etcd {
        println!("with {etcd}");
    }
    if !run.summary.is_empty() {
        println!("{}", run.summary.line());
    }
    Ok(())
}

/// How to use this command.
pub(crate) fn help() -> String {
    let mut text = "\
usage: cargo xtask test [STEP]...

Runs all steps in this order and stops at the first that fails, or only the steps named:

"
    .to_owned();
    for step in STEPS {
        text.push_str(&format!("  {:<10} {}\n", step.word(), step.about()));
    }
    text.push_str("\nThe variables that name an etcd are explained in CONTRIBUTING.md.\n");
    text
}

/// The steps that the arguments name, in their fixed order; all of them if none is named.
fn chosen(arguments: &[String]) -> Result<Vec<Step>> {
    for argument in arguments {
        if !STEPS.iter().any(|step| step.word() == argument) {
            return Err(Error::usage(format!("no step {argument:?}\n\n{}", help())));
        }
    }
    let named = |step: &Step| arguments.iter().any(|argument| argument == step.word());
    Ok(STEPS
        .into_iter()
        .filter(|step| arguments.is_empty() || named(step))
        .collect())
}

impl Run {
    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Format => run(cargo(&["fmt", "--all", "--check"])),
            Step::Clippy => run(cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "-D",
                "warnings",
            ])),
            Step::Docs => {
                let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
                docs.env("RUSTDOCFLAGS", "-D warnings");
                run(docs)
            }
            Step::Etcd => self.find_etcd(),
            Step::Tests => self.tests(cargo(&[
                "test",
                "--workspace",
                "--all-features",
                "--no-fail-fast",
            ])),
            Step::Versions => self.versions(),
            Step::Containers => self.containers(),
            Step::Lean => self.lean(),
            Step::Readme => readme::run(),
            Step::Soak => self.soak(),
        }
    }

    fn find_etcd(&mut self) -> Result<()> {
        if self.etcd.is_none() {
            let etcd = etcd::find()?;
            println!("{etcd}");
            println!("with etcdctl: {}", etcdctl::find(&etcd)?.display());
            self.etcd = Some(etcd);
        }
        Ok(())
    }

    /// Two minutes of the soak.
    fn soak(&mut self) -> Result<()> {
        self.find_etcd()?;
        match &self.etcd {
            Some(etcd) => soak::run_on(etcd, &["--minutes".to_owned(), "2".to_owned()]),
            None => Ok(()),
        }
    }

    /// Runs one `cargo test`, and adds what it ran to the summary of all.
    fn tests(&mut self, command: Command) -> Result<()> {
        self.find_etcd()?;
        let etcd = self.etcd.clone();
        self.tests_with(etcd.as_ref(), command)
    }

    fn tests_with(&mut self, etcd: Option<&Etcd>, mut command: Command) -> Result<()> {
        if let Some(etcd) = etcd {
            etcd.pass_to(&mut command);
        }
        let mut summary = Summary::default();
        let succeeded = run_lines(command, |line| summary.read(line))?;
        let complaint = summary.complaint();
        self.summary.add(summary);
        match complaint {
            Some(complaint) => Err(Error::failed(complaint)),
            None if succeeded => Ok(()),
            None => Err(Error::failed(
                "the tests did not build, or a test program crashed",
            )),
        }
    }

    /// The tests that need containers; where there are none, it says so.
    fn containers(&mut self) -> Result<()> {
        let image = match etcd::image() {
            Ok(image) => image,
            Err(why) => {
                println!(
                    "NOT RUN: the tests of a cluster in containers, since Docker does not: {why}"
                );
                return Ok(());
            }
        };
        println!("{image}");
        let mut command = cargo(&["test", "--workspace", "--all-features"]);
        command.args(["--test", "containers"]);
        self.tests_with(Some(&image), command)
    }

    /// The tests of the contract, on each version that the other steps did not use.
    fn versions(&mut self) -> Result<()> {
        self.find_etcd()?;
        let mut tested: Vec<String> = self.etcd.iter().map(|etcd| etcd.version().into()).collect();
        for etcd in etcd::find_all()? {
            if tested.iter().any(|version| version == etcd.version()) {
                continue;
            }
            println!("{etcd}");
            tested.push(etcd.version().to_owned());
            let mut command = cargo(&["test", "--workspace", "--all-features"]);
            command.arg("--no-fail-fast");
            for test in CONTRACT {
                command.args(["--test", test]);
            }
            self.tests_with(Some(&etcd), command)?;
        }
        println!("tested: etcd {}", tested.join(", "));
        Ok(())
    }

    /// Each crate that others can depend on, alone and with nothing it does not need.
    fn lean(&mut self) -> Result<()> {
        for package in packages()?.iter().filter(|package| package.is_published()) {
            let name = package.name.as_str();
            // First as its users build it: the dependencies of its tests switch features on.
            run(cargo(&[
                "check",
                "--quiet",
                "-p",
                name,
                "--no-default-features",
            ]))?;
            let arguments = [
                "test",
                "-p",
                name,
                "--no-default-features",
                "--no-fail-fast",
            ];
            let mut command = cargo(&arguments);
            // Examples and doc tests show what the default features do.
            command.arg("--tests");
            self.tests(command)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{STEPS, Step, chosen};

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn without_a_name_every_step_is_run() {
        assert_eq!(chosen(&[]).unwrap(), STEPS);
    }

    #[test]
    fn named_steps_are_run_in_their_fixed_order() {
        let steps = chosen(&words(&["tests", "fmt"])).unwrap();
        assert_eq!(steps, [Step::Format, Step::Tests]);
    }

    #[test]
    fn an_unknown_step_is_told_with_those_there_are() {
        let told = chosen(&words(&["fmt", "everything"]))
            .unwrap_err()
            .to_string();
        assert!(told.starts_with("no step \"everything\""), "{told}");
        assert!(
            STEPS.iter().all(|step| told.contains(step.about())),
            "{told}"
        );
    }
}
