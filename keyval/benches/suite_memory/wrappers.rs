//! What the wrappers add to a call, over a store that does nothing.

use std::hint::black_box;
use std::time::Duration;

use keyval::{
    Broker, Bytes, GetOptions, Key, Observe, Prefixed, PutOptions, Retry, RetryPolicy, Timeout,
};
use tokio::runtime::{Builder, Runtime};

use crate::nothing::Nothing;
use crate::report::{Report, Row};
use crate::rounds::{Clock, Scale, in_turn};

pub(crate) fn measure(scale: &Scale, report: &mut Report) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let prefixed = Prefixed::new(Nothing, "agents/1/");
    compare(&runtime, scale, report, "Prefixed", &prefixed);
    // The documented order of the whole stack.
    let stack = Timeout::new(prefixed, Duration::from_secs(5));
    let stack = Observe::new(Retry::new(stack, RetryPolicy::default()), "nothing");
    compare(&runtime, scale, report, "the full stack", &stack);
}

fn compare<B: Broker>(
    runtime: &Runtime,
    scale: &Scale,
    report: &mut Report,
    name: &str,
    broker: &B,
) {
    let times = scale.operations;
    let gets = in_turn(
        scale.rounds,
        |_| runtime.block_on(get(broker, times)),
        |_| runtime.block_on(get(&Nothing, times)),
    );
    report.add(
        &Row::new(format!("get through {name}"), gets.ours, "ns").baseline(gets.theirs, gets.ratio),
    );
    let puts = in_turn(
        scale.rounds,
        |_| runtime.block_on(put(broker, times)),
        |_| runtime.block_on(put(&Nothing, times)),
    );
    report.add(
        &Row::new(format!("put through {name}"), puts.ours, "ns").baseline(puts.theirs, puts.ratio),
    );
}

/// Nanoseconds of a get.
async fn get<B: Broker>(broker: &B, times: usize) -> f64 {
    let key = Key::from("interfaces/left");
    let clock = Clock::start();
    for _ in 0..times {
        let entry = broker.get_opts(&key, GetOptions::default()).await;
        black_box(entry.expect("an answer"));
    }
    clock.elapsed().as_nanos() as f64 / times as f64
}

/// Nanoseconds of a put.
async fn put<B: Broker>(broker: &B, times: usize) -> f64 {
    let key = Key::from("interfaces/left");
    let clock = Clock::start();
    for _ in 0..times {
        let value = Bytes::from_static(b"value");
        let reply = broker.put_opts(&key, value, PutOptions::default()).await;
        black_box(reply.expect("an answer"));
    }
    clock.elapsed().as_nanos() as f64 / times as f64
}
