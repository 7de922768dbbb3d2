//! A thread that wakes the host, whatever the threads of the plugins are busy with.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::{Builder, Handle, RuntimeFlavor};

/// The name of the thread.
const NAME: &str = "host";

/// Makes what the host itself waits for, a deadline or a signal, so that it comes although plugins
/// block every worker.
///
/// A timer or signal of tokio belongs to the runtime within which it is made, and only the workers of
/// that one look at its clock and its events. So these belong to a runtime that carries out nothing
/// else: one for the whole process, on a thread of its own. Whoever waits is woken by it wherever
/// they are.
///
/// A current-thread runtime keeps its own: it has just the one thread, and its clock can be paused.
/// Without a thread from the system it is as without this.
///
/// # Panics
/// Outside of a tokio runtime.
pub(crate) fn apart<T>(make: impl FnOnce() -> T) -> T {
    let around = Handle::current();
    let own = match around.runtime_flavor() {
        RuntimeFlavor::CurrentThread => None,
        _ => own(),
    };
    let _inside = own.map(Handle::enter);
    make()
}

/// The runtime of the host, started when it is first needed, and there until the process ends.
fn own() -> Option<&'static Handle> {
    static OWN: OnceLock<Option<Handle>> = OnceLock::new();
    let started = OWN.get_or_init(|| match start() {
        Ok(runtime) => Some(runtime),
        Err(error) => {
            tracing::warn!(%error, "the host has no thread of its own: plugins can hold it up");
            None
        }
    });
    started.as_ref()
}

fn start() -> io::Result<Handle> {
    let (tell, told) = mpsc::channel();
    // Built there, as it could not be dropped here if there were no thread for it.
    let drive = move || match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            // Whoever starts it waits for this.
            let _ = tell.send(Ok(runtime.handle().clone()));
            runtime.block_on(std::future::pending::<()>());
        }
        Err(error) => drop(tell.send(Err(error))),
    };
    thread::Builder::new().name(NAME.to_owned()).spawn(drive)?;
    told.recv()
        .unwrap_or_else(|gone| Err(io::Error::other(gone)))
}
