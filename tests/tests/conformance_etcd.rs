//! etcd keeps every promise of the contract, bare, through the whole stack of wrappers, and over a client
//! that the program has already.

use std::sync::Arc;
use std::time::Duration;

use keyval::testing::conformance::Settings;
use keyval::{RetryPolicy, Store, StoreExt};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::{Etcd, patient};

/// Fewer random sequences than in memory: each step is a write to a disk.
fn settings() -> Settings {
    Settings::default().with_cases(24)
}

mod bare {
    use super::*;

    keyval::conformance! {
        shared: Etcd::shared().store().await,
        exclusive: Etcd::of_this_thread().await,
        settings: super::settings(),
    }
}

mod threads {
    use super::*;

    keyval::conformance! {
        shared: Etcd::shared().store().await,
        settings: super::settings().with_threads(3),
    }
}

mod wrapped {
    use super::*;

    keyval::conformance! {
        shared: Etcd::shared()
            .store()
            .await
            .prefixed("agents/1/")
            .timeout(Duration::from_secs(20))
            .retry(RetryPolicy::default())
            .observe("etcd"),
        settings: super::settings(),
    }
}

mod shared {
    use super::*;

    keyval::conformance! {
        shared: Arc::new(Etcd::shared().store().await) as Arc<dyn Store>,
        settings: super::settings(),
    }
}

/// A store over a client that was made elsewhere.
async fn over_a_client(endpoint: &str) -> EtcdStore {
    let client = etcd_client::Client::connect([endpoint], None).await;
    let client = client.expect("the server has just answered");
    let store = EtcdStore::from_client(&client, &patient(EtcdConfig::default())).await;
    store.expect("the server has just answered")
}

mod given {
    use super::*;

    keyval::conformance! {
        shared: over_a_client(&Etcd::shared().endpoint()).await,
        exclusive: {
            let own = Etcd::of_this_thread().await.admin().endpoints();
            over_a_client(&own.expect("it was told its endpoint")[0]).await
        },
        settings: super::settings(),
    }
}
