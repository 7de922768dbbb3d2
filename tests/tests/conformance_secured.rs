//! etcd keeps every promise of the contract also where it is encrypted, wants a certificate and a
//! login, and allows no more than a prefix.

use std::time::Duration;

use keyval::testing::conformance::Settings;
use keyval::{Prefixed, StoreExt};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::auth::{APP, AuthEtcd, CHEAP, PASSWORD};
use keyval_tests::certificates::Valid;
use keyval_tests::tls::{Clients, TlsEtcd};
use tokio::sync::OnceCell;

/// A store whose user has nothing but its scope, on a server that all tests of a program share.
async fn scoped() -> Prefixed<EtcdStore> {
    static SHARED: OnceCell<(AuthEtcd<TlsEtcd>, EtcdConfig)> = OnceCell::const_new();
    let (_, config) = SHARED.get_or_init(start).await;
    let store = EtcdStore::connect(config).await;
    store
        .expect("the server has just answered")
        .prefixed("app/")
}

async fn start() -> (AuthEtcd<TlsEtcd>, EtcdConfig) {
    let server = TlsEtcd::start(Clients::Certified, &[CHEAP]);
    let server = AuthEtcd::over(server, "app/").await;
    let (cert, key) = server
        .authority()
        .certify(&["agent"], Valid::Now)
        .write(server.folder(), "agent");
    let config = server
        .tls_config()
        .with_client_certificate(cert, key)
        .with_login(APP, PASSWORD)
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(Duration::from_secs(20));
    (server, config)
}

keyval::conformance! {
    shared: scoped().await,
    settings: Settings::default().with_cases(24),
}
