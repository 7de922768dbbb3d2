//! What the handles of a session and its driver have in common.

use std::future::Future;
use std::sync::Arc;

use futures::future::Either;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::recipes::claim::Claims;
use crate::recipes::session::keys::Keys;
use crate::recipes::session::options::SessionOptions;
use crate::recipes::session::state::{LossCause, SessionState};
use crate::recipes::session::tenure::Tenure;
use crate::store::Store;

/// One session.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) options: SessionOptions,
    /// Held during one call of the store, so that putting, removing and putting again never overlap.
    pub(super) keys: tokio::sync::Mutex<Keys>,
    pub(super) claims: Claims,
    tenures: Mutex<Tenures>,
    state: watch::Sender<SessionState>,
    end: watch::Sender<bool>,
    /// What failed at the end; taken by the first who closes.
    failure: Mutex<Option<Error>>,
}

#[derive(Debug)]
struct Tenures {
    present: Arc<Tenure>,
    previous: Option<Arc<Tenure>>,
}

impl Shared {
    pub(super) fn new(store: Arc<dyn Store>, options: SessionOptions, first: Arc<Tenure>) -> Self {
        let lease = first.lease();
        Self {
            store,
            options,
            keys: tokio::sync::Mutex::new(Keys::new(lease)),
            claims: Claims::default(),
            tenures: Mutex::new(Tenures {
                present: first,
                previous: None,
            }),
            state: watch::Sender::new(SessionState::Alive { lease }),
            end: watch::Sender::new(false),
            failure: Mutex::new(None),
        }
    }

    /// The lease that lives, or that was the last to do so.
    pub(super) fn present(&self) -> Arc<Tenure> {
        Arc::clone(&self.tenures.lock().present)
    }

    /// The lease that lives.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] while there is none.
    pub(super) fn alive(&self) -> Result<Arc<Tenure>> {
        let present = self.present();
        if present.is_alive() {
            Ok(present)
        } else {
            Err(Error::LeaseLost {
                lease: present.lease(),
            })
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    /// Waits for the loss of a lease; of one that is not the present one, not at all.
    pub(super) fn lost(&self, lease: LeaseId) -> impl Future<Output = LossCause> + Send + use<> {
        let tenures = self.tenures.lock();
        let known = [Some(&tenures.present), tenures.previous.as_ref()];
        match known
            .into_iter()
            .flatten()
            .find(|tenure| tenure.lease() == lease)
        {
            Some(tenure) => Either::Left(tenure.lost()),
            None => Either::Right(std::future::ready(LossCause::Revoked)),
        }
    }

    /// Takes from an error what it says of the present lease.
    pub(super) fn learn_from(&self, error: &Error) {
        let present = self.present();
        if matches!(error, Error::LeaseLost { lease } if *lease == present.lease()) {
            present.lose(LossCause::Revoked);
        }
    }

    /// Tells that the present lease is lost.
    pub(super) fn announce_loss(&self, tenure: &Tenure, cause: LossCause) {
        let lease = tenure.lease();
        metrics::counter!("keyval_session_losses_total", "cause" => cause.as_str()).increment(1);
        tracing::warn!(store = %self.store, %lease, %cause, "a session lost its lease");
        self.state.send_replace(SessionState::Lost { lease, cause });
    }

    /// Tells that a new lease lives, and that the keys are back.
    pub(super) fn announce_renewal(&self, tenure: &Arc<Tenure>, refused: Vec<Key>) {
        let lease = tenure.lease();
        let previous = {
            let mut tenures = self.tenures.lock();
            let previous = std::mem::replace(&mut tenures.present, Arc::clone(tenure));
            tenures.previous = Some(Arc::clone(&previous));
            previous
        };
        let refused_count = refused.len();
        tracing::info!(store = %self.store, %lease, refused = refused_count, "a session was renewed");
        self.state.send_replace(SessionState::Renewed {
            lease,
            lost: previous.cause().unwrap_or(LossCause::Closed),
            refused: refused.into(),
        });
    }

    /// Tells that nothing more will come; `result` is for who closes.
    pub(super) fn announce_end(&self, result: Result<()>) {
        if *self.end.borrow() {
            return;
        }
        *self.failure.lock() = result.err();
        self.present().lose(LossCause::Closed);
        self.state.send_replace(SessionState::Closed);
        // Last, so that who waits for it finds all of the above.
        self.end.send_replace(true);
    }

    /// Waits for the end, and takes what failed at it.
    pub(super) async fn ended(&self) -> Result<()> {
        // The sender lives as long as this value, so that the wait cannot fail.
        let _ = self.end.subscribe().wait_for(|ended| *ended).await;
        match self.failure.lock().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}
