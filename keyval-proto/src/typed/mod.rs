//! Handles on values of one type.

mod handle;
mod ops;
mod read;
mod watch;
mod write;

pub use handle::Typed;
