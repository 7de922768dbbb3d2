//! Carries out the rounds, one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use keyval::{Connection, ConnectionState};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::report::{Round, RoundCause, Visit, VisitOutcome};
use super::shared::{Note, Plan, Request, Shared};

/// Carries out the rounds of a [`Resync`](crate::Resync), which end with it.
///
/// A [`ResyncPlugin`](crate::ResyncPlugin) has one; it is of use by itself where there is no host.
#[must_use = "there are no rounds unless it runs"]
pub struct ResyncDriver {
    shared: Arc<Shared>,
}

/// What runs while a driver does.
struct Running {
    shared: Arc<Shared>,
    /// The participants' tasks; dropping them ends them.
    tasks: JoinSet<()>,
    /// Where each is asked.
    members: BTreeMap<u64, mpsc::Sender<Request>>,
}

impl ResyncDriver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Carries out rounds until the store is closed: one when it is first connected, one after each
    /// outage if `after_reconnect`, however short that was, and those that are asked for. No round
    /// is begun while the store is not connected.
    ///
    /// # Cancel safety
    /// Dropping the future ends all participants where they are.
    pub async fn run(self, mut connection: Connection, after_reconnect: bool) {
        let mut running = Running {
            shared: Arc::clone(&self.shared),
            tasks: JoinSet::new(),
            members: BTreeMap::new(),
        };
        let mut known = None;
        loop {
            running.start_newcomers();
            let mut retry = None;
            if let ConnectionState::Connected { outages, .. } = connection.state() {
                let before = known.replace(outages);
                if before.is_none() {
                    self.shared.request(RoundCause::Connected);
                } else if before != known && after_reconnect {
                    self.shared.request(RoundCause::Reconnected);
                }
                if let Some(plan) = self.shared.begin() {
                    running.carry_out(plan).await;
                    continue;
                }
                retry = self.shared.next_retry();
            }
            tokio::select! {
                state = connection.next() => if state.is_none() {
                    return;
                },
                () = self.shared.wake.notified() => {}
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
            }
        }
    }
}

/// Whoever waits for a round is told that there is none.
impl Drop for ResyncDriver {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Running {
    fn start_newcomers(&mut self) {
        for (id, work, life) in self.shared.newcomers() {
            let (ask, asked) = mpsc::channel(1);
            self.members.insert(id, ask);
            let work = work(asked, Note::new(&self.shared, id));
            // Told once the work, and all that it holds, is dropped: also if it is aborted.
            let left = life.left.drop_guard();
            self.tasks.spawn(async move {
                let _left = left;
                life.leave.run_until_cancelled(work).await;
            });
        }
        // Nothing is kept of those who have left.
        while self.tasks.try_join_next().is_some() {}
        self.members.retain(|_, member| !member.is_closed());
    }

    async fn carry_out(&mut self, plan: Plan) {
        // Of those who are planned, the last may just have been registered.
        self.start_newcomers();
        let (began, start) = (SystemTime::now(), Instant::now());
        let mut visits = Vec::with_capacity(plan.members.len());
        for id in plan.members {
            // Whoever has left meanwhile is passed over.
            if let Some((participant, deadline)) = self.shared.visiting(id) {
                let (outcome, took) = match self.members.get(&id) {
                    Some(member) => visit(member, deadline).await,
                    None => (ended(), Duration::ZERO),
                };
                self.shared.visited(id, &outcome);
                visits.push(Visit {
                    participant,
                    took,
                    outcome,
                });
            }
        }
        self.shared.done(Round {
            number: plan.number,
            causes: plan.causes,
            began,
            took: start.elapsed(),
            visits,
        });
    }
}

/// Asks a participant to deal with a fresh snapshot; what comes of it, and how long it took.
async fn visit(member: &mpsc::Sender<Request>, deadline: Duration) -> (VisitOutcome, Duration) {
    let start = Instant::now();
    let asking = async {
        let (answer, answered) = oneshot::channel();
        // Never refused, nor left without an answer, unless the task has ended.
        member.send(Request { answer }).await.ok()?;
        answered.await.ok()
    };
    let outcome = match timeout(deadline, asking).await {
        Ok(Some(Ok(revision))) => VisitOutcome::Done { revision },
        Ok(Some(Err(cause))) => VisitOutcome::Failed { cause },
        Ok(None) => ended(),
        Err(_) => VisitOutcome::Late { after: deadline },
    };
    (outcome, start.elapsed())
}

/// What comes of a visit of one that is there no more.
fn ended() -> VisitOutcome {
    VisitOutcome::Failed {
        cause: "its task has ended".into(),
    }
}

impl fmt::Debug for ResyncDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResyncDriver").finish_non_exhaustive()
    }
}
