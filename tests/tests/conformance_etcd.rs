//! etcd keeps every promise of the contract, bare and through the whole stack of wrappers.

use std::sync::Arc;
use std::time::Duration;

use keyval::testing::conformance::Settings;
use keyval::{RetryPolicy, Store, StoreExt};
use keyval_tests::etcd::Etcd;

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
