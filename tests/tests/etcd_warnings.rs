//! What a store on etcd warns of. In a program of its own: what one test logs is not seen by another.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::sync::Arc;

use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::etcd::patient;
use keyval_tests::fake::{self, FakeEtcd};
use keyval_tests::tls::{Clients, TlsEtcd};
use tracing_subscriber::filter::LevelFilter;

#[tokio::test]
async fn what_is_allowed_but_unsafe_is_warned_of_at_each_start() {
    let told = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .with_writer(Arc::new(told.reopen().unwrap()))
        .with_ansi(false)
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let warnings = |words: &str| {
        let told = std::fs::read_to_string(told.path()).unwrap();
        let warnings = told.lines().filter(|line| line.contains("WARN"));
        warnings.filter(|line| line.contains(words)).count()
    };
    let encrypted = TlsEtcd::start(Clients::Anybody, &[]);
    let mut unverified = encrypted.tls_config();
    unverified.insecure_skip_tls_verify = true;
    let plain = FakeEtcd::new("3.5.16").with_login();
    let address = plain.serve_on_loopback().await;
    let readable = EtcdConfig::default()
        .with_endpoints([address.to_string()])
        .with_login(fake::USER, fake::PASSWORD)
        .with_plaintext_credentials();
    let mut unused = encrypted.tls_config();
    unused = unused.with_endpoints([format!("http://{}", encrypted.endpoint())]);
    unused.insecure_transport = Some(true);
    for start in 1..=2 {
        for config in [&unverified, &readable, &unused] {
            EtcdStore::connect(&patient(config.clone())).await.unwrap();
        }
        for words in [
            "insecure-skip-tls-verify",
            "allow-plaintext-credentials",
            "insecure-transport",
        ] {
            assert_eq!(warnings(words), start, "{words}");
        }
    }
    EtcdStore::connect(&patient(encrypted.tls_config()))
        .await
        .unwrap();
    assert_eq!(warnings(""), 6, "nothing to warn of");
}
