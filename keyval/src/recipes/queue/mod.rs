//! The queue behind locks and elections: one key for each session, in the order in which they came to
//! be.

mod clear;
mod handle;
pub(super) mod members;
mod place;
mod spot;

pub(super) use self::handle::{Entered, Queue};
pub(super) use self::place::Place;
