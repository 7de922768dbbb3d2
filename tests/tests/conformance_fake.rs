//! The contract over the in-process server, which shows that it is like etcd where it has to be.

use keyval::testing::conformance::Settings;
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::fake::FakeEtcd;

async fn store() -> EtcdStore {
    let address = FakeEtcd::new("3.5.16").serve_on_loopback().await;
    let config = EtcdConfig::default().with_endpoints([address.to_string()]);
    EtcdStore::connect(&config)
        .await
        .expect("the server has just been started")
}

keyval::conformance! {
    shared: store().await,
    exclusive: store().await,
    settings: Settings::default().with_cases(4),
}
