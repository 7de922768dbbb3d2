//! What the etcd backend tells of itself in metrics.

use std::time::Duration;

use futures::StreamExt;
use keyval::{BrokerExt, ConnectionState, KeyRange, WatchOptions, Watcher};
use keyval_etcd::EtcdStore;
use keyval_tests::auth::{APP, AuthEtcd, PASSWORD};
use keyval_tests::etcd::{Etcd, patient};
use keyval_tests::figures::Figures;
use keyval_tests::replica::soon;

const UP: &str = "keyval_endpoint_up";
const RECONNECTS: &str = "keyval_connection_reconnects_total";
const DEPTH: &str = "keyval_watch_queue_depth";
const LAG: &str = "keyval_watch_revision_lag";
const LOGINS: &str = "keyval_auth_refresh_total";

async fn is_connected(store: &EtcdStore, wanted: bool) {
    let connection = store.connection();
    let wanted = move |state: &ConnectionState| state.is_connected() == wanted;
    soon("the connection", connection.wait_for(wanted)).await;
}

/// Waits until a figure has this value; others let it come.
async fn comes_to(figures: &mut Figures, name: &str, label: &str, value: f64) {
    soon(name, async {
        while figures.of(name, label) != Some(value) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[test]
fn an_endpoint_is_up_while_it_answers_and_each_connection_that_came_back_is_counted() {
    Figures::gather(|mut figures| async move {
        let mut server = Etcd::start();
        let endpoint = server.endpoint();
        let store = server.store().await;
        assert_eq!(figures.of(UP, &endpoint), Some(1.0));
        assert_eq!(figures.of(RECONNECTS, &endpoint), None);
        for times in 1..=2 {
            server.kill();
            is_connected(&store, false).await;
            assert_eq!(figures.of(UP, &endpoint), Some(0.0));
            server.restart();
            is_connected(&store, true).await;
            assert_eq!(figures.of(UP, &endpoint), Some(1.0));
            assert_eq!(figures.of(RECONNECTS, &endpoint), Some(f64::from(times)));
        }
        drop(store);
        comes_to(&mut figures, UP, &endpoint, 0.0).await;
    });
}

#[test]
fn an_endpoint_that_has_not_answered_yet_is_neither_up_nor_down() {
    Figures::gather(|mut figures| async move {
        let server = Etcd::shared();
        let mut config = patient(server.config());
        // Silent for longer than the other takes.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = silent.local_addr().unwrap().to_string();
        config.endpoints.push(silent.clone());
        let store = EtcdStore::connect(&config).await.unwrap();
        assert_eq!(figures.of(UP, &server.endpoint()), Some(1.0));
        assert_eq!(figures.of(UP, &silent), None);
        drop(store);
    });
}

#[test]
fn what_waits_for_a_reader_is_told_until_it_is_read_or_given_up() {
    Figures::gather(|mut figures| async move {
        let server = Etcd::shared();
        let (store, direct) = (server.store().await, server.store().await);
        let name = store.to_string();
        let (range, options) = (KeyRange::prefix("waiting/"), WatchOptions::default());
        let mut watch = store.watch_opts(&range, options).await.unwrap();
        for n in 0..10 {
            let key = format!("waiting/{n}");
            direct.put(key, "x").await.unwrap();
        }
        comes_to(&mut figures, DEPTH, &name, 10.0).await;
        assert!(figures.of(LAG, &name) >= Some(10.0));
        for left in (0..10).rev() {
            let read = soon("a change", watch.next()).await;
            read.unwrap().unwrap();
            assert_eq!(figures.of(DEPTH, &name), Some(f64::from(left)));
        }
        assert_eq!(figures.of(LAG, &name), Some(0.0));

        let last = direct.put("waiting/last", "x").await.unwrap();
        comes_to(&mut figures, DEPTH, &name, 1.0).await;
        let second = store
            .watch_opts(&range, options.starting_at(last))
            .await
            .unwrap();
        // The shares of all watches of the store are added up.
        comes_to(&mut figures, DEPTH, &name, 2.0).await;
        drop((watch, second));
        comes_to(&mut figures, DEPTH, &name, 0.0).await;
        assert_eq!(figures.of(LAG, &name), Some(0.0));
    });
}

#[test]
fn every_login_is_counted_by_what_came_of_it_and_no_label_tells_of_keys_or_passwords() {
    Figures::gather(|mut figures| async move {
        let server = AuthEtcd::start("a/", &[]).await;
        let store = EtcdStore::connect(&patient(server.login_config()))
            .await
            .unwrap();
        store.put("a/canary", "1").await.unwrap();
        assert_eq!(figures.of(LOGINS, "ok"), Some(1.0));
        // With a new password, were it the same, all tokens of the user end.
        let mut users = server.admin().await.auth_client();
        users.user_change_password(APP, PASSWORD).await.unwrap();
        store.put("a/canary", "2").await.unwrap();
        assert_eq!(figures.of(LOGINS, "ok"), Some(2.0));
        let wrong = patient(server.login_config()).with_login(APP, "canary");
        assert!(EtcdStore::connect(&wrong).await.is_err());
        assert_eq!(figures.of(LOGINS, "refused"), Some(1.0));
        for figure in figures.all() {
            for (_, value) in &figure.labels {
                assert!(!value.contains("canary"), "{figure:?}");
                assert!(!value.contains(PASSWORD), "{figure:?}");
            }
        }
    });
}
