//! The keys and values of the measurements, and what the store is compared with.

use std::collections::BTreeMap;

use keyval::{Broker, PutOptions};
use keyval::{Bytes, Key, Memory};
use parking_lot::RwLock;

/// The sizes at which single operations are measured.
pub(crate) const SIZES: [(usize, &str); 3] =
    [(10_000, "10 k"), (100_000, "100 k"), (1_000_000, "1 M")];

/// The bare map: no revisions, no history, no watchers, `parking_lot`'s lock.
pub(crate) type Bare = RwLock<BTreeMap<Bytes, Bytes>>;

/// The `i`th key; a thousand neighbours share a prefix.
pub(crate) fn key(i: usize) -> Key {
    Key::from(format!("cfg/{:04}/{i:08}", i / 1000))
}

/// The prefix of a thousand keys.
pub(crate) fn prefix(i: usize) -> String {
    format!("cfg/{i:04}/")
}

/// A value of 64 bytes, in memory of its own.
pub(crate) fn value(i: usize) -> Bytes {
    let mut bytes = vec![b'.'; 64];
    bytes[..8].copy_from_slice(&i.to_be_bytes());
    Bytes::from(bytes)
}

/// Keys in random order, with repetitions.
pub(crate) fn picks(keys: &[Key], count: usize, seed: u64) -> Vec<Key> {
    let mut random = fastrand::Rng::with_seed(seed);
    // Each key shares its bytes, but is a handle of its own, as callers have it.
    (0..count)
        .map(|_| keys[random.usize(..keys.len())].clone())
        .collect()
}

pub(crate) fn bare(keys: &[Key]) -> Bare {
    let map = keys
        .iter()
        .enumerate()
        .map(|(i, key)| (Bytes::copy_from_slice(key.as_bytes()), value(i)))
        .collect();
    RwLock::new(map)
}

pub(crate) async fn filled(keys: &[Key]) -> Memory {
    let store = Memory::new();
    for (i, key) in keys.iter().enumerate() {
        put(&store, key, value(i)).await;
    }
    store
}

/// Puts through the trait.
pub(crate) async fn put<B: Broker>(store: &B, key: &Key, value: Bytes) {
    store
        .put_opts(key, value, PutOptions::default())
        .await
        .expect("the store takes the put");
}
