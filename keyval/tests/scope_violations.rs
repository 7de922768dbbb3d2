//! What a scope does when the store below sends keys that it was not asked for.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use keyval::{
    Broker, BrokerExt, Bytes, Capabilities, Change, ChangeStream, Changes, DeleteOptions,
    DeleteReply, Entry, Error, GetOptions, Key, KeyRange, LeaseGrant, LeaseId, LeaseStatus, Leases,
    ListOptions, Listing, Op, OpReply, Prefixed, PutOptions, PutReply, RangeReply, Result,
    Revision, StoreExt, Txn, TxnReply, WatchOptions, Watcher,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

const OWN: &str = "agents/1/a";

/// A broken store that answers everything with one right key and then this one.
#[derive(Clone, Debug)]
struct Leaky(&'static str);

impl fmt::Display for Leaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("leaky")
    }
}

fn entry(key: &str) -> Entry {
    Entry {
        key: Key::from(key),
        value: Bytes::from_static(b"secret"),
        created: Revision::new(1),
        modified: Revision::new(1),
        version: 1,
        lease: None,
    }
}

impl Leaky {
    fn entries(&self) -> Vec<Entry> {
        vec![entry(OWN), entry(self.0)]
    }

    fn put_reply(&self) -> PutReply {
        PutReply {
            revision: Revision::new(1),
            written: false,
            prev: Some(entry(self.0)),
            lease: LeaseId::new(7),
        }
    }

    fn delete_reply(&self) -> DeleteReply {
        DeleteReply {
            revision: Revision::new(1),
            deleted: 2,
            prev: self.entries(),
        }
    }
}

#[async_trait]
impl Broker for Leaky {
    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    async fn get_opts(&self, _: &Key, _: GetOptions) -> Result<Option<Entry>> {
        Ok(Some(entry(self.0)))
    }

    async fn list_opts(&self, _: &KeyRange, _: ListOptions) -> Result<Listing> {
        let mut entries = self.entries();
        entries.push(entry(OWN));
        Ok(Listing {
            revision: Revision::new(1),
            count: None,
            entries: futures::stream::iter(entries.into_iter().map(Ok)).boxed(),
        })
    }

    async fn put_opts(&self, _: &Key, _: Bytes, _: PutOptions) -> Result<PutReply> {
        Ok(self.put_reply())
    }

    async fn delete_opts(&self, _: &KeyRange, _: DeleteOptions) -> Result<DeleteReply> {
        Ok(self.delete_reply())
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        let replies = txn.then.iter().map(|op| match op {
            Op::Get(..) => OpReply::Get(RangeReply {
                entries: self.entries(),
                count: None,
            }),
            Op::Put(..) => OpReply::Put(self.put_reply()),
            Op::Delete(..) => OpReply::Delete(self.delete_reply()),
        });
        let replies: Vec<_> = replies.collect();
        if replies.is_empty() {
            return Err(Error::DuplicateKey {
                key: Key::from(self.0),
            });
        }
        Ok(TxnReply {
            revision: Revision::new(1),
            succeeded: true,
            replies,
        })
    }
}

#[async_trait]
impl Watcher for Leaky {
    async fn watch_opts(&self, _: &KeyRange, options: WatchOptions) -> Result<ChangeStream> {
        let put = |key: &str, prev: Option<&str>| Change::Put {
            entry: entry(key),
            prev: prev.map(entry),
        };
        let delete = |key: &str, prev: Option<&str>| Change::Delete {
            key: Key::from(key),
            prev: prev.map(entry),
        };
        let bad = match options.from.map_or(0, Revision::get) {
            1 => put(self.0, None),
            2 => put(OWN, Some(self.0)),
            3 => delete(self.0, None),
            _ => delete(OWN, Some(self.0)),
        };
        let good = || vec![put(OWN, None), delete(OWN, Some(OWN))];
        let mut mixed = good();
        mixed.push(bad);
        let all = [good(), mixed, good()].into_iter().zip(1..);
        let all: Vec<_> = all
            .map(|(changes, revision)| {
                Ok(Changes {
                    revision: Revision::new(revision),
                    changes,
                })
            })
            .collect();
        Ok(ChangeStream::new(
            Revision::ZERO,
            futures::stream::iter(all),
        ))
    }
}

#[async_trait]
impl Leases for Leaky {
    async fn grant(&self, ttl: Duration) -> Result<LeaseGrant> {
        let id = LeaseId::new(7).expect("not zero");
        Ok(LeaseGrant { id, ttl })
    }

    async fn keep_alive(&self, _: LeaseId) -> Result<Duration> {
        Ok(Duration::from_secs(5))
    }

    async fn revoke(&self, _: LeaseId) -> Result<()> {
        Ok(())
    }

    async fn time_to_live(&self, id: LeaseId) -> Result<LeaseStatus> {
        Ok(LeaseStatus {
            id,
            granted: Duration::from_secs(5),
            remaining: Duration::from_secs(5),
            keys: vec![Key::from(OWN), Key::from(self.0)],
        })
    }
}

/// Every way in which a key can come back.
async fn answers(scoped: &Prefixed<Leaky>) -> Vec<(&'static str, Error)> {
    let all = KeyRange::all();
    let mut errors = vec![
        ("get", scoped.get("a").await.unwrap_err()),
        ("put", scoped.put("a", "v").await.unwrap_err()),
        ("delete", scoped.delete("a").await.unwrap_err()),
        ("commit", scoped.commit(Txn::new()).await.unwrap_err()),
    ];
    for op in [Op::get("a"), Op::put("a", "v"), Op::delete("a")] {
        let error = scoped.commit(Txn::new().then(op)).await.unwrap_err();
        errors.push(("commit", error));
    }

    let mut listing = scoped.list(all.clone()).await.unwrap();
    assert_eq!(listing.entries.next().await.unwrap().unwrap().key, "a");
    errors.push(("list", listing.entries.next().await.unwrap().unwrap_err()));
    assert!(
        listing.entries.next().await.is_none(),
        "the list ends with its error"
    );

    for from in 1..=4 {
        let options = WatchOptions::default().starting_at(Revision::new(from));
        let mut watch = scoped.watch_opts(&all, options).await.unwrap();
        let good = watch.next().await.unwrap().unwrap();
        assert!(good.changes.iter().all(|change| *change.key() == "a"));
        errors.push(("watch", watch.next().await.unwrap().unwrap_err()));
        assert!(
            watch.next().await.is_none(),
            "the watch ends with its error"
        );
    }
    errors
}

#[test]
fn a_key_outside_is_an_error_and_a_metric_and_is_never_delivered() {
    // Beside, before, above, the prefix itself, and nothing like it.
    for foreign in [
        "agents/10/secret",
        "agents/1",
        "agents/2",
        "agents/1/",
        "z",
        "",
    ] {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        let errors = metrics::with_local_recorder(&recorder, || {
            tokio_test::block_on(async { answers(&Leaky(foreign).prefixed("agents/1/")).await })
        });
        let expected = errors.len() as u64;
        for (operation, error) in errors {
            let text = error.to_string();
            assert!(
                matches!(error, Error::OutOfScope { .. }),
                "{operation}: {error:?}"
            );
            assert!(error.may_have_applied(), "{operation}: an answer came");
            assert!(
                !text.contains("secret") && text.contains(operation),
                "{text}"
            );
            assert!(text.ends_with("outside the scope \"agents/1/\""), "{text}");
        }
        let count =
            snapshotter.snapshot().into_vec().into_iter().find_map(
                |(key, _, _, value)| match value {
                    DebugValue::Counter(count)
                        if key.key().name() == "keyval_scope_violations_total" =>
                    {
                        assert_eq!(key.key().labels().len(), 0);
                        Some(count)
                    }
                    _ => None,
                },
            );
        assert_eq!(count, Some(expected));
    }
}

#[test]
fn the_metric_is_there_at_zero_before_anything_happens() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || Leaky("x").prefixed("agents/1/"));
    let all = snapshotter.snapshot().into_vec();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].0.key().name(), "keyval_scope_violations_total");
    assert!(matches!(all[0].3, DebugValue::Counter(0)));
}

#[tokio::test]
async fn a_lease_that_a_refused_answer_made_still_belongs_to_the_scope() {
    let scoped = Leaky("foreign").prefixed("agents/1/");
    assert!(
        scoped
            .commit(Txn::new().then(Op::get("a")).then(Op::put("a", "")))
            .await
            .is_err()
    );
    let status = scoped.time_to_live(LeaseId::new(7).unwrap()).await.unwrap();
    assert_eq!(
        status.keys,
        [Key::from("a")],
        "a wider handle's key is no violation"
    );
}
