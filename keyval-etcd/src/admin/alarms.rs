//! The alarms of the members.

use std::fmt;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType, MaintenanceClient};
use keyval::Result;

use super::handle::EtcdAdmin;
use super::id::MemberId;
use crate::error::Call;

/// What a member has raised an alarm about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlarmKind {
    /// Its storage has reached its quota: the cluster takes no writes.
    NoSpace,
    /// Its data differs from that of the others: the cluster takes no writes.
    Corrupt,
}

/// An alarm that stays until it is [disarmed](EtcdAdmin::disarm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Alarm {
    /// The member that raised it.
    pub member: MemberId,
    /// What it is about.
    pub kind: AlarmKind,
}

impl EtcdAdmin {
    /// The alarms of all members.
    ///
    /// [`status`](Self::status) shows them too, and asks less of the cluster.
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn alarms(&self) -> Result<Vec<Alarm>> {
        let call = Call::read("alarms", self);
        let ask = |mut maintenance: MaintenanceClient| async move {
            let all = AlarmType::None;
            maintenance.alarm(AlarmAction::Get, all, None).await
        };
        let reply = self.maintenance(call, ask).await?.0;
        let alarms = reply.alarms.iter();
        Ok(alarms
            .filter_map(|alarm| {
                let kind = match alarm.alarm() {
                    AlarmType::Nospace => AlarmKind::NoSpace,
                    AlarmType::Corrupt => AlarmKind::Corrupt,
                    AlarmType::None => return None,
                };
                let member = MemberId::new(alarm.member_id);
                Some(Alarm { member, kind })
            })
            .collect())
    }

    /// Disarms an alarm, once its cause is gone. One that is not armed is no error.
    ///
    /// After [`AlarmKind::NoSpace`], compact and [defragment](Self::defragment) first, or raise the
    /// quota.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// for alarm in admin.alarms().await? {
    ///     admin.disarm(alarm).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the alarm may be disarmed all the same.
    pub async fn disarm(&self, alarm: Alarm) -> Result<()> {
        let kind = match alarm.kind {
            AlarmKind::NoSpace => AlarmType::Nospace,
            AlarmKind::Corrupt => AlarmType::Corrupt,
        };
        let mut options = AlarmOptions::new();
        options.with_member(alarm.member.get());
        let call = Call::write("disarm", &alarm).repeatable();
        self.maintenance(call, |mut maintenance| {
            let options = Some(options.clone());
            async move {
                maintenance
                    .alarm(AlarmAction::Deactivate, kind, options)
                    .await
            }
        })
        .await?;
        Ok(())
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "no space",
            Self::Corrupt => "corrupt",
        })
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at member {}", self.kind, self.member)
    }
}
