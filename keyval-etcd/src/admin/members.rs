//! The members of a cluster.

use etcd_client::MemberAddOptions;
use etcd_client::proto::PbMember;
use keyval::{Error, Outcome, Result};

use super::handle::EtcdAdmin;
use super::id::MemberId;
use crate::convert::malformed_after;
use crate::error::Call;

/// A member of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its number.
    pub id: MemberId,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started for the first time.
    pub client_urls: Vec<String>,
    /// Whether it only learns, and does not vote.
    pub learner: bool,
}

impl EtcdAdmin {
    /// The members, those included that have not started yet.
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let call = Call::read("members", self);
        let ask =
            |mut cluster: etcd_client::ClusterClient| async move { cluster.member_list().await };
        let reply = self.cluster(call, ask).await?.0;
        Ok(reply.members.into_iter().map(member).collect())
    }

    /// Adds a member that the others will reach at these URLs, such as `http://10.0.0.7:2380`. It
    /// is to be started afterwards, with `--initial-cluster-state=existing`.
    ///
    /// A voter that never starts counts all the same when a majority is wanted; a
    /// [learner](Self::add_learner) does not.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// let learner = admin.add_learner(&["http://10.0.0.7:2380"]).await?;
    /// // Start it, and let it catch up.
    /// admin.promote_member(learner.id).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] without a URL; [`Error::Unavailable`] while the cluster is not healthy
    /// enough for it; any other error of the store, as for a URL that another member has.
    ///
    /// # Cancel safety
    /// If the future is dropped, the member may be added all the same.
    pub async fn add_member(&self, peer_urls: &[impl AsRef<str> + Sync]) -> Result<Member> {
        self.add("add_member", peer_urls, MemberAddOptions::new())
            .await
    }

    /// As [`add_member`](Self::add_member), but it only learns until it is
    /// [promoted](Self::promote_member). etcd mostly takes one learner at a time.
    ///
    /// # Errors
    /// As [`add_member`](Self::add_member).
    ///
    /// # Cancel safety
    /// If the future is dropped, the member may be added all the same.
    pub async fn add_learner(&self, peer_urls: &[impl AsRef<str> + Sync]) -> Result<Member> {
        let options = MemberAddOptions::new().with_is_learner();
        self.add("add_learner", peer_urls, options).await
    }

    async fn add(
        &self,
        operation: &'static str,
        peer_urls: &[impl AsRef<str> + Sync],
        options: MemberAddOptions,
    ) -> Result<Member> {
        let urls = checked(peer_urls)?;
        let told = urls.join(",");
        let call = Call::write(operation, &told);
        let reply = self
            .cluster(call, |mut cluster| {
                let (urls, options) = (urls.clone(), options.clone());
                async move { cluster.member_add(urls, Some(options)).await }
            })
            .await?
            .0;
        let added = reply.member;
        let added = added.ok_or_else(|| malformed_after(Outcome::Unknown, "no member"))?;
        Ok(member(added))
    }

    /// Removes a member; it stops by itself, if it runs.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the cluster is not healthy enough for it; any other error of the
    /// store, as for a member that there is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, the member may be removed all the same.
    pub async fn remove_member(&self, member: MemberId) -> Result<()> {
        let call = Call::write("remove_member", &member);
        self.cluster(call, |mut cluster| async move {
            cluster.member_remove(member.get()).await
        })
        .await?;
        Ok(())
    }

    /// Changes where the others reach a member.
    ///
    /// # Errors
    /// [`Error::Invalid`] without a URL; any other error of the store, as for a member that there
    /// is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, the member may be changed all the same.
    pub async fn update_member(
        &self,
        member: MemberId,
        peer_urls: &[impl AsRef<str> + Sync],
    ) -> Result<()> {
        let urls = checked(peer_urls)?;
        let call = Call::write("update_member", &member);
        self.cluster(call, |mut cluster| {
            let urls = urls.clone();
            async move { cluster.member_update(member.get(), urls).await }
        })
        .await?;
        Ok(())
    }

    /// Makes a voter of a learner that has caught up with the leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] until it has caught up; any other error of the store, as for a member
    /// that there is not, or that is no learner.
    ///
    /// # Cancel safety
    /// If the future is dropped, the member may be promoted all the same.
    pub async fn promote_member(&self, member: MemberId) -> Result<()> {
        let call = Call::write("promote_member", &member);
        self.cluster(call, |mut cluster| async move {
            cluster.member_promote(member.get()).await
        })
        .await?;
        Ok(())
    }

    /// Has the leader hand over to this member; returns once it leads.
    ///
    /// Only the leader takes this, so it is looked for among the endpoints.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if no endpoint leads; any other error of the store, as for a member
    /// that there is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, the member may lead all the same.
    pub async fn move_leader(&self, to: MemberId) -> Result<()> {
        let statuses = self.status().await?;
        let leads = statuses
            .iter()
            .find(|endpoint| matches!(&endpoint.status, Ok(status) if status.is_leader()));
        let Some(leader) = leads else {
            let told: Vec<String> = statuses.iter().map(ToString::to_string).collect();
            return Err(Error::unavailable(
                format!(
                    "move_leader of \"{to}\" was not sent, as no endpoint is that of the leader: {}",
                    told.join("; ")
                ),
                Outcome::NotApplied,
            ));
        };
        let node = self.node(&leader.endpoint)?;
        let call = Call::write("move_leader", &to);
        self.client()
            .call_at(&node, call, |node| {
                let mut maintenance = node.maintenance.clone();
                async move { maintenance.move_leader(to.get()).await }
            })
            .await?;
        Ok(())
    }
}

fn checked(urls: &[impl AsRef<str>]) -> Result<Vec<String>> {
    if urls.is_empty() {
        return Err(Error::invalid(
            "a member needs a URL where the others reach it, such as http://10.0.0.7:2380",
        ));
    }
    Ok(urls.iter().map(|url| url.as_ref().to_owned()).collect())
}

fn member(wire: PbMember) -> Member {
    Member {
        id: MemberId::new(wire.id),
        name: wire.name,
        peer_urls: wire.peer_ur_ls,
        client_urls: wire.client_ur_ls,
        learner: wire.is_learner,
    }
}
