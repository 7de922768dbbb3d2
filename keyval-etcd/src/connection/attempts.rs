//! What became of the attempts of one call, and the error that they come to.

use std::sync::Arc;
use std::time::Duration;

use keyval::{Error, Outcome};

use crate::error::{self, Call};

/// Why an attempt brought no reply.
pub(crate) enum Failure {
    /// The endpoint could not be reached, so that nothing was sent.
    NotReached(Arc<str>),
    /// The endpoint is there, and another was rather to be asked for this reason, so that nothing was
    /// sent.
    Doubted(&'static str),
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
            Self::NotReached(_) | Self::Doubted(_) => true,
            Self::Failed(failure) => error::allows_another(call, failure),
            Self::Silent(_) => call.repeatable,
        }
    }

    /// Whether it speaks against the endpoint, and not against the request.
    pub(crate) fn blames_endpoint(&self) -> bool {
        match self {
            Self::NotReached(_) | Self::Silent(_) => true,
            Self::Doubted(_) => false,
            Self::Failed(failure) => error::is_lost(failure),
        }
    }

    fn was_sent(&self) -> bool {
        match self {
            Self::NotReached(_) | Self::Doubted(_) => false,
            Self::Failed(failure) => !error::never_sent(failure),
            Self::Silent(_) => true,
        }
    }

    /// Whether the request may have been carried out although nobody said so.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::NotReached(_) | Self::Doubted(_) => false,
            Self::Failed(failure) => error::is_lost(failure) && !error::never_sent(failure),
            Self::Silent(_) => true,
        }
    }

    /// What happened, for a person.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::NotReached(cause) => cause.to_string(),
            Self::Doubted(why) => (*why).to_owned(),
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
    let earlier = if attempts.is_empty() {
        String::new()
    } else {
        format!("; earlier, {}", told(&attempts))
    };
    // A write that may be repeated can have been carried out by one that was asked before.
    let doubt = call.writes && attempts.iter().any(|before| before.failure.leaves_doubt());
    match last.failure {
        Failure::Failed(failure) => {
            let mut error = error::of_call(call, &last.endpoint, failure);
            if let Some(message) = message(&mut error) {
                message.push_str(&earlier);
            }
            if let (true, Error::Unavailable { outcome, .. } | Error::Backend { outcome, .. }) =
                (doubt, &mut error)
            {
                *outcome = Outcome::Unknown;
            }
            error
        }
        Failure::Silent(_) => Error::Timeout {
            operation: call.operation,
            after: deadline,
            outcome: call.unanswered(),
            message: format!(
                "{call}: {}: {}{earlier}",
                last.endpoint,
                last.failure.words()
            ),
        },
        unsent @ (Failure::NotReached(_) | Failure::Doubted(_)) => {
            let outcome = if doubt {
                Outcome::Unknown
            } else {
                Outcome::NotApplied
            };
            let (endpoint, cause) = (&last.endpoint, unsent.words());
            Error::unavailable(format!("{call}: {endpoint}: {cause}{earlier}"), outcome)
        }
    }
}

/// Where an error that came from an endpoint says what was asked of whom; those without need no
/// other attempt to be understood, as every endpoint would give the same answer.
fn message(error: &mut Error) -> Option<&mut String> {
    match error {
        Error::Unavailable { message, .. }
        | Error::Denied { message }
        | Error::Unauthenticated { message }
        | Error::StorageFull { message }
        | Error::Invalid { message }
        | Error::Backend { message, .. } => Some(message),
        _ => None,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keyval::{Error, Outcome};
    use tonic::Status;

    use super::{Attempt, Failure, error_of};
    use crate::error::Call;

    const DEADLINE: Duration = Duration::from_secs(3);

    fn attempt(endpoint: &str, failure: Failure) -> Attempt {
        Attempt {
            endpoint: endpoint.into(),
            failure,
        }
    }

    fn said(text: &str) -> Failure {
        Failure::Failed(etcd_client::Error::GRpcStatus(Status::unavailable(text)))
    }

    fn not_reached() -> Failure {
        Failure::NotReached("refused".into())
    }

    #[test]
    fn what_was_sent_nowhere_was_not_applied() {
        let attempts = vec![attempt("a:1", not_reached()), attempt("b:2", not_reached())];
        let error = error_of(&Call::write("put", &"k"), attempts, DEADLINE);
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert_eq!(
            error.to_string(),
            "the store is unavailable: put of \"k\" was not sent; a:1: refused; b:2: refused"
        );
    }

    #[test]
    fn an_error_that_is_final_lists_the_attempts_before_it() {
        for failure in [
            said("etcdserver: request timed out"),
            Failure::Silent(DEADLINE),
        ] {
            let call = Call::write("put", &"k");
            assert!(!failure.allows_another(&call));
            let attempts = vec![attempt("a:1", not_reached()), attempt("b:2", failure)];
            let error = error_of(&call, attempts, DEADLINE);
            assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
            let told = error.to_string();
            assert!(told.contains("earlier, a:1: refused"), "{told}");
            assert!(told.contains("put of \"k\": b:2: "), "{told}");
        }
    }

    #[test]
    fn a_write_that_was_repeated_stays_in_doubt_whoever_was_asked_last() {
        let call = Call::write("grant", &"7").repeatable();
        for last in [not_reached(), said("etcdserver: no leader")] {
            let attempts = vec![
                attempt("a:1", Failure::Silent(DEADLINE)),
                attempt("b:2", last),
            ];
            let error = error_of(&call, attempts, DEADLINE);
            assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        }
        let attempts = vec![
            attempt("a:1", said("etcdserver: no leader")),
            attempt("b:2", said("etcdserver: no leader")),
        ];
        let error = error_of(&call, attempts, DEADLINE);
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
    }

    #[test]
    fn a_silent_endpoint_is_a_timeout_that_names_it_and_the_key() {
        let attempts = vec![attempt("a:1", Failure::Silent(DEADLINE))];
        let error = error_of(&Call::read("get", &"k"), attempts, DEADLINE);
        assert!(
            matches!(
                error,
                Error::Timeout {
                    operation: "get",
                    after: DEADLINE,
                    outcome: Outcome::NotApplied,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            "get did not end within 3s: get of \"k\": a:1: no answer within 3s"
        );
    }

    #[test]
    fn a_refusal_lists_the_attempts_before_it() {
        for (text, kind) in [
            ("etcdserver: permission denied", "denied"),
            ("etcdserver: invalid auth token", "unauthenticated"),
            ("etcdserver: mvcc: database space exceeded", "storage_full"),
            ("etcdserver: key is not provided", "invalid"),
            ("something new", "unavailable"),
        ] {
            let attempts = vec![attempt("a:1", not_reached()), attempt("b:2", said(text))];
            let error = error_of(&Call::write("put", &"k"), attempts, DEADLINE);
            assert_eq!(error.kind(), kind, "{error}");
            let told = error.to_string();
            assert!(told.contains("put of \"k\": b:2: "), "{told}");
            assert!(told.ends_with("; earlier, a:1: refused"), "{told}");
        }
    }

    #[test]
    fn only_a_read_may_follow_a_lost_answer() {
        let (read, write) = (Call::read("get", &"k"), Call::write("put", &"k"));
        for (failure, after_write) in [
            (not_reached(), true),
            (said("etcdserver: no leader"), true),
            (said("etcdserver: too many requests"), true),
            (said("etcdserver: request timed out"), false),
            (said("transport is closing"), false),
            (Failure::Silent(DEADLINE), false),
        ] {
            let told = failure.words();
            assert!(failure.allows_another(&read), "{told}");
            assert_eq!(failure.allows_another(&write), after_write, "{told}");
        }
        let denied = said("etcdserver: permission denied");
        assert!(!denied.allows_another(&read));
    }
}
