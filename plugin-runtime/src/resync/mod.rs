//! Rounds of resync: every participant gets a fresh picture of its part, one after another.

mod driver;
mod error;
mod handle;
mod participant;
mod plugin;
mod reconcile;
mod report;
mod settings;
mod shared;

pub use driver::ResyncDriver;
pub use error::ResyncError;
pub use handle::{Resync, resync};
pub use plugin::ResyncPlugin;
pub use reconcile::Reconcile;
pub use report::{
    ParticipantState, ParticipantStatus, ResyncStatus, Round, RoundCause, Visit, VisitOutcome,
};
pub use settings::ResyncSettings;
