//! What is told in metrics of values that cannot be decoded.

#![allow(clippy::unwrap_used)]

use keyval::{BrokerExt, KeyRange, Memory, StoreExt};
use keyval_proto::{Protobuf, Typed};
use keyval_proto_messages::Interface;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

#[test]
fn values_that_cannot_be_decoded_are_counted_by_their_type_and_never_by_their_key() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let store = Memory::new();
            for (key, value) in [
                ("a/good", &b""[..]),
                ("a/bad", b"\xff"),
                ("a/worse", b"\xfe"),
            ] {
                store.put(key, value).await.unwrap();
            }
            let typed = Typed::<Interface, _>::new(store.prefixed("a/"), Protobuf);
            assert!(typed.get("good").await.is_ok());
            assert!(typed.get("bad").await.is_err());
            let all = typed.list(KeyRange::all()).await.unwrap();
            let all = all.collect().await.unwrap();
            assert_eq!(all.len(), 3);
        });
    });
    let found = snapshotter.snapshot().into_vec();
    let mut found = found
        .iter()
        .filter(|(key, ..)| key.key().name() == "keyval_decode_errors_total");
    let (key, _, _, value) = found.next().unwrap();
    assert!(found.next().is_none());
    assert_eq!(*value, DebugValue::Counter(3));
    let labels: Vec<_> = key.key().labels().collect();
    assert_eq!(labels.len(), 1, "{labels:?}");
    assert_eq!(labels[0].key(), "type");
    assert!(labels[0].value().ends_with("::Interface"), "{labels:?}");
}
