//! `cargo xtask`: set-up, checks and benches in one command.
fn main() {}
