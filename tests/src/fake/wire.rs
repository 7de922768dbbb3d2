//! Between etcd's messages and our vocabulary, seen from the server.

use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbDeleteResponse, PbEvent, PbKeyValue, PbPutRequest, PbPutResponse,
    PbRangeRequest, PbRangeResponse, PbResponseHeader, PbTargetUnion,
};
use keyval::{
    Change, Compare, Consistency, DeleteOptions, DeleteReply, Entry, Error, Key, KeyRange, LeaseId,
    Lifetime, ListOptions, PutOptions, PutReply, Relation, Revision, Target,
};
use tonic::{Code, Status};

/// The numbers by which etcd's messages name what is compared, and how.
const RELATIONS: [Relation; 4] = [
    Relation::Equal,
    Relation::Greater,
    Relation::Less,
    Relation::NotEqual,
];

pub(crate) fn header(revision: Revision) -> PbResponseHeader {
    PbResponseHeader {
        cluster_id: 1,
        member_id: 1,
        revision: wire(revision.get()),
        raft_term: 1,
    }
}

/// A number as etcd counts.
pub(crate) fn wire(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of etcd's as we count.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The lease with this number; zero is none.
pub(crate) fn lease(number: i64) -> Option<LeaseId> {
    LeaseId::new(number.cast_unsigned())
}

/// The lease with this number.
///
/// # Errors
/// As etcd for a lease that cannot have been granted.
pub(crate) fn granted(number: i64) -> Result<LeaseId, Status> {
    lease(number).ok_or_else(|| Status::not_found("etcdserver: requested lease not found"))
}

/// The range that a key and a range end mean.
pub(crate) fn range(key: Vec<u8>, end: Vec<u8>) -> KeyRange {
    match end.as_slice() {
        [] => KeyRange::key(key),
        [0] => KeyRange::all().starting_at(Key::from(key)),
        _ => KeyRange::span(key, end),
    }
}

/// What a read asks for, and whether it wants no more than a number.
pub(crate) fn list_options(request: &PbRangeRequest) -> ListOptions {
    let mut options = ListOptions::default();
    if request.revision > 0 {
        options = options.at(Revision::new(count(request.revision)));
    }
    if request.serializable {
        options = options.with_consistency(Consistency::Serializable);
    }
    if request.count_only {
        return options.count_only();
    }
    if request.keys_only {
        options = options.keys_only();
    }
    if request.limit > 0 {
        options = options.with_limit(usize::try_from(request.limit).unwrap_or(usize::MAX));
    }
    // Keys are the only order that the backend asks for; 2 is descending.
    if request.sort_order == 2 {
        options = options.reverse();
    }
    options
}

pub(crate) fn range_reply(
    entries: &[Entry],
    all: u64,
    header: PbResponseHeader,
) -> PbRangeResponse {
    PbRangeResponse {
        header: Some(header),
        more: all > entries.len() as u64 && !entries.is_empty(),
        count: wire(all),
        kvs: entries.iter().map(key_value).collect(),
    }
}

pub(crate) fn key_value(entry: &Entry) -> PbKeyValue {
    PbKeyValue {
        key: entry.key.as_bytes().to_vec(),
        value: entry.value.to_vec(),
        create_revision: wire(entry.created.get()),
        mod_revision: wire(entry.modified.get()),
        version: wire(entry.version),
        lease: entry.lease.map_or(0, |lease| lease.get().cast_signed()),
    }
}

pub(crate) fn event(change: &Change, revision: Revision) -> PbEvent {
    match change {
        Change::Put { entry, prev } => PbEvent {
            r#type: 0,
            kv: Some(key_value(entry)),
            prev_kv: prev.as_ref().map(key_value),
        },
        Change::Delete { key, prev } => PbEvent {
            r#type: 1,
            kv: Some(PbKeyValue {
                key: key.as_bytes().to_vec(),
                mod_revision: wire(revision.get()),
                ..PbKeyValue::default()
            }),
            prev_kv: prev.as_ref().map(key_value),
        },
    }
}

/// How a put is to be made.
///
/// # Errors
/// If it names a lease that cannot have been granted.
pub(crate) fn put_options(request: &PbPutRequest) -> Result<PutOptions, Status> {
    let mut options = PutOptions::default();
    if request.prev_kv {
        options = options.with_previous();
    }
    if request.ignore_value {
        options = options.keep_value();
    }
    if request.ignore_lease {
        options = options.with_lifetime(Lifetime::Keep);
    } else if request.lease != 0 {
        options = options.with_lease(granted(request.lease)?);
    }
    Ok(options)
}

pub(crate) fn put_reply(reply: &PutReply, header: PbResponseHeader) -> PbPutResponse {
    PbPutResponse {
        header: Some(header),
        prev_kv: reply.prev.as_ref().map(key_value),
    }
}

pub(crate) fn delete_options(request: &PbDeleteRequest) -> DeleteOptions {
    if request.prev_kv {
        DeleteOptions::default().with_previous()
    } else {
        DeleteOptions::default()
    }
}

pub(crate) fn delete_reply(reply: &DeleteReply, header: PbResponseHeader) -> PbDeleteResponse {
    PbDeleteResponse {
        header: Some(header),
        deleted: wire(reply.deleted),
        prev_kvs: reply.prev.iter().map(key_value).collect(),
    }
}

/// # Errors
/// If it compares what etcd does not know.
pub(crate) fn compare(compare: PbCompare) -> Result<Compare, Status> {
    let relation = usize::try_from(compare.result)
        .ok()
        .and_then(|at| RELATIONS.get(at))
        .ok_or_else(|| Status::invalid_argument("unknown relation"))?;
    let target = match compare.target_union {
        Some(PbTargetUnion::Version(version)) => Target::Version(count(version)),
        Some(PbTargetUnion::CreateRevision(at)) => Target::Created(Revision::new(count(at))),
        Some(PbTargetUnion::ModRevision(at)) => Target::Modified(Revision::new(count(at))),
        Some(PbTargetUnion::Value(value)) => Target::Value(value.into()),
        Some(PbTargetUnion::Lease(number)) => Target::Lease(lease(number)),
        None => return Err(Status::invalid_argument("a compare without a target")),
    };
    Ok(Compare::new(compare.key, *relation, target))
}

/// An error as etcd words it.
pub(crate) fn status(error: Error) -> Status {
    let (code, text) = match error {
        Error::Compacted { .. } => (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted".to_owned(),
        ),
        Error::FutureRevision { .. } => (
            Code::OutOfRange,
            "etcdserver: mvcc: required revision is a future revision".to_owned(),
        ),
        Error::LeaseLost { .. } => (
            Code::NotFound,
            "etcdserver: requested lease not found".to_owned(),
        ),
        Error::TooLarge { .. } => (
            Code::InvalidArgument,
            "etcdserver: request is too large".to_owned(),
        ),
        Error::TooManyOps { .. } => (
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request".to_owned(),
        ),
        Error::DuplicateKey { .. } => (
            Code::InvalidArgument,
            "etcdserver: duplicate key given in txn request".to_owned(),
        ),
        // Keeping the value or the lease of a key that is not there.
        Error::Invalid { .. } => (
            Code::InvalidArgument,
            "etcdserver: key not found".to_owned(),
        ),
        Error::Closed { .. } => (Code::Unavailable, "etcdserver: server stopped".to_owned()),
        other => (Code::Unknown, other.to_string()),
    };
    Status::new(code, text)
}
