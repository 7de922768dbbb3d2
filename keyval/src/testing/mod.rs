//! What backends and programs are tested with: a faulty store, the conformance kit and the history
//! checker.

// Each promise fails by a panic or by the store's error: that it is not kept is all there is to say.
#[allow(clippy::missing_errors_doc, clippy::missing_panics_doc)]
pub mod conformance;
mod control;
mod faulty;
mod held;
pub mod history;
mod operation;

pub use crate::testing::control::{Fault, FaultControl};
pub use crate::testing::faulty::Faulty;
pub use crate::testing::operation::Operation;
