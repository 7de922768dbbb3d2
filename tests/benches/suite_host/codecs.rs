//! What encoding and decoding are of a put and a get on etcd.

use std::hint::black_box;

use keyval::{Broker, BrokerExt, Bytes};
use keyval_proto::{Codec, ProtoJson, Protobuf, Typed};
use keyval_proto_messages::{Interface, Kind};
use tokio::runtime::Runtime;

use crate::report::{Report, Row};
use crate::rounds::{Scale, in_turn};
use crate::tasks::{KEYS, Picks, many};

/// Enough that what the tasks do is what counts, and not the way to the server.
const TASKS: usize = 64;

/// A message of the size and the kind that agents keep.
fn interface() -> Interface {
    Interface {
        physical_address: "02:00:00:00:00:01".into(),
        mtu: 1500,
        enabled: true,
        kind: Kind::Ethernet.into(),
        ip_addresses: vec!["10.0.0.1/24".into(), "fd00::1/64".into()],
        received_bytes: 123_456_789,
        ..Interface::default()
    }
}

/// Each codec beside the same bytes, ready made.
pub(crate) fn measure<S: Broker + Clone>(
    runtime: &Runtime,
    store: &S,
    scale: &Scale,
    report: &mut Report,
) {
    one(runtime, store, "protobuf", Protobuf, scale, report);
    one(runtime, store, "JSON", ProtoJson::default(), scale, report);
}

fn one<S: Broker + Clone, C: Codec<Interface> + Clone>(
    runtime: &Runtime,
    store: &S,
    name: &str,
    codec: C,
    scale: &Scale,
    report: &mut Report,
) {
    let bytes = codec.encode(&interface()).expect("bytes");
    let typed = Typed::<Interface, S, C>::new(store.clone(), codec);
    runtime.block_on(async {
        for at in 0..KEYS {
            store.put(key(at), bytes.clone()).await.expect("a put");
        }
    });
    let puts = in_turn(
        scale.slices,
        || {
            many(runtime, TASKS, scale.slice, |picks| {
                puts(typed.clone(), picks)
            })
        },
        || {
            many(runtime, TASKS, scale.slice, |picks| {
                raw_puts(store.clone(), bytes.clone(), picks)
            })
        },
    );
    let gets = in_turn(
        scale.slices,
        || {
            many(runtime, TASKS, scale.slice, |picks| {
                gets(typed.clone(), picks)
            })
        },
        || {
            many(runtime, TASKS, scale.slice, |picks| {
                raw_gets(store.clone(), picks)
            })
        },
    );
    for (word, cost) in [("encode", puts), ("decode", gets)] {
        let size = bytes.len();
        let what = format!("{word} {name} ({size} B) and send, etcd, {TASKS} tasks");
        report.add(
            &Row::new(what.clone(), cost.ours[0], "op/s").baseline(cost.theirs[0], cost.ratio[0]),
        );
        report.add(
            &Row::new(format!("{what}, processor"), cost.ours[1], "us/op")
                .baseline(cost.theirs[1], cost.ratio[1]),
        );
    }
}

async fn puts<S: Broker, C: Codec<Interface>>(typed: Typed<Interface, S, C>, picks: Picks) -> u64 {
    let value = interface();
    let mut count = 0;
    for at in picks {
        typed.put(key(at), &value).await.expect("a put");
        count += 1;
    }
    count
}

async fn raw_puts<S: Broker>(store: S, bytes: Bytes, picks: Picks) -> u64 {
    let mut count = 0;
    for at in picks {
        store.put(key(at), bytes.clone()).await.expect("a put");
        count += 1;
    }
    count
}

async fn gets<S: Broker, C: Codec<Interface>>(typed: Typed<Interface, S, C>, picks: Picks) -> u64 {
    let mut count = 0;
    for at in picks {
        let entry = typed.get(key(at)).await.expect("a get");
        black_box(entry.expect("an entry").value);
        count += 1;
    }
    count
}

async fn raw_gets<S: Broker>(store: S, picks: Picks) -> u64 {
    let mut count = 0;
    for at in picks {
        let entry = store.get(key(at)).await.expect("a get");
        black_box(entry.expect("an entry").value);
        count += 1;
    }
    count
}

fn key(at: usize) -> String {
    format!("codec/{at:06}")
}
