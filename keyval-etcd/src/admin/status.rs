//! How each endpoint is.

use std::fmt;

use etcd_client::proto::PbStatusResponse;
use futures::future::join_all;
use keyval::{Error, Result, Revision};

use super::handle::EtcdAdmin;
use super::id::MemberId;
use crate::convert;
use crate::error::Call;

/// What one endpoint says of itself, or why it says nothing.
#[derive(Debug)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// The endpoint.
    pub endpoint: String,
    /// What the member behind it says, or the error of asking it.
    pub status: Result<MemberStatus, Error>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// The member.
    pub member: MemberId,
    /// The version of its program, as in `3.5.16`.
    pub version: String,
    /// The revision up to which it knows the store.
    pub revision: Revision,
    /// The size of its storage, in bytes.
    pub size: u64,
    /// How many of these bytes are in use; the others are given back by
    /// [`defragment`](EtcdAdmin::defragment).
    pub in_use: u64,
    /// The member that it takes for the leader; none while it knows of none.
    pub leader: Option<MemberId>,
    /// Whether it only learns, and neither votes nor serves reads of the present.
    pub learner: bool,
    /// The term of the present leader.
    pub raft_term: u64,
    /// The last entry of the log that a majority has.
    pub raft_index: u64,
    /// The last entry of the log that it has carried out.
    pub raft_applied: u64,
    /// What is wrong, in its words: alarms, no leader. None is good.
    pub problems: Vec<String>,
}

impl MemberStatus {
    /// Whether it leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.member)
    }
}

impl EtcdAdmin {
    /// Asks every endpoint how it is, all at a time, in the order of
    /// [`endpoints`](Self::endpoints). One that does not answer costs the others nothing.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// for endpoint in admin.status().await? {
    ///     match endpoint.status {
    ///         Ok(status) if status.is_leader() => println!("{} leads", endpoint.endpoint),
    ///         Ok(status) => println!("{} has {} bytes", endpoint.endpoint, status.size),
    ///         Err(error) => println!("{} is down: {error}", endpoint.endpoint),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] once the store is closed; all else is told of each endpoint.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn status(&self) -> Result<Vec<EndpointStatus>> {
        let nodes = self.client().nodes()?;
        let asked = nodes.all().iter().map(|node| async move {
            let call = Call::read("status", &node.endpoint);
            let reply = self.client().call_at(node, call, |node| {
                let mut maintenance = node.maintenance.clone();
                async move { maintenance.status().await }
            });
            EndpointStatus {
                endpoint: node.endpoint.to_string(),
                status: reply.await.map(|reply| member_status(reply.0)),
            }
        });
        Ok(join_all(asked).await)
    }
}

fn member_status(reply: PbStatusResponse) -> MemberStatus {
    let header = reply.header.unwrap_or_default();
    let mut problems = reply.errors;
    // Before 3.4 had learnt to say so itself.
    if reply.leader == 0 && problems.is_empty() {
        problems.push("no leader".to_owned());
    }
    MemberStatus {
        member: MemberId::new(header.member_id),
        version: reply.version,
        revision: convert::revision(header.revision),
        size: u64::try_from(reply.db_size).unwrap_or_default(),
        in_use: u64::try_from(reply.db_size_in_use).unwrap_or_default(),
        leader: (reply.leader != 0).then(|| MemberId::new(reply.leader)),
        learner: reply.is_learner,
        raft_term: reply.raft_term,
        raft_index: reply.raft_index,
        raft_applied: reply.raft_applied_index,
        problems,
    }
}

/// One line for a person.
impl fmt::Display for EndpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.status {
            Ok(status) => write!(f, "{}: {status}", self.endpoint),
            Err(error) => write!(f, "{}: {error}", self.endpoint),
        }
    }
}

/// One line for a person.
impl fmt::Display for MemberStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match (self.is_leader(), self.learner) {
            (true, _) => "leader",
            (_, true) => "learner",
            _ => "follower",
        };
        write!(
            f,
            "etcd {}, member {}, {part}, revision {}, {} of {} bytes in use",
            self.version, self.member, self.revision, self.in_use, self.size
        )?;
        for problem in &self.problems {
            write!(f, "; {problem}")?;
        }
        Ok(())
    }
}
