//! The live typed picture of a range.

mod changes;
mod draft;
mod edit;
mod handle;
mod options;
mod picture;

pub use changes::{Difference, ViewChanges};
pub use draft::{Draft, Edit, Edited};
pub use handle::View;
pub use options::{Pace, ViewOptions};
pub use picture::{ViewEntry, ViewSnapshot};
