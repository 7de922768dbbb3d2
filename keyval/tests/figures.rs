//! What connections and sessions tell of themselves in metrics.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)]

mod metrics_support;

use std::future::Future;
use std::time::Duration;

use keyval::recipes::{Session, SessionOptions};
use keyval::testing::Faulty;
use keyval::{ConnectionReporter, EndpointFailure, Memory};
use metrics_support::figures;
use metrics_util::debugging::{DebuggingRecorder, Snapshotter};

/// Runs something on a paused clock, with a recorder for this thread.
fn recorded<F: Future<Output = ()>>(work: impl FnOnce(Snapshotter) -> F) {
    let recorder = DebuggingRecorder::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work(recorder.snapshotter())));
}

#[test]
fn connections_that_came_back_are_counted_by_their_endpoint_and_first_ones_are_not() {
    recorded(|metrics| async move {
        let connection = ConnectionReporter::connecting();
        connection.connected("a:1");
        for endpoint in ["a:1", "b:2", "b:2"] {
            connection.disconnected(vec![EndpointFailure::new("a:1", "refused")]);
            connection.connected(endpoint);
            connection.connected(endpoint);
        }
        let found = figures(&metrics);
        assert_eq!(found.len(), 2, "{found:?}");
        for (endpoint, times) in [("a:1", 1.0), ("b:2", 2.0)] {
            let name = format!("keyval_connection_reconnects_total{{endpoint={endpoint}}}");
            assert_eq!(found.get(&name), Some(&vec![times]), "{found:?}");
        }
    });
}

#[test]
fn what_was_left_of_a_lease_is_recorded_at_each_renewal_and_at_its_loss() {
    const NAME: &str = "keyval_lease_remaining_seconds{}";
    recorded(|metrics| async move {
        let store = Faulty::new(Memory::new());
        let options = SessionOptions::default()
            .with_ttl(Duration::from_secs(9))
            .without_regrant();
        let session = Session::open_opts(store.clone(), options).await.unwrap();
        // Renewed after 3 and 6 seconds, a third of the TTL.
        tokio::time::sleep(Duration::from_secs(7)).await;
        let renewed = figures(&metrics).remove(NAME).unwrap();
        assert_eq!(renewed.len(), 2, "{renewed:?}");
        for left in renewed {
            assert!((5.9..=6.1).contains(&left), "{left}");
        }
        store.control().cut();
        session.lost(session.lease()).await;
        let lost = figures(&metrics).remove(NAME).unwrap();
        assert_eq!(lost, [0.0]);
    });
}
