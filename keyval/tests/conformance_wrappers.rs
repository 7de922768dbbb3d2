//! Every promise survives every wrapper: a scope, the full stack, a shared and a faulty store.

#![cfg(feature = "testing")]

use std::sync::Arc;
use std::time::Duration;

use keyval::testing::Faulty;
use keyval::testing::conformance::Settings;
use keyval::{ManagedStore, Memory, RetryPolicy, Store, StoreExt};

/// A store for which time flies whenever everyone waits.
fn memory() -> Memory {
    tokio::time::pause();
    Memory::new()
}

/// Fewer cases than for the store itself: what is looked for is what a wrapper gets wrong.
fn settings() -> Settings {
    Settings::default().with_cases(48)
}

mod prefixed {
    use super::*;

    keyval::conformance! {
        shared: memory().prefixed("tenants/7/"),
        settings: settings(),
    }
}

mod nested {
    use super::*;

    keyval::conformance! {
        shared: memory().prefixed("tenants/\u{ff}").prefixed("/\0//"),
        settings: settings(),
    }
}

mod full_stack {
    use super::*;

    keyval::conformance! {
        shared: memory()
            .prefixed("agents/1/")
            .timeout(Duration::from_secs(5))
            .retry(RetryPolicy::default())
            .observe("memory"),
        settings: settings(),
    }
}

mod dynamic {
    use super::*;

    keyval::conformance! {
        shared: Arc::new(memory()) as Arc<dyn Store>,
        exclusive: Arc::new(memory()) as Arc<dyn ManagedStore>,
        settings: settings(),
    }
}

mod full_stack_of_a_whole_store {
    use super::*;

    keyval::conformance! {
        shared: (Arc::new(memory()) as Arc<dyn Store>)
            .timeout(Duration::from_secs(5))
            .retry(RetryPolicy::default())
            .observe("memory")
            .prefixed("last/"),
        exclusive: memory()
            .timeout(Duration::from_secs(5))
            .retry(RetryPolicy::default())
            .observe("memory"),
        settings: settings(),
    }
}

mod faulty_without_faults {
    use super::*;

    keyval::conformance! {
        shared: Faulty::new(memory()),
        exclusive: Faulty::new(memory()),
        settings: settings(),
    }
}
