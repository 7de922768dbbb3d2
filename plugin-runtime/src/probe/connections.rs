//! The connections of the probes: few, short, and no client can keep others out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{sleep, timeout};

/// How many connections are open at once; for one more, the oldest is closed. A request that is there
/// is answered before a few more connections are let in, so that the oldest is one that does not go on.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send its request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);
/// How long a connection may last, from its begin to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many bytes and lines a request's head may have.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long to wait when the system has no connection to give.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves whoever comes, for ever. A connection carries one request, so that none is idle after it.
pub(super) async fn serve(listener: TcpListener, router: Router) -> Infallible {
    let mut open = Open::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.add(serve_one(stream, router.clone()));
                // Those that are open get their turn before the next one is let in, so that many who
                // waited do not push each other out.
                yield_now().await;
            }
            // Out of file descriptors, most likely: those that are open will end.
            Err(error) => {
                tracing::warn!(%error, "the probes cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn serve_one(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a client of the probes broke off"),
        Err(_) => tracing::debug!("a client of the probes took too long"),
    }
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Open {
    tasks: JoinSet<()>,
    order: VecDeque<AbortHandle>,
}

impl Open {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|task| !task.is_finished());
        if self.order.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(connection));
    }
}
