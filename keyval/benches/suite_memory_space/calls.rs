//! How often a call allocates, through wrappers over a store that does nothing.

use std::time::Duration;

use allocation_counter::measure as allocated;
use keyval::{
    Broker, Bytes, GetOptions, Key, Memory, Observe, Prefixed, PutOptions, Retry, RetryPolicy,
    Timeout,
};
use tokio::runtime::{Builder, Runtime};

use crate::nothing::Nothing;
use crate::report::{Report, Row};

const TIMES: u32 = 1000;

pub(crate) fn measure(report: &mut Report) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let prefixed = Prefixed::new(Nothing, "agents/1/");
    compare(&runtime, report, "Prefixed", &prefixed);
    let stack = Timeout::new(prefixed, Duration::from_secs(5));
    let stack = Observe::new(Retry::new(stack, RetryPolicy::default()), "nothing");
    compare(&runtime, report, "the full stack", &stack);
    compare(
        &runtime,
        report,
        "no wrapper, on the in-memory store",
        &Memory::new(),
    );
}

fn compare<B: Broker>(runtime: &Runtime, report: &mut Report, name: &str, broker: &B) {
    for (operation, count) in [("put", put as fn(&Runtime, &B) -> f64), ("get", get)] {
        let bare = match operation {
            "put" => put(runtime, &Nothing),
            _ => get(runtime, &Nothing),
        };
        let ours = count(runtime, broker);
        report.add(
            &Row::new(
                format!("allocations of a {operation} through {name}"),
                ours,
                "per call",
            )
            .baseline(bare, ours / bare),
        );
    }
}

fn get<B: Broker>(runtime: &Runtime, broker: &B) -> f64 {
    let key = Key::from("interfaces/left");
    each(|| {
        let entry = runtime.block_on(broker.get_opts(&key, GetOptions::default()));
        drop(entry.expect("an answer"));
    })
}

fn put<B: Broker>(runtime: &Runtime, broker: &B) -> f64 {
    let key = Key::from("interfaces/left");
    each(|| {
        let value = Bytes::from_static(b"value");
        let reply = runtime.block_on(broker.put_opts(&key, value, PutOptions::default()));
        drop(reply.expect("an answer"));
    })
}

/// Allocations of one call, after a first one that fills caches.
fn each(mut call: impl FnMut()) -> f64 {
    call();
    let counted = allocated(|| (0..TIMES).for_each(|_| call()));
    counted.count_total as f64 / f64::from(TIMES)
}
