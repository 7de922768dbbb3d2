//! Writes that are tried again although an answer was lost, and yet take place at most once.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::broker::Broker;
use crate::entry::{Change, Entry};
use crate::error::{Error, Outcome, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{GetOptions, Lifetime, ListOptions, PutOptions, WatchOptions};
use crate::range::KeyRange;
use crate::reply::{OpReply, PutReply, TxnReply};
use crate::revision::Revision;
use crate::txn::{Compare, Op, Relation, Target, Txn};
use crate::watcher::Watcher;
use crate::wrap::RetryPolicy;

/// How long the history may take to show what became of a write.
const PROOF: Duration = Duration::from_secs(5);

/// Carries out a transaction at most once, and tries again even where an answer was lost.
///
/// The transaction has to be guarded: one of its compares is [`Compare::modified`] with the revision
/// of a key that exists, and its `then` list puts that key. Carried out once, it can then never be
/// carried out again, whatever is still on its way. If an answer was lost and a later attempt finds
/// the guard broken, the first change of that key behind the guard tells from the history whether it
/// was this transaction. What another client writes in the same moment to the same keys, with the same
/// values and leases, is taken for it: nothing in the store tells the two apart.
///
/// The `then` list may hold puts only, without [`PutOptions::previous`] and without a TTL of their
/// own, as nothing brings a lost answer back; name a lease instead.
///
/// # Errors
/// [`Error::Invalid`] for a transaction that is not so guarded. Otherwise the errors of
/// [`Broker::commit`]: one that [may have been applied](Error::may_have_applied) is returned only
/// if neither a further attempt nor the history could tell, such as after a compaction.
///
/// # Cancel safety
/// If the future is dropped, the transaction may take place all the same, at most once.
///
/// # Examples
/// ```
/// use keyval::recipes::commit_once;
/// use keyval::{BrokerExt, Compare, Memory, Op, RetryPolicy, Txn};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let put = store.put("account", "10").await?;
/// let withdraw = Txn::new()
///     .when(Compare::modified("account", put))
///     .then(Op::put("account", "7"));
/// let reply = commit_once(&store, withdraw, RetryPolicy::default()).await?;
/// assert!(reply.succeeded);
/// assert_eq!(store.get("account").await?.unwrap().version, 2);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
pub async fn commit_once<S>(store: &S, txn: Txn, policy: RetryPolicy) -> Result<TxnReply>
where
    S: Broker + Watcher + ?Sized,
{
    let guard = Guard::of(&txn)?;
    guarded(store, &txn, &guard, &mut Attempts::new(policy)).await
}

async fn guarded<S>(
    store: &S,
    txn: &Txn,
    guard: &Guard,
    attempts: &mut Attempts,
) -> Result<TxnReply>
where
    S: Broker + Watcher + ?Sized,
{
    // The error of the first attempt that may have been applied.
    let mut doubt = None;
    loop {
        let error = match store.commit(txn.clone()).await {
            Ok(reply) if reply.succeeded => return Ok(reply),
            Ok(refused) => match doubt {
                None => return Ok(refused),
                Some(doubt) => return guard.proof(store, refused, doubt).await,
            },
            Err(error) => error,
        };
        let again = error.is_retryable() || error.may_have_applied();
        if doubt.is_none() && !error.may_have_applied() {
            if !again || !attempts.wait().await {
                return Err(error);
            }
            continue;
        }
        // Whatever later attempts say, the first one may have been applied.
        let first = doubt.unwrap_or(error);
        if !again || !attempts.wait().await {
            return Err(first);
        }
        doubt = Some(first);
    }
}

/// Puts a key at most once, and tries again even where an answer was lost.
///
/// Costs a read more than a put. The put is guarded by what the read found, as described at
/// [`commit_once`]; if somebody else wrote in between, it certainly did not take place, and begins
/// anew. If the key did not exist, no guard is certain to stay broken, so that a lost answer is
/// looked up in the history, but the put is not sent again; where the history does not show it, it
/// may still come late, even after the key was put by others and deleted.
///
/// `options` may set a lifetime, [`Lifetime::Permanent`] or [`Lifetime::Lease`], and nothing else.
///
/// # Errors
/// [`Error::Invalid`] for other options. Otherwise those of a get and a put: one that
/// [may have been applied](Error::may_have_applied) is returned only if neither a further attempt
/// nor the history could tell.
///
/// # Cancel safety
/// If the future is dropped, the put may take place all the same, at most once.
///
/// # Examples
/// ```
/// use keyval::recipes::put_once;
/// use keyval::{BrokerExt, Memory, PutOptions, RetryPolicy};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let put = put_once(&store, "name", "left", PutOptions::default(), RetryPolicy::default()).await?;
/// assert_eq!(store.get("name").await?.unwrap().modified, put.revision);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
pub async fn put_once<S>(
    store: &S,
    key: impl Into<Key>,
    value: impl Into<Bytes>,
    options: PutOptions,
    policy: RetryPolicy,
) -> Result<PutReply>
where
    S: Broker + Watcher + ?Sized,
{
    let (key, value) = (key.into(), value.into());
    let write = Write::new(key, value, &options)?;
    let mut attempts = Attempts::new(policy);
    loop {
        let (found, seen) = match read(store, &write.key).await {
            Ok(read) => read,
            Err(error) if error.is_retryable() && attempts.wait().await => continue,
            Err(error) => return Err(error),
        };
        let txn = write.txn(found.as_ref());
        let sent = match found {
            Some(_) => guarded(store, &txn, &Guard::of(&txn)?, &mut attempts).await,
            None => match store.commit(txn).await {
                Err(error) if error.may_have_applied() => write.created(store, seen, error).await,
                answered => answered,
            },
        };
        match sent {
            Ok(reply) if reply.succeeded => return Ok(write.reply(reply.revision)),
            Ok(refused) => {
                if !attempts.wait().await {
                    return Err(Error::unavailable(
                        format!(
                            "others keep writing \"{}\", last before revision {}",
                            write.key, refused.revision
                        ),
                        Outcome::NotApplied,
                    ));
                }
            }
            Err(error) => {
                let harmless = error.is_retryable() && !error.may_have_applied();
                if !harmless || !attempts.wait().await {
                    return Err(error);
                }
            }
        }
    }
}

/// A key as it stands, and the revision at which it was read.
async fn read<S: Broker + ?Sized>(store: &S, key: &Key) -> Result<(Option<Entry>, Revision)> {
    let listing = store
        .list_opts(&KeyRange::key(key), ListOptions::default())
        .await?;
    let revision = listing.revision;
    Ok((listing.collect().await?.pop(), revision))
}

/// One put that has to be recognised in the history.
struct Write {
    key: Key,
    value: Bytes,
    lease: Option<LeaseId>,
}

impl Write {
    fn new(key: Key, value: Bytes, options: &PutOptions) -> Result<Self> {
        options.check(&key, &value)?;
        let lease = match options.lifetime {
            Lifetime::Permanent => None,
            Lifetime::Lease(lease) => Some(lease),
            Lifetime::Ttl(_) | Lifetime::Keep => {
                return Err(not_once(
                    &key,
                    "a lifetime that is neither permanent nor a lease",
                ));
            }
        };
        if options.previous || options.keep_value || options.only_if.is_some() {
            return Err(not_once(&key, "an option besides its lifetime"));
        }
        Ok(Self { key, value, lease })
    }

    fn txn(&self, found: Option<&Entry>) -> Txn {
        let guard = match found {
            Some(entry) => Compare::modified(&self.key, entry.modified),
            None => Compare::absent(&self.key),
        };
        let options = match self.lease {
            Some(lease) => PutOptions::default().with_lease(lease),
            None => PutOptions::default(),
        };
        let put = Op::Put(self.key.clone(), self.value.clone(), options);
        Txn::new().when(guard).then(put)
    }

    fn is(&self, entry: &Entry) -> bool {
        entry.key == self.key && entry.value == self.value && entry.lease == self.lease
    }

    fn reply(&self, revision: Revision) -> PutReply {
        PutReply {
            revision,
            written: true,
            prev: None,
            lease: None,
        }
    }

    /// Looks for a put of a key that did not exist at this revision; without a trace of it the
    /// doubt remains.
    async fn created<S>(&self, store: &S, seen: Revision, doubt: Error) -> Result<TxnReply>
    where
        S: Broker + Watcher + ?Sized,
    {
        // Without any change the watch would wait: then there is nothing to be found.
        match read(store, &self.key).await {
            Ok((None, _)) | Err(_) => return Err(doubt),
            Ok((Some(_), _)) => {}
        }
        match first_change(store, &self.key, seen).await {
            Ok((revision, Some(entry))) if self.is(&entry) => Ok(TxnReply {
                revision,
                succeeded: true,
                replies: vec![OpReply::Put(self.reply(revision))],
            }),
            _ => Err(doubt),
        }
    }
}

/// What makes a transaction one that can take place once only.
struct Guard {
    key: Key,
    revision: Revision,
    writes: Vec<Write>,
}

impl Guard {
    fn of(txn: &Txn) -> Result<Self> {
        let mut writes = Vec::new();
        for op in &txn.then {
            match op {
                Op::Put(key, value, options) => {
                    writes.push(Write::new(key.clone(), value.clone(), options)?);
                }
                Op::Get(range, _) | Op::Delete(range, _) => {
                    return Err(not_once(range, "operations besides puts"));
                }
            }
        }
        let guard = txn
            .compares
            .iter()
            .find_map(|compare| match compare.target {
                Target::Modified(revision)
                    if compare.relation == Relation::Equal
                        && revision > Revision::ZERO
                        && writes.iter().any(|write| write.key == compare.key) =>
                {
                    Some((compare.key.clone(), revision))
                }
                _ => None,
            });
        let Some((key, revision)) = guard else {
            return Err(Error::invalid(
                "a transaction that takes place once needs a guard: compare the revision at which \
                 one of the keys that it puts was modified, Compare::modified(key, revision), with \
                 one at which the key exists",
            ));
        };
        Ok(Self {
            key,
            revision,
            writes,
        })
    }

    /// What became of an attempt whose answer was lost, now that a later one was refused.
    async fn proof<S>(&self, store: &S, refused: TxnReply, doubt: Error) -> Result<TxnReply>
    where
        S: Broker + Watcher + ?Sized,
    {
        match read(store, &self.key).await {
            // Another compare refused it. What is on its way may still be applied.
            Ok((Some(entry), _)) if entry.modified == self.revision => return Err(doubt),
            Ok(_) => {}
            Err(_) => return Err(doubt),
        }
        // The guard is broken for good, and what broke it is the first change behind it.
        match self.was_first(store).await {
            Ok(Some(revision)) => Ok(TxnReply {
                revision,
                succeeded: true,
                replies: self
                    .writes
                    .iter()
                    .map(|write| OpReply::Put(write.reply(revision)))
                    .collect(),
            }),
            Ok(None) => Ok(refused),
            Err(_) => Err(doubt),
        }
    }

    async fn was_first<S>(&self, store: &S) -> Result<Option<Revision>>
    where
        S: Broker + Watcher + ?Sized,
    {
        let (revision, _) = first_change(store, &self.key, self.revision).await?;
        for write in &self.writes {
            let options = GetOptions::default().at(revision);
            let entry = store.get_opts(&write.key, options).await?;
            let ours = entry.is_some_and(|entry| entry.modified == revision && write.is(&entry));
            if !ours {
                return Ok(None);
            }
        }
        Ok(Some(revision))
    }
}

/// The first change of a key behind a revision; there must be one.
async fn first_change<S>(store: &S, key: &Key, after: Revision) -> Result<(Revision, Option<Entry>)>
where
    S: Watcher + ?Sized,
{
    let find = async {
        let options = WatchOptions::default().starting_at(after.next());
        let mut changes = store.watch_opts(&KeyRange::key(key), options).await?;
        while let Some(next) = changes.next().await {
            let next = next?;
            if let Some(change) = next.changes.into_iter().next() {
                return Ok(match change {
                    Change::Put { entry, .. } => (next.revision, Some(entry)),
                    Change::Delete { .. } => (next.revision, None),
                });
            }
        }
        Err(unproven())
    };
    timeout(PROOF, find)
        .await
        .unwrap_or_else(|_| Err(unproven()))
}

fn unproven() -> Error {
    Error::unavailable(
        "the history does not show what became of a write",
        Outcome::Unknown,
    )
}

fn not_once(what: &dyn std::fmt::Display, why: &str) -> Error {
    Error::invalid(format!(
        "\"{what}\" cannot be written once for certain: it comes with {why}, which no second \
         look at the store could tell; use plain puts"
    ))
}

/// How often something may still be tried.
struct Attempts {
    policy: RetryPolicy,
    begun: Instant,
    made: u32,
    backoff: Backoff,
}

impl Attempts {
    fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            begun: Instant::now(),
            made: 0,
            backoff: policy.backoff.start(),
        }
    }

    /// Waits for the next attempt; false if there is to be none.
    async fn wait(&mut self) -> bool {
        self.made += 1;
        let wait = self.backoff.next_wait();
        if self.made >= self.policy.attempts || self.begun.elapsed() + wait > self.policy.budget {
            return false;
        }
        sleep(wait).await;
        true
    }
}
