//! Messages for the tests, examples and benches of `keyval-proto`.
//!
//! `build.rs` compiles `proto/network.proto` as a program that uses `keyval-proto` would: no
//! `protoc`, and with the descriptors that the JSON codec needs. Maps are `BTreeMap`s, so that equal
//! messages have equal bytes.

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// What the messages look like, for the JSON codec.
static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(bytes.as_slice()).expect("the build script made them")
});

/// The package `network`.
#[allow(missing_docs, clippy::large_futures)]
mod network {
    include!(concat!(env!("OUT_DIR"), "/network.rs"));
}

pub use network::*;
