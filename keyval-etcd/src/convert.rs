//! Between our vocabulary and etcd's messages; values move, they are not copied on the way in.

use std::time::Duration;

use bytes::Bytes;
use etcd_client::proto::{
    PbDeleteResponse, PbEvent, PbKeyValue, PbPutResponse, PbRangeResponse, PbResponseHeader,
};
use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions as EtcdDelete, GetOptions as EtcdGet,
    PutOptions as EtcdPut, SortOrder, SortTarget, TxnOp,
};
use keyval::{
    Change, Compare, Consistency, DeleteOptions, DeleteReply, Entry, Error, Key, KeyRange, LeaseId,
    Lifetime, ListOptions, Order, Outcome, Projection, PutOptions, PutReply, RangeReply, Relation,
    Result, Revision, Target,
};

/// What etcd takes for "no end": a range end of one NUL byte. An absent end means one key.
const NO_END: [u8; 1] = [0];

/// A range as etcd spells it: a key, and an end unless it is exactly that key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WireRange {
    pub(crate) key: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

/// Spells a range that has been checked. The only place where range ends are made.
pub(crate) fn wire_range(range: &KeyRange) -> WireRange {
    let key = range.start().as_bytes().to_vec();
    if range.single().is_some() {
        return WireRange { key, end: None };
    }
    // An empty end would mean one key to etcd; a range that has one is empty and was refused.
    let end = match range.end() {
        Some(end) => end.as_bytes().to_vec(),
        None => NO_END.to_vec(),
    };
    WireRange {
        key,
        end: Some(end),
    }
}

/// A revision as etcd counts; one beyond its numbers is as far in the future as the last of them.
pub(crate) fn wire_revision(revision: Revision) -> i64 {
    wire_count(revision.get())
}

fn wire_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The number of a lease as etcd sends it, bit for bit.
pub(crate) fn wire_lease(lease: LeaseId) -> i64 {
    lease.get().cast_signed()
}

/// The lease with a number of etcd's; zero is none.
pub(crate) fn lease(number: i64) -> Option<LeaseId> {
    LeaseId::new(number.cast_unsigned())
}

/// A TTL in whole seconds, rounded up.
pub(crate) fn wire_ttl(ttl: Duration) -> i64 {
    wire_count(ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0))
}

/// A number of seconds of etcd's; below zero is nothing left.
pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// A revision of etcd's; below zero is before the first.
pub(crate) fn revision(number: i64) -> Revision {
    Revision::new(u64::try_from(number).unwrap_or_default())
}

/// The revision in a header.
pub(crate) fn header_revision(header: Option<&PbResponseHeader>) -> Revision {
    header.map_or(Revision::ZERO, |header| revision(header.revision))
}

/// An entry, with the bytes moved.
pub(crate) fn entry(kv: PbKeyValue) -> Entry {
    Entry {
        key: Key::from(kv.key),
        value: Bytes::from(kv.value),
        created: revision(kv.create_revision),
        modified: revision(kv.mod_revision),
        version: u64::try_from(kv.version).unwrap_or_default(),
        lease: lease(kv.lease),
    }
}

/// The revision of an event.
pub(crate) fn happened(event: &PbEvent) -> Option<Revision> {
    event.kv.as_ref().map(|kv| revision(kv.mod_revision))
}

/// A change and its revision, with the bytes moved.
pub(crate) fn change(event: PbEvent) -> Result<(Revision, Change)> {
    let kv = event
        .kv
        .ok_or_else(|| malformed("an event without a key"))?;
    let at = revision(kv.mod_revision);
    let prev = event.prev_kv.map(entry);
    let change = match event.r#type {
        0 => Change::Put {
            entry: entry(kv),
            prev,
        },
        1 => Change::Delete {
            key: Key::from(kv.key),
            prev,
        },
        other => {
            return Err(malformed(format_args!(
                "an event of the unknown type {other}"
            )));
        }
    };
    Ok((at, change))
}

/// An error for an answer to a read that makes no sense.
pub(crate) fn malformed(what: impl std::fmt::Display) -> Error {
    malformed_after(Outcome::NotApplied, what)
}

/// An error for an answer that makes no sense, and what became of what was asked.
pub(crate) fn malformed_after(outcome: Outcome, what: impl std::fmt::Display) -> Error {
    Error::backend(format!("etcd answered with {what}"), outcome)
}

/// The options of a read of this range, but for limit and revision, which pages set.
pub(crate) fn get_options(end: Option<Vec<u8>>, options: &ListOptions) -> EtcdGet {
    let mut wire = EtcdGet::new();
    if let Some(end) = end {
        wire = wire.with_range(end);
    }
    if let Some(at) = options.at {
        // Zero would mean the present; at one, as before it, every store is empty.
        wire = wire.with_revision(wire_revision(at).max(1));
    }
    if options.consistency == Consistency::Serializable {
        wire = wire.with_serializable();
    }
    match options.projection {
        Projection::Entries => {}
        Projection::Keys => wire = wire.with_keys_only(),
        Projection::Count => return wire.with_count_only(),
    }
    if let Some(limit) = options.limit {
        wire = wire.with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    match options.order {
        Order::Ascending => wire,
        Order::Descending => wire.with_sort(SortTarget::Key, SortOrder::Descend),
    }
}

/// The options of a put; a TTL has become a lease before.
pub(crate) fn put_options(options: &PutOptions, granted: Option<LeaseId>) -> EtcdPut {
    let mut wire = EtcdPut::new();
    if options.previous {
        wire = wire.with_prev_key();
    }
    if options.keep_value {
        wire = wire.with_ignore_value();
    }
    match options.lifetime {
        Lifetime::Permanent | Lifetime::Ttl(_) => {}
        Lifetime::Lease(lease) => wire = wire.with_lease(wire_lease(lease)),
        Lifetime::Keep => wire = wire.with_ignore_lease(),
    }
    match granted {
        Some(lease) => wire.with_lease(wire_lease(lease)),
        None => wire,
    }
}

/// The options of a delete of a range with this end.
pub(crate) fn delete_options(end: Option<Vec<u8>>, options: DeleteOptions) -> EtcdDelete {
    let mut wire = EtcdDelete::new();
    if let Some(end) = end {
        wire = wire.with_range(end);
    }
    if options.previous {
        wire = wire.with_prev_key();
    }
    wire
}

/// A read as an operation of a transaction.
pub(crate) fn get_op(range: &KeyRange, options: &ListOptions) -> TxnOp {
    let wire = wire_range(range);
    TxnOp::get(wire.key, Some(get_options(wire.end, options)))
}

/// A put as an operation of a transaction.
pub(crate) fn put_op(
    key: &Key,
    value: &Bytes,
    options: &PutOptions,
    granted: Option<LeaseId>,
) -> TxnOp {
    TxnOp::put(
        key.as_bytes(),
        value.as_ref(),
        Some(put_options(options, granted)),
    )
}

/// A delete as an operation of a transaction.
pub(crate) fn delete_op(range: &KeyRange, options: DeleteOptions) -> TxnOp {
    let wire = wire_range(range);
    TxnOp::delete(wire.key, Some(delete_options(wire.end, options)))
}

/// A compare.
pub(crate) fn compare(compare: &Compare) -> EtcdCompare {
    let key = compare.key.as_bytes();
    let relation = match compare.relation {
        Relation::Equal => CompareOp::Equal,
        Relation::NotEqual => CompareOp::NotEqual,
        Relation::Greater => CompareOp::Greater,
        Relation::Less => CompareOp::Less,
    };
    match &compare.target {
        Target::Version(version) => EtcdCompare::version(key, relation, wire_count(*version)),
        Target::Created(revision) => {
            EtcdCompare::create_revision(key, relation, wire_revision(*revision))
        }
        Target::Modified(revision) => {
            EtcdCompare::mod_revision(key, relation, wire_revision(*revision))
        }
        Target::Value(value) => EtcdCompare::value(key, relation, value.as_ref()),
        Target::Lease(lease) => EtcdCompare::lease(key, relation, lease.map_or(0, wire_lease)),
    }
}

/// The answer to a put that took place at this revision.
pub(crate) fn put_reply(
    reply: PbPutResponse,
    revision: Revision,
    granted: Option<LeaseId>,
) -> PutReply {
    PutReply {
        revision,
        written: true,
        prev: reply.prev_kv.map(entry),
        lease: granted,
    }
}

/// The answer to a delete that took place at this revision.
pub(crate) fn delete_reply(reply: PbDeleteResponse, revision: Revision) -> DeleteReply {
    DeleteReply {
        revision,
        deleted: u64::try_from(reply.deleted).unwrap_or_default(),
        prev: reply.prev_kvs.into_iter().map(entry).collect(),
    }
}

/// The answer to a read.
pub(crate) fn range_reply(reply: PbRangeResponse, projection: Projection) -> RangeReply {
    RangeReply {
        count: (projection == Projection::Count)
            .then(|| u64::try_from(reply.count).unwrap_or_default()),
        entries: reply.kvs.into_iter().map(entry).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etcd_client::proto::{PbEvent, PbKeyValue};
    use keyval::{Change, Key, KeyRange, Prefix, Revision};

    use super::{WireRange, change, entry, wire_range, wire_revision, wire_ttl};

    #[test]
    fn every_kind_of_range_is_spelled_as_etcd_means_it() {
        let scope = Prefix::new("a/");
        for (range, key, end) in [
            (KeyRange::key("a"), "a", None),
            (KeyRange::prefix("a/"), "a/", Some(&b"a0"[..])),
            (KeyRange::span("a", "c"), "a", Some(b"c")),
            (KeyRange::all(), "\0", Some(b"\0")),
            (KeyRange::prefix(""), "\0", Some(b"\0")),
            (scope.shift(&KeyRange::all()), "a/\0", Some(b"a0")),
            (scope.shift(&KeyRange::key("x")), "a/x", None),
        ] {
            let expected = WireRange {
                key: key.as_bytes().to_vec(),
                end: end.map(<[u8]>::to_vec),
            };
            assert_eq!(wire_range(&range), expected, "{range}");
        }
        let last = wire_range(&KeyRange::prefix(Key::from(vec![0xFF, 0xFF])));
        assert_eq!(last.end, Some(vec![0]), "a prefix without an end has none");
    }

    #[test]
    fn ttls_are_rounded_up_to_whole_seconds() {
        for (ttl, seconds) in [(1000, 1), (1001, 2), (1999, 2), (2000, 2)] {
            assert_eq!(wire_ttl(Duration::from_millis(ttl)), seconds);
        }
    }

    #[test]
    fn a_revision_beyond_etcds_numbers_stays_in_the_future() {
        assert_eq!(wire_revision(Revision::new(u64::MAX)), i64::MAX);
    }

    #[test]
    fn the_bytes_of_a_value_are_moved_not_copied() {
        let value = vec![7; 1000];
        let at = value.as_ptr();
        let kv = PbKeyValue {
            value,
            ..PbKeyValue::default()
        };
        assert_eq!(entry(kv).value.as_ptr(), at);
    }

    #[test]
    fn an_event_that_makes_no_sense_is_an_error() {
        let unknown = PbEvent {
            r#type: 7,
            kv: Some(PbKeyValue::default()),
            prev_kv: None,
        };
        assert!(change(unknown).is_err());
        assert!(change(PbEvent::default()).is_err());
        let delete = PbEvent {
            r#type: 1,
            kv: Some(PbKeyValue {
                key: b"a".to_vec(),
                mod_revision: 5,
                ..PbKeyValue::default()
            }),
            prev_kv: None,
        };
        let (at, delete) = change(delete).unwrap();
        assert_eq!(at, Revision::new(5));
        assert!(matches!(delete, Change::Delete { key, prev: None } if key == "a"));
    }
}
