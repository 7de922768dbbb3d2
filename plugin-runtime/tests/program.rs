//! The promises of a whole program: nobody keeps it from ending.

#![allow(clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use plugin_runtime::run_program;

/// A program with a task that blocks its thread until it is told.
async fn panics(told: mpsc::Receiver<()>) {
    let (begin, begun) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        begin.send(()).unwrap();
        let _ = told.recv();
    });
    begun.await.unwrap();
    panic!("as asked");
}

#[test]
fn a_program_that_panics_does_not_wait_for_a_task_that_blocks() {
    let (go_on, told) = mpsc::channel::<()>();
    let (end, ended) = mpsc::channel();
    thread::spawn(move || {
        let program = AssertUnwindSafe(|| run_program(panics(told)));
        end.send(catch_unwind(program)).unwrap();
    });
    let ended = ended.recv_timeout(Duration::from_secs(30));
    let panic = ended.expect("it ends").unwrap_err();
    assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "as asked");
    drop(go_on);
}
