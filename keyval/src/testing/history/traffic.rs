//! A client that does at random whatever can be done with a store.

use std::time::Duration;

use bytes::Bytes;

use crate::broker::BrokerExt;
use crate::error::Result;
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{Condition, DeleteOptions, GetOptions, Lifetime, ListOptions, PutOptions};
use crate::range::{KeyRange, Prefix};
use crate::revision::Revision;
use crate::store::Store;
use crate::txn::{Compare, Op, Txn};

/// More leases than this a client does not hold at once.
const LEASES: usize = 8;

/// A client that does at random whatever can be done: reads and lists of now and of the past, puts
/// with and without conditions, previous entries and leases, deletes, transactions.
///
/// All such clients share a dozen keys, `a/0` to `a/5` and `b/0` to `b/5`, so that they get in each
/// other's way. Every value is put once only. The same seed and number make the same client.
///
/// # Examples
/// ```
/// use keyval::testing::history::{Recorder, Traffic};
/// use keyval::Memory;
///
/// # tokio_test::block_on(async {
/// let recorder = Recorder::new();
/// let mut traffic = Traffic::new(recorder.client(Memory::new()), 1, 42);
/// for _ in 0..100 {
///     traffic.step().await?;
/// }
/// assert!(recorder.take().calls.len() >= 80, "a step is mostly one call");
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Traffic<S> {
    store: S,
    random: fastrand::Rng,
    number: u64,
    values: u64,
    leases: Vec<LeaseId>,
    ttl: Duration,
}

impl<S: Store> Traffic<S> {
    /// A client with this number, which no other client of the store has.
    #[must_use]
    pub fn new(store: S, number: u64, seed: u64) -> Self {
        let mut seeds = fastrand::Rng::with_seed(seed);
        let seed = seeds.u64(..) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            store,
            random: fastrand::Rng::with_seed(seed),
            number,
            values: 0,
            leases: Vec::new(),
            ttl: Duration::from_secs(600),
        }
    }

    /// Sets the TTL of its leases, which nobody renews; ten minutes by default.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// The store below.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Does one thing.
    ///
    /// # Errors
    /// Those of the store, also for what it rightly refuses, such as a lease that has ended.
    ///
    /// # Cancel safety
    /// If the future is dropped, what it did may have been applied.
    pub async fn step(&mut self) -> Result<()> {
        let key = self.key();
        match self.random.u8(..26) {
            0..=9 => self.put(key).await,
            10..=13 => self.delete(key).await,
            14..=17 => self.transaction(key).await,
            18..=19 => self.lease(key).await,
            20..=21 => self.list().await,
            22 => self.read_the_past(key).await,
            _ => self.store.get(key).await.map(drop),
        }
    }

    async fn put(&mut self, key: Key) -> Result<()> {
        let mut value = self.value();
        let options = match self.random.u8(..10) {
            0 => PutOptions::default().with_previous(),
            1 => PutOptions::default().only_if(Condition::Absent),
            2 => PutOptions::default()
                .only_if(Condition::Exists)
                .with_previous(),
            3 => {
                let seen = self.store.get(&key).await?;
                let seen = seen.map_or(Revision::ZERO, |entry| entry.modified);
                PutOptions::default().only_if(Condition::Modified(seen))
            }
            4 if self.store.get(&key).await?.is_some() => {
                value = Bytes::new();
                PutOptions::from(Lifetime::Keep).keep_value()
            }
            5 => PutOptions::default().with_ttl(self.ttl),
            _ => PutOptions::default(),
        };
        self.store.put_opts(&key, value, options).await.map(drop)
    }

    async fn delete(&mut self, key: Key) -> Result<()> {
        let range = match self.random.u8(..8) {
            0 => KeyRange::prefix("a/"),
            _ => KeyRange::key(key),
        };
        let options = DeleteOptions {
            previous: self.random.bool(),
        };
        self.store.delete_opts(&range, options).await.map(drop)
    }

    async fn transaction(&mut self, key: Key) -> Result<()> {
        let txn = if self.random.u8(..4) == 0 {
            Txn::new()
                .when(Compare::absent(&key))
                .then(Op::list(KeyRange::prefix("b/")))
                .otherwise(Op::get(&key))
        } else {
            let (one, other) = self.two_keys();
            Txn::new()
                .when(Compare::exists(&key))
                .then(Op::put(&one, self.value()))
                .then(Op::delete(&other))
                .then(Op::get(&one))
                .otherwise(Op::put(&other, self.value()))
                .otherwise(Op::list(KeyRange::prefix("a/")))
        };
        self.store.commit(txn).await.map(drop)
    }

    async fn lease(&mut self, key: Key) -> Result<()> {
        match self.random.choice(&self.leases).copied() {
            Some(lease) if self.random.bool() => {
                let options = PutOptions::default().with_lease(lease);
                let value = self.value();
                self.store.put_opts(&key, value, options).await.map(drop)
            }
            Some(lease) if self.random.bool() || self.leases.len() >= LEASES => {
                self.leases.retain(|other| *other != lease);
                self.store.revoke(lease).await
            }
            _ => {
                let lease = self.store.grant(self.ttl).await?;
                self.leases.push(lease.id);
                Ok(())
            }
        }
    }

    async fn list(&mut self) -> Result<()> {
        if self.random.u8(..4) == 0 {
            return self.store.count(Prefix::from("a/")).await.map(drop);
        }
        let mut options = ListOptions {
            limit: self.random.bool().then_some(3),
            page: self.random.bool().then_some(2),
            ..ListOptions::default()
        };
        if self.random.bool() {
            options = options.reverse();
        }
        let range = KeyRange::prefix(if self.random.bool() { "a/" } else { "" });
        let listing = self.store.list_opts(&range, options).await?;
        listing.collect().await.map(drop)
    }

    async fn read_the_past(&mut self, key: Key) -> Result<()> {
        let options = ListOptions::default().count_only();
        let present = self
            .store
            .list_opts(&KeyRange::all(), options)
            .await?
            .revision;
        let at = present.get() - self.random.u64(..10).min(present.get() - 1);
        let options = GetOptions::default().at(Revision::new(at));
        self.store.get_opts(&key, options).await.map(drop)
    }

    fn key(&mut self) -> Key {
        let scope = if self.random.u8(..3) == 0 { 'b' } else { 'a' };
        Key::from(format!("{scope}/{}", self.random.u8(..6)))
    }

    fn two_keys(&mut self) -> (Key, Key) {
        let one = self.key();
        loop {
            let other = self.key();
            if other != one {
                return (one, other);
            }
        }
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        Bytes::from(format!("{}:{}", self.number, self.values))
    }
}
