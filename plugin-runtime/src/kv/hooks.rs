//! What is done at each connection, in the order in which it was asked for.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyval::{BoxError, ConnectionState};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::link::Link;
use crate::contain::panic_text;

/// How long one hook may take, so that the next gets its turn.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) type Hook = dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// The hooks of one plugin.
pub(crate) struct Hooks {
    /// None once closed.
    registered: Mutex<Option<Vec<Registered>>>,
    added: Notify,
}

struct Registered {
    /// As it was registered, perhaps with others.
    given: Arc<str>,
    /// As it is told, by itself.
    name: Arc<str>,
    hook: Arc<Hook>,
    /// The connection for which it ran, by the outages before it.
    ran_for: Option<u64>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            registered: Mutex::new(Some(Vec::new())),
            added: Notify::new(),
        }
    }
}

impl Hooks {
    /// Adds one behind the others; after the close it is dropped, as there will be no connection.
    pub(crate) fn add(&self, name: Arc<str>, hook: Arc<Hook>) {
        let mut open = self.registered.lock();
        let Some(registered) = &mut *open else {
            drop(open);
            return;
        };
        // Two plugins may use one name; what is told of each has to be told apart.
        let same = registered.iter().filter(|other| other.given == name);
        let told_as = match same.count() {
            0 => Arc::clone(&name),
            before => format!("{name} ({})", before + 1).into(),
        };
        registered.push(Registered {
            given: name,
            name: told_as,
            hook,
            ran_for: None,
        });
        drop(open);
        self.added.notify_one();
    }

    /// Forgets them, and what they hold, and takes no more.
    pub(crate) fn close(&self) {
        let registered = self.registered.lock().take();
        drop(registered);
    }

    /// The first that has not run for this connection; it has from now on.
    fn next(&self, outages: u64) -> Option<(Arc<str>, Arc<Hook>)> {
        let mut registered = self.registered.lock();
        let next = registered
            .iter_mut()
            .flatten()
            .find(|hook| hook.ran_for != Some(outages))?;
        next.ran_for = Some(outages);
        Some((Arc::clone(&next.name), Arc::clone(&next.hook)))
    }
}

/// Runs the hooks at each connection, until told to stop.
pub(crate) async fn run_hooks(link: Arc<Link>, stop: CancellationToken) {
    stop.run_until_cancelled(run(&link)).await;
}

async fn run(link: &Link) {
    let mut connection = link.connection();
    loop {
        // The newest state each time, so that an outage meanwhile begins anew with the first.
        while let ConnectionState::Connected { outages, .. } = connection.state()
            && let Some((name, hook)) = link.hooks.next(outages)
        {
            run_one(link, &name, &*hook).await;
        }
        tokio::select! {
            state = futures::StreamExt::next(&mut connection) => if state.is_none() {
                return;
            },
            () = link.hooks.added.notified() => {}
        }
    }
}

async fn run_one(link: &Link, name: &str, hook: &Hook) {
    // The call itself may panic as well as what it returns.
    let work = AssertUnwindSafe(async { hook().await }).catch_unwind();
    let cause = match timeout(DEADLINE, work).await {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(error.to_string()),
        Ok(Err(panic)) => Some(format!("it panicked: {}", panic_text(&*panic))),
        Err(_) => Some(format!("it did not end within {DEADLINE:?}")),
    };
    let subject = format!("on_connect {name}");
    match cause {
        None => link.complaints.settle(&subject),
        Some(cause) => {
            tracing::warn!(hook = name, %cause, "a hook failed at the connection");
            link.complaints.raise(&subject, cause);
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registered = self.registered.lock();
        let names = registered.iter().flatten().map(|hook| &hook.name);
        f.debug_list().entries(names).finish()
    }
}
