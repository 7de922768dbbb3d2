//! Attempts to connect that fail leave nothing behind, however many there are.
//!
//! One test, since descriptors are counted for the whole program.

use std::net::TcpListener;
use std::time::Duration;

use keyval_etcd::{EtcdConfig, EtcdStore};
use tokio::time::timeout;

/// What this program holds: tasks and descriptors.
fn held() -> (usize, usize) {
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (tasks, descriptors)
}

#[tokio::test]
async fn attempts_to_connect_that_fail_leave_no_task_and_no_connection_behind() {
    // One that accepts and never answers, and one that refuses.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let silent = silent
        .local_addr()
        .map(|address| (silent, address.to_string()));
    let (_silent, silent) = silent.expect("it listens");
    let config = EtcdConfig::default()
        .with_endpoints([&*silent, "127.0.0.1:1"])
        .with_dial_timeout(Duration::from_millis(50));
    let attempt = async || {
        EtcdStore::connect(&config)
            .await
            .expect_err("nobody is there")
    };
    // What is made once and kept is no leak.
    attempt().await;
    let settled = async |most: (usize, usize)| {
        // The transport ends its own tasks by itself, without a word.
        while held().0 > most.0 || held().1 > most.1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), settled((0, usize::MAX)))
        .await
        .expect("the first attempt leaves no task");
    let before = held();
    for _ in 0..20 {
        attempt().await;
    }
    let ended = timeout(Duration::from_secs(20), settled(before)).await;
    assert!(ended.is_ok(), "{before:?} before, {:?} after", held());
}
