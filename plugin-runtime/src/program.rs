//! The runtime of a program that nothing can keep from ending.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The fewest threads that work: one that a task blocks must not be the last.
const MIN_WORKERS: usize = 2;

/// Runs a whole program on a runtime of its own, and returns when the program's future does.
///
/// It does what `#[tokio::main]` does, with two differences: there are at least two workers, also on
/// a machine with one processor, and at the end nothing waits for tasks that block their threads, so
/// that no plugin can keep the process up. What must be put in order is put in order by
/// [`Host::run`](crate::Host::run).
///
/// # Errors
/// If the system gives no threads or no events.
///
/// # Panics
/// Inside of another runtime. A panic of the future itself is passed on, without waiting either.
///
/// # Examples
/// ```
/// use std::process::ExitCode;
/// use plugin_runtime::{ConfigDir, Host, run_program};
///
/// fn main() -> std::io::Result<ExitCode> {
///     run_program(async {
///         let host = Host::new(ConfigDir::new("config"));
///         // A program passes `shutdown_signal()`.
///         match host.run(async {}).await {
///             Ok(()) => ExitCode::SUCCESS,
///             Err(error) => {
///                 eprintln!("error: {error}");
///                 ExitCode::FAILURE
///             }
///         }
///     })
/// }
/// ```
pub fn run_program<T>(program: impl Future<Output = T>) -> io::Result<T> {
    let workers = std::thread::available_parallelism().map_or(MIN_WORKERS, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers.max(MIN_WORKERS))
        .enable_all()
        .build()?;
    // The runtime that a panic drops would wait for all that block their threads.
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(program)));
    runtime.shutdown_background();
    result.map_or_else(|panic| resume_unwind(panic), Ok)
}
