//! What the handle of a host, and values of a type behind it, add to a store: on memory in nanoseconds,
//! on etcd as a share of what the bare store does, and what encoding and decoding are of that.
//!
//! `cargo bench -p keyval-tests --bench suite_host -- [--json PATH] [--quick]`
//!
//! Both sides are measured in turn, and figures are medians of rounds, so that a busy machine
//! disturbs both alike.

mod agent;
mod codecs;
#[path = "../suite_etcd/in_memory.rs"]
mod in_memory;
#[path = "../../../keyval/benches/suite_memory/report.rs"]
#[allow(dead_code)]
mod report;
#[path = "../suite_etcd/rounds.rs"]
#[allow(dead_code)]
mod rounds;
#[path = "../suite_etcd/tasks.rs"]
mod tasks;
mod work;

use keyval::{Broker, Memory};
use keyval_etcd::EtcdConnector;
use keyval_tests::etcd::Etcd;
use plugin_runtime::{KvHandle, MemoryBackend, MetricsHandle};
use tokio::runtime::{Builder, Runtime};

use agent::Agent;
use report::{Report, Row};
use rounds::{Scale, Sides, in_turn};
use tasks::many;
use work::{Operation, Values};

fn main() {
    let mut json = None;
    let mut scale = Scale::FULL;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => json = Some(arguments.next().expect("--json wants a path")),
            "--quick" => scale = Scale::QUICK,
            // What cargo adds by itself.
            "--bench" => {}
            other => panic!("unknown argument {other:?}: there are --json PATH and --quick"),
        }
    }
    // As in an agent that shows its metrics: what they cost belongs to the host.
    let metrics = MetricsHandle::install().expect("this is the first recorder");
    in_memory::keep_data_in_memory();
    let mut report = Report::default();
    on_memory(&scale, &mut report);
    on_etcd(&scale, &mut report);
    assert!(
        metrics
            .render()
            .contains("keyval_client_operation_duration_seconds")
    );
    report.print();
    if let Some(path) = json {
        report.write(&path);
    }
}

/// One task that never waits: what is left is the work of the layers.
fn on_memory(scale: &Scale, report: &mut Report) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let agent = runtime.block_on(Agent::start::<MemoryBackend>(""));
    measure(
        &runtime,
        &agent.store,
        &Memory::new(),
        1,
        scale,
        |name, cost| {
            let nanos = |rate: [f64; 1]| 1e9 / rate[0];
            let (ours, bare) = (nanos(cost.ours), nanos(cost.theirs));
            let row = Row::new(format!("{name}, memory"), ours, "ns");
            report.add(&row.baseline(bare, ours / bare));
        },
    );
    runtime.block_on(agent.stop());
}

/// A runtime as programs have it.
fn on_etcd(scale: &Scale, report: &mut Report) {
    let runtime = Runtime::new().expect("a runtime");
    let server = Etcd::start();
    println!("etcd {}", server.version());
    let settings = format!("endpoints: [{:?}]\n", server.endpoint());
    let agent = runtime.block_on(Agent::start::<EtcdConnector>(&settings));
    let bare = runtime.block_on(server.store());
    for tasks in [1, 64] {
        measure(&runtime, &agent.store, &bare, tasks, scale, |name, cost| {
            let rate = cost.ratio[0];
            report.add(
                &Row::new(format!("{name}, etcd, {tasks} tasks"), cost.ours[0], "op/s")
                    .baseline(cost.theirs[0], rate)
                    .target("ratio >= 0.97 to the bare store", rate >= 0.97),
            );
        });
    }
    codecs::measure(&runtime, &bare, scale, report);
    runtime.block_on(agent.stop());
}

/// Each operation through each of the layers, beside the bare store.
fn measure<S: Broker + Clone>(
    runtime: &Runtime,
    handle: &KvHandle,
    bare: &S,
    tasks: usize,
    scale: &Scale,
    mut tell: impl FnMut(String, Sides<1>),
) {
    let bare = Values::Bytes(bare.clone());
    let layers = [
        ("KvHandle", Values::Bytes(handle.clone())),
        ("Typed<KvHandle>", Values::typed(handle.clone())),
    ];
    runtime.block_on(bare.fill());
    runtime.block_on(layers[1].1.fill());
    for operation in [Operation::Put, Operation::Get] {
        for (name, ours) in &layers {
            let cost = in_turn(
                scale.slices,
                || rate(runtime, tasks, operation, ours, scale),
                || rate(runtime, tasks, operation, &bare, scale),
            );
            tell(format!("{operation} through {name}"), cost);
        }
    }
}

fn rate<S: Broker + Clone>(
    runtime: &Runtime,
    tasks: usize,
    operation: Operation,
    values: &Values<S>,
    scale: &Scale,
) -> [f64; 1] {
    let [rate, _] = many(runtime, tasks, scale.slice, |picks| {
        values.clone().again(operation, picks)
    });
    [rate]
}
