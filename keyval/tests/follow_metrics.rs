//! What a follower tells of itself in metrics.

mod follow_support;
mod metrics_support;

use std::time::Duration;

use follow_support::*;
use keyval::{BrokerExt, Maintenance, Memory};
use metrics_support::figures;
use metrics_util::debugging::DebuggingRecorder;

#[test]
fn resets_reconnections_events_and_states_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let lab = Lab::new();
            let mut updates = lab.follow();
            start(&mut updates).await;
            lab.store().put("a/1", "secret value").await.unwrap();
            next_changes(&mut updates).await;
            lab.store().delete("a/1").await.unwrap();
            next_changes(&mut updates).await;
            lab.store().put("b/1", "x").await.unwrap();
            nothing_for(&mut updates, Duration::from_secs(15)).await;
            lab.cut();
            let at = lab.store().put("a/2", "x").await.unwrap();
            lab.store().put("a/2", "y").await.unwrap();
            lab.store().compact(at.next()).await.unwrap();
            next_resync(&mut updates).await;
            lab.replace(Memory::new());
            next_resync(&mut updates).await;
            connect(&mut updates).await;

            let found = figures(&snapshotter);
            let expected = [
                ("keyval_watch_resets_total{name=test,cause=initial}", 1.0),
                ("keyval_watch_resets_total{name=test,cause=compacted}", 1.0),
                (
                    "keyval_watch_resets_total{name=test,cause=history_reset}",
                    1.0,
                ),
                ("keyval_watch_events_total{name=test,type=put}", 1.0),
                ("keyval_watch_events_total{name=test,type=delete}", 1.0),
                ("keyval_watch_events_total{name=test,type=progress}", 1.0),
                ("keyval_watch_state{name=test,state=connecting}", 0.0),
                ("keyval_watch_state{name=test,state=connected}", 1.0),
                ("keyval_watch_state{name=test,state=suspended}", 0.0),
                ("keyval_reconnects_total{name=test,cause=unavailable}", 1.0),
            ];
            for (name, value) in expected {
                assert_eq!(found.get(name), Some(&vec![value]), "{name} in {found:#?}");
            }
            let heard = &found["keyval_watch_last_progress_timestamp_seconds{name=test}"];
            assert!(heard[0] > 1.6e9, "{heard:?}");
            assert!(found.keys().all(|key| !key.contains("a/")), "{found:#?}");

            // Figures count from the last look.
            drop(updates);
            let found = figures(&snapshotter);
            let connected = &found["keyval_watch_state{name=test,state=connected}"];
            assert_eq!(*connected, [-1.0]);
        });
    });
}
