//! Promises about transactions: compares, branches, answers, limits, and all or nothing.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::broker::{Broker, BrokerExt};
use crate::error::{Error, Result};
use crate::lease_id::LeaseId;
use crate::options::{Condition, DeleteOptions, ListOptions, PutOptions};
use crate::reply::{OpReply, TxnReply};
use crate::revision::Revision;
use crate::testing::conformance::gate::{has_history, has_leases, has_previous, has_transactions};
use crate::testing::conformance::lease::grant;
use crate::testing::conformance::subject::{Subject, refused, refused_as_invalid};
use crate::txn::{Compare, Op, Relation, Target, Txn};

const RELATIONS: [Relation; 4] = [
    Relation::Equal,
    Relation::NotEqual,
    Relation::Greater,
    Relation::Less,
];

/// An empty transaction succeeds, changes nothing, and tells the present revision.
pub async fn an_empty_transaction_succeeds(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let before = s.put("a", "x").await?;
    let reply = s.store().commit(Txn::new()).await?;
    assert!(reply.succeeded && reply.replies.is_empty());
    assert!(reply.revision >= before);
    let failing = Txn::new().when(Compare::absent(s.key("a")));
    let reply = s.store().commit(failing).await?;
    assert!(!reply.succeeded && reply.replies.is_empty());
    assert_eq!(s.entry("a").await?.modified, before);
    Ok(())
}

/// All writes of a transaction take place, at its one revision.
pub async fn a_transaction_is_one_revision(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("gone/1", "x").await?;
    s.put("gone/2", "x").await?;
    let before = s.put("old", "x").await?;
    let txn = Txn::new()
        .then(Op::put(s.key("new"), "1"))
        .then(Op::put(s.key("old"), "2"))
        .then(Op::delete_prefix(s.key("gone/")));
    let reply = s.store().commit(txn).await?;
    assert!(reply.succeeded);
    assert!(reply.revision > before);
    let (new, old) = (s.entry("new").await?, s.entry("old").await?);
    assert_eq!(
        (new.created, new.modified),
        (reply.revision, reply.revision)
    );
    assert_eq!((old.created, old.modified), (before, reply.revision));
    assert_eq!(s.names().await?, ["new", "old"]);
    if has_history(s).await {
        let at = ListOptions::default().at(reply.revision.previous());
        let then = s.list(&s.all(), at).await?;
        assert_eq!(s.names_of(&then), ["gone/1", "gone/2", "old"]);
    }
    Ok(())
}

/// If every compare holds the one list is carried out, else the other, and never both.
pub async fn either_list_is_carried_out(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("there", "x").await?;
    let txn = |compares: [Compare; 2]| {
        let [first, second] = compares;
        Txn::new()
            .when(first)
            .when(second)
            .then(Op::put(s.key("then"), "x"))
            .otherwise(Op::put(s.key("otherwise"), "x"))
    };
    let yes = || Compare::exists(s.key("there"));
    let no = || Compare::absent(s.key("there"));
    for (compares, succeeded) in [
        ([yes(), yes()], true),
        ([yes(), no()], false),
        ([no(), yes()], false),
        ([no(), no()], false),
    ] {
        let reply = s.store().commit(txn(compares)).await?;
        assert_eq!(reply.succeeded, succeeded);
        assert_eq!(reply.replies.len(), 1);
        let carried_out = if succeeded { "then" } else { "otherwise" };
        assert_eq!(s.names().await?, {
            let mut names = vec!["there", carried_out];
            names.sort_unstable();
            names
        });
        assert!(s.store().delete(s.key(carried_out)).await?);
    }
    Ok(())
}

/// Without compares the first list is carried out.
pub async fn no_compare_always_holds(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let txn = Txn::new()
        .then(Op::put(s.key("a"), "then"))
        .otherwise(Op::put(s.key("a"), "otherwise"));
    assert!(s.store().commit(txn).await?.succeeded);
    assert_eq!(s.entry("a").await?.value, "then");
    Ok(())
}

/// Version, created, modified and value are compared, each by all four relations.
pub async fn every_target_is_compared_by_every_relation(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("before", "x").await?;
    s.put("key", "x").await?;
    s.put("between", "x").await?;
    s.put("key", "m").await?;
    let entry = s.entry("key").await?;
    let (created, modified) = (entry.created, entry.modified);
    let value = |value: &'static str| Target::Value(Bytes::from_static(value.as_bytes()));
    let targets = [
        (Target::Version(1), Ordering::Greater),
        (Target::Version(2), Ordering::Equal),
        (Target::Version(3), Ordering::Less),
        (Target::Version(0), Ordering::Greater),
        (Target::Created(created.previous()), Ordering::Greater),
        (Target::Created(created), Ordering::Equal),
        (Target::Created(modified), Ordering::Less),
        (Target::Created(Revision::ZERO), Ordering::Greater),
        (Target::Modified(created), Ordering::Greater),
        (Target::Modified(modified), Ordering::Equal),
        (Target::Modified(modified.next()), Ordering::Less),
        (value("l"), Ordering::Greater),
        (value(""), Ordering::Greater),
        (value("m"), Ordering::Equal),
        (value("ma"), Ordering::Less),
        (value("n"), Ordering::Less),
        (value("M"), Ordering::Greater),
    ];
    check_compares(s, &targets).await
}

/// The lease of a key is compared; no lease is the least.
pub async fn the_lease_is_compared(s: &Subject) -> Result<()> {
    if !has_transactions(s).await || !has_leases(s).await {
        return Ok(());
    }
    s.put("key", "x").await?;
    let some = LeaseId::new(1);
    let none = [
        (Target::Lease(None), Ordering::Equal),
        (Target::Lease(some), Ordering::Less),
    ];
    check_compares(s, &none).await?;
    let lease = grant(s, 60).await?;
    let options = PutOptions::default().with_lease(lease);
    s.put_opts("key", "x", options).await?;
    let below = LeaseId::new(lease.get() - 1);
    let above = LeaseId::new(lease.get() + 1);
    let leased = [
        (Target::Lease(None), Ordering::Greater),
        (Target::Lease(below), Ordering::Greater),
        (Target::Lease(Some(lease)), Ordering::Equal),
        (Target::Lease(above), Ordering::Less),
    ];
    check_compares(s, &leased).await?;
    s.store().revoke(lease).await
}

/// Checks, for each target, that what stands under `key` is so related to it, by all relations.
async fn check_compares(s: &Subject, targets: &[(Target, Ordering)]) -> Result<()> {
    for (target, ordering) in targets {
        for relation in RELATIONS {
            let expected = match relation {
                Relation::Equal => ordering.is_eq(),
                Relation::NotEqual => ordering.is_ne(),
                Relation::Greater => ordering.is_gt(),
                Relation::Less => ordering.is_lt(),
            };
            let compare = Compare::new(s.key("key"), relation, target.clone());
            assert_eq!(s.holds(compare).await?, expected, "{relation:?} {target:?}");
        }
    }
    Ok(())
}

/// For a key that does not exist, version, revisions and lease count as zero.
pub async fn a_missing_key_counts_as_zero(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("key/below", "x").await?;
    let mut targets = vec![
        (Target::Version(0), Ordering::Equal),
        (Target::Version(1), Ordering::Less),
        (Target::Created(Revision::ZERO), Ordering::Equal),
        (Target::Created(Revision::new(1)), Ordering::Less),
        (Target::Modified(Revision::ZERO), Ordering::Equal),
        (Target::Modified(Revision::new(1)), Ordering::Less),
    ];
    if s.capabilities().leases {
        targets.push((Target::Lease(None), Ordering::Equal));
        targets.push((Target::Lease(LeaseId::new(1)), Ordering::Less));
    }
    check_compares(s, &targets).await
}

/// No compare of a value holds for a key that does not exist, not even "not equal".
pub async fn absent_is_not_a_value(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    for value in ["", "x"] {
        for relation in RELATIONS {
            let target = Target::Value(Bytes::from_static(value.as_bytes()));
            let compare = Compare::new(s.key("key"), relation, target);
            assert!(!s.holds(compare).await?, "{relation:?} \"{value}\"");
        }
    }
    Ok(())
}

/// Every operation has its answer, in the order of the operations.
pub async fn every_operation_has_its_answer(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    for name in ["a", "b", "c/1", "c/2"] {
        s.put(name, "x").await?;
    }
    let a = s.entry("a").await?;
    let txn = Txn::new()
        .then(Op::get(s.key("a")))
        .then(Op::get(s.key("nothing")))
        .then(Op::delete_prefix(s.key("c/")))
        .then(Op::put(s.key("b"), "new"))
        .then(Op::delete(s.key("nothing")))
        .then(Op::list(s.all()));
    let reply = s.store().commit(txn).await?;
    let revision = reply.revision;
    let [first, second, third, fourth, fifth, sixth] = &reply.replies[..] else {
        panic!("six operations, {} answers", reply.replies.len());
    };
    assert_eq!(found(first), [a]);
    assert!(found(second).is_empty());
    let OpReply::Delete(third) = third else {
        panic!("{third:?}")
    };
    assert_eq!((third.deleted, third.revision), (2, revision));
    assert!(third.prev.is_empty(), "nobody asked");
    let OpReply::Put(fourth) = fourth else {
        panic!("{fourth:?}")
    };
    assert_eq!((fourth.written, fourth.revision), (true, revision));
    assert_eq!((&fourth.prev, fourth.lease), (&None, None));
    let OpReply::Delete(fifth) = fifth else {
        panic!("{fifth:?}")
    };
    assert_eq!(fifth.deleted, 0);
    assert_eq!(s.names_of(found(sixth)), ["a", "b"]);
    Ok(())
}

fn found(reply: &OpReply) -> &[crate::entry::Entry] {
    match reply {
        OpReply::Get(reply) => &reply.entries,
        other => panic!("a get was answered by {other:?}"),
    }
}

/// A get within a transaction sees the writes before it, and not those after it.
pub async fn a_get_sees_the_writes_before_it(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("a", "old").await?;
    s.put("b", "old").await?;
    let txn = Txn::new()
        .then(Op::list(s.all()))
        .then(Op::put(s.key("a"), "new"))
        .then(Op::list(s.all()))
        .then(Op::delete(s.key("b")))
        .then(Op::put(s.key("c"), "new"))
        .then(Op::list(s.all()));
    let reply = s.store().commit(txn).await?;
    let shown = |index: usize| -> Vec<String> {
        let entries = found(&reply.replies[index]).iter();
        entries
            .map(|entry| {
                let value = String::from_utf8_lossy(&entry.value);
                format!("{}={value}", s.name(&entry.key))
            })
            .collect()
    };
    assert_eq!(shown(0), ["a=old", "b=old"]);
    assert_eq!(shown(2), ["a=new", "b=old"]);
    assert_eq!(shown(5), ["a=new", "c=new"]);
    assert_eq!(found(&reply.replies[2])[0].modified, reply.revision);
    assert_eq!(found(&reply.replies[2])[0].version, 2);
    Ok(())
}

/// A get within a transaction has the limit, the order and the projection it asks for.
pub async fn a_get_in_a_transaction_has_its_options(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.fill(5, |i| i.to_string()).await?;
    let options = ListOptions::default();
    let txn = Txn::new()
        .then(Op::Get(s.all(), options.with_limit(2)))
        .then(Op::Get(s.all(), options.with_limit(2).reverse()))
        .then(Op::Get(s.all(), options.keys_only()))
        .then(Op::Get(s.all(), options.with_limit(2).count_only()));
    let reply = s.store().commit(txn).await?;
    assert_eq!(s.names_of(found(&reply.replies[0])), ["0", "1"]);
    assert_eq!(s.names_of(found(&reply.replies[1])), ["4", "3"]);
    let keys = found(&reply.replies[2]);
    assert_eq!(keys.len(), 5);
    assert!(keys.iter().all(|entry| entry.value.is_empty()));
    let OpReply::Get(count) = &reply.replies[3] else {
        panic!("{reply:?}")
    };
    assert_eq!((count.entries.len(), count.count), (0, Some(5)));
    Ok(())
}

/// Puts and deletes of a transaction return previous entries on request.
pub async fn a_transaction_returns_previous_entries_on_request(s: &Subject) -> Result<()> {
    if !has_transactions(s).await || !has_previous(s).await {
        return Ok(());
    }
    for name in ["a", "b/2", "b/1"] {
        s.put(name, "old").await?;
    }
    let before = s.list(&s.all(), ListOptions::default()).await?;
    let asking = PutOptions::default().with_previous();
    let txn = Txn::new()
        .then(Op::Put(s.key("a"), Bytes::from("new"), asking.clone()))
        .then(Op::Put(s.key("new"), Bytes::from("new"), asking))
        .then(Op::Delete(
            s.prefix("b/"),
            DeleteOptions::default().with_previous(),
        ));
    let reply = s.store().commit(txn).await?;
    let [OpReply::Put(a), OpReply::Put(new), OpReply::Delete(b)] = &reply.replies[..] else {
        panic!("{reply:?}")
    };
    assert_eq!(a.prev.as_ref(), Some(&before[0]));
    assert_eq!(new.prev, None);
    assert_eq!(b.prev, before[1..]);
    Ok(())
}

/// The limit of operations can be used in full; one more is refused with the numbers, in each of
/// the three lists, and nothing is applied.
pub async fn too_many_operations_are_refused_with_the_numbers(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let Some(limit) = s.capabilities().max_txn_ops else {
        println!("{} tells no limit of operations", s.store());
        return Ok(());
    };
    let puts = |count: usize| (0..count).map(|i| Op::put(s.key(format!("{i:04}")), "x"));
    let mut full = Txn::new();
    full.compares = vec![Compare::absent(s.key("nothing")); limit];
    full.then = puts(limit).collect();
    full.otherwise = puts(limit).collect();
    let mut long = [Txn::new(), Txn::new(), Txn::new()];
    long[0].then = puts(limit + 1).collect();
    long[1].compares = vec![Compare::absent(s.key("nothing")); limit + 1];
    long[1].then = puts(1).collect();
    long[2].then = puts(1).collect();
    long[2].otherwise = puts(limit + 1).collect();
    for txn in long {
        let error = refused(s.store().commit(txn).await);
        let told = match error {
            Error::TooManyOps { count, limit } => (count, limit),
            error => panic!("{error:?}"),
        };
        assert_eq!(told, (limit + 1, Some(limit)));
        assert_eq!(s.store().count(s.all()).await?, 0, "nothing is applied");
    }
    assert!(s.store().commit(full).await?.succeeded);
    assert_eq!(s.store().count(s.all()).await?, limit as u64);
    Ok(())
}

/// One key written twice in a branch is refused, also in the branch that would not be carried out,
/// and nothing is applied.
pub async fn a_key_written_twice_is_refused(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("there", "x").await?;
    let put = || Op::put(s.key("k/1"), "x");
    let twice = [
        [put(), put()],
        [put(), Op::put(s.key("k/1"), "other")],
        [put(), Op::delete(s.key("k/1"))],
        [Op::delete(s.key("k/1")), put()],
        [put(), Op::delete_prefix(s.key("k/"))],
        [
            Op::Delete(s.span("k", "k/10"), DeleteOptions::default()),
            put(),
        ],
    ];
    for [first, second] in twice {
        let branch = vec![Op::put(s.key("innocent"), "x"), first, second];
        let mut then = Txn::new();
        then.then.clone_from(&branch);
        let mut otherwise = Txn::new().then(Op::put(s.key("innocent"), "x"));
        otherwise.otherwise = branch;
        for txn in [then, otherwise] {
            let error = refused(s.store().commit(txn.clone()).await);
            let told = matches!(&error, Error::DuplicateKey { key } if *key == s.key("k/1"));
            assert!(told, "{txn:?} was refused as {error:?}");
            assert_eq!(s.names().await?, ["there"], "nothing is applied");
        }
    }
    Ok(())
}

/// The same key may be written in both branches, read at will, and deleted twice over.
pub async fn what_only_looks_like_writing_twice_is_accepted(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("a", "x").await?;
    s.put("b", "x").await?;
    let txn = Txn::new()
        .when(Compare::exists(s.key("a")))
        .then(Op::put(s.key("a"), "then"))
        .then(Op::get(s.key("a")))
        .then(Op::delete(s.key("a\0")))
        .otherwise(Op::put(s.key("a"), "otherwise"));
    assert!(s.store().commit(txn).await?.succeeded);
    let txn = Txn::new()
        .then(Op::delete(s.key("a")))
        .then(Op::Delete(s.all(), DeleteOptions::default()))
        .then(Op::delete(s.key("b")));
    let reply = s.store().commit(txn).await?;
    assert_eq!(deleted(&reply), [1, 1, 0]);
    assert!(s.names().await?.is_empty());
    Ok(())
}

fn deleted(reply: &TxnReply) -> Vec<u64> {
    let count = |reply: &OpReply| match reply {
        OpReply::Delete(reply) => reply.deleted,
        other => panic!("a delete was answered by {other:?}"),
    };
    reply.replies.iter().map(count).collect()
}

/// A transaction that is too large as a whole is refused with the numbers, and nothing is applied.
pub async fn an_oversized_transaction_is_refused(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let Some(limit) = s.capabilities().max_request_bytes else {
        println!("{} tells no limit of a write", s.store());
        return Ok(());
    };
    let part = Bytes::from(vec![b'x'; limit / 2 + 1]);
    let txn = Txn::new()
        .then(Op::put(s.key("a"), part.clone()))
        .then(Op::put(s.key("b"), part));
    match refused(s.store().commit(txn).await) {
        Error::TooLarge { size, limit: told } => {
            assert_eq!(told, Some(limit));
            assert!(size > limit);
        }
        error => panic!("{error:?}"),
    }
    assert!(s.names().await?.is_empty());
    Ok(())
}

/// A condition within an operation is refused: it belongs to the compares. So are an empty range
/// and a limit of zero. Nothing is applied.
pub async fn a_transaction_that_makes_no_sense_is_refused(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let key = s.key("a");
    let conditional = PutOptions::default().only_if(Condition::Absent);
    let keeping = PutOptions::default().keep_value();
    for op in [
        Op::Put(key.clone(), Bytes::from("x"), conditional),
        Op::Put(key.clone(), Bytes::from("x"), keeping),
        Op::Get(s.span("b", "a"), ListOptions::default()),
        Op::Delete(s.span("b", "a"), DeleteOptions::default()),
        Op::Get(s.all(), ListOptions::default().with_limit(0)),
        Op::get(""),
        Op::delete(""),
    ] {
        let txn = Txn::new().then(Op::put(s.key("innocent"), "x")).then(op);
        refused_as_invalid(s.store().commit(txn).await);
        assert!(s.names().await?.is_empty(), "nothing is applied");
    }
    Ok(())
}

/// If one operation cannot be carried out, none is.
pub async fn a_transaction_is_all_or_nothing(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("there", "old").await?;
    let keep = PutOptions::default().keep_value();
    let txn = |options: PutOptions, value: &'static str| {
        Txn::new()
            .then(Op::put(s.key("there"), "new"))
            .then(Op::put(s.key("innocent"), "x"))
            .then(Op::Put(s.key("missing"), Bytes::from(value), options))
    };
    refused_as_invalid(s.store().commit(txn(keep, "")).await);
    assert_eq!(s.names().await?, ["there"]);
    if has_leases(s).await {
        let lease = grant(s, 60).await?;
        s.store().revoke(lease).await?;
        let leased = PutOptions::default().with_lease(lease);
        let error = refused(s.store().commit(txn(leased, "x")).await);
        assert!(matches!(error, Error::LeaseLost { .. }), "{error:?}");
        assert_eq!(s.names().await?, ["there"]);
    }
    assert_eq!(s.entry("there").await?.value, "old");
    Ok(())
}

/// A put within a transaction can keep the value of a key that exists.
pub async fn a_put_in_a_transaction_can_keep_the_value(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    s.put("key", "kept").await?;
    let keep = PutOptions::default().keep_value();
    let txn = Txn::new().then(Op::Put(s.key("key"), Bytes::new(), keep));
    let reply = s.store().commit(txn).await?;
    let entry = s.entry("key").await?;
    assert_eq!((entry.modified, entry.version), (reply.revision, 2));
    assert_eq!(entry.value, "kept");
    Ok(())
}

/// A transaction that only reads, or only deletes what is not there, changes nothing.
pub async fn a_transaction_without_effect_changes_nothing(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let before = s.put("a", "x").await?;
    let txn = Txn::new()
        .then(Op::get(s.key("a")))
        .then(Op::delete(s.key("b")))
        .otherwise(Op::put(s.key("a"), "otherwise"));
    let reply = s.store().commit(txn).await?;
    assert!(reply.succeeded);
    assert!(reply.revision >= before);
    assert_eq!(s.entry("a").await?.modified, before);
    assert_eq!(found(&reply.replies[0]).len(), 1);
    Ok(())
}

/// Compares look at what stands before the transaction, not at what it writes.
pub async fn compares_look_at_what_stands_before(s: &Subject) -> Result<()> {
    if !has_transactions(s).await {
        return Ok(());
    }
    let create = || {
        Txn::new()
            .when(Compare::absent(s.key("a")))
            .then(Op::put(s.key("a"), "x"))
            .otherwise(Op::get(s.key("a")))
    };
    assert!(s.store().commit(create()).await?.succeeded);
    let reply = s.store().commit(create()).await?;
    assert!(!reply.succeeded);
    assert_eq!(found(&reply.replies[0]), [s.entry("a").await?]);
    Ok(())
}
