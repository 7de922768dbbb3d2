//! Logins, and tokens that end when the test says so.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use etcd_client::proto::{PbAuthenticateRequest, PbAuthenticateResponse};
use futures::future::{BoxFuture, FutureExt};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::fake::plight::Ailing;

/// Who may log in to a [`FakeEtcd`](crate::fake::FakeEtcd).
pub const USER: &str = "app";
/// The password.
pub const PASSWORD: &str = "open sesame";

/// What every token begins with, so that one can be told wherever it shows.
pub const TOKEN: &str = "token-of-the-fake-";

/// The logins of a server; clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logins(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// How many tokens were given; each is its number.
    given: AtomicU64,
    /// Those up to this one have ended.
    ended: AtomicU64,
}

impl Logins {
    /// How many there have been.
    pub(crate) fn count(&self) -> u64 {
        self.0.given.load(Ordering::SeqCst)
    }

    /// Ends all tokens.
    pub(crate) fn end(&self) {
        self.0.ended.store(self.count(), Ordering::SeqCst);
    }

    fn log_in(&self, request: &PbAuthenticateRequest) -> Result<PbAuthenticateResponse, Status> {
        if request.name != USER || request.password != PASSWORD {
            return Err(Status::invalid_argument(
                "etcdserver: authentication failed, invalid user ID or password",
            ));
        }
        let number = self.0.given.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(PbAuthenticateResponse {
            header: None,
            token: format!("{TOKEN}{number}"),
        })
    }

    /// Lets a request through that shows a token which has not ended.
    ///
    /// # Errors
    /// As etcd.
    pub(crate) fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let token = request.metadata().get("token");
        let token = token.and_then(|token| token.to_str().ok()?.strip_prefix(TOKEN));
        let number = token.and_then(|number| number.parse::<u64>().ok());
        match number {
            Some(number) if number > self.0.ended.load(Ordering::SeqCst) => Ok(request),
            Some(_) => Err(Status::unauthenticated("etcdserver: invalid auth token")),
            None => Err(Status::invalid_argument("etcdserver: user name is empty")),
        }
    }
}

/// The one call of etcd's service for logins that a client makes.
#[derive(Clone, Debug)]
pub(crate) struct Authenticate(pub(crate) Logins, pub(crate) Ailing);

impl NamedService for Authenticate {
    const NAME: &'static str = "etcdserverpb.Auth";
}

impl Service<http::Request<Body>> for Authenticate {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = Method(self.0.clone(), self.1.clone());
        let codec = ProstCodec::default();
        async move { Ok(Grpc::new(codec).unary(method, request).await) }.boxed()
    }
}

struct Method(Logins, Ailing);

impl UnaryService<PbAuthenticateRequest> for Method {
    type Response = PbAuthenticateResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<PbAuthenticateRequest>) -> Self::Future {
        let (logins, ailing) = (self.0.clone(), self.1.clone());
        async move {
            ailing.answers_logins().await;
            logins.log_in(request.get_ref()).map(Response::new)
        }
        .boxed()
    }
}
