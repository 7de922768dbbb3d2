//! The connection to one endpoint: opened when it is first used, and anew after its end.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _, Shared};
use http::header::{HeaderValue, USER_AGENT};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tonic::ConnectError;
use tonic::body::Body;
use tower::BoxError;
use tower_service::Service;

use crate::connection::dial::Dialer;
use crate::connection::whole::Whole;

/// Who we are, as proxies and logs of servers show it.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("keyval-etcd/", env!("CARGO_PKG_VERSION")));

/// How a connection speaks HTTP/2.
pub(crate) type Http2 = Builder<Spawner>;

/// Spawns the tasks of connections and requests.
///
/// Boxed, as the future of a request is large, and a task moves it several times before it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spawner;

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        tokio::spawn(Box::pin(future));
    }
}

/// The connection to one endpoint, which is opened when it is first used, and anew when it is used
/// after its end. Clones share it.
///
/// Requests go straight to the task that owns the connection: the channel of the transport crate has
/// one task more on the way, to wait for a turn that HTTP/2 does not need.
#[derive(Clone)]
pub(crate) struct Channel(Arc<Inner>);

struct Inner {
    dialer: Dialer,
    http2: Http2,
    scheme: Scheme,
    authority: Authority,
    state: Mutex<State>,
}

enum State {
    Idle,
    Opening(Opening),
    Open(SendRequest<Whole>),
}

/// What all requests wait for that come while the connection is opened. It goes on when they are
/// dropped, and ends with the channel.
type Opening = Shared<BoxFuture<'static, Result<SendRequest<Whole>, Failure>>>;

/// Why a connection could not be opened, for each request that waited for it.
#[derive(Clone, Debug)]
struct Failure(Arc<io::Error>);

impl Channel {
    /// The connection that this dialer opens; its requests name this scheme and authority.
    pub(crate) fn new(dialer: Dialer, http2: Http2, scheme: Scheme, authority: Authority) -> Self {
        Self(Arc::new(Inner {
            dialer,
            http2,
            scheme,
            authority,
            state: Mutex::new(State::Idle),
        }))
    }

    /// Whether there is a connection, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        matches!(&*self.0.state.lock(), State::Open(_))
    }

    /// The open connection, or what to wait for until there is one.
    fn connection(&self) -> Result<SendRequest<Whole>, Opening> {
        let mut state = self.0.state.lock();
        match &*state {
            State::Open(connection) if !connection.is_closed() => Ok(connection.clone()),
            // One that was ended, with its runtime, has told nobody.
            State::Opening(opening) if !matches!(opening.peek(), Some(Err(_))) => {
                Err(opening.clone())
            }
            State::Opening(_) | State::Open(_) | State::Idle => {
                let opening = self.open();
                *state = State::Opening(opening.clone());
                Err(opening)
            }
        }
    }

    fn open(&self) -> Opening {
        let channel = Arc::downgrade(&self.0);
        let open = open(self.0.dialer.clone(), self.0.http2.clone(), channel);
        let open = AbortOnDropHandle::new(tokio::spawn(open));
        let opened = open.map(|ended| match ended {
            Ok(opened) => opened,
            Err(ended) => Err(Failure(Arc::new(ended.into()))),
        });
        opened.boxed().shared()
    }
}

async fn open(
    dialer: Dialer,
    http2: Http2,
    channel: Weak<Inner>,
) -> Result<SendRequest<Whole>, Failure> {
    let opened = async {
        let line = TokioIo::new(dialer.dial().await?);
        let shaken = timeout(dialer.within, http2.handshake(line)).await;
        let shaken = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        let (connection, driver) = shaken.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to etcd ended");
            }
        });
        Ok(connection)
    }
    .await;
    if let Some(channel) = channel.upgrade() {
        *channel.state.lock() = match &opened {
            Ok(connection) => State::Open(connection.clone()),
            Err(_) => State::Idle,
        };
    }
    opened.map_err(|error: io::Error| Failure(Arc::new(error)))
}

impl Inner {
    /// The request, to this endpoint.
    fn address(&self, request: &mut Request<Body>) -> Result<(), BoxError> {
        let mut parts = Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        let path = request.uri().path_and_query().cloned();
        parts.path_and_query = path.or(Some(PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts)?;
        request.headers_mut().insert(USER_AGENT, AGENT);
        Ok(())
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Err(error) = self.0.address(&mut request) {
            return Box::pin(async { Err(error) });
        }
        let request = request.map(Whole::new);
        match self.connection() {
            Ok(mut connection) => {
                let answer = connection.send_request(request);
                Box::pin(async { Ok(answer.await?.map(Body::new)) })
            }
            Err(opening) => Box::pin(async {
                let opened = opening.await;
                let mut connection = opened.map_err(|failure| ConnectError(failure.into()))?;
                Ok(connection.send_request(request).await?.map(Body::new))
            }),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
