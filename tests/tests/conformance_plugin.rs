//! A handle that a plugin hands out keeps every promise of a store also where that is an etcd, scoped or
//! not.

use std::sync::Arc;

use keyval::testing::conformance::Settings;
use keyval::{Store, StoreExt};
use keyval_etcd::EtcdConnector;
use keyval_tests::etcd::Etcd;
use plugin_runtime::{ConfigDir, Host, KvHandle, KvPlugin};

/// The handle of a store plugin whose host runs for as long as the test; perhaps not connected yet.
fn handle() -> KvHandle {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    // Time enough for a machine that is busy.
    let conf = format!(
        "endpoints: [{:?}]\ndial-timeout: 10s\noperation-timeout: 20s\n",
        Etcd::shared().endpoint()
    );
    std::fs::write(folder.path().join("etcd.conf"), conf).expect("the folder is writable");
    let mut host = Host::new(ConfigDir::new(folder.path()));
    let handle = host.add(KvPlugin::<EtcdConnector>::named("etcd"));
    tokio::spawn(async move {
        // The host watches its files for as long as it runs.
        let _folder = folder;
        host.run(std::future::pending()).await
    });
    handle
}

/// Fewer random sequences than in memory: each step is a write to a disk.
fn settings() -> Settings {
    Settings::default().with_cases(24)
}

mod plain {
    use super::*;

    keyval::conformance! {
        shared: handle(),
        settings: settings(),
    }
}

mod scoped {
    use super::*;

    keyval::conformance! {
        shared: handle().prefixed("agents/1/"),
        settings: settings(),
    }
}

mod dynamic {
    use super::*;

    keyval::conformance! {
        shared: Arc::new(handle()) as Arc<dyn Store>,
        settings: settings(),
    }
}
