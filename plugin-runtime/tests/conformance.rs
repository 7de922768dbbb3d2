//! A handle that a plugin hands out keeps every promise of a store, scoped or not.

use std::sync::Arc;

use keyval::testing::conformance::Settings;
use keyval::{Store, StoreExt};
use plugin_runtime::{ConfigDir, Host, KvHandle, KvPlugin, MemoryBackend};

/// The handle of a store plugin whose host runs for as long as the test; perhaps not connected yet.
fn handle() -> KvHandle {
    // Time flies whenever everyone waits.
    tokio::time::pause();
    let mut host = Host::new(ConfigDir::new("/no/such/folder"));
    let handle = host.add(KvPlugin::<MemoryBackend>::named("store"));
    tokio::spawn(host.run(std::future::pending()));
    handle
}

/// Fewer cases than for the store itself: what is looked for is what the handle gets wrong.
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
