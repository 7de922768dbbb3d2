//! The figures of the etcd backend beside those of the bare client, on one server in one run.
//!
//! `cargo bench -p keyval-tests --bench suite_etcd -- [--json PATH] [--quick] [--only PART]`
//!
//! Both sides are measured in turn, and figures are medians of rounds, so that a busy machine
//! disturbs both alike: the ratios count, not the absolute figures. The server is a process of its
//! own on the same machine, with its data in memory where `/dev/shm` is, so that no disk is
//! measured. Times of the processor are those of this process alone. The part `thread` is an experiment,
//! and measured only where it is named.

mod bulk;
mod in_memory;
mod lists;
mod points;
mod recovery;
#[path = "../../../keyval/benches/suite_memory/report.rs"]
mod report;
mod rounds;
mod sides;
mod tasks;
mod watches;

use keyval_tests::etcd::Etcd;

use report::{Report, Row};
use rounds::Scale;

/// The part that is measured only where it is named.
const THREAD: &str = "thread";

/// Measures one part of the figures on a server.
type Part = fn(&mut Etcd, &Scale, &mut Report);

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
            // This program again, as one side of the measurement of memory.
            "--list" => return lists::child(&mut arguments),
            // What cargo adds by itself.
            "--bench" => {}
            other => panic!("unknown argument {other:?}: there are --json PATH and --quick"),
        }
    }
    in_memory::keep_data_in_memory();
    let mut report = Report::default();
    let parts: [(&str, Part); 6] = [
        ("points", points::measure),
        ("lists", lists::measure),
        ("watches", watches::measure),
        ("recovery", recovery::measure),
        ("bulk", bulk::measure),
        (THREAD, points::measure_on_a_thread),
    ];
    for (name, measure) in parts {
        if only.as_deref().map_or(name != THREAD, |only| only == name) {
            let mut server = Etcd::start();
            println!("{name}, on etcd {}", server.version());
            measure(&mut server, &scale, &mut report);
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if let Some(load) = load.split(' ').next().and_then(|load| load.parse().ok()) {
        let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let name = format!("load of the machine at the end ({processors} processors)");
        report.add(&Row::new(name, load, "threads"));
    }
    report.print();
    if let Some(path) = json {
        report.write(&path);
    }
}
