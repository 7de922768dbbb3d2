//! What values of a type cost over bytes: encoding and decoding alone, and their share of a put and
//! a get on the in-memory store.
//!
//! `cargo bench -p keyval-proto --features json --bench suite_proto -- [--json PATH] [--quick]`
//!
//! Both sides of a ratio are measured in turn, and figures are medians of rounds, so that a busy
//! machine disturbs both alike. A store on a network takes a hundred times as long as memory, and the
//! same codec; so these shares are the greatest there are.

mod operations;
#[path = "../../../keyval/benches/suite_memory/report.rs"]
mod report;
#[path = "../../../keyval/benches/suite_memory/rounds.rs"]
#[allow(dead_code)]
mod rounds;

use std::hint::black_box;

use keyval::{BoxError, Bytes, KeyRange, Memory};
use keyval_proto::{Codec, ProtoJson, Protobuf, Typed, View};
use keyval_proto_messages::interface::Link;
use keyval_proto_messages::{Interface, Kind, Tunnel};
use tokio::runtime::{Builder, Runtime};

use operations::{Operation, nanos_of};
use report::{Report, Row};
use rounds::{Clock, Scale, Sides, in_turn, median};

/// How often an operation is carried out in a round.
fn times(scale: &Scale) -> usize {
    scale.operations / 4
}

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
    let mut report = Report::default();
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let value = interface();
    handle(&runtime, &scale, &mut report);
    codec("protobuf", &Protobuf, &value, &scale, &mut report);
    operations(&runtime, "protobuf", Protobuf, &value, &scale, &mut report);
    codec("JSON", &ProtoJson::default(), &value, &scale, &mut report);
    operations(
        &runtime,
        "JSON",
        ProtoJson::default(),
        &value,
        &scale,
        &mut report,
    );
    view(&runtime, &value, &scale, &mut report);
    report.print();
    if let Some(path) = json {
        report.write(&path);
    }
}

/// A message of the size and the kind that agents keep.
fn interface() -> Interface {
    Interface {
        physical_address: "02:00:00:00:00:01".into(),
        mtu: 1500,
        enabled: true,
        kind: Kind::Ethernet.into(),
        ip_addresses: vec!["10.0.0.1/24".into(), "fd00::1/64".into()],
        received_bytes: 123_456_789,
        link: Some(Link::Tunnel(Tunnel {
            remote_address: "192.0.2.1".into(),
            through: None,
        })),
        ..Interface::default()
    }
}

/// Bytes as they are: what remains is the typed handle itself.
#[derive(Clone, Debug)]
struct AsTheyAre;

impl Codec<Bytes> for AsTheyAre {
    fn encode(&self, value: &Bytes) -> Result<Bytes, BoxError> {
        Ok(value.clone())
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        Ok(bytes)
    }
}

/// What the handle adds without any encoding.
fn handle(runtime: &Runtime, scale: &Scale, report: &mut Report) {
    let value = Bytes::from_static(b"value");
    for (word, sides) in both(runtime, AsTheyAre, &value, scale) {
        report.add(
            &Row::new(
                format!("{word} bytes as they are, memory"),
                sides.ours,
                "ns",
            )
            .baseline(sides.theirs, sides.ratio)
            .target("ratio <= 1.2", sides.ratio <= 1.2),
        );
    }
}

/// Encoding and decoding without a store.
fn codec<C: Codec<Interface>>(
    name: &str,
    codec: &C,
    value: &Interface,
    scale: &Scale,
    report: &mut Report,
) {
    let bytes = codec.encode(value).expect("bytes");
    let count = times(scale);
    let rounds = |work: &dyn Fn()| {
        let round = |_| {
            let clock = Clock::start();
            (0..count).for_each(|_| work());
            clock.elapsed().as_nanos() as f64 / count as f64
        };
        median((0..scale.rounds).map(round))
    };
    let encode = rounds(&|| drop(black_box(codec.encode(black_box(value)).expect("bytes"))));
    let decode = rounds(&|| drop(black_box(codec.decode(bytes.clone()).expect("a value"))));
    let size = bytes.len();
    report.add(&Row::new(format!("encode {name} ({size} B)"), encode, "ns"));
    report.add(&Row::new(format!("decode {name} ({size} B)"), decode, "ns"));
}

/// A put and a get of a value beside those of its bytes.
fn operations<C: Codec<Interface>>(
    runtime: &Runtime,
    name: &str,
    codec: C,
    value: &Interface,
    scale: &Scale,
    report: &mut Report,
) {
    for (word, sides) in both(runtime, codec, value, scale) {
        report.add(
            &Row::new(format!("{word} {name}, memory"), sides.ours, "ns")
                .baseline(sides.theirs, sides.ratio),
        );
        let share = (1.0 - 1.0 / sides.ratio) * 100.0;
        report.add(&Row::new(
            format!("share of the type in a {word}, {name}"),
            share,
            "%",
        ));
    }
}

/// Typed and raw in turn, for a put and for a get.
fn both<T: 'static, C: Codec<T>>(
    runtime: &Runtime,
    codec: C,
    value: &T,
    scale: &Scale,
) -> [(&'static str, Sides); 2] {
    let store = Memory::new();
    let bytes = codec.encode(value).expect("bytes");
    let typed = Typed::<T, _, _>::new(store.clone(), codec);
    let (keys, count) = (operations::keys(), times(scale));
    [Operation::Put, Operation::Get].map(|operation| {
        let sides = in_turn(
            scale.rounds,
            |_| {
                runtime.block_on(nanos_of(
                    operation.typed(&typed, &keys, value, count),
                    count,
                ))
            },
            |_| runtime.block_on(nanos_of(operation.raw(&store, &keys, &bytes, count), count)),
        );
        (operation.word(), sides)
    })
}

/// A read from a view, which asks nobody.
fn view(runtime: &Runtime, value: &Interface, scale: &Scale, report: &mut Report) {
    let typed = Typed::<Interface, _>::new(Memory::new(), Protobuf);
    let keys = operations::keys();
    let view = runtime.block_on(async {
        for key in &keys {
            typed.put(key, value).await.expect("a put");
        }
        let view = View::open(typed, KeyRange::all()).expect("a view");
        view.ready().await.expect("the view is open");
        view
    });
    let count = times(scale);
    let round = |_| {
        let clock = Clock::start();
        for i in 0..count {
            black_box(view.get(&keys[i % keys.len()]).expect("an entry"));
        }
        clock.elapsed().as_nanos() as f64 / count as f64
    };
    let get = median((0..scale.rounds).map(round));
    report.add(&Row::new("get from a view", get, "ns"));
}
