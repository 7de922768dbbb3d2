//! The administration of an etcd: its members, its storage, and who may do what.

mod alarms;
mod digest;
mod handle;
mod id;
mod login;
mod members;
mod part;
mod roles;
mod snapshot;
mod status;
mod upkeep;
mod users;

pub use self::alarms::{Alarm, AlarmKind};
pub use self::handle::EtcdAdmin;
pub use self::id::MemberId;
pub use self::members::Member;
pub use self::roles::{Access, Permission};
pub use self::snapshot::SavedSnapshot;
pub use self::status::{EndpointStatus, MemberStatus};
pub use self::upkeep::HashOfKeys;
pub(crate) use self::upkeep::compact;
