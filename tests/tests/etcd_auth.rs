//! What a store promises on an etcd that wants a login.

#![allow(clippy::unwrap_used)] // In helpers too, which are not seen as tests.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use keyval::{
    Broker, BrokerExt, Compare, Error, Follow, FollowOptions, KeyRange, LeaseId, Leases,
    Maintenance, Op, Store, StoreExt, Txn, Update, WatchOptions, Watcher, follow,
};
use keyval_etcd::{EtcdConfig, EtcdStore};
use keyval_tests::auth::{APP, AuthEtcd, PASSWORD};
use keyval_tests::certificates::put;
use keyval_tests::etcd::Etcd;

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(30);

async fn connect(config: EtcdConfig) -> keyval::Result<EtcdStore> {
    let config = config
        .with_dial_timeout(Duration::from_secs(10))
        .with_operation_timeout(Duration::from_secs(20));
    EtcdStore::connect(&config).await
}

/// Makes every token of the user worthless, as the end of its time does.
async fn forget_tokens(server: &AuthEtcd) {
    let mut users = server.admin().await.auth_client();
    users.user_change_password(APP, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_role_limited_to_a_prefix_can_do_all_that_a_scoped_store_needs() {
    let server = AuthEtcd::start("app/", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    store.status().await.unwrap();
    let scope = store.prefixed("app/");
    let mut watch = scope
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap();
    scope.put("a", "1").await.unwrap();
    assert_eq!(scope.get("a").await.unwrap().unwrap().value, "1");
    assert_eq!(
        scope
            .list(KeyRange::all())
            .await
            .unwrap()
            .entries
            .count()
            .await,
        1
    );
    let changes = watch.next().await.unwrap().unwrap();
    assert_eq!(changes.changes[0].key().to_string(), "a");
    let txn = Txn::new().when(Compare::exists("a")).then(Op::delete("a"));
    assert!(scope.commit(txn).await.unwrap().succeeded);
    let lease = scope.grant(Duration::from_secs(60)).await.unwrap();
    scope.keep_alive(lease.id).await.unwrap();
    scope.revoke(lease.id).await.unwrap();
    let error = store.put("other/a", "1").await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    let error = store
        .watch_opts(&KeyRange::all(), WatchOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_wants_a_login_says_so() {
    let server = AuthEtcd::start("", &[]).await;
    let store = connect(server.config()).await.unwrap();
    let error = store.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    assert!(error.to_string().contains("user name is empty"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_told_at_once_and_not_tried_again_and_again() {
    let server = AuthEtcd::start("", &[]).await;
    let before = server.logins();
    let wrong = server.login_config().with_login(APP, "wrong");
    let error = connect(wrong).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    assert!(!error.is_retryable(), "{error}");
    assert!(error.to_string().contains("password"), "{error}");
    assert_eq!(server.logins(), before + 1);

    let store = connect(server.login_config()).await.unwrap();
    let mut users = server.admin().await.auth_client();
    users.user_change_password(APP, "changed").await.unwrap();
    let before = server.logins();
    for result in join_all((0..50).map(|_| store.get("a"))).await {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    }
    assert_eq!(server.logins(), before + 1);
    users.user_change_password(APP, PASSWORD).await.unwrap();
    until(|| async { store.get("a").await.is_ok() }).await;
}

#[tokio::test]
async fn callers_whose_token_is_refused_share_one_login() {
    let server = AuthEtcd::start("", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    store.put("a", "1").await.unwrap();
    for _ in 0..3 {
        forget_tokens(&server).await;
        let before = server.logins();
        let gets = join_all((0..32).map(|_| store.get("a")));
        let puts = join_all((0..32).map(|n| store.put(format!("b/{n}"), "1")));
        let (gets, puts) = tokio::join!(gets, puts);
        for get in gets {
            assert_eq!(get.unwrap().unwrap().value, "1");
        }
        for put in puts {
            put.unwrap();
        }
        assert_eq!(server.logins(), before + 1);
    }
}

#[tokio::test]
async fn a_token_whose_time_is_over_costs_no_caller_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let key = put(folder.path(), "key", "the key of the server's tokens");
    let token = format!(
        "--auth-token=jwt,sign-method=HS256,ttl=1s,priv-key={}",
        key.display()
    );
    let server = AuthEtcd::start("", &[&token]).await;
    let store = connect(server.login_config()).await.unwrap();
    let before = server.logins();
    until(|| async {
        store.put("a", "1").await.unwrap();
        store.get("a").await.unwrap();
        server.logins() >= before + 3
    })
    .await;
}

#[tokio::test]
async fn a_restarted_server_costs_a_login_and_no_new_handle() {
    let mut server = AuthEtcd::start("", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    store.put("a", "1").await.unwrap();
    server.kill();
    server.restart();
    until(|| async {
        match store.get("a").await {
            Ok(entry) => entry.unwrap().value == "1",
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                false
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_new_password_in_its_file_is_used_from_the_next_login_on() {
    let server = AuthEtcd::start("", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = server.login_config().with_login(APP, "");
    config.password_file = Some(put(folder.path(), "password", &format!("{PASSWORD}\n")));
    let store = connect(config).await.unwrap();
    store.put("a", "1").await.unwrap();
    let mut users = server.admin().await.auth_client();
    users.user_change_password(APP, "changed").await.unwrap();
    let error = store.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    // What was refused is remembered, and this is another password.
    put(folder.path(), "password", "changed\n");
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");
}

#[tokio::test]
async fn a_password_file_of_no_use_is_named() {
    let server = AuthEtcd::start("", &[]).await;
    let folder = tempfile::tempdir().unwrap();
    for (file, words) in [
        (folder.path().join("missing"), "No such file"),
        (folder.path().to_owned(), "not a regular file"),
        (put(folder.path(), "empty", "\n"), "empty"),
    ] {
        let mut config = server.login_config().with_login(APP, "");
        config.password_file = Some(file);
        let error = connect(config).await.unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, Error::Unauthenticated { .. }), "{told}");
        assert!(
            told.contains("password-file") && told.contains(words),
            "{told}"
        );
    }
}

#[tokio::test]
async fn what_the_role_may_do_changes_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let key = put(folder.path(), "key", "the key of the server's tokens");
    // A token of this kind says of which revision of the permissions it is.
    let signed = format!(
        "--auth-token=jwt,sign-method=HS256,priv-key={}",
        key.display()
    );
    for token in ["--auth-token=simple", &signed] {
        let server = AuthEtcd::start("app/", &[token]).await;
        let store = connect(server.login_config()).await.unwrap();
        store.put("app/a", "1").await.unwrap();
        let error = store.put("more/a", "1").await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{token}: {error}");
        server.permit("more/", true).await;
        store.put("more/a", "1").await.unwrap();
        server.permit("more/", false).await;
        let error = store.put("more/a", "2").await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{token}: {error}");
        store.put("app/a", "2").await.unwrap();
    }
}

#[tokio::test]
async fn a_user_that_is_gone_is_refused() {
    let server = AuthEtcd::start("", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    store.put("a", "1").await.unwrap();
    let mut users = server.admin().await.auth_client();
    users.user_delete(APP).await.unwrap();
    let error = store.get("a").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
}

#[tokio::test]
async fn a_server_without_logins_is_used_without_one() {
    let server = Etcd::start();
    let config = server
        .config()
        .with_login(APP, PASSWORD)
        .with_plaintext_credentials();
    let store = connect(config).await.unwrap();
    store.put("a", "1").await.unwrap();
    // From now on it wants one.
    let server = AuthEtcd::over(server, "").await;
    assert_eq!(store.get("a").await.unwrap().unwrap().value, "1");
    server
        .admin()
        .await
        .auth_client()
        .auth_disable()
        .await
        .unwrap();
    store.put("a", "2").await.unwrap();
}

#[tokio::test]
async fn a_watch_whose_token_is_refused_is_opened_after_a_login() {
    let server = AuthEtcd::start("", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    for n in 0..3 {
        let mut watch = store
            .watch_opts(&KeyRange::prefix("a/"), WatchOptions::default())
            .await
            .unwrap();
        // A watch that is open stays so; the next has to log in first.
        forget_tokens(&server).await;
        let mut next = store
            .watch_opts(&KeyRange::prefix("a/"), WatchOptions::default())
            .await
            .unwrap();
        store.put(format!("a/{n}"), "1").await.unwrap();
        for watch in [&mut watch, &mut next] {
            let changes = watch.next().await.unwrap().unwrap();
            assert_eq!(changes.changes[0].key().to_string(), format!("a/{n}"));
        }
    }
}

#[tokio::test]
async fn watches_that_are_refused_together_share_one_login() {
    let server = AuthEtcd::start("", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    let from = store.put("a/0", "0").await.unwrap().next();
    forget_tokens(&server).await;
    let before = server.logins();
    let range = KeyRange::prefix("a/");
    let watches = join_all((0..16).map(|_| {
        // From a given revision, so that nothing is read before.
        store.watch_opts(&range, WatchOptions::default().starting_at(from))
    }))
    .await;
    assert_eq!(server.logins(), before + 1);
    store.put("a/1", "1").await.unwrap();
    for watch in watches {
        let changes = watch.unwrap().next().await.unwrap().unwrap();
        assert_eq!(changes.changes[0].key().to_string(), "a/1");
    }
}

#[tokio::test]
async fn a_follower_goes_on_through_refused_tokens_and_restarts() {
    let mut server = AuthEtcd::start("app/", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    let range = KeyRange::prefix("app/");
    let mut updates = follow(store.clone(), range, FollowOptions::default());
    assert!(matches!(next(&mut updates).await, Update::Resync(_)));
    for n in 0..6 {
        match n {
            2 => forget_tokens(&server).await,
            4 => {
                server.kill();
                server.restart();
                // A read may be tried again, whatever it met.
                until(|| async { store.get("app/0").await.is_ok() }).await;
            }
            _ => {}
        }
        let key = format!("app/{n}");
        store.put(key.as_str(), "1").await.unwrap();
        assert_eq!(changed(&mut updates).await, [key]);
    }
}

#[tokio::test]
async fn a_lease_is_kept_alive_through_a_refused_token() {
    let server = AuthEtcd::start("", &[]).await;
    let store = connect(server.login_config()).await.unwrap();
    let lease: LeaseId = store.grant(Duration::from_secs(60)).await.unwrap().id;
    forget_tokens(&server).await;
    store.keep_alive(lease).await.unwrap();
    store.time_to_live(lease).await.unwrap();
    forget_tokens(&server).await;
    store.revoke(lease).await.unwrap();
}

async fn until<F: Future<Output = bool>>(mut done: impl FnMut() -> F) {
    tokio::time::timeout(SOON, async { while !done().await {} })
        .await
        .expect("it happens soon");
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
