//! Long lists: how long they take, and how much memory, each side in a program of its own.

use std::process::{Command, Stdio};
use std::time::Instant;

use etcd_client::GetOptions;
use futures::StreamExt;
use keyval::{BrokerExt, Bytes, KeyRange, bulk_put};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;

use crate::report::{Report, Row};
use crate::rounds::{Scale, in_turn, median};
use crate::sides::{VALUE, client, runtime};

const KEYS: usize = 100_000;
/// Lists by one program; the time is that of the middle one.
const TIMES: usize = 3;

pub(crate) fn measure(server: &mut Etcd, scale: &Scale, report: &mut Report) {
    let runtime = runtime();
    let store = runtime.block_on(server.store());
    let mut random = fastrand::Rng::with_seed(7);
    let mut shape = |name: &'static str, key: &mut dyn FnMut(usize) -> String| {
        let keys: Vec<String> = (0..KEYS).map(|n| format!("{name}/{}", key(n))).collect();
        runtime.block_on(fill(&store, keys));
        let side = |side| run(side, &server.endpoint(), &format!("{name}/"));
        let cost = in_turn(scale.rounds, || side("stack"), || side("plain"));
        let [time, memory] = cost.ratio;
        report.add(
            &Row::new(format!("list of 100 k {name} keys"), cost.ours[0], "ms")
                .baseline(cost.theirs[0], time)
                .target("ratio <= 0.9 to the bare client, one request", time <= 0.9),
        );
        report.add(
            &Row::new(
                format!("memory of a list of 100 k {name} keys"),
                cost.ours[1],
                "KiB",
            )
            .baseline(cost.theirs[1], memory)
            .target(
                "ratio <= 0.125 to the bare client, one request",
                memory <= 0.125,
            ),
        );
    };
    shape("decimal", &mut |n| format!("{n:08}"));
    shape("hex", &mut |_| format!("{:016x}", random.u64(..)));
    shape("clustered", &mut |n| format!("{:04}/{n:08}", n / 1000));
}

async fn fill(store: &EtcdStore, keys: Vec<String>) {
    let value = Bytes::from(vec![b'.'; VALUE]);
    let puts = keys.into_iter().map(|key| (key, value.clone()));
    bulk_put(store, puts).await.expect("the server takes it");
}

/// Lets a program of its own list everything with a prefix: milliseconds, and by how many KiB its
/// memory grew at most.
fn run(side: &str, endpoint: &str, prefix: &str) -> [f64; 2] {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args(["--list", side, endpoint, prefix])
        .stderr(Stdio::inherit())
        .output()
        .expect("this program can be run");
    assert!(output.status.success(), "the list failed");
    let said = String::from_utf8(output.stdout).expect("text");
    let mut figures = said
        .split_whitespace()
        .map(|word| word.parse().expect("a number"));
    std::array::from_fn(|_| figures.next().expect("two numbers"))
}

/// What that program does.
pub(crate) fn child(arguments: &mut dyn Iterator<Item = String>) {
    let mut word = || arguments.next().expect("--list SIDE ENDPOINT PREFIX");
    let (side, endpoint, prefix) = (word(), word(), word());
    let (times, grown) = runtime().block_on(async {
        match side.as_str() {
            "stack" => stack(&endpoint, &prefix).await,
            _ => plain(&endpoint, &prefix).await,
        }
    });
    println!("{} {grown}", median(times) * 1000.0);
}

async fn stack(endpoint: &str, prefix: &str) -> (Vec<f64>, f64) {
    let config = EtcdConfig::default().with_endpoints([endpoint]);
    let store = EtcdStore::connect(&config).await.expect("a server");
    store.get("nothing").await.expect("an answer");
    let before = memory("VmRSS");
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let listing = store.list(KeyRange::prefix(prefix)).await;
        let mut entries = listing.expect("a listing").entries;
        let (mut count, mut bytes) = (0, 0);
        while let Some(entry) = entries.next().await {
            count += 1;
            bytes += entry.expect("an entry").value.len();
        }
        times.push(began.elapsed().as_secs_f64());
        assert_eq!((count, bytes), (KEYS, KEYS * VALUE));
    }
    (times, memory("VmHWM") - before)
}

async fn plain(endpoint: &str, prefix: &str) -> (Vec<f64>, f64) {
    let kv = client(endpoint).await.kv_client();
    let mut kv = kv.max_decoding_message_size(usize::MAX);
    kv.get("nothing", None).await.expect("an answer");
    let before = memory("VmRSS");
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let began = Instant::now();
        let options = GetOptions::new().with_prefix();
        let reply = kv.get(prefix, Some(options)).await.expect("a list");
        let bytes: usize = reply.kvs().iter().map(|kv| kv.value().len()).sum();
        times.push(began.elapsed().as_secs_f64());
        assert_eq!((reply.kvs().len(), bytes), (KEYS, KEYS * VALUE));
    }
    (times, memory("VmHWM") - before)
}

/// A line of the kernel's account of this process, in KiB.
fn memory(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let found = status
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let size = found.and_then(|found| found.split_whitespace().next()?.parse().ok());
    size.expect("the kernel tells of memory")
}
