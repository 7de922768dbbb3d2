//! The memory and the allocations of the in-memory store, as a part of the suite `suite_memory`.
//!
//! In a program of its own, as the allocator that counts would slow down what is timed.

#[path = "../suite_memory/baseline.rs"]
#[allow(dead_code)]
mod baseline;
mod keys;
#[path = "../suite_memory/report.rs"]
mod report;

use report::Report;

fn main() {
    let mut json = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = Some(arguments.next().expect("--json wants a path")),
            // What cargo adds by itself, and what makes no difference here.
            "--bench" | "--quick" => {}
            other => panic!("unknown argument {other:?}: there is --json PATH"),
        }
    }
    let mut report = Report::default();
    keys::measure(&mut report);
    match json {
        Some(path) => report.write(&path),
        None => report.print(),
    }
}
