//! Who within a session uses a key of a queue: one at a time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as FairMutex, OwnedMutexGuard, watch};
use tokio::time::{Instant, sleep_until};

use crate::key::Key;
use crate::revision::Revision;

/// The keys that a session uses in queues.
///
/// A session has one key in each queue, so two tasks of one session would take each other's place
/// for their own. Here they wait for each other, in the order in which they came.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Key, Weak<Slot>>>>);

/// A key that the session uses.
#[derive(Debug)]
pub(super) struct Slot {
    turn: Arc<FairMutex<()>>,
    /// When the key came to be that was the session's last: whatever stands there and came to be later
    /// is nobody's, unless one who has the turn is just about to find it.
    owned: watch::Sender<Revision>,
    /// Until when somebody clears the key; `None` if nobody does.
    cleared: Mutex<Option<Instant>>,
}

/// The right to use a key, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    slot: Arc<Slot>,
    _turn: OwnedMutexGuard<()>,
}

impl Claims {
    /// Waits until nobody else in this session uses the key.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn.
    pub(super) async fn claim(&self, key: &Key) -> Claim {
        self.slot(key).claim().await
    }

    /// Claims the key if nobody else in this session uses it.
    pub(super) fn try_claim(&self, key: &Key) -> Option<Claim> {
        let slot = self.slot(key);
        let turn = Arc::clone(&slot.turn).try_lock_owned().ok()?;
        Some(Claim { slot, _turn: turn })
    }

    fn slot(&self, key: &Key) -> Arc<Slot> {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.get(key).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Slot {
            turn: Arc::default(),
            owned: watch::Sender::new(Revision::ZERO),
            cleared: Mutex::default(),
        });
        slots.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }
}

impl Claim {
    /// Notes that the key which came to be at this revision is the claimer's.
    pub(super) fn owns(&self, created: Revision) {
        self.slot
            .owned
            .send_modify(|owned| *owned = created.max(*owned));
    }

    /// The slot, for the one who clears the key from now on until that moment; `None` if somebody
    /// does already, who then goes on until that moment.
    pub(super) fn to_clear(&self, until: Instant) -> Option<Arc<Slot>> {
        let before = self.slot.cleared.lock().replace(until);
        before.is_none().then(|| Arc::clone(&self.slot))
    }
}

impl Slot {
    async fn claim(self: Arc<Self>) -> Claim {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        Claim {
            slot: self,
            _turn: turn,
        }
    }

    /// Waits until the key needs to be cleared no more, and notes that nobody does.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(super) async fn is_clear(&self) {
        loop {
            let until = {
                let mut cleared = self.cleared.lock();
                match *cleared {
                    Some(until) if Instant::now() < until => until,
                    _ => {
                        *cleared = None;
                        return;
                    }
                }
            };
            sleep_until(until).await;
        }
    }

    /// Claims the key that came to be at this revision if it is nobody's in this session; `None` if it
    /// is, or was, somebody's.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn.
    pub(super) async fn claim_unowned(self: &Arc<Self>, created: Revision) -> Option<Claim> {
        let mut owned = self.owned.subscribe();
        tokio::select! {
            biased;
            _ = owned.wait_for(|owned| *owned >= created) => None,
            claim = Arc::clone(self).claim() => {
                // Whoever had the turn until now may have found the key to be its own at last.
                (*self.owned.borrow() < created).then_some(claim)
            }
        }
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} claims", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_key_is_claimed_once_at_a_time() {
        let claims = Claims::default();
        let key = Key::from("a");
        let first = claims.claim(&key).await;
        assert!(claims.try_claim(&key).is_none());
        assert!(claims.try_claim(&Key::from("b")).is_some());
        drop(first);
        assert!(claims.try_claim(&key).is_some());
    }

    #[tokio::test]
    async fn claims_that_are_given_up_are_forgotten() {
        let claims = Claims::default();
        for number in 0..1000 {
            drop(claims.claim(&Key::from(number.to_string())).await);
        }
        assert!(claims.0.lock().len() <= 1);
    }

    #[tokio::test]
    async fn what_stands_there_is_unowned_only_once_no_claimer_can_own_it() {
        let (claims, key) = (Claims::default(), Key::from("a"));
        let [one, two, three] = [1, 2, 3].map(Revision::new);
        let first = claims.claim(&key).await;
        let until = Instant::now() + Duration::from_secs(60);
        let slot = first.to_clear(until).expect("nobody clears it yet");
        assert!(first.to_clear(until).is_none(), "one is enough");
        first.owns(one);
        assert!(slot.claim_unowned(one).await.is_none(), "it is the first's");

        let mut undecided = Box::pin(slot.claim_unowned(two));
        assert!((&mut undecided).now_or_never().is_none());
        first.owns(two);
        drop(first);
        assert!(undecided.await.is_none(), "it was the first's, too");

        let cleared = slot.claim_unowned(three).await.expect("it is nobody's");
        assert!(claims.try_claim(&key).is_none(), "and is being cleared");
        drop(cleared);
        assert!(claims.try_claim(&key).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_cleared_until_the_last_moment_that_was_asked_for_and_then_by_another() {
        let claims = Claims::default();
        let claim = claims.claim(&Key::from("a")).await;
        let [first, last] = [60, 90].map(|after| Instant::now() + Duration::from_secs(after));
        let slot = claim.to_clear(first).expect("nobody clears it yet");
        assert!(claim.to_clear(last).is_none(), "somebody does");
        slot.is_clear().await;
        assert_eq!(Instant::now(), last);
        assert!(claim.to_clear(last).is_some(), "nobody does any more");
    }
}
