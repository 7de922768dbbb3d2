//! The token of the login, and how it gets into every request.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use http::header::{HeaderName, HeaderValue};
use parking_lot::RwLock;
use tonic::body::Body;
use tower_service::Service;

/// Where etcd looks for it.
const HEADER: HeaderName = HeaderName::from_static("token");
/// The one call that asks for a token rather than showing it.
const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";

/// The present token, shared by all connections to all endpoints.
#[derive(Clone, Default)]
pub(super) struct Token(Arc<RwLock<Held>>);

#[derive(Default)]
struct Held {
    /// How often the token was changed.
    changes: u64,
    /// None before the first login, and where the server wants none.
    value: Option<HeaderValue>,
}

impl Token {
    /// How often it was changed: whoever was refused can see whether that was with the present one.
    pub(super) fn changes(&self) -> u64 {
        self.0.read().changes
    }

    /// Puts another in its place.
    pub(super) fn change(&self, mut value: Option<HeaderValue>) {
        if let Some(value) = &mut value {
            // Shown by nobody, and kept out of the compression's memory.
            value.set_sensitive(true);
        }
        let mut held = self.0.write();
        held.changes += 1;
        held.value = value;
    }
}

/// A connection whose requests show the token.
#[derive(Clone)]
pub(super) struct Authorized<C> {
    channel: C,
    token: Token,
}

impl<C> Authorized<C> {
    pub(super) fn new(channel: C, token: Token) -> Self {
        Self { channel, token }
    }
}

impl<C: Service<Request<Body>>> Service<Request<Body>> for Authorized<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.uri().path() != AUTHENTICATE {
            let token = self.token.0.read().value.clone();
            if let Some(token) = token {
                request.headers_mut().insert(HEADER, token);
            }
        }
        self.channel.call(request)
    }
}
