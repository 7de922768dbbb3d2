//! Which leases were granted through a scope, in bounded memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::lease_id::LeaseId;

/// Leases are forgotten this long after their end, or after one more TTL if that is longer.
///
/// A lease that ended is still one of the scope: whoever asks for it is to hear that it was lost,
/// not that it is someone else's. And its end is only assumed: another handle may have renewed it.
const GRACE: Duration = Duration::from_secs(60);

/// Below this number of leases nothing is ever forgotten.
const SWEEP_AT: usize = 4096;

/// The leases granted through a scope and its clones.
///
/// A lease that expires tells nobody, so the book cannot cross it out. Instead each lease is noted
/// with the time from which on nobody will ask for it; whenever the book has doubled, those past
/// their time are dropped. So it holds at most about twice the leases that can be asked for, and
/// noting one costs the same however many there are.
#[derive(Clone, Default)]
pub(crate) struct LeaseBook(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    forget_at: HashMap<LeaseId, Instant, foldhash::fast::RandomState>,
    swept_to: usize,
}

impl LeaseBook {
    /// Notes that a lease was granted or renewed with this TTL.
    pub(crate) fn note(&self, lease: LeaseId, ttl: Duration) {
        let now = Instant::now();
        let kept = ttl.saturating_add(ttl.max(GRACE));
        // A TTL beyond what the clock can tell is as good as a century.
        let forget_at = now
            .checked_add(kept)
            .unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 24 * 3600));
        let mut notes = self.0.lock();
        notes.forget_at.insert(lease, forget_at);
        if notes.forget_at.len() >= SWEEP_AT.max(2 * notes.swept_to) {
            notes.forget_at.retain(|_, at| *at > now);
            notes.swept_to = notes.forget_at.len();
            let room = SWEEP_AT.max(2 * notes.swept_to);
            notes.forget_at.shrink_to(room);
        }
    }

    /// Notes that a lease has ended: it is soon forgotten.
    pub(crate) fn note_end(&self, lease: LeaseId) {
        if let Some(at) = self.0.lock().forget_at.get_mut(&lease) {
            *at = (*at).min(Instant::now() + GRACE);
        }
    }

    /// Whether the lease was granted through the scope.
    pub(crate) fn has(&self, lease: LeaseId) -> bool {
        self.0.lock().forget_at.contains_key(&lease)
    }
}

impl fmt::Debug for LeaseBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // There may be thousands.
        write!(f, "{} leases", self.0.lock().forget_at.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(number: usize) -> LeaseId {
        LeaseId::new(number as u64 + 1).expect("above zero")
    }

    #[tokio::test(start_paused = true)]
    async fn leases_that_expire_unheard_are_forgotten_in_the_end() {
        let book = LeaseBook::default();
        for number in 0..1_000_000 {
            book.note(lease(number), Duration::from_secs(1));
            if number % 100 == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        }
        let notes = book.0.lock();
        assert!(
            notes.forget_at.len() <= 2 * 62 * 100 + SWEEP_AT,
            "{}",
            notes.forget_at.len()
        );
        assert!(notes.forget_at.capacity() < 8 * SWEEP_AT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_renewed_is_never_forgotten() {
        let book = LeaseBook::default();
        let renewed = lease(2_000_000);
        for number in 0..1000 {
            book.note(renewed, Duration::from_secs(30));
            for other in 0..100 {
                book.note(lease(number * 100 + other), Duration::from_secs(1));
            }
            tokio::time::advance(Duration::from_secs(10)).await;
            assert!(book.has(renewed));
        }
        assert!(!book.has(lease(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_just_ended_is_still_known() {
        let book = LeaseBook::default();
        book.note(lease(0), Duration::from_secs(3600));
        book.note_end(lease(0));
        assert!(book.has(lease(0)));
        tokio::time::advance(GRACE * 2).await;
        for number in 1..SWEEP_AT {
            book.note(lease(number), Duration::from_secs(1));
        }
        assert!(!book.has(lease(0)));
    }

    #[tokio::test]
    async fn a_lease_without_end_overflows_no_clock() {
        let book = LeaseBook::default();
        book.note(lease(0), Duration::MAX);
        assert!(book.has(lease(0)));
    }
}
