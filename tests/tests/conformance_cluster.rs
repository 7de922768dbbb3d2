//! A cluster of three keeps every promise of the contract, whole and with a dead member.

use std::cell::RefCell;
use std::sync::OnceLock;

use keyval::testing::conformance::Settings;
use keyval_etcd::EtcdStore;
use keyval_tests::cluster::Cluster;

fn settings() -> Settings {
    Settings::default().with_cases(8)
}

/// A store on a cluster that all tests of a program share.
async fn shared() -> EtcdStore {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(3)).store().await
}

/// A store on a cluster for the caller alone, which ends with the calling thread, or when that asks
/// for another.
async fn own() -> EtcdStore {
    thread_local! {
        static OWN: RefCell<Option<Cluster>> = const { RefCell::new(None) };
    }
    let cluster = Cluster::start(3);
    let store = cluster.store().await;
    OWN.set(Some(cluster));
    store
}

/// A store whose first endpoint is that of a member which is dead.
async fn maimed() -> EtcdStore {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| {
        let mut cluster = Cluster::start(3);
        cluster.kill(0);
        // Whoever led, somebody does again.
        let _ = cluster.leader();
        cluster
    });
    cluster.store().await
}

mod whole {
    keyval::conformance! {
        shared: super::shared().await,
        exclusive: super::own().await,
        settings: super::settings(),
    }
}

mod with_a_dead_member {
    keyval::conformance! {
        shared: super::maimed().await,
        settings: super::settings(),
    }
}
