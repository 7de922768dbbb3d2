//! The in-memory store keeps every promise, with time paused and with true concurrency.

#![cfg(feature = "testing")]

use keyval::Memory;
use keyval::testing::conformance::Settings;

/// A store for which time flies whenever everyone waits.
fn with_paused_time() -> Memory {
    tokio::time::pause();
    Memory::new()
}

mod paused {
    keyval::conformance! {
        shared: super::with_paused_time(),
        exclusive: super::with_paused_time(),
    }
}

mod threads {
    use super::*;

    keyval::conformance! {
        shared: Memory::new(),
        exclusive: Memory::new(),
        settings: Settings::default().with_threads(3).with_cases(32),
    }
}
