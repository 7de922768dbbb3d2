//! What backends and programs are tested with: a faulty store and the conformance kit.

mod control;
mod faulty;
mod operation;

pub use crate::testing::control::{Fault, FaultControl};
pub use crate::testing::faulty::Faulty;
pub use crate::testing::operation::Operation;
