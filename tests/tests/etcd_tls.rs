//! What a store on etcd promises over encrypted connections.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use keyval::{
    BrokerExt, Error, Follow, FollowOptions, KeyRange, Maintenance, Store, Update, follow,
};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::certificates::{Authority, Valid, put};
use keyval_tests::tls::{Clients, TlsEtcd};

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(30);

/// Patient, as a busy machine needs it.
fn patient(config: EtcdConfig) -> EtcdConfig {
    config
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(Duration::from_secs(20))
}

async fn connect(config: EtcdConfig) -> keyval::Result<EtcdStore> {
    EtcdStore::connect(&patient(config)).await
}

/// Expects that connecting fails as an outage does, with these words.
async fn refused(config: EtcdConfig, words: &str) {
    let error = connect(config).await.expect_err(words);
    let told = error.to_string();
    assert!(matches!(error, Error::Unavailable { .. }), "{told}");
    assert!(told.contains(words), "{told}");
    assert!(!error.may_have_applied(), "{told}");
}

#[tokio::test]
async fn a_store_works_over_an_encrypted_connection() {
    let server = TlsEtcd::start(Clients::Anybody, &[]);
    let store = connect(server.tls_config()).await.unwrap();
    assert_eq!(
        store.to_string(),
        format!("etcd({})", server.tls_endpoint())
    );
    store.put("a", "1").await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");
    store.status().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_keys_for_files_turn_encryption_on_without_a_scheme() {
    let server = TlsEtcd::start(Clients::Certified, &[]);
    let (cert, key) = server
        .authority()
        .certify(&["agent"], Valid::Now)
        .write(server.folder(), "agent");
    let config = server
        .tls_config()
        .with_endpoints([server.tls_address().to_string()])
        .with_client_certificate(cert, key);
    let store = connect(config).await.unwrap();
    store.put("a", "1").await.unwrap();
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused_with_words() {
    let server = TlsEtcd::start(Clients::Anybody, &[]);
    let foreign = Authority::new("foreign", Valid::Now);
    let ca = put(server.folder(), "foreign.pem", foreign.pem());
    refused(
        server.tls_config().with_ca_file(ca),
        "not trusted: check ca-file",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_with_words() {
    let server = TlsEtcd::start(Clients::Anybody, &[]);
    for (host, valid, words) in [
        ("etcd.example", Valid::Now, "for another host"),
        ("127.0.0.1", Valid::Before, "has expired"),
        ("127.0.0.1", Valid::Later, "not valid yet"),
    ] {
        server.show(&server.authority().certify(&[host], valid));
        refused(server.tls_config(), words).await;
    }
    server.show(&server.authority().certify(&["127.0.0.1"], Valid::Now));
    connect(server.tls_config()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_says_so() {
    let server = TlsEtcd::start(Clients::Certified, &[]);
    refused(
        server.tls_config(),
        "client certificate: set cert-file and key-file",
    )
    .await;
    let foreign = Authority::new("foreign", Valid::Now);
    let (cert, key) = foreign
        .certify(&["agent"], Valid::Now)
        .write(server.folder(), "foreign");
    let config = server.tls_config().with_client_certificate(cert, key);
    refused(config, "the server refused our certificate").await;
}

#[tokio::test]
async fn plain_text_and_encryption_that_meet_say_so() {
    let server = TlsEtcd::start(Clients::Anybody, &[]);
    let plain = format!("http://{}", server.tls_address());
    refused(EtcdConfig::default().with_endpoints([plain]), "https://").await;
    let encrypted = format!("https://{}", server.endpoint());
    refused(server.tls_config().with_endpoints([encrypted]), "http://").await;
}

#[tokio::test]
async fn skipping_verification_takes_any_certificate() {
    let server = TlsEtcd::start(Clients::Anybody, &[]);
    let foreign = Authority::new("foreign", Valid::Now);
    server.show(&foreign.certify(&["etcd.example"], Valid::Before));
    let mut config = EtcdConfig::default().with_endpoints([server.tls_endpoint()]);
    config.insecure_skip_tls_verify = true;
    let store = connect(config).await.unwrap();
    store.put("a", "1").await.unwrap();
}

#[tokio::test]
async fn files_of_no_use_are_named_before_any_connection() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new("authority", Valid::Now);
    let old = Authority::new("old", Valid::Before);
    let good = authority.certify(&["agent"], Valid::Now);
    let (cert, key) = good.write(folder, "good");
    let (_, other_key) = authority.certify(&["b"], Valid::Now).write(folder, "other");
    let (expired, expired_key) = authority
        .certify(&["agent"], Valid::Before)
        .write(folder, "expired");
    let (later, later_key) = authority
        .certify(&["agent"], Valid::Later)
        .write(folder, "later");
    let missing = folder.join("missing.pem");
    let empty = put(folder, "empty.pem", "");
    let garbage = put(
        folder,
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\nnot base 64\n",
    );
    let hollow = put(
        folder,
        "hollow.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let old = put(folder, "old.pem", old.pem());

    let ca = |path: &Path| EtcdConfig::default().with_ca_file(path);
    let own = |cert: &Path, key: &Path| {
        let ca = put(folder, "ca.pem", authority.pem());
        EtcdConfig::default()
            .with_ca_file(ca)
            .with_client_certificate(cert, key)
    };
    for (config, file, words) in [
        (ca(&missing), "ca-file", "No such file"),
        (ca(folder), "ca-file", "not a regular file"),
        (ca(&empty), "ca-file", "holds no certificate"),
        (ca(&key), "ca-file", "holds no certificate"),
        (ca(&garbage), "ca-file", "PEM is damaged"),
        (ca(&hollow), "ca-file", "certificate number 1 is not one"),
        (ca(&old), "ca-file", "expired at 2011-01-01"),
        (own(&missing, &key), "cert-file", "No such file"),
        (own(&key, &key), "cert-file", "holds no certificate"),
        (own(&hollow, &key), "cert-file", "is not one"),
        (
            own(&expired, &expired_key),
            "cert-file",
            "expired at 2011-01-01",
        ),
        (
            own(&later, &later_key),
            "cert-file",
            "not valid before 2080-01-01",
        ),
        (own(&cert, &missing), "key-file", "No such file"),
        (own(&cert, &cert), "key-file", "holds no private key"),
        (
            own(&cert, &other_key),
            "key-file",
            "not that of the certificate",
        ),
    ] {
        let error = EtcdStore::connect(&config.with_endpoints(["127.0.0.1:1"])).await;
        let error = error.expect_err(words);
        let told = error.to_string();
        assert!(matches!(error, Error::Invalid { .. }), "{told}");
        assert!(
            told.contains(file) && told.contains(words),
            "{words}: {told}"
        );
    }
}

#[tokio::test]
async fn certificates_that_change_are_used_from_the_next_connection_on() {
    let mut server = TlsEtcd::start(Clients::Anybody, &[]);
    let store = connect(server.tls_config()).await.unwrap();
    store.put("a", "1").await.unwrap();
    // The server moves to another authority, and its clients do not know it yet.
    let next = Authority::new("next", Valid::Now);
    server.kill();
    server.show(&next.certify(&["127.0.0.1"], Valid::Now));
    server.restart();
    let error = loop {
        // The first may still find the old connection.
        match store.get("a").await {
            Err(error) if error.to_string().contains("not trusted") => break error,
            Err(_) => {}
            Ok(entry) => panic!("{entry:?} over a connection that is not trusted"),
        }
    };
    assert!(error.is_retryable(), "{error}");
    put(server.folder(), "ca.pem", next.pem());
    until_it_answers(&store).await;
}

#[tokio::test]
async fn a_client_certificate_that_changes_is_used_from_the_next_connection_on() {
    let mut server = TlsEtcd::start(Clients::Certified, &[]);
    let ours = server.authority().certify(&["agent"], Valid::Now);
    let (cert, key) = ours.write(server.folder(), "agent");
    let config = server.tls_config().with_client_certificate(cert, key);
    let store = connect(config).await.unwrap();
    store.put("a", "1").await.unwrap();
    let foreign = Authority::new("foreign", Valid::Now);
    let foreign = foreign.certify(&["agent"], Valid::Now);
    foreign.write(server.folder(), "agent");
    server.kill();
    server.restart();
    let began = Instant::now();
    let error = loop {
        // The first may still find the old connection.
        match store.get("a").await {
            Err(error) if error.to_string().contains("refused our certificate") => break error,
            Err(error) => assert!(began.elapsed() < SOON, "{error}"),
            Ok(entry) => panic!("{entry:?} with a certificate that the server does not take"),
        }
    };
    assert!(error.is_retryable(), "{error}");
    ours.write(server.folder(), "agent");
    until_it_answers(&store).await;
}

#[tokio::test]
async fn certificates_that_were_broken_leave_the_old_ones_in_use() {
    let mut server = TlsEtcd::start(Clients::Anybody, &[]);
    let store = connect(server.tls_config()).await.unwrap();
    store.put("a", "1").await.unwrap();
    put(server.folder(), "ca.pem", "half of a file");
    server.kill();
    server.restart();
    until_it_answers(&store).await;
}

/// Reads until the store has come back; each failure must be one that may be tried again.
async fn until_it_answers(store: &EtcdStore) {
    let entry = loop {
        match store.get("a").await {
            Ok(entry) => break entry.unwrap(),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    assert_eq!(entry.value, "1");
}

#[tokio::test]
async fn a_follower_goes_on_over_an_encrypted_connection_that_broke() {
    let mut server = TlsEtcd::start(Clients::Anybody, &[]);
    let store = connect(server.tls_config()).await.unwrap();
    let mut updates = follow(
        store.clone(),
        KeyRange::prefix("a/"),
        FollowOptions::default(),
    );
    assert!(matches!(next(&mut updates).await, Update::Resync(_)));
    store.put("a/1", "1").await.unwrap();
    assert_eq!(changed(&mut updates).await, ["a/1"]);
    server.kill();
    server.restart();
    let other = server.store().await;
    other.put("a/2", "2").await.unwrap();
    assert_eq!(changed(&mut updates).await, ["a/2"]);
}

async fn next<S: Store>(updates: &mut Follow<S>) -> Update {
    tokio::time::timeout(SOON, updates.next())
        .await
        .expect("it comes soon")
        .expect("it never ends")
        .expect("it never fails")
}

/// The keys of the next changes; progress is passed over.
async fn changed<S: Store>(updates: &mut Follow<S>) -> Vec<String> {
    loop {
        match next(updates).await {
            Update::Changes(changes) if changes.changes.is_empty() => {}
            Update::Changes(changes) => {
                let changes = changes.changes.iter();
                return changes.map(|change| change.key().to_string()).collect();
            }
            Update::Resync(snapshot) => panic!("nothing was lost: {:?}", snapshot.cause),
        }
    }
}
