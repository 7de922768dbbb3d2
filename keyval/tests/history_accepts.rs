//! What the history checker must accept: whatever really happens to the in-memory store.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

mod history_support;

use futures::future::join_all;
use keyval::testing::history::{
    Answer, Base, History, Recorder, Traffic, Violation, check, read_truth,
};
use keyval::{BrokerExt, KeyRange, Maintenance, Memory, WatchOptions, Watcher};

use history_support::{Scene, good};

fn all_of(violations: &[Violation]) -> String {
    let lines = violations.iter().map(|violation| format!("{violation}\n"));
    lines.collect()
}

#[tokio::test(start_paused = true)]
async fn a_history_with_lost_answers_leases_and_compaction_passes() {
    let mut resolved = 0;
    for seed in 0..40 {
        let history = good(seed).await;
        let summary =
            check(&history).unwrap_or_else(|wrong| panic!("seed {seed}:\n{}", all_of(&wrong)));
        assert_eq!(summary.calls, history.calls.len());
        assert_eq!(summary.revisions, history.truth.len() as u64);
        resolved += summary.resolved;
    }
    assert!(
        resolved > 0,
        "some of the lost answers were to writes that were applied"
    );
}

#[tokio::test(start_paused = true)]
async fn a_history_goes_on_where_the_last_one_ended() {
    let mut scene = Scene::new();
    let mut clients: Vec<_> = (0..3).map(|name| scene.client(name, 7)).collect();
    scene.watch(KeyRange::all(), None).await;
    for round in 0..5 {
        for client in &mut clients {
            for _ in 0..20 {
                drop(client.step().await);
            }
        }
        scene.lose_history(&mut clients).await;
        let history = scene.take().await;
        let summary =
            check(&history).unwrap_or_else(|wrong| panic!("round {round}:\n{}", all_of(&wrong)));
        scene.go_on_from(summary.next);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_at_once_on_many_threads_pass() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (store, recorder) = (Memory::new(), Recorder::new());
    let watcher = recorder.client(store.clone());
    let options = WatchOptions::default().with_previous();
    let mut watch = watcher.watch_opts(&KeyRange::all(), options).await.unwrap();
    let clients = (0..8).map(|name| {
        let mut client = Traffic::new(recorder.client(store.clone()), name, seed);
        tokio::spawn(async move {
            for _ in 0..300 {
                drop(client.step().await);
            }
        })
    });
    for client in join_all(clients).await {
        client.unwrap();
    }
    let present = store.status().await.unwrap().revision.unwrap();
    let mut reached = watch.after();
    while reached < present {
        reached = futures::StreamExt::next(&mut watch)
            .await
            .unwrap()
            .unwrap()
            .revision;
    }
    let base = Base::default();
    let truth = read_truth(&store, base.revision, present).await.unwrap();
    let records = recorder.take();
    let history = History {
        base,
        truth,
        calls: records.calls,
        watches: records.watches,
        follows: Vec::new(),
    };
    let summary = check(&history).unwrap_or_else(|wrong| panic!("{}", all_of(&wrong)));
    assert!(summary.deliveries > 500, "{summary}");
}

#[tokio::test]
async fn a_call_that_is_dropped_may_have_been_applied() {
    let (store, recorder) = (Memory::new(), Recorder::new());
    let client = recorder.client(keyval::testing::Faulty::new(store.clone()));
    client.inner().control().hang();
    {
        let put = client.put("a", "1");
        futures::pin_mut!(put);
        assert!(futures::poll!(&mut put).is_pending());
        assert_eq!(recorder.under_way(), 1);
    }
    let calls = recorder.take().calls;
    assert!(matches!(calls[0].answer, Answer::Unknown(_)), "{calls:?}");
    // It takes effect after all, in the next history.
    let base = check(&History {
        calls,
        ..History::default()
    })
    .unwrap()
    .next;
    assert_eq!(base.pending.len(), 1);
    let last = store.put("a", "1").await.unwrap();
    let truth = read_truth(&store, base.revision, last).await.unwrap();
    let summary = check(&History {
        base,
        truth,
        ..History::default()
    })
    .unwrap();
    assert_eq!((summary.resolved, summary.next.pending.len()), (1, 0));
}
