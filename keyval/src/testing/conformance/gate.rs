//! What a store must be able to do for a promise, and what it must say if it cannot.

use std::time::Duration;

use crate::broker::Broker;
use crate::lease::Leases;
use crate::options::{DeleteOptions, GetOptions, WatchOptions};
use crate::revision::Revision;
use crate::store::{Maintenance, ManagedStore, Store};
use crate::testing::conformance::subject::Subject;
use crate::txn::Txn;
use crate::watcher::Watcher;

/// Whether the store has transactions; if not, that it says so.
pub(crate) async fn has_transactions<S: Store + ?Sized>(s: &Subject<S>) -> bool {
    let call = s.store().commit(Txn::new());
    s.can(s.capabilities().txn, "transactions", call).await
}

/// Whether the store has leases; if not, that it says so.
pub(crate) async fn has_leases<S: Store + ?Sized>(s: &Subject<S>) -> bool {
    let call = s.store().grant(Duration::from_secs(60));
    s.can(s.capabilities().leases, "leases", call).await
}

/// Whether the store reads the past; if not, that it says so.
pub(crate) async fn has_history<S: Store + ?Sized>(s: &Subject<S>) -> bool {
    let key = s.key("history");
    let options = GetOptions::default().at(Revision::new(1));
    let call = s.store().get_opts(&key, options);
    s.can(s.capabilities().history, "history", call).await
}

/// Whether the store has watches; if not, that it says so.
pub(crate) async fn has_watches<S: Store + ?Sized>(s: &Subject<S>) -> bool {
    let range = s.all();
    let call = s.store().watch_opts(&range, WatchOptions::default());
    s.can(s.capabilities().watch, "watches", call).await
}

/// Whether the store has watches from the past; if not, that it says so.
pub(crate) async fn has_watches_from<S: Store + ?Sized>(s: &Subject<S>) -> bool {
    if !has_watches(s).await {
        return false;
    }
    let range = s.all();
    let options = WatchOptions::default().starting_at(Revision::new(1));
    let capable = s.capabilities().watch_from;
    let call = s.store().watch_opts(&range, options);
    s.can(capable, "watches from the past", call).await
}

/// Whether watches deliver previous entries; if not, that the store says so.
pub(crate) async fn has_watched_previous<S: Store + ?Sized>(s: &Subject<S>) -> bool {
    if !has_watches(s).await {
        return false;
    }
    let range = s.all();
    let options = WatchOptions::default().with_previous();
    let capable = s.capabilities().previous;
    let call = s.store().watch_opts(&range, options);
    s.can(capable, "previous entries", call).await
}

/// Whether writes return previous entries; if not, that the store says so.
pub(crate) async fn has_previous<S: Store + ?Sized>(s: &Subject<S>) -> bool {
    let range = s.prefix("previous/");
    let options = DeleteOptions::default().with_previous();
    let call = s.store().delete_opts(&range, options);
    s.can(s.capabilities().previous, "previous entries", call)
        .await
}

/// Whether the store has compaction; if not, that it says so.
pub(crate) async fn has_compaction(s: &Subject<dyn ManagedStore>) -> bool {
    let call = s.store().compact(Revision::new(1));
    s.can(s.capabilities().compact, "compaction", call).await
}
