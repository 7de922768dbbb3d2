//! The probes' own thread.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use axum::Router;
use keyval::BoxError;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::connections::serve;

/// How often there is some tidying to do.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// A server on a thread and a runtime of its own, so that it answers whatever the agent's runtime is
/// busy with. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    stop: CancellationToken,
}

impl Server {
    /// Listens there and serves this. The receiver hears when the server has ended.
    pub(super) fn start(
        listen: SocketAddr,
        router: Router,
        mut tidy: impl FnMut() + Send + 'static,
    ) -> Result<(Self, oneshot::Receiver<()>), BoxError> {
        let listener = TcpListener::bind(listen).map_err(|error| explain(listen, &error))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let stop = CancellationToken::new();
        let (stopped, (ended, ends)) = (stop.clone(), oneshot::channel());
        let work = async move {
            let mut ticks = tokio::time::interval(TIDY_EVERY);
            let tidying = async move {
                loop {
                    ticks.tick().await;
                    tidy();
                }
            };
            tokio::select! {
                () = stopped.cancelled() => {}
                never = serve(listener, router) => match never {},
                () = tidying => {}
            }
        };
        thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || {
                runtime.block_on(work);
                // Those whose clients are slow need not be waited for.
                runtime.shutdown_background();
                // The plugin may be gone already.
                let _ = ended.send(());
            })?;
        Ok((Self { address, stop }, ends))
    }

    /// Tells the server to end.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What to do about an address that cannot be listened on.
fn explain(listen: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there: set another port as `listen`, or 0 for any that is free"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: set `listen` to one it has, or to 0.0.0.0 for all"
        }
        io::ErrorKind::PermissionDenied => {
            "the port needs a privilege: set a port from 1024 on as `listen`"
        }
        _ => "set another address as `listen`",
    };
    format!("cannot listen on {listen}: {error}; {remedy}")
}
