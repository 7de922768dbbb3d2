//! The configuration of the in-memory store: what it stands for, and what is refused.

use std::time::Duration;

use keyval::{Broker, Connector, Error, MemoryConfig, MemoryConnector};

#[tokio::test]
async fn what_is_configured_is_what_the_store_tells() {
    let mut config = MemoryConfig::default();
    config.max_txn_ops = Some(3);
    let store = MemoryConnector::connect(&config).await.unwrap();
    assert_eq!(store.capabilities().max_txn_ops, Some(3));
}

#[tokio::test]
async fn a_limit_or_a_retention_of_nothing_is_refused_by_name() {
    type Set = fn(&mut MemoryConfig);
    let configs: [(&str, Set); 5] = [
        ("max_txn_ops", |config| {
            config.max_txn_ops = Some(0);
        }),
        ("max_request_bytes", |config| {
            config.max_request_bytes = Some(0);
        }),
        ("min_ttl", |config| {
            config.min_ttl = Some(Duration::from_nanos(5));
        }),
        ("retain_revisions", |config| {
            config.retain_revisions = Some(0);
        }),
        ("retain_for", |config| {
            config.retain_for = Some(Duration::ZERO);
        }),
    ];
    for (setting, set) in configs {
        let mut config = MemoryConfig::default();
        set(&mut config);
        let refused = MemoryConnector::connect(&config).await;
        let Err(Error::Invalid { message }) = refused else {
            panic!("{setting} was accepted")
        };
        assert!(message.contains(setting), "{message}");
    }
}
