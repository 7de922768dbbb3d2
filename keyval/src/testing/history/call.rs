//! One call on a store: when, what was asked, and what was answered.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::entry::Entry;
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{Consistency, DeleteOptions, GetOptions, ListOptions, PutOptions};
use crate::range::KeyRange;
use crate::reply::{DeleteReply, OpReply, PutReply, TxnReply};
use crate::revision::Revision;
use crate::txn::Txn;

/// A moment of a recorded history; of two moments of one recorder the earlier is less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// Its place in the order of all moments of the recorder.
    pub order: u64,
    /// The time since the recorder was made, to find the moment in logs.
    pub after: Duration,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} ({:.3} s)", self.order, self.after.as_secs_f64())
    }
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One key.
    Get(Key, GetOptions),
    /// A range.
    List(KeyRange, ListOptions),
    /// To put a key.
    Put(Key, Bytes, PutOptions),
    /// To delete a range.
    Delete(KeyRange, DeleteOptions),
    /// To carry out a transaction.
    Commit(Txn),
    /// To end a lease.
    Revoke(LeaseId),
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a get.
    Get(Option<Entry>),
    /// To a list.
    List(Listed),
    /// To a put.
    Put(PutReply),
    /// To a delete.
    Delete(DeleteReply),
    /// To a transaction.
    Commit(TxnReply),
    /// To the end of a lease.
    Revoke,
}

/// What a list answered, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The revision of every entry.
    pub revision: Revision,
    /// How many entries the whole range has, if that was asked for.
    pub count: Option<u64>,
    /// The entries, in the order in which they came.
    pub entries: Vec<Entry>,
    /// Whether the list was read to its end; else these are its first entries.
    pub whole: bool,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was answered.
    Done(Reply),
    /// It failed and certainly had no effect; with the error's text.
    Refused(String),
    /// It failed or was dropped, and may have had its effect, or may still have it.
    Unknown(String),
}

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who called.
    pub client: u64,
    /// A moment before the request was sent.
    pub begun: Moment,
    /// A moment after the answer was there.
    pub ended: Moment,
    /// What was asked for.
    pub request: Request,
    /// What came of it.
    pub answer: Answer,
}

impl Call {
    /// The answer, if there was one.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match &self.answer {
            Answer::Done(reply) => Some(reply),
            Answer::Refused(_) | Answer::Unknown(_) => None,
        }
    }
}

impl Request {
    /// Whether it can change the store at a revision of its own. The end of a lease does so too,
    /// but its revision is nobody's: the lease could have ended by itself just before.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Self::Put(..) | Self::Delete(..) => true,
            Self::Commit(txn) => !txn.is_read_only(),
            Self::Get(..) | Self::List(..) | Self::Revoke(_) => false,
        }
    }

    /// Whether it may be answered from a copy that lags behind, or reads the past.
    pub(super) fn may_lag(&self) -> bool {
        match self {
            Self::Get(_, options) => {
                options.consistency == Consistency::Serializable || options.at.is_some()
            }
            Self::List(_, options) => {
                options.consistency == Consistency::Serializable || options.at.is_some()
            }
            _ => false,
        }
    }
}

impl Reply {
    /// The revision at which the call changed the store; `None` if it changed nothing.
    #[must_use]
    pub fn wrote_at(&self) -> Option<Revision> {
        match self {
            Self::Get(_) | Self::List(_) | Self::Revoke => None,
            Self::Put(reply) => reply.written.then_some(reply.revision),
            Self::Delete(reply) => (reply.deleted > 0).then_some(reply.revision),
            Self::Commit(reply) => reply.replies.iter().any(changes).then_some(reply.revision),
        }
    }
}

fn changes(reply: &OpReply) -> bool {
    match reply {
        OpReply::Get(_) => false,
        OpReply::Put(_) => true,
        OpReply::Delete(reply) => reply.deleted > 0,
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(key, _) => write!(f, "get of \"{key}\""),
            Self::List(range, _) => write!(f, "list of \"{range}\""),
            Self::Put(key, ..) => write!(f, "put of \"{key}\""),
            Self::Delete(range, _) => write!(f, "delete of \"{range}\""),
            Self::Commit(txn) => write!(
                f,
                "transaction of {} compares, {} and {} operations",
                txn.compares.len(),
                txn.then.len(),
                txn.otherwise.len()
            ),
            Self::Revoke(lease) => write!(f, "revoke of {lease}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            begun,
            ended,
            request,
            answer,
        } = self;
        write!(f, "client {client}, {request}, {begun} to {ended}")?;
        match answer {
            Answer::Done(_) => Ok(()),
            Answer::Refused(why) => write!(f, ", refused: {why}"),
            Answer::Unknown(why) => write!(f, ", outcome unknown: {why}"),
        }
    }
}
