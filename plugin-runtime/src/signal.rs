//! The signals that ask a process to shut down.

use std::future::Future;

use crate::apart::apart;

/// Completes at the first SIGINT (Ctrl-C) or SIGTERM; a second one ends the process at once.
///
/// From this call on, before it is awaited, the first of these signals no longer ends the process.
/// On a multi-threaded runtime it comes even if tasks block every worker, to whoever awaits it on
/// another thread, as [`run_program`](crate::run_program) does. The second ends the process with code
/// 130, whatever goes on in it: even if every thread is blocked, nothing more is written or closed. Of
/// several calls, each counts the signals anew for all. On Windows the second Ctrl-C does what it does
/// by default.
///
/// The host never calls this; a program that wants other signals, or none, passes
/// [`Host::run`](crate::Host::run) what it likes.
///
/// # Cancel safety
/// A signal that comes while the future is not polled is not lost: it is ready when it is polled next. Once the
/// future is dropped nobody hears the first signal any more, and yet it does not end the process; the
/// second does. A later call does not hear of a signal that came before it.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send + 'static {
    let signals = apart(platform::Signals::new);
    async move {
        match signals {
            Ok(signals) => {
                let name = signals.first().await;
                tracing::info!(signal = name, "shutting down; a second signal ends at once");
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
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::{register, register_conditional_shutdown};
    use tokio::signal::unix::{Signal, SignalKind, signal};

    /// What a shell reports of a program that Ctrl-C ended.
    const EXIT_CODE: i32 = 130;
    /// Whether a signal has come; the next one ends the process.
    static ASKED: AtomicBool = AtomicBool::new(false);

    pub(super) struct Signals {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Signals {
        pub(super) fn new() -> io::Result<Self> {
            end_at_the_second()?;
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

    /// The handlers run in the signal itself, and so need no thread that is free.
    fn end_at_the_second() -> io::Result<()> {
        static REGISTERED: Mutex<bool> = Mutex::new(false);
        let mut registered = REGISTERED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        ASKED.store(false, Ordering::SeqCst);
        if !*registered {
            for signal in [SIGINT, SIGTERM] {
                // In this order, so that the first signal finds the flag not yet set.
                register_conditional_shutdown(signal, EXIT_CODE, &ASKED)?;
                register(signal, &ASKED)?;
            }
            *registered = true;
        }
        Ok(())
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
