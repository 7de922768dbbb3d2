//! The signals that ask a process to shut down.

use std::future::Future;

/// Completes at the first SIGINT (Ctrl-C) or SIGTERM.
///
/// From this call on, before it is awaited, these signals no longer end the process at once; later
/// ones are ignored, as the host's deadlines bound its shutdown.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals = platform::Signals::new();
    async move {
        match signals {
            Ok(signals) => {
                let name = signals.first().await;
                tracing::info!(signal = name, "shutting down");
            }
            Err(error) => {
                tracing::error!(%error, "cannot listen for signals: they will not shut down in order");
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(unix)]
mod platform {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Signals {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Signals {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        }

        pub(super) async fn first(mut self) -> &'static str {
            tokio::select! {
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
            }
        }
    }
}

#[cfg(windows)]
mod platform {
    use std::io;

    use tokio::signal::windows::{CtrlC, CtrlShutdown, ctrl_c, ctrl_shutdown};

    pub(super) struct Signals {
        interrupt: CtrlC,
        terminate: CtrlShutdown,
    }

    impl Signals {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self {
                interrupt: ctrl_c()?,
                terminate: ctrl_shutdown()?,
            })
        }

        pub(super) async fn first(mut self) -> &'static str {
            tokio::select! {
                _ = self.interrupt.recv() => "ctrl-c",
                _ = self.terminate.recv() => "shutdown",
            }
        }
    }
}
