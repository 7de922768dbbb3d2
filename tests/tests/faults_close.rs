//! Closing is bounded and leaves nothing behind, whatever goes on meanwhile.
//!
//! One test, since descriptors are counted for the whole program.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::join_all;
use keyval::{BrokerExt, Error, FollowOptions, KeyRange, Leases, Maintenance, follow};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::Etcd;
use keyval_tests::proxy::{Admit, Flow, Proxy, Way};
use keyval_tests::replica::soon;
use tokio::task::JoinHandle;

/// The deadline of the store's operations, closing among them.
const DEADLINE: Duration = Duration::from_millis(1500);

async fn store(proxy: &Proxy) -> EtcdStore {
    let config = EtcdConfig::default()
        .with_endpoints([proxy.endpoint()])
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(DEADLINE);
    EtcdStore::connect(&config)
        .await
        .expect("the server is well")
}

/// What this program holds: tasks and descriptors.
fn held() -> (usize, usize) {
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (tasks, descriptors)
}

/// Puts, gets, renews and follows until the store is closed; counts the operations.
fn busy(store: &EtcdStore, done: &Arc<AtomicUsize>) -> Vec<JoinHandle<()>> {
    let callers = (0..16).map(|n| {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            loop {
                let result = match n % 3 {
                    0 => store.put(format!("x/{n}"), "1").await.map(drop),
                    1 => store.get(format!("x/{n}")).await.map(drop),
                    _ => store.grant(Duration::from_secs(60)).await.map(drop),
                };
                done.fetch_add(1, Ordering::Relaxed);
                match result {
                    Err(Error::Closed { .. }) => return,
                    Err(error) => {
                        assert!(error.is_retryable() || error.may_have_applied(), "{error}")
                    }
                    Ok(()) => {}
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let followers = (0..4).map(|n| {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            let range = KeyRange::prefix(format!("x/{n}"));
            let mut updates = follow(store, range, FollowOptions::default());
            let mut end = None;
            while let Some(update) = updates.next().await {
                done.fetch_add(1, Ordering::Relaxed);
                end = update.err();
            }
            assert!(matches!(end, Some(Error::Closed { .. })), "{end:?}");
        })
    });
    callers.chain(followers).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_a_hundred_times_at_once_is_bounded_and_leaves_nothing_behind() {
    let server = Etcd::start();
    let proxy = Proxy::before(server.address());
    let before = held();
    let harms: [(&str, &dyn Fn()); 4] = [
        ("nothing", &|| {}),
        ("a closed port", &|| {
            proxy.admit(Admit::Refuse);
            proxy.cut();
        }),
        ("closed connections", &|| {
            proxy.admit(Admit::Close);
            proxy.cut();
        }),
        ("a silent network", &|| proxy.flow(Way::Both, Flow::Hold)),
    ];
    for (name, harm) in harms {
        let store = store(&proxy).await;
        let done = Arc::new(AtomicUsize::new(0));
        let busy = busy(&store, &done);
        soon("some work", async {
            while done.load(Ordering::Relaxed) < 300 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        harm();
        let begun = Instant::now();
        let closes = (0..100).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.close().await })
        });
        for closed in join_all(closes).await {
            closed.unwrap().unwrap();
        }
        let closed = begun.elapsed();
        for worker in busy {
            soon("the end of a worker", worker).await.unwrap();
        }
        let took = begun.elapsed();
        assert!(closed < DEADLINE * 2, "{name}: closed after {closed:?}");
        assert!(took < DEADLINE * 3, "{name}: {took:?}");
        assert!(matches!(store.get("a").await, Err(Error::Closed { .. })));
        drop(store);
        proxy.heal();
        proxy.cut();
        soon("an end of all that was held", async {
            while held() != before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        println!("with {name}: closed after {closed:?}, all over after {took:?}");
    }
}
