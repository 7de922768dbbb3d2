//! The figures of the in-memory store beside their targets, each as a ratio within one run.
//!
//! `cargo bench -p keyval --features testing --bench suite_memory -- [--json PATH] [--quick]`
//!
//! The other side of a ratio is measured in the same run, in turn with the store, and figures are
//! medians of rounds, so that a busy machine disturbs both sides alike. Where one thread is measured,
//! the time that it waited for a processor does not count.

mod baseline;
mod lists;
mod points;
mod report;
mod rounds;
mod watchers;

use std::process::{Command, Stdio};

use report::{Report, Row};
use rounds::Scale;

/// Measures one part of the figures.
type Part = fn(&Scale, &mut Report);

fn main() {
    let mut json = None;
    let mut scale = Scale::FULL;
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = Some(arguments.next().expect("--json wants a path")),
            "--quick" => scale = Scale::QUICK,
            "--only" => only = Some(arguments.next().expect("--only wants a part")),
            // What cargo adds by itself.
            "--bench" => {}
            other => panic!("unknown argument {other:?}: there are --json PATH and --quick"),
        }
    }
    let mut report = Report::default();
    let parts: [(&str, Part); 4] = [
        ("points", points::measure),
        ("lists", lists::measure),
        ("watchers", watchers::measure),
        ("space", space),
    ];
    for (name, measure) in parts {
        if only.as_deref().is_none_or(|only| only == name) {
            measure(&scale, &mut report);
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if let Some(load) = load.split(' ').next().and_then(|load| load.parse().ok()) {
        // 1 is this suite alone; above the number of processors, figures of two threads suffer.
        let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let name = format!("load of the machine at the end ({processors} processors)");
        report.add(&Row::new(name, load, "threads"));
    }
    report.print();
    if let Some(path) = json {
        report.write(&path);
    }
}

/// Measures memory and allocations in a program of its own.
fn space(_: &Scale, report: &mut Report) {
    let path = std::env::temp_dir().join(format!("suite_memory_space-{}.json", std::process::id()));
    let status = Command::new(std::env::var("CARGO").unwrap_or("cargo".to_owned()))
        .args(["bench", "--quiet", "--package", env!("CARGO_PKG_NAME")])
        .args(["--features", "testing", "--bench", "suite_memory_space"])
        .args(["--", "--json"])
        .arg(&path)
        .stderr(Stdio::null())
        .status()
        .expect("cargo can be run");
    assert!(
        status.success(),
        "the measurement of memory failed: {status}"
    );
    let text = std::fs::read_to_string(&path).expect("the figures of memory");
    drop(std::fs::remove_file(&path));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).expect("rows");
    for row in rows {
        report.add_json(row);
    }
}
