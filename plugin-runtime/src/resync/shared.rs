//! What the handles of resync, its driver and its participants share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use keyval::{Backoff, BackoffPolicy, ResyncCause, Revision};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::ResyncError;
use super::report::{
    ParticipantState, ParticipantStatus, ResyncStatus, Round, RoundCause, VisitOutcome,
};
use super::settings::ResyncSettings;

/// The bound of the first wait before a participant is visited again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How often the deadline of one who is late is doubled at most.
const DOUBLINGS: u32 = 6;

/// The request to deal with a fresh snapshot; whoever asks has given up once the answer is closed.
pub(super) struct Request {
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The revision of the snapshot, or why it was not dealt with.
pub(super) type Answer = Result<Option<Revision>, Arc<str>>;

/// The work of a participant, which ends with its requests.
pub(super) type Work =
    Box<dyn FnOnce(mpsc::Receiver<Request>, Note) -> BoxFuture<'static, ()> + Send>;

pub(super) struct Shared {
    pub(super) status: watch::Sender<ResyncStatus>,
    pub(super) wake: Notify,
    inner: Mutex<Inner>,
}

struct Inner {
    settings: ResyncSettings,
    /// By their numbers, which grow: the order in which they are visited.
    members: BTreeMap<u64, Member>,
    /// The number of the next one.
    next: u64,
    /// Why everybody is to be visited.
    causes: Vec<RoundCause>,
    /// Who has not been visited since being registered.
    joined: BTreeSet<u64>,
    /// Who is to be visited again, and when.
    retries: BTreeMap<u64, Instant>,
}

struct Member {
    name: Arc<str>,
    /// Until the driver takes it.
    work: Option<Work>,
    backoff: Backoff,
    /// How often in a row it was late.
    late: u32,
    life: Life,
}

/// The life of a participant: asked to end, and ended.
#[derive(Clone, Default)]
pub(super) struct Life {
    pub(super) leave: CancellationToken,
    pub(super) left: CancellationToken,
}

/// A round that is to be carried out.
pub(super) struct Plan {
    pub(super) number: u64,
    pub(super) causes: Vec<RoundCause>,
    pub(super) members: Vec<u64>,
}

impl Shared {
    pub(super) fn new(settings: ResyncSettings) -> Self {
        Self {
            status: watch::Sender::default(),
            wake: Notify::new(),
            inner: Mutex::new(Inner {
                settings,
                members: BTreeMap::new(),
                next: 0,
                causes: Vec::new(),
                joined: BTreeSet::new(),
                retries: BTreeMap::new(),
            }),
        }
    }

    pub(super) fn set(&self, settings: ResyncSettings) {
        self.inner.lock().settings = settings;
    }

    pub(super) fn register(&self, name: Arc<str>, work: Work) -> Result<(), ResyncError> {
        let mut inner = self.inner.lock();
        if inner.members.values().any(|member| member.name == name) {
            return Err(ResyncError::DuplicateName { name });
        }
        if self.status.borrow().ended {
            return Err(ResyncError::Ended);
        }
        let (id, backoff) = (inner.next, inner.backoff());
        inner.next += 1;
        inner.joined.insert(id);
        let member = Member {
            name: Arc::clone(&name),
            work: Some(work),
            backoff,
            late: 0,
            life: Life::default(),
        };
        inner.members.insert(id, member);
        // Under the lock, so that both have one order.
        self.status.send_modify(|status| {
            status.participants.push(ParticipantStatus {
                name,
                state: ParticipantState::Waiting,
                failures: 0,
                id,
            });
        });
        drop(inner);
        self.wake.notify_one();
        Ok(())
    }

    /// Asks for a round in which everybody is visited, and returns the least number it can have.
    pub(super) fn request(&self, cause: RoundCause) -> u64 {
        let mut inner = self.inner.lock();
        if !inner.causes.contains(&cause) {
            inner.causes.push(cause);
        }
        let number = self.status.borrow().begun + 1;
        drop(inner);
        self.wake.notify_one();
        number
    }

    /// The work of those who were registered since this was last asked, in order.
    pub(super) fn newcomers(&self) -> Vec<(u64, Work, Life)> {
        let mut inner = self.inner.lock();
        let members = inner.members.iter_mut();
        members
            .filter_map(|(id, member)| Some((*id, member.work.take()?, member.life.clone())))
            .collect()
    }

    /// Ends a participant's part, and returns what tells when it has ended; `None` if there is none
    /// of that name.
    pub(super) fn leave(&self, name: &str) -> Option<CancellationToken> {
        let mut inner = self.inner.lock();
        let mut members = inner.members.iter();
        let (id, _) = members.find(|(_, member)| *member.name == *name)?;
        let id = *id;
        inner.joined.remove(&id);
        inner.retries.remove(&id);
        let member = inner.members.remove(&id)?;
        self.status
            .send_modify(|status| status.participants.retain(|it| it.id != id));
        drop(inner);
        member.life.leave.cancel();
        // Where the driver has not begun it, nothing is left to end but this.
        if member.work.is_some() {
            drop(member.work);
            member.life.left.cancel();
        }
        Some(member.life.left)
    }

    /// When somebody is to be visited again at the earliest.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.inner.lock().retries.values().min().copied()
    }

    /// Begins a round, if there is a reason for one.
    pub(super) fn begin(&self) -> Option<Plan> {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let mut causes = std::mem::take(&mut inner.causes);
        let members = if causes.is_empty() {
            let due = inner.retries.iter().filter(|(_, at)| **at <= now);
            let mut due: BTreeSet<u64> = due.map(|(id, _)| *id).collect();
            if !due.is_empty() {
                causes.push(RoundCause::Retried);
            }
            if !inner.joined.is_empty() {
                causes.push(RoundCause::Joined);
            }
            due.extend(&inner.joined);
            due.into_iter().collect()
        } else {
            inner.members.keys().copied().collect()
        };
        if causes.is_empty() {
            return None;
        }
        let mut number = 0;
        self.status.send_modify(|status| {
            status.begun += 1;
            number = status.begun;
        });
        Some(Plan {
            number,
            causes,
            members,
        })
    }

    /// The visit of a participant begins: its name, and the time it has; `None` if it has left.
    pub(super) fn visiting(&self, id: u64) -> Option<(Arc<str>, Duration)> {
        let mut inner = self.inner.lock();
        let member = inner.members.get(&id)?;
        let (name, deadline) = (Arc::clone(&member.name), inner.deadline(member));
        inner.joined.remove(&id);
        inner.retries.remove(&id);
        Some((name, deadline))
    }

    /// The visit of a participant is over.
    pub(super) fn visited(&self, id: u64, outcome: &VisitOutcome) {
        let mut inner = self.inner.lock();
        let (backoff, failed_since) = (inner.backoff(), inner.retries.contains_key(&id));
        let Some(member) = inner.members.get_mut(&id) else {
            return;
        };
        match outcome {
            VisitOutcome::Done { .. } => {
                member.late = 0;
                // By a change behind the snapshot.
                if !failed_since {
                    member.backoff = backoff;
                    self.change(id, |it| it.failures = 0);
                }
                return;
            }
            VisitOutcome::Failed { .. } => member.late = 0,
            VisitOutcome::Late { .. } => member.late += 1,
        }
        self.failed(&mut inner, id, outcome.to_string().into());
    }

    pub(super) fn done(&self, round: Round) {
        tracing::info!(%round, took = ?round.took, "resync");
        self.status.send_modify(|status| status.add(round));
    }

    pub(super) fn end(&self) {
        self.status.send_modify(|status| status.ended = true);
        // What participants hold may hold handles of this again.
        for (_, work, life) in self.newcomers() {
            drop(work);
            life.left.cancel();
        }
    }

    /// Notes a failure, and has it tried again after a while.
    fn failed(&self, inner: &mut Inner, id: u64, cause: Arc<str>) {
        let Some(member) = inner.members.get_mut(&id) else {
            return;
        };
        let (participant, wait) = (&member.name, member.backoff.next_wait());
        tracing::warn!(%participant, %cause, ?wait, "a participant of resync is not in sync");
        inner.retries.insert(id, Instant::now() + wait);
        self.change(id, |it| {
            it.failures += 1;
            it.state = ParticipantState::Failed { cause };
        });
        self.wake.notify_one();
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut ParticipantStatus)) {
        self.status.send_if_modified(|status| {
            let mut participants = status.participants.iter_mut();
            let Some(participant) = participants.find(|it| it.id == id) else {
                return false;
            };
            let before = participant.clone();
            change(participant);
            before != *participant
        });
    }
}

impl Inner {
    /// How long this participant has for what it is told.
    fn deadline(&self, member: &Member) -> Duration {
        let doubled = 1 << member.late.min(DOUBLINGS);
        self.settings.deadline.saturating_mul(doubled)
    }

    fn backoff(&self) -> Backoff {
        let longest = self.settings.retry_interval;
        let mut policy = BackoffPolicy::default()
            .with_initial(FIRST_RETRY.min(longest))
            .with_max(longest);
        // Only a visit that is done counts as calm.
        policy.reset_after = Duration::MAX;
        policy.start()
    }
}

/// How a participant lets others know how it fares.
pub(super) struct Note {
    shared: Arc<Shared>,
    id: u64,
}

impl Note {
    pub(super) fn new(shared: &Arc<Shared>, id: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            id,
        }
    }

    /// It has dealt with all that it was told.
    pub(super) fn in_sync(&self) {
        self.shared
            .change(self.id, |it| it.state = ParticipantState::InSync);
    }

    /// It has dealt with a snapshot, which makes good whatever it failed of before.
    pub(super) fn made_good(&self) {
        self.shared.inner.lock().retries.remove(&self.id);
        self.in_sync();
    }

    /// It has failed between two rounds.
    pub(super) fn failed(&self, cause: Arc<str>) {
        let mut inner = self.shared.inner.lock();
        self.shared.failed(&mut inner, self.id, cause);
    }

    /// How long it has for what it is told between two rounds.
    pub(super) fn deadline(&self) -> Duration {
        let inner = self.shared.inner.lock();
        let member = inner.members.get(&self.id);
        member.map_or(inner.settings.deadline, |member| inner.deadline(member))
    }

    /// It has not dealt with changes in time.
    pub(super) fn late(&self, after: Duration) {
        let mut inner = self.shared.inner.lock();
        if let Some(member) = inner.members.get_mut(&self.id) {
            member.late += 1;
        }
        let cause = format!("did not deal with changes within {after:?}").into();
        self.shared.failed(&mut inner, self.id, cause);
    }

    /// It has lost its place in the history.
    pub(super) fn lost(&self, cause: ResyncCause) {
        let inner = self.shared.inner.lock();
        let Some(member) = inner.members.get(&self.id) else {
            return;
        };
        let participant = Arc::clone(&member.name);
        drop(inner);
        self.shared
            .change(self.id, |it| it.state = ParticipantState::Waiting);
        self.shared.request(RoundCause::Lost { participant, cause });
    }
}
