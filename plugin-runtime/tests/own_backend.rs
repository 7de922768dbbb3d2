//! The store of the example `own_backend` keeps every promise of the contract that it makes.

// What the example needs and the kit does not, and the other way round.
#![allow(dead_code)]

#[path = "../examples/own_backend/shelf.rs"]
mod shelf;

use keyval::testing::conformance::Settings;

use shelf::Shelf;

fn shelf_for_the_kit() -> Shelf {
    // What must not come is waited for in time that flies.
    tokio::time::pause();
    Shelf::new(1_572_864)
}

keyval::conformance! {
    shared: shelf_for_the_kit(),
    exclusive: shelf_for_the_kit(),
    settings: Settings::default().with_cases(64),
}
