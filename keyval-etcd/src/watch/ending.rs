//! Why a watch ended, as an error with the revision delivered so far.

use etcd_client::proto::PbWatchResponse;
use keyval::{Error, Outcome, Revision};

use crate::convert;
use crate::error::{self, Call};

/// Why etcd refused or ended a watch.
pub(crate) fn refused(call: &Call<'_>, endpoint: &str, response: &PbWatchResponse) -> Error {
    if response.compact_revision > 0 {
        return Error::Compacted {
            requested: call.revision.unwrap_or_default(),
            oldest: Some(convert::revision(response.compact_revision)),
        };
    }
    if response.cancel_reason.is_empty() {
        return Error::unavailable(
            format!("{call}: {endpoint} ended it without a reason"),
            Outcome::NotApplied,
        );
    }
    error::of_reason(call, endpoint, &response.cancel_reason)
}

/// The error of a watch whose stream is over, and of what that failed, if of anything: whatever
/// broke it, a new watch may go on where it ended.
pub(crate) fn broken(
    call: &Call<'_>,
    endpoint: &str,
    failure: &etcd_client::Error,
    delivered: Revision,
) -> Error {
    match error::of_call(call, endpoint, error::copy(failure)) {
        Error::Unavailable {
            message, source, ..
        }
        | Error::Backend {
            message, source, ..
        } => Error::Unavailable {
            message: format!("{message}; delivered up to revision {delivered}"),
            outcome: Outcome::NotApplied,
            source,
        },
        other => other,
    }
}
