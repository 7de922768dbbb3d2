//! What became of the attempts of one call, and the error that they come to.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use keyval::{Error, Outcome};

use crate::error::{self, Call};

/// Why an attempt brought no reply.
pub(crate) enum Failure {
    /// The endpoint could not be reached, so that nothing was sent.
    NotReached(Arc<str>),
    /// The endpoint, or the way to it, answered so.
    Failed(etcd_client::Error),
    /// The endpoint was silent for this long.
    Silent(Duration),
}

impl Failure {
    /// Whether another endpoint may be asked: the request certainly was not carried out, or it is
    /// a read and brought no answer.
    pub(crate) fn allows_another(&self, call: &Call<'_>) -> bool {
        match self {
            Self::NotReached(_) => true,
            Self::Failed(failure) => error::allows_another(call, failure),
            Self::Silent(_) => !call.writes,
        }
    }

    /// Whether it speaks against the endpoint, and not against the request.
    pub(crate) fn blames_endpoint(&self) -> bool {
        match self {
            Self::NotReached(_) | Self::Silent(_) => true,
            Self::Failed(failure) => error::is_lost(failure),
        }
    }

    fn was_sent(&self) -> bool {
        match self {
            Self::NotReached(_) => false,
            Self::Failed(failure) => !error::never_sent(failure),
            Self::Silent(_) => true,
        }
    }

    /// What happened, for a person.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::NotReached(cause) => cause.to_string(),
            Self::Failed(failure) => error::words(failure),
            Self::Silent(after) => format!("no answer within {after:?}"),
        }
    }
}

/// An endpoint that was asked in vain.
pub(crate) struct Attempt {
    pub(crate) endpoint: Arc<str>,
    pub(crate) failure: Failure,
}

/// The error of a call whose last attempt failed so that no other could follow, or was the last
/// one possible. `deadline` is how long the call was allowed to take.
pub(crate) fn error_of(call: &Call<'_>, mut attempts: Vec<Attempt>, deadline: Duration) -> Error {
    if attempts.iter().all(|attempt| !attempt.failure.was_sent()) {
        return Error::unavailable(
            format!("{call} was not sent; {}", told(&attempts)),
            Outcome::NotApplied,
        );
    }
    let last = attempts.pop().expect("there is one that was sent");
    let earlier = told(&attempts);
    match last.failure {
        Failure::Failed(failure) => {
            let mut error = error::of_call(call, &last.endpoint, failure);
            if let Error::Unavailable { message, .. } | Error::Backend { message, .. } = &mut error
                && !earlier.is_empty()
            {
                write!(message, "; earlier, {earlier}")
                    .expect("a string takes all that is written");
            }
            error
        }
        Failure::Silent(_) if earlier.is_empty() => Error::Timeout {
            operation: call.operation,
            after: deadline,
            outcome: call.unanswered(),
        },
        failure => {
            let outcome = if failure.was_sent() {
                call.unanswered()
            } else {
                Outcome::NotApplied
            };
            let endpoint = &last.endpoint;
            let words = failure.words();
            Error::unavailable(
                format!("{call}: {endpoint}: {words}; earlier, {earlier}"),
                outcome,
            )
        }
    }
}

/// Each attempt with its cause.
fn told(attempts: &[Attempt]) -> String {
    let told: Vec<String> = attempts
        .iter()
        .map(|attempt| format!("{}: {}", attempt.endpoint, attempt.failure.words()))
        .collect();
    told.join("; ")
}
