//! One lease of a session, from its grant to its loss.

use std::future::Future;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::lease::LeaseGrant;
use crate::lease_id::LeaseId;
use crate::recipes::session::state::LossCause;

/// Beyond this, a deadline is never; clocks cannot count to every time.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

const REMAINING: &str = "keyval_lease_remaining_seconds";

/// A lease with the moment until which it certainly lives. Once lost, it stays lost.
#[derive(Debug)]
pub(super) struct Tenure {
    lease: LeaseId,
    ttl: Duration,
    deadline: Mutex<Instant>,
    lost: watch::Sender<Option<LossCause>>,
}

impl Tenure {
    /// A lease that was granted on a request sent at that moment.
    pub(super) fn new(grant: LeaseGrant, sent: Instant) -> Self {
        let ttl = grant.ttl.min(FAR);
        Self {
            lease: grant.id,
            ttl,
            deadline: Mutex::new(sent + ttl),
            lost: watch::Sender::new(None),
        }
    }

    pub(super) fn lease(&self) -> LeaseId {
        self.lease
    }

    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Until when the lease certainly lives, unless somebody revokes it.
    pub(super) fn deadline(&self) -> Instant {
        *self.deadline.lock()
    }

    /// Notes that a renewal sent at that moment was answered with this TTL.
    pub(super) fn renewed(&self, sent: Instant, ttl: Duration) {
        let mut deadline = self.deadline.lock();
        remained(deadline.saturating_duration_since(Instant::now()));
        *deadline = (sent + ttl.min(FAR)).max(*deadline);
    }

    /// Whether the lease certainly lives: by the clock too, in case nobody came to look at it.
    pub(super) fn is_alive(&self) -> bool {
        self.lost.borrow().is_none() && Instant::now() < self.deadline()
    }

    /// Why it was lost, if it was.
    pub(super) fn cause(&self) -> Option<LossCause> {
        self.lost.borrow().clone()
    }

    /// Notes the loss; the first cause counts.
    pub(super) fn lose(&self, cause: LossCause) {
        let expired = matches!(cause, LossCause::Expired { .. });
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            if first && expired {
                remained(Duration::ZERO);
            }
            lost.get_or_insert(cause);
            first
        });
    }

    /// Waits for the loss.
    pub(super) fn lost(&self) -> impl Future<Output = LossCause> + Send + use<> {
        let mut lost = self.lost.subscribe();
        async move {
            let told = lost.wait_for(Option::is_some).await;
            let cause = told.ok().and_then(|cause| cause.clone());
            cause.unwrap_or(LossCause::Closed)
        }
    }
}

/// Records how long a lease would still have lived when its renewal came, or was given up.
fn remained(time: Duration) {
    metrics::describe_histogram!(
        REMAINING,
        metrics::Unit::Seconds,
        "What was left of leases when their renewal came; 0 where none came in time."
    );
    metrics::histogram!(REMAINING).record(time);
}
