//! The in-memory store answers as etcd does: the same random calls to both, every reply compared.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::StreamExt;
use keyval::{
    Change, Changes, Compare, Condition, Consistency, DeleteOptions, Entry, GetOptions, Key,
    KeyRange, LeaseId, Lifetime, ListOptions, ManagedStore, Memory, Op, OpReply, PutOptions,
    Relation, Result, Revision, Target, Txn, TxnReply, WatchOptions,
};
use keyval_tests::etcd::Etcd;

/// How many calls are compared.
const CALLS: usize = 2000;
/// How the told form of an error ends that says that nothing was applied.
const REFUSED: &str = ", not applied";
const KEYS: [&str; 9] = [
    "a", "a/1", "a/2", "a/2/x", "a0", "b", "b/\0", "b/\u{7f}", "c",
];

/// A store with its own numbers for the leases that both stores have.
struct Side<'a> {
    store: &'a dyn ManagedStore,
    leases: Vec<LeaseId>,
}

/// One call, in terms of both stores: leases are named by their place in the order of grants.
#[derive(Clone, Debug)]
enum Call {
    Get(Key, GetOptions),
    List(KeyRange, ListOptions),
    Put(Key, Bytes, PutOptions, Option<usize>),
    Delete(KeyRange, DeleteOptions),
    Commit(Txn),
    Grant,
    Revoke(usize),
    KeysOf(usize),
    Compact(Revision),
    Watch(KeyRange, Revision, Revision),
}

impl Side<'_> {
    /// Makes the call, and tells the answer in a form that is the same for equal answers.
    async fn make(&mut self, call: &Call) -> String {
        match call.clone() {
            Call::Get(key, options) => {
                let got = self.store.get_opts(&key, options).await;
                told(got.map(|entry| entry.map(|entry| self.entry(entry))))
            }
            Call::List(range, options) => {
                let listed = self.list(&range, options).await;
                told(listed)
            }
            Call::Put(key, value, mut options, lease) => {
                if let Some(lease) = lease {
                    options = options.with_lease(self.leases[lease]);
                }
                let put = self.store.put_opts(&key, value, options).await;
                told(put.map(|mut reply| {
                    reply.prev = reply.prev.map(|entry| self.entry(entry));
                    reply
                }))
            }
            Call::Delete(range, options) => {
                let deleted = self.store.delete_opts(&range, options).await;
                told(deleted.map(|mut reply| {
                    reply.prev = self.entries(reply.prev);
                    reply
                }))
            }
            Call::Commit(txn) => {
                let done = self.store.commit(txn).await;
                told(done.map(|reply| self.txn_reply(reply)))
            }
            Call::Grant => {
                let granted = self.store.grant(Duration::from_secs(600)).await;
                told(granted.map(|granted| {
                    self.leases.push(granted.id);
                    granted.ttl
                }))
            }
            Call::Revoke(lease) => {
                let revoked = self.store.revoke(self.leases[lease]).await;
                told(revoked)
            }
            Call::KeysOf(lease) => {
                let status = self.store.time_to_live(self.leases[lease]).await;
                told(status.map(|status| (status.granted, status.keys)))
            }
            Call::Compact(to) => {
                let compacted = self.store.compact(to).await;
                told(compacted)
            }
            Call::Watch(range, from, to) => {
                let seen = self.watch(&range, from, to).await;
                told(seen)
            }
        }
    }

    async fn list(
        &self,
        range: &KeyRange,
        options: ListOptions,
    ) -> Result<(Revision, Option<u64>, Vec<Entry>)> {
        let listing = self.store.list_opts(range, options).await?;
        let (revision, count) = (listing.revision, listing.count);
        Ok((revision, count, self.entries(listing.collect().await?)))
    }

    /// What a watch delivers of these revisions; it ends at the put of a key outside of the range.
    async fn watch(&self, range: &KeyRange, from: Revision, to: Revision) -> Result<Vec<Changes>> {
        let options = WatchOptions::default().starting_at(from).with_previous();
        let mut watch = self.store.watch_opts(range, options).await?;
        let mut seen = Vec::new();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
            let mut changes = next.expect("the last one comes").expect("it goes on")?;
            if changes.revision > to {
                return Ok(seen);
            }
            for change in &mut changes.changes {
                *change = change.clone().map(|entry| self.entry(entry));
                // Whether what stood there before is still kept differs behind a compaction.
                if let Change::Put { prev, .. } | Change::Delete { prev, .. } = change
                    && from.next() >= changes.revision
                {
                    *prev = None;
                }
            }
            if !changes.is_progress() {
                seen.push(changes);
            }
        }
    }

    fn entries(&self, entries: Vec<Entry>) -> Vec<Entry> {
        entries.into_iter().map(|entry| self.entry(entry)).collect()
    }

    /// The entry with its lease by its place.
    fn entry(&self, mut entry: Entry) -> Entry {
        entry.lease = entry.lease.map(|lease| {
            let place = self.leases.iter().position(|known| *known == lease);
            let number = place.expect("the lease was granted here") as u64 + 1;
            LeaseId::new(number).expect("it is not zero")
        });
        entry
    }

    fn txn_reply(&self, mut reply: TxnReply) -> TxnReply {
        for reply in &mut reply.replies {
            match reply {
                OpReply::Get(reply) => {
                    reply.entries = self.entries(std::mem::take(&mut reply.entries));
                }
                OpReply::Put(reply) => {
                    reply.prev = reply.prev.take().map(|entry| self.entry(entry));
                }
                OpReply::Delete(reply) => {
                    reply.prev = self.entries(std::mem::take(&mut reply.prev));
                }
            }
        }
        reply
    }
}

fn told<T: Debug>(result: Result<T>) -> String {
    match result {
        Ok(reply) => format!("{reply:?}"),
        Err(error) if error.may_have_applied() => format!("{} unknown", error.kind()),
        Err(error) => format!("{}{REFUSED}", error.kind()),
    }
}

fn key(rng: &mut Rng) -> Key {
    Key::from(KEYS[rng.usize(..KEYS.len())])
}

fn value(rng: &mut Rng) -> Bytes {
    Bytes::from(["", "x", "y", "zz"][rng.usize(..4)])
}

fn range(rng: &mut Rng) -> KeyRange {
    match rng.u8(..6) {
        0 => KeyRange::all(),
        1 | 2 => KeyRange::prefix(["a", "a/", "b/", "d"][rng.usize(..4)]),
        3 => KeyRange::span(key(rng), key(rng)),
        _ => KeyRange::key(key(rng)),
    }
}

/// Mostly the present, sometimes the past, the compacted and the future.
fn at(rng: &mut Rng, now: u64) -> Option<Revision> {
    match rng.u8(..10) {
        0 => Some(Revision::new(rng.u64(1..=now))),
        1 | 2 => Some(Revision::new(now - rng.u64(..now.min(20)))),
        3 => Some(Revision::new(now + rng.u64(1..3))),
        _ => None,
    }
}

fn list_options(rng: &mut Rng, now: u64) -> ListOptions {
    let mut options = ListOptions::default();
    options.at = at(rng, now);
    if rng.bool() {
        options = options.with_limit(rng.usize(1..6));
    }
    if rng.u8(..3) == 0 {
        options = options.with_page(rng.usize(1..4));
    }
    if rng.u8(..3) == 0 {
        options = options.reverse();
    }
    match rng.u8(..5) {
        0 => options.keys_only(),
        1 => options.count_only(),
        2 => options.with_consistency(Consistency::Serializable),
        _ => options,
    }
}

/// Options of a put, without a lease and without a condition.
fn put_options(rng: &mut Rng) -> PutOptions {
    let mut options = PutOptions::default();
    options.previous = rng.bool();
    options.keep_value = rng.u8(..8) == 0;
    if rng.u8(..6) == 0 {
        options.lifetime = Lifetime::Keep;
    }
    options
}

fn compare(rng: &mut Rng, now: u64) -> Compare {
    let relation = [
        Relation::Equal,
        Relation::NotEqual,
        Relation::Greater,
        Relation::Less,
    ][rng.usize(..4)];
    let revision = Revision::new(now.saturating_sub(rng.u64(..20)));
    let target = match rng.u8(..5) {
        0 => Target::Version(rng.u64(..4)),
        1 => Target::Created(revision),
        2 => Target::Modified(revision),
        3 => Target::Value(value(rng)),
        _ => Target::Lease(None),
    };
    Compare::new(key(rng), relation, target)
}

fn op(rng: &mut Rng, now: u64) -> Op {
    match rng.u8(..5) {
        0 | 1 => Op::Put(key(rng), value(rng), put_options(rng)),
        2 => {
            let mut options = DeleteOptions::default();
            options.previous = rng.bool();
            Op::Delete(range(rng), options)
        }
        _ => Op::Get(range(rng), list_options(rng, now)),
    }
}

fn txn(rng: &mut Rng, now: u64) -> Txn {
    let mut txn = Txn::new();
    for _ in 0..rng.u8(..3) {
        txn = txn.when(compare(rng, now));
    }
    for _ in 0..rng.u8(..4) {
        txn = txn.then(op(rng, now));
    }
    for _ in 0..rng.u8(..3) {
        txn = txn.otherwise(op(rng, now));
    }
    txn
}

fn call(rng: &mut Rng, now: u64, leases: usize) -> Call {
    match rng.u8(..100) {
        0..15 => {
            let mut options = GetOptions::default();
            options.at = at(rng, now);
            Call::Get(key(rng), options)
        }
        15..30 => Call::List(range(rng), list_options(rng, now)),
        30..62 => {
            let mut options = put_options(rng);
            options.only_if = match rng.u8(..8) {
                0 => Some(Condition::Absent),
                1 => Some(Condition::Exists),
                2 => Some(Condition::Value(value(rng))),
                3 => Some(Condition::Modified(Revision::new(
                    now - rng.u64(..now.min(9)),
                ))),
                _ => None,
            };
            let lease = (leases > 0 && rng.u8(..4) == 0).then(|| rng.usize(..leases));
            Call::Put(key(rng), value(rng), options, lease)
        }
        62..70 => {
            let mut options = DeleteOptions::default();
            options.previous = rng.bool();
            Call::Delete(range(rng), options)
        }
        70..88 => Call::Commit(txn(rng, now)),
        88..91 => Call::Grant,
        91..93 if leases > 0 => Call::Revoke(rng.usize(..leases)),
        93..95 if leases > 0 => Call::KeysOf(rng.usize(..leases)),
        95 => Call::Compact(Revision::new(
            [0, now.saturating_sub(rng.u64(..40))][rng.usize(..2)],
        )),
        96 => Call::Compact(Revision::new(now + 1)),
        _ => {
            let from = now.saturating_sub(rng.u64(..60)).max(1);
            Call::Watch(range(rng), Revision::new(from), Revision::new(now))
        }
    }
}

#[tokio::test]
async fn the_same_calls_get_the_same_answers() {
    let seed = std::env::var("KEYVAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("KEYVAL_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let server = Etcd::start();
    let (memory, etcd) = (Memory::new(), server.store().await);
    let mut memory = Side {
        store: &memory,
        leases: Vec::new(),
    };
    let mut etcd = Side {
        store: &etcd,
        leases: Vec::new(),
    };
    let mut answers = BTreeMap::new();
    for step in 0..CALLS {
        let status = memory.store.status().await.unwrap();
        let now = status.revision.unwrap().get();
        let mut call = call(&mut rng, now, memory.leases.len());
        if let Call::Watch(range, ..) = &mut call {
            // A mark that every watch sees, so that the end of what it should see is known.
            let mark = Call::Put(Key::from("~"), Bytes::new(), PutOptions::default(), None);
            for side in [&mut memory, &mut etcd] {
                side.make(&mark).await;
            }
            *range = KeyRange::span(range.start(), "~\0");
        }
        let (expected, answer) = (memory.make(&call).await, etcd.make(&call).await);
        // Of two reasons to refuse a write, each store may name the one that it finds first.
        let refused = [&expected, &answer]
            .iter()
            .all(|told| told.ends_with(REFUSED));
        let conditional = match &call {
            Call::Commit(_) => true,
            Call::Put(_, _, options, _) => options.only_if.is_some(),
            _ => false,
        };
        if !(refused && conditional) {
            assert_eq!(
                answer, expected,
                "step {step} of KEYVAL_SEED={seed}: {call:?}"
            );
        }
        let kind = answer
            .split([' ', '('])
            .next()
            .unwrap_or_default()
            .to_owned();
        *answers.entry(kind).or_insert(0) += 1;
    }
    println!("{answers:?}");
}
