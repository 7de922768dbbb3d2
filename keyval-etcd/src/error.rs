//! Where every failure of etcd and of the way to it becomes one of our errors.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::proto::PbWatchResponse;
use keyval::{BoxError, Error, LeaseId, Outcome, Revision};
use tonic::{Code, ConnectError, Status};

/// What is being asked of etcd, as far as an error has to say it.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The operation, by its method name.
    pub(crate) operation: &'static str,
    /// The key, range or lease that it is about.
    pub(crate) subject: &'a (dyn fmt::Display + Sync),
    /// Whether it can change the store.
    pub(crate) writes: bool,
    /// Whether doing it twice comes to the same, so that it may be sent again although it may have
    /// been applied.
    pub(crate) repeatable: bool,
    /// The revision that it asks for.
    pub(crate) revision: Option<Revision>,
    /// The lease that it names.
    pub(crate) lease: Option<LeaseId>,
    /// The bytes of its keys and values.
    pub(crate) size: usize,
    /// The longest of its lists.
    pub(crate) count: usize,
    /// How long it may take, if that is not the operation timeout.
    pub(crate) within: Option<Duration>,
}

impl<'a> Call<'a> {
    /// A call that changes nothing.
    pub(crate) fn read(operation: &'static str, subject: &'a (dyn fmt::Display + Sync)) -> Self {
        Self {
            operation,
            subject,
            writes: false,
            repeatable: true,
            revision: None,
            lease: None,
            size: 0,
            count: 0,
            within: None,
        }
    }

    /// A call that can change something.
    pub(crate) fn write(operation: &'static str, subject: &'a (dyn fmt::Display + Sync)) -> Self {
        Self {
            writes: true,
            repeatable: false,
            ..Self::read(operation, subject)
        }
    }

    /// The same call, of which it does not matter whether it is carried out twice.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// The same call, about this revision.
    pub(crate) fn at(mut self, revision: Option<Revision>) -> Self {
        self.revision = revision;
        self
    }

    /// The same call, about this lease.
    pub(crate) fn of_lease(mut self, lease: Option<LeaseId>) -> Self {
        self.lease = lease;
        self
    }

    /// The same call, with this many bytes.
    pub(crate) fn of_size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// The same call, with this many operations.
    pub(crate) fn of_count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// The same call, which may take this long.
    pub(crate) fn within(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// What becomes of a write whose answer is missing; a read changes nothing.
    pub(crate) fn unanswered(&self) -> Outcome {
        if self.writes {
            Outcome::Unknown
        } else {
            Outcome::NotApplied
        }
    }
}

impl fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut subject = self.subject.to_string();
        // A key can be as long as a request; its beginning says which one it is.
        if let Some((end, _)) = subject.char_indices().nth(200) {
            subject.truncate(end);
            subject.push_str("..");
        }
        write!(f, "{} of \"{subject}\"", self.operation)
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({self})")
    }
}

/// What happened, before it is known to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The request never left: no connection, or the connection ended before.
    NotSent,
    /// The connection broke, or the server gave up, after the request may have left.
    Unanswered,
    /// The server cannot serve now, and did not.
    Busy,
    Compacted,
    Future,
    LeaseLost,
    LeaseExists,
    Denied,
    /// The server wants a token, or another than was shown; it did nothing.
    TokenRefused,
    /// The login itself failed.
    Unauthenticated,
    /// The server knows no logins, and was asked for one.
    LoginIsOff,
    TooLarge,
    TooManyOps,
    Full,
    Invalid,
    Unimplemented,
    /// The server refused it for a reason that we do not know.
    Refused,
    /// Anything else.
    Unclear,
}

/// What etcd says, and what it means. The texts, not the codes, tell its errors apart: a watch
/// brings texts only, and some layers of etcd lose the code.
const TEXTS: &[(&str, Kind)] = &[
    ("required revision has been compacted", Kind::Compacted),
    ("required revision is a future revision", Kind::Future),
    ("requested lease not found", Kind::LeaseLost),
    ("lease not found", Kind::LeaseLost),
    ("lease already exists", Kind::LeaseExists),
    ("permission denied", Kind::Denied),
    ("invalid auth token", Kind::TokenRefused),
    ("user name is empty", Kind::TokenRefused),
    ("authentication failed", Kind::Unauthenticated),
    ("authentication is not enabled", Kind::LoginIsOff),
    ("revision of auth store is old", Kind::TokenRefused),
    ("revision in header is old", Kind::TokenRefused),
    ("too many operations in txn request", Kind::TooManyOps),
    ("request is too large", Kind::TooLarge),
    ("received message larger than max", Kind::TooLarge),
    ("database space exceeded", Kind::Full),
    ("duplicate key given in txn request", Kind::Invalid),
    ("key is not provided", Kind::Invalid),
    ("key not found", Kind::Invalid),
    ("value is provided", Kind::Invalid),
    ("lease is provided", Kind::Invalid),
    ("too large lease TTL", Kind::Invalid),
    ("invalid sort option", Kind::Invalid),
    ("no leader", Kind::Busy),
    // Raised by reads and by the look-up of a lease only, never behind a proposal.
    ("leader changed", Kind::Busy),
    ("too many requests", Kind::Busy),
    // Raised before a change of the members is proposed: one of them is out of reach, or too few run.
    ("unhealthy cluster", Kind::Busy),
    ("re-configuration failed", Kind::Busy),
    // Said of a learner that has not caught up yet.
    ("in sync with leader", Kind::Busy),
    ("not supported for learner", Kind::Busy),
    ("request timed out", Kind::Unanswered),
    ("server stopped", Kind::Unanswered),
    // Said by the stub before anything is sent: the task that owns the connection is gone.
    ("Service was not ready", Kind::NotSent),
];

/// What the transport on our side says of an answer that is larger than it was told to take.
const ANSWER_TOO_LARGE: &str = "decoded message length too large";

fn kind_of_text(text: &str) -> Option<Kind> {
    TEXTS
        .iter()
        .find(|(part, _)| text.contains(part))
        .map(|(_, kind)| *kind)
}

fn kind_of_status(status: &Status) -> Kind {
    let code = status.code();
    if let Some(source) = status.source() {
        // A status with a source was made on our side. The code alone does not say whether the
        // request left.
        return if chain(source).any(never_left) {
            Kind::NotSent
        } else if code == Code::OutOfRange {
            Kind::TooLarge
        } else {
            Kind::Unanswered
        };
    }
    if let Some(kind) = kind_of_text(status.message()) {
        return kind;
    }
    match code {
        Code::PermissionDenied => Kind::Denied,
        Code::Unauthenticated => Kind::Unauthenticated,
        Code::Unimplemented => Kind::Unimplemented,
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted => Kind::Refused,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
            Kind::Unanswered
        }
        _ => Kind::Unclear,
    }
}

fn kind_of(error: &etcd_client::Error) -> Kind {
    match error {
        etcd_client::Error::GRpcStatus(status) => kind_of_status(status),
        etcd_client::Error::LeaseKeepAliveError(text) => {
            kind_of_text(text).unwrap_or(Kind::Unclear)
        }
        // The stream ended without an answer.
        etcd_client::Error::WatchError(_) => Kind::Unanswered,
        _ => Kind::Unclear,
    }
}

/// Whether there was no connection, or the transport gave a request back that it had not taken from
/// its queue. The code does not say so: a server that resets a stream may have carried the request out,
/// and has the same code. A request whose token the server refused, and that no login let us send again,
/// counts as never sent, too: it was refused before anything was done.
fn never_left(error: &(dyn StdError + 'static)) -> bool {
    let given_back = error.downcast_ref::<hyper::Error>();
    error.is::<ConnectError>()
        || error.is::<NotLoggedIn>()
        || given_back.is_some_and(hyper::Error::is_canceled)
}

fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// A login that brought no token: the request that it was made for, refused before for its token, was
/// not sent again.
#[derive(Debug, thiserror::Error)]
#[error("the login failed")]
struct NotLoggedIn;

/// The failure of a request whose token was refused, and of the login that was to bring another.
pub(crate) fn not_logged_in(cause: &str) -> etcd_client::Error {
    let mut status = Status::unavailable(format!(
        "its token was refused, and the login failed: {cause}"
    ));
    status.set_source(Arc::new(NotLoggedIn));
    etcd_client::Error::GRpcStatus(status)
}

/// Whether the request certainly was not sent.
pub(crate) fn never_sent(error: &etcd_client::Error) -> bool {
    kind_of(error) == Kind::NotSent
}

/// The failure of a call that a member without a leader did not take.
pub(crate) fn no_leader() -> etcd_client::Error {
    etcd_client::Error::GRpcStatus(Status::unavailable("etcdserver: no leader"))
}

/// Whether the server did nothing because it wants a token, or another one.
pub(crate) fn token_refused(error: &etcd_client::Error) -> bool {
    kind_of(error) == Kind::TokenRefused
}

/// The failure of a call that etcd did not take for its token, if that is why it refused a watch:
/// of watches it says so in the stream.
pub(crate) fn token_refused_by(response: &PbWatchResponse) -> Option<etcd_client::Error> {
    let reason = &response.cancel_reason;
    (response.canceled && kind_of_text(reason) == Some(Kind::TokenRefused))
        .then(|| etcd_client::Error::GRpcStatus(Status::unauthenticated(reason)))
}

/// Whether a login failed only because the server knows none.
pub(crate) fn login_is_off(error: &etcd_client::Error) -> bool {
    kind_of(error) == Kind::LoginIsOff
}

/// What the server said, if it refused a user or a password.
pub(crate) fn password_refused(error: &etcd_client::Error) -> Option<Status> {
    match error {
        etcd_client::Error::GRpcStatus(status) if kind_of(error) == Kind::Unauthenticated => {
            Some(status.clone())
        }
        _ => None,
    }
}

/// Whether another endpoint may be asked: the request certainly was not carried out, or it may be
/// repeated and its answer is missing.
pub(crate) fn allows_another(call: &Call<'_>, error: &etcd_client::Error) -> bool {
    match kind_of(error) {
        Kind::NotSent | Kind::Busy => true,
        Kind::Unanswered => call.repeatable,
        _ => false,
    }
}

/// Whether there was no answer, or only that there would be none.
pub(crate) fn is_lost(error: &etcd_client::Error) -> bool {
    matches!(kind_of(error), Kind::NotSent | Kind::Unanswered)
}

/// Whether the server cannot serve now, as for want of a leader, and did not.
pub(crate) fn is_busy(error: &etcd_client::Error) -> bool {
    kind_of(error) == Kind::Busy
}

/// Whether the server does not know a lease.
pub(crate) fn lease_lost(error: &etcd_client::Error) -> bool {
    kind_of(error) == Kind::LeaseLost
}

/// Whether the answer was larger than was to be taken; the request was a read.
pub(crate) fn answer_too_large(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.code() == Code::OutOfRange && status.message().contains(ANSWER_TOO_LARGE))
}

/// Whether a grant failed only because this very lease is there already.
pub(crate) fn lease_exists(error: &etcd_client::Error) -> bool {
    kind_of(error) == Kind::LeaseExists
}

/// The same failure for another of those that it concerns.
pub(crate) fn copy(error: &etcd_client::Error) -> etcd_client::Error {
    match error {
        etcd_client::Error::GRpcStatus(status) => etcd_client::Error::GRpcStatus(status.clone()),
        etcd_client::Error::WatchError(text) => etcd_client::Error::WatchError(text.clone()),
        other => etcd_client::Error::WatchError(other.to_string()),
    }
}

/// What an error of the stub says, with its causes, for a person.
pub(crate) fn words(error: &etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            let mut text = status.message().to_owned();
            let causes = status.source().into_iter().flat_map(chain);
            for cause in causes {
                let cause = cause.to_string();
                // Layers repeat each other; each cause is told once.
                if !cause.is_empty() && !text.contains(&cause) {
                    if text.is_empty() {
                        text = cause;
                    } else {
                        write!(text, ": {cause}").expect("a string takes all that is written");
                    }
                }
            }
            if text.is_empty() {
                text = status.code().description().to_owned();
            }
            text
        }
        other => other.to_string(),
    }
}

/// The error of a call that an endpoint or the way to it answered with this failure.
pub(crate) fn of_call(call: &Call<'_>, endpoint: &str, error: etcd_client::Error) -> Error {
    let kind = kind_of(&error);
    let message = words(&error);
    of_kind(kind, call, endpoint, &message, Some(Box::new(error)))
}

/// The error of a watch that etcd ended with this reason.
pub(crate) fn of_reason(call: &Call<'_>, endpoint: &str, reason: &str) -> Error {
    let kind = kind_of_text(reason).unwrap_or(Kind::Refused);
    of_kind(kind, call, endpoint, reason, None)
}

fn of_kind(
    kind: Kind,
    call: &Call<'_>,
    endpoint: &str,
    message: &str,
    source: Option<BoxError>,
) -> Error {
    let told = || format!("{call}: {endpoint}: {message}");
    let unavailable = |outcome| Error::Unavailable {
        message: told(),
        outcome,
        source: None,
    };
    match kind {
        Kind::NotSent | Kind::Busy => with_source(unavailable(Outcome::NotApplied), source),
        Kind::Unanswered => with_source(unavailable(call.unanswered()), source),
        Kind::Compacted => Error::Compacted {
            requested: call.revision.unwrap_or_default(),
            oldest: None,
        },
        Kind::Future => Error::FutureRevision {
            requested: call.revision.unwrap_or_default(),
            current: None,
        },
        Kind::LeaseLost => match call.lease {
            Some(lease) => Error::LeaseLost { lease },
            None => refused(told(), source),
        },
        Kind::Denied => Error::Denied { message: told() },
        Kind::TokenRefused | Kind::Unauthenticated => Error::Unauthenticated { message: told() },
        Kind::TooLarge if call.size == 0 => refused(told(), source),
        // The server does not say its limits; they are other ones than we were told, or what is
        // around keys and values went beyond them.
        Kind::TooLarge => Error::TooLarge {
            size: call.size,
            limit: None,
        },
        Kind::TooManyOps => Error::TooManyOps {
            count: call.count,
            limit: None,
        },
        Kind::Full => Error::StorageFull { message: told() },
        Kind::Invalid => Error::invalid(told()),
        Kind::Unimplemented => Error::NotSupported {
            operation: call.operation,
            store: format!("etcd({endpoint})"),
        },
        Kind::LeaseExists | Kind::LoginIsOff | Kind::Refused => refused(told(), source),
        Kind::Unclear => Error::Backend {
            message: told(),
            outcome: call.unanswered(),
            source,
        },
    }
}

fn refused(message: String, source: Option<BoxError>) -> Error {
    Error::Backend {
        message,
        outcome: Outcome::NotApplied,
        source,
    }
}

fn with_source(mut error: Error, cause: Option<BoxError>) -> Error {
    if let Error::Unavailable { source, .. } = &mut error {
        *source = cause;
    }
    error
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyval::{Error, LeaseId, Outcome, Revision};
    use tonic::{Code, ConnectError, Status, TimeoutExpired};

    use super::{Call, of_call, of_reason};

    fn call() -> Call<'static> {
        Call::write("put", &"a")
            .at(Some(Revision::new(7)))
            .of_lease(LeaseId::new(9))
            .of_size(100)
            .of_count(129)
    }

    fn told(status: Status) -> Error {
        of_call(
            &call(),
            "127.0.0.1:1",
            etcd_client::Error::GRpcStatus(status),
        )
    }

    /// A status made on this side, as the transport makes it.
    fn local(
        code: Code,
        message: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Status {
        let mut status = Status::new(code, message);
        status.set_source(Arc::new(source));
        status
    }

    #[test]
    fn every_refusal_of_the_server_is_told_apart_and_was_not_applied() {
        for (code, text, kind) in [
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                "compacted",
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
                "future_revision",
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                "lease_lost",
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                "denied",
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                "unauthenticated",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                "unauthenticated",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                "unauthenticated",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: too many operations in txn request",
                "too_many_ops",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                "invalid",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: request is too large",
                "too_large",
            ),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (2200000 vs. 2097152)",
                "too_large",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                "storage_full",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: key is not provided",
                "invalid",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: key not found",
                "invalid",
            ),
            (
                Code::OutOfRange,
                "etcdserver: too large lease TTL",
                "invalid",
            ),
            (Code::Unavailable, "etcdserver: no leader", "unavailable"),
            (
                Code::Unavailable,
                "etcdserver: unhealthy cluster",
                "unavailable",
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member which is in sync with leader",
                "unavailable",
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: can only promote a learner member",
                "backend",
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                "unavailable",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                "unavailable",
            ),
            (
                Code::Unimplemented,
                "unknown service etcdserverpb.KV",
                "not_supported",
            ),
            (
                Code::Unknown,
                "etcdserver: re-configuration failed due to not enough started members",
                "unavailable",
            ),
            (Code::FailedPrecondition, "something new", "backend"),
        ] {
            let error = told(Status::new(code, text));
            assert_eq!(error.kind(), kind, "{text}: {error}");
            assert_eq!(error.outcome(), Outcome::NotApplied, "{text}");
        }
    }

    #[test]
    fn what_may_have_been_applied_says_so() {
        for status in [
            Status::new(Code::Unavailable, "etcdserver: request timed out"),
            Status::new(
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
            ),
            Status::new(Code::Unavailable, "etcdserver: server stopped"),
            Status::new(Code::Unavailable, "transport is closing"),
            Status::new(Code::Unknown, "something new"),
            Status::new(Code::Internal, "stream terminated"),
            local(
                Code::Unknown,
                "transport error",
                std::io::Error::other("connection reset"),
            ),
            local(
                Code::Unavailable,
                "keep-alive timed out",
                std::io::Error::other("silence"),
            ),
            local(Code::Cancelled, "Timeout expired", TimeoutExpired(())),
            local(
                Code::Cancelled,
                "h2 protocol error: http2 error",
                std::io::Error::other("stream reset by the peer: CANCEL"),
            ),
        ] {
            let text = status.message().to_owned();
            assert_eq!(told(status).outcome(), Outcome::Unknown, "{text}");
        }
    }

    /// What the transport says of a request that it gives back.
    async fn given_back() -> hyper::Error {
        let (near, _far) = tokio::io::duplex(1024);
        let shaken = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(near),
        );
        let (mut connection, driver) = shaken.await.unwrap();
        drop(driver);
        let request = http::Request::new(tonic::body::Body::empty());
        connection.send_request(request).await.unwrap_err()
    }

    #[tokio::test]
    async fn what_never_left_was_not_applied() {
        for status in [
            local(
                Code::Unavailable,
                "tcp connect error",
                ConnectError("refused".into()),
            ),
            local(
                Code::Cancelled,
                "operation was canceled",
                given_back().await,
            ),
            Status::new(Code::Unknown, "Service was not ready: closed"),
        ] {
            let text = status.message().to_owned();
            let error = told(status);
            assert_eq!(error.outcome(), Outcome::NotApplied, "{text}");
            assert!(error.is_retryable(), "{text}");
        }
    }

    #[test]
    fn a_read_is_never_said_to_have_been_applied() {
        let call = Call::read("get", &"a");
        let status = Status::new(Code::Unavailable, "etcdserver: request timed out");
        let error = of_call(&call, "127.0.0.1:1", etcd_client::Error::GRpcStatus(status));
        assert!(!error.may_have_applied());
    }

    #[test]
    fn a_watch_is_told_why_it_was_refused() {
        for (reason, kind) in [
            ("etcdserver: permission denied", "denied"),
            (
                "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
                "denied",
            ),
            (
                "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
                "unauthenticated",
            ),
            (
                "etcdserver: mvcc: required revision has been compacted",
                "compacted",
            ),
            ("etcdserver: no leader", "unavailable"),
            (
                "mvcc: duplicate watch ID provided on the WatchStream",
                "backend",
            ),
        ] {
            assert_eq!(
                of_reason(&call(), "127.0.0.1:1", reason).kind(),
                kind,
                "{reason}"
            );
        }
    }

    #[test]
    fn a_refusal_for_a_limit_that_is_not_known_invents_none() {
        let error = told(Status::new(
            Code::InvalidArgument,
            "etcdserver: request is too large",
        ));
        assert!(
            matches!(
                error,
                Error::TooLarge {
                    size: 100,
                    limit: None
                }
            ),
            "{error}"
        );
        let error = told(Status::new(
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request",
        ));
        assert!(
            matches!(
                error,
                Error::TooManyOps {
                    count: 129,
                    limit: None
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn an_error_names_the_operation_the_key_and_the_endpoint_with_its_causes() {
        let cause = std::io::Error::other("connection reset by peer");
        let error = told(local(Code::Unknown, "transport error", cause));
        assert_eq!(
            error.to_string(),
            "the store is unavailable: put of \"a\": 127.0.0.1:1: transport error: connection reset by peer"
        );
    }
}
