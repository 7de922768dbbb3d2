//! Histories of a real etcd, under load and through a crash, hold whatever the contract promises.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use keyval::testing::history::{Base, Followed, History, Recorder, Traffic, check, read_truth};
use keyval::{
    Broker, BrokerExt, Bytes, Condition, FollowOptions, Key, KeyRange, PutOptions, Revision, Store,
    WatchOptions, Watcher, follow,
};
use keyval_tests::etcd::Etcd;
use keyval_tests::known::in_words;
use keyval_tests::proxied::Proxied;
use keyval_tests::proxy::{Flow, Way};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const CLIENTS: u64 = 8;

/// Clients at work until they are told to stop.
struct Load {
    steps: watch::Sender<usize>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start<S: Store + Clone>(store: &S, recorder: &Recorder, seed: u64) -> Self {
        let (steps, stop) = (watch::Sender::new(0), watch::Sender::new(false));
        let clients = (0..CLIENTS).map(|number| {
            let mut traffic = Traffic::new(recorder.client(store.clone()), number, seed);
            let (steps, stop) = (steps.clone(), stop.subscribe());
            tokio::spawn(async move {
                while !*stop.borrow() {
                    if traffic.step().await.is_ok() {
                        steps.send_modify(|steps| *steps += 1);
                    } else {
                        // Not at full speed against a server that is gone.
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            })
        });
        Self {
            clients: clients.collect(),
            steps,
            stop,
        }
    }

    /// Waits until so many more steps have succeeded.
    async fn steps(&self, more: usize) {
        let until = *self.steps.borrow() + more;
        let mut steps = self.steps.subscribe();
        steps.wait_for(|steps| *steps >= until).await.unwrap();
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for client in join_all(self.clients).await {
            client.unwrap();
        }
    }
}

/// Follows a range until it has come to the revision that it is told.
fn replica<S: Store>(
    store: S,
    name: &'static str,
    range: KeyRange,
    mut until: watch::Receiver<Option<Revision>>,
) -> JoinHandle<Followed> {
    tokio::spawn(async move {
        let mut followed = Followed::new(name, range.clone());
        let mut updates = follow(store, range, FollowOptions::default());
        loop {
            let told = *until.borrow_and_update();
            if told.is_some() && followed.reached() >= told {
                return followed;
            }
            tokio::select! {
                update = updates.next() => followed.apply(update.unwrap().unwrap()),
                changed = until.changed() => changed.unwrap(),
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_clients_and_followers_see_through_a_crash_can_be() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut server = Etcd::start();
    let store = server.store().await;
    let recorder = Recorder::new();
    let told = watch::Sender::new(None);
    let follower = |name, range| {
        let store = recorder.client(store.clone());
        replica(store, name, range, told.subscribe())
    };
    let followers = [
        follower("everything", KeyRange::all()),
        follower("a", KeyRange::prefix("a/")),
    ];
    let watcher = Arc::new(recorder.client(store.clone()));
    let options = WatchOptions::default().with_previous();
    let mut cut = watcher.watch_opts(&KeyRange::all(), options).await.unwrap();

    let load = Load::start(&store, &recorder, seed);
    load.steps(400).await;
    server.kill();
    server.restart();
    load.steps(400).await;
    load.stop().await;

    while cut.next().await.is_some() {}
    // In both ranges: an old server tells no progress that a follower could wait for.
    let present = watcher.put("a/mark", "").await.unwrap();
    let options = options.starting_at(Revision::new(2));
    let mut late = watcher.watch_opts(&KeyRange::all(), options).await.unwrap();
    while late.next().await.unwrap().unwrap().revision < present {}
    let base = Base::default();
    told.send_replace(Some(present));
    let mut follows = Vec::new();
    for follower in followers {
        let mut followed = follower.await.unwrap();
        follows.push(followed.take(0..=0, Some(present)));
    }
    let truth = read_truth(&store, base.revision, present).await.unwrap();
    let records = recorder.take();
    let history = History {
        base,
        truth,
        calls: records.calls,
        watches: records.watches,
        follows,
    };
    match check(&history) {
        Ok(summary) => println!("{summary}"),
        Err(violations) => {
            for violation in &violations {
                println!("{violation}");
            }
            print!("{}", in_words(server.version()));
            panic!("{} violations, seed {seed}", violations.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_answer_was_lost_is_not_sent_to_another_member() {
    let rig = Proxied::start(3);
    let store = rig.store().await;
    store.put("n", "").await.unwrap();
    for proxy in &rig.proxies {
        proxy.flow(Way::ToClient, Flow::Lose);
    }
    let put = tokio::spawn({
        let store = store.clone();
        let options = PutOptions::default().only_if(Condition::Exists);
        async move { store.put_opts(&Key::from("n"), Bytes::new(), options).await }
    });
    let direct = rig.cluster.store().await;
    let version = async || direct.get("n").await.unwrap().unwrap().version;
    while version().await == 1 {}
    for proxy in &rig.proxies {
        proxy.heal();
        proxy.cut();
    }
    let error = put.await.unwrap().unwrap_err();
    assert!(error.may_have_applied(), "{error}");
    assert_eq!(version().await, 2, "it was put once");
}
