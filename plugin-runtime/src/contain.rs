//! Work that can neither take its caller down nor hold it up.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::apart::apart;
use crate::error::Cause;
use crate::plugin::PluginResult;

/// Does some work of a plugin, and tells how it failed: by itself, by a panic, or by its deadline.
///
/// On a multi-threaded runtime the work has a thread of its own, of this name, so that blocking
/// it takes no worker away from the other plugins, however few workers there are, and the deadline
/// passes even if none is left. After its deadline the work is dropped; if it blocks, it is left behind
/// on its thread, for which neither the runtime nor the end of the process waits. A current-thread
/// runtime has just the one thread.
///
/// # Cancel safety
/// The work is dropped as after its deadline.
pub(crate) async fn contain(
    name: &str,
    deadline: Duration,
    work: impl Future<Output = PluginResult> + Send + 'static,
) -> Result<(), Cause> {
    let ended = match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => timeout(deadline, as_task(work)).await,
        _ => apart(|| timeout(deadline, on_thread(name, work))).await,
    };
    ended.unwrap_or(Err(Cause::TimedOut(deadline)))
}

async fn as_task(work: impl Future<Output = PluginResult> + Send + 'static) -> Result<(), Cause> {
    match AbortOnDropHandle::new(tokio::spawn(work)).await {
        Ok(result) => result.map_err(Cause::Failed),
        Err(ended) => Err(match ended.try_into_panic() {
            Ok(panic) => Cause::Panicked(panic_text(&*panic)),
            Err(cancelled) => Cause::Failed(cancelled.into()),
        }),
    }
}

async fn on_thread(
    name: &str,
    work: impl Future<Output = PluginResult> + Send + 'static,
) -> Result<(), Cause> {
    let runtime = Handle::current();
    // Dropped with this future: the sign to drop the work.
    let (_keep, dropped) = oneshot::channel::<Infallible>();
    let (tell, told) = oneshot::channel();
    let on_thread = move || {
        let work = async {
            tokio::select! {
                biased;
                result = work => result,
                _ = dropped => Ok(()),
            }
        };
        let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(work)));
        // Nobody waits for it any more after the deadline.
        let _ = tell.send(match result {
            Ok(result) => result.map_err(Cause::Failed),
            Err(panic) => Err(Cause::Panicked(panic_text(&*panic))),
        });
    };
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(on_thread);
    thread.map_err(|error| Cause::Failed(format!("it got no thread: {error}").into()))?;
    let gone = || Err(Cause::Panicked("its thread is gone".to_owned()));
    told.await.unwrap_or_else(|_| gone())
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
