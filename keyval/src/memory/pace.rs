//! Lets other tasks run between operations that never wait.

use std::cell::Cell;

use tokio::task::coop;

/// How many operations count as one step of a task. Tokio lets a task go on for 128 steps; with
/// operations of well below a microsecond that is about a millisecond. Asking tokio each time would
/// cost a read a quarter of its time.
const OPERATIONS: u8 = 16;

thread_local! {
    static DONE: Cell<u8> = const { Cell::new(0) };
}

/// Counts an operation, and gives way to other tasks when the present one has had its share.
pub(crate) async fn pace() {
    let done = DONE.get().wrapping_add(1);
    DONE.set(done);
    if done.is_multiple_of(OPERATIONS) {
        coop::consume_budget().await;
    }
}
