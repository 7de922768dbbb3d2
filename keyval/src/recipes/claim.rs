//! Who within a session uses a key of a queue: one at a time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Mutex as FairMutex, OwnedMutexGuard};

use crate::key::Key;

/// The keys that a session uses in queues.
///
/// A session has one key in each queue, so two tasks of one session would take each other's place
/// for their own. Here they wait for each other, in the order in which they came.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Key, Weak<FairMutex<()>>>>>);

/// The right to use a key, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    _turn: OwnedMutexGuard<()>,
}

impl Claims {
    /// Waits until nobody else in this session uses the key.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the turn.
    pub(super) async fn claim(&self, key: &Key) -> Claim {
        let turn = self.turn(key).lock_owned().await;
        Claim { _turn: turn }
    }

    /// Claims the key if nobody else in this session uses it.
    pub(super) fn try_claim(&self, key: &Key) -> Option<Claim> {
        let turn = self.turn(key).try_lock_owned().ok()?;
        Some(Claim { _turn: turn })
    }

    fn turn(&self, key: &Key) -> Arc<FairMutex<()>> {
        let mut turns = self.0.lock();
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(FairMutex::new(()));
        turns.insert(key.clone(), Arc::downgrade(&turn));
        turn
    }
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} claims", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
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
}
