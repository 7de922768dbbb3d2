//! Runs a suite of measurements and shows them beside their targets.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::etcd;
use crate::shell::{cargo, make_folder, root, run};

/// How to use this command.
pub(crate) const HELP: &str = "\
usage: cargo xtask bench SUITE [--quick]

Runs a suite in release mode, prints a table, and writes target/bench/SUITE.json.

options:
  --quick   smaller runs, about a minute in all; the figures are rougher
  --help    this text
";

/// A suite: which bench target measures it.
struct Suite {
    name: &'static str,
    package: &'static str,
    bench: &'static str,
    features: &'static str,
    /// Whether it needs an etcd.
    etcd: bool,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "memory",
        package: "keyval",
        bench: "suite_memory",
        features: "testing",
        etcd: false,
    },
    Suite {
        name: "proto",
        package: "keyval-proto",
        bench: "suite_proto",
        features: "json",
        etcd: false,
    },
    Suite {
        name: "etcd",
        package: "keyval-tests",
        bench: "suite_etcd",
        features: "",
        etcd: true,
    },
    Suite {
        name: "host",
        package: "keyval-tests",
        bench: "suite_host",
        features: "",
        etcd: true,
    },
];

/// One measurement, as the bench writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    value: f64,
    unit: String,
    /// The other side, measured in the same run, in the same unit.
    #[serde(default)]
    baseline: Option<f64>,
    #[serde(default)]
    ratio: Option<f64>,
    /// What the figure should be; empty or absent for a figure that is only stated.
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    met: Option<bool>,
}

impl Row {
    /// Whether the target is met; `None` without a target.
    fn verdict(&self) -> Option<bool> {
        match &self.target {
            Some(target) if !target.is_empty() => Some(self.met.unwrap_or(false)),
            _ => None,
        }
    }
}

/// Runs `cargo xtask bench` with these arguments.
pub(crate) fn bench(arguments: &[String]) -> Result<()> {
    let mut name = None;
    let mut quick = false;
    for argument in arguments {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{HELP}\nsuites: {}\n", names());
                return Ok(());
            }
            "--quick" => quick = true,
            option if option.starts_with('-') => {
                return Err(Error::usage(format!("unknown option {option:?}\n\n{HELP}")));
            }
            word if name.is_none() => name = Some(word),
            word => {
                return Err(Error::usage(format!(
                    "one suite at a time, not also {word:?}"
                )));
            }
        }
    }
    let name = name.ok_or_else(|| Error::usage(format!("which suite? There is: {}", names())))?;
    let suite = SUITES
        .iter()
        .find(|suite| suite.name == name)
        .ok_or_else(|| Error::usage(format!("no suite {name:?}; there is: {}", names())))?;
    measure(suite, quick)
}

fn names() -> String {
    SUITES
        .iter()
        .map(|suite| suite.name)
        .collect::<Vec<_>>()
        .join(", ")
}

fn measure(suite: &Suite, quick: bool) -> Result<()> {
    let folder = root().join("target/bench");
    make_folder(&folder)?;
    let path = folder.join(format!("{}.json", suite.name));
    // Figures of an earlier run must not pass for those of this one.
    drop(std::fs::remove_file(&path));

    let mut command = cargo(&["bench", "-p", suite.package, "--bench", suite.bench]);
    if !suite.features.is_empty() {
        command.args(["--features", suite.features]);
    }
    if suite.etcd {
        let etcd = etcd::find()?;
        println!("{etcd}");
        etcd.pass_to(&mut command);
    }
    command.args(["--", "--json"]).arg(&path);
    if quick {
        command.arg("--quick");
    }
    run(command)?;

    let json = std::fs::read_to_string(&path)
        .map_err(|error| Error::failed(format!("the suite left no {}: {error}", path.display())))?;
    let rows = rows(&json)?;
    print!("\n{}\n{}\n", table(&rows), verdict(&rows));
    println!("written to {}", path.display());
    Ok(())
}

fn rows(json: &str) -> Result<Vec<Row>> {
    let rows: Vec<Row> = serde_json::from_str(json)
        .map_err(|error| Error::failed(format!("the suite's figures cannot be read: {error}")))?;
    if rows.is_empty() {
        Err(Error::failed("the suite measured nothing"))
    } else {
        Ok(rows)
    }
}

/// The rows in columns, words to the left and numbers to the right.
fn table(rows: &[Row]) -> String {
    const HEADINGS: [&str; 7] = [
        "name", "value", "unit", "baseline", "ratio", "target", "met",
    ];
    const NUMBERS: [bool; 7] = [false, true, false, true, true, false, false];
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: [usize; 7] = std::array::from_fn(|column| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let written = if NUMBERS[column] {
                write!(row, "{cell:>width$}  ")
            } else {
                write!(row, "{cell:<width$}  ")
            };
            written.expect("a string takes all that is written to it");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; 7] {
    [
        row.name.clone(),
        number(row.value),
        row.unit.clone(),
        row.baseline.map(number).unwrap_or_default(),
        row.ratio
            .map(|ratio| format!("{ratio:.2}"))
            .unwrap_or_default(),
        row.target.clone().unwrap_or_default(),
        match row.verdict() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        }
        .to_owned(),
    ]
}

/// A number with as many decimals as help: `12_345_678`, `42.7`, `0.0132`.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1000.0 {
        grouped(&format!("{value:.0}"))
    } else if size >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.4}")
    }
}

/// An integer's digits in groups of three.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// How many targets are met, and which are not.
fn verdict(rows: &[Row]) -> String {
    let all = rows.iter().filter_map(Row::verdict).count();
    let missed: Vec<&str> = rows
        .iter()
        .filter(|row| row.verdict() == Some(false))
        .map(|row| row.name.as_str())
        .collect();
    let met = all - missed.len();
    let mut text = format!("{met} of {all} targets met");
    if !missed.is_empty() {
        text.push_str("; missed: ");
        text.push_str(&missed.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{bench, number, rows, table, verdict};

    const JSON: &str = r#"[
        {"name": "get, 100 k keys", "value": 4200000.4, "unit": "op/s", "baseline": 5000000, "ratio": 0.84,
         "target": "ratio >= 0.7", "met": true},
        {"name": "put p99 beside lists", "value": 131.25, "unit": "us", "baseline": null, "ratio": null,
         "target": "< 100 us", "met": false},
        {"name": "memory per key", "value": 212, "unit": "B", "target": null, "met": null}
    ]"#;

    #[test]
    fn the_table_lines_up_words_and_numbers() {
        let expected = "\
name                      value  unit   baseline  ratio  target        met
get, 100 k keys       4_200_000  op/s  5_000_000   0.84  ratio >= 0.7  yes
put p99 beside lists        131  us                      < 100 us      NO
memory per key              212  B
";
        assert_eq!(table(&rows(JSON).unwrap()), expected);
    }

    #[test]
    fn the_missed_targets_are_named_and_stated_figures_do_not_count() {
        let rows = rows(JSON).unwrap();
        assert_eq!(
            verdict(&rows),
            "1 of 2 targets met; missed: put p99 beside lists"
        );
    }

    #[test]
    fn figures_that_are_not_what_was_agreed_are_refused() {
        for (json, reason) in [
            ("[]", "measured nothing"),
            ("[{\"name\": \"get\"}]", "missing field `value`"),
            ("{", "cannot be read"),
        ] {
            let told = rows(json).unwrap_err().to_string();
            assert!(told.contains(reason), "{json}: {told}");
        }
    }

    #[test]
    fn numbers_have_as_many_decimals_as_help() {
        for (value, text) in [
            (12_345_678.0, "12_345_678"),
            (-1234.5, "-1_234"),
            (999.4, "999"),
            (42.71, "42.7"),
            (3.0, "3"),
            (0.0132, "0.0132"),
            (0.0, "0"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn an_unknown_suite_is_told_with_those_there_are() {
        let told = bench(&["nonsense".to_owned()]).unwrap_err().to_string();
        assert_eq!(
            told,
            "no suite \"nonsense\"; there is: memory, proto, etcd, host"
        );
    }
}
