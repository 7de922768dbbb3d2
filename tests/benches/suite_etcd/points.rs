//! Single puts and gets, by few and by many tasks.

use std::hint::black_box;
use std::thread;

use etcd_client::KvClient;
use keyval_tests::etcd::Etcd;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::report::{Report, Row};
use crate::rounds::{Scale, Sides, in_turn};
use crate::sides::{Blob, Stack, VALUE, raw, runtime, stack};
use crate::tasks::{KEYS, Picks, many};

const TASKS: [usize; 4] = [1, 16, 64, 256];
/// As long as the scope of the other side.
const SCOPE: &str = "point/stack/";
const RAW: &str = "point/plain/";

pub(crate) fn measure(server: &mut Etcd, scale: &Scale, report: &mut Report) {
    let runtime = runtime();
    let stack = runtime.block_on(stack(server, SCOPE));
    compare(&runtime, &stack, server, scale, report);
}

/// The same, with the connections of our side on a thread of their own. An experiment: see
/// ARCHITECTURE.md for what came of it.
pub(crate) fn measure_on_a_thread(server: &mut Etcd, scale: &Scale, report: &mut Report) {
    let runtime = runtime();
    let apart = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // A store's connections belong to the runtime on which it was connected.
    let stack = apart.block_on(stack(server, SCOPE));
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = thread::spawn(move || apart.block_on(stopped));
    compare(&runtime, &stack, server, scale, report);
    drop(stop);
    let ended = thread.join().expect("it only waits");
    assert!(ended.is_err(), "nothing is ever sent");
}

fn compare(runtime: &Runtime, stack: &Stack, server: &Etcd, scale: &Scale, report: &mut Report) {
    let raw = runtime.block_on(raw(server));
    runtime.block_on(fill(stack, raw.clone()));
    for tasks in TASKS {
        let cost = in_turn(
            scale.slices,
            || {
                many(runtime, tasks, scale.slice, |picks| {
                    puts(stack.clone(), picks)
                })
            },
            || {
                many(runtime, tasks, scale.slice, |picks| {
                    raw_puts(raw.clone(), picks)
                })
            },
        );
        rows(report, &format!("put, {tasks} tasks"), &cost);
        let cost = in_turn(
            scale.slices,
            || {
                many(runtime, tasks, scale.slice, |picks| {
                    gets(stack.clone(), picks)
                })
            },
            || {
                many(runtime, tasks, scale.slice, |picks| {
                    raw_gets(raw.clone(), picks)
                })
            },
        );
        rows(report, &format!("get, {tasks} tasks"), &cost);
    }
}

fn rows(report: &mut Report, name: &str, cost: &Sides<2>) {
    let [rate, work] = cost.ratio;
    report.add(
        &Row::new(name, cost.ours[0], "op/s")
            .baseline(cost.theirs[0], rate)
            .target("ratio >= 0.97 to the bare client", rate >= 0.97),
    );
    report.add(
        &Row::new(format!("{name}, processor"), cost.ours[1], "us/op")
            .baseline(cost.theirs[1], work)
            .target("ratio <= 1.15 to the bare client", work <= 1.15),
    );
}

async fn puts(stack: Stack, picks: Picks) -> u64 {
    let value = Blob::new();
    let mut count = 0;
    for at in picks {
        stack.put(key("", at), &value).await.expect("a put");
        count += 1;
    }
    count
}

async fn raw_puts(mut raw: KvClient, picks: Picks) -> u64 {
    let value = vec![b'.'; VALUE];
    let mut count = 0;
    for at in picks {
        let key = key(RAW, at);
        raw.put(key, value.clone(), None).await.expect("a put");
        count += 1;
    }
    count
}

async fn gets(stack: Stack, picks: Picks) -> u64 {
    let mut count = 0;
    for at in picks {
        let entry = stack.get(key("", at)).await.expect("a get");
        black_box(entry.expect("an entry").value);
        count += 1;
    }
    count
}

async fn raw_gets(mut raw: KvClient, picks: Picks) -> u64 {
    let mut count = 0;
    for at in picks {
        let reply = raw.get(key(RAW, at), None).await.expect("a get");
        assert_eq!(black_box(&reply.kvs()[0]).value().len(), VALUE);
        count += 1;
    }
    count
}

async fn fill(stack: &Stack, mut raw: KvClient) {
    for at in 0..KEYS {
        let put = stack.put(key("", at), &Blob::new()).await;
        put.expect("a put");
        let put = raw.put(key(RAW, at), vec![b'.'; VALUE], None).await;
        put.expect("a put");
    }
}

fn key(prefix: &str, at: usize) -> String {
    format!("{prefix}{at:06}")
}
