//! The leases of a store: their deadlines and the keys that go with them.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease::LeaseStatus;
use crate::lease_id::LeaseId;
use crate::options::Lifetime;

#[derive(Debug)]
struct Lease {
    granted: Duration,
    deadline: Instant,
    keys: BTreeSet<Key>,
}

/// Every lease that has not ended, and when each will.
#[derive(Debug)]
pub(crate) struct LeaseTable {
    leases: HashMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Instant, LeaseId)>,
    min_ttl: Duration,
    /// Makes lease numbers: a keyed hash of a counter, so that nobody can guess another's lease.
    numbers: RandomState,
    count: u64,
}

impl LeaseTable {
    pub(crate) fn new(min_ttl: Duration) -> Self {
        Self {
            leases: HashMap::new(),
            deadlines: BTreeSet::new(),
            // So that no grant can fail: a transaction has changed things by then.
            min_ttl: min_ttl.min(Lifetime::MAX_TTL),
            numbers: RandomState::new(),
            count: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The moment at which the next lease ends.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether a lease has reached its deadline and must be ended before anything else happens.
    pub(crate) fn is_due(&self) -> bool {
        self.next_deadline()
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The lease that has been due longest.
    pub(crate) fn due(&self, now: Instant) -> Option<LeaseId> {
        let (deadline, lease) = self.deadlines.first()?;
        (*deadline <= now).then_some(*lease)
    }

    /// Grants a lease of at least this TTL; returns what it granted.
    pub(crate) fn grant(&mut self, ttl: Duration) -> Result<(LeaseId, Duration)> {
        let id = self.unused_id();
        Ok((id, self.grant_as(id, ttl)?))
    }

    /// Grants a lease under this number; returns the TTL that it granted.
    pub(crate) fn grant_as(&mut self, id: LeaseId, ttl: Duration) -> Result<Duration> {
        if self.leases.contains_key(&id) {
            return Err(Error::invalid(format!("the lease {id} was granted before")));
        }
        let granted = whole_seconds(ttl.max(self.min_ttl));
        let Some(deadline) = Instant::now().checked_add(granted) else {
            return Err(Error::invalid(format!("the TTL {ttl:?} is too long")));
        };
        self.deadlines.insert((deadline, id));
        self.leases.insert(
            id,
            Lease {
                granted,
                deadline,
                keys: BTreeSet::new(),
            },
        );
        Ok(granted)
    }

    fn unused_id(&mut self) -> LeaseId {
        loop {
            self.count += 1;
            // 63 bits, as etcd's numbers are signed.
            let number = self.numbers.hash_one(self.count) >> 1;
            if let Some(id) = LeaseId::new(number)
                && !self.leases.contains_key(&id)
            {
                return id;
            }
        }
    }

    fn get(&self, id: LeaseId) -> Result<&Lease> {
        self.leases.get(&id).ok_or(Error::LeaseLost { lease: id })
    }

    /// Refuses a lease that has ended.
    pub(crate) fn check(&self, id: LeaseId) -> Result<()> {
        self.get(id).map(drop)
    }

    pub(crate) fn renew(&mut self, id: LeaseId) -> Result<Duration> {
        let lease = self
            .leases
            .get_mut(&id)
            .ok_or(Error::LeaseLost { lease: id })?;
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = Instant::now() + lease.granted;
        self.deadlines.insert((lease.deadline, id));
        Ok(lease.granted)
    }

    /// Ends a lease; returns the keys that go with it.
    pub(crate) fn end(&mut self, id: LeaseId) -> Result<BTreeSet<Key>> {
        let lease = self
            .leases
            .remove(&id)
            .ok_or(Error::LeaseLost { lease: id })?;
        self.deadlines.remove(&(lease.deadline, id));
        Ok(lease.keys)
    }

    pub(crate) fn status(&self, id: LeaseId) -> Result<LeaseStatus> {
        let lease = self.get(id)?;
        Ok(LeaseStatus {
            id,
            granted: lease.granted,
            remaining: lease.deadline.saturating_duration_since(Instant::now()),
            keys: lease.keys.iter().cloned().collect(),
        })
    }

    /// Moves a key from one lease to another.
    pub(crate) fn attach(&mut self, key: &Key, from: Option<LeaseId>, to: Option<LeaseId>) {
        if from == to {
            return;
        }
        if let Some(lease) = from.and_then(|id| self.leases.get_mut(&id)) {
            lease.keys.remove(key);
        }
        if let Some(lease) = to.and_then(|id| self.leases.get_mut(&id)) {
            lease.keys.insert(key.clone());
        }
    }
}

/// The duration in whole seconds, rounded up.
fn whole_seconds(duration: Duration) -> Duration {
    let seconds = duration.as_secs();
    Duration::from_secs(if duration.subsec_nanos() > 0 {
        seconds.saturating_add(1)
    } else {
        seconds
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::{LeaseTable, whole_seconds};

    #[test]
    fn seconds_are_rounded_up() {
        for (given, expected) in [(2000, 2), (2001, 3), (1999, 2)] {
            assert_eq!(
                whole_seconds(Duration::from_millis(given)),
                Duration::from_secs(expected)
            );
        }
    }

    #[test]
    fn lease_numbers_fit_into_63_bits_and_differ() {
        let mut leases = LeaseTable::new(Duration::from_secs(2));
        let ids: BTreeSet<_> = (0..1000)
            .map(|_| leases.grant(Duration::from_secs(5)).unwrap().0)
            .collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.get() < 1 << 63));
    }
}
