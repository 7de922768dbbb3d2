//! What the administration of users and roles promises, on servers of its own.

use keyval::{BrokerExt, Error, KeyRange, Outcome};
use keyval_config::Secret;
use keyval_etcd::{Access, EtcdAdmin, EtcdStore, Permission};
use keyval_tests::auth::CHEAP;
use keyval_tests::etcd::Etcd;

const ROOT: &str = "root";

async fn log_in(server: &Etcd, user: &str, password: &str) -> keyval::Result<EtcdStore> {
    let config = server
        .config()
        .with_login(user, password)
        .with_plaintext_credentials();
    EtcdStore::connect(&config).await
}

/// Makes a server ask for a login, whose administrator has his name for a password.
async fn secure(server: &Etcd) -> EtcdAdmin {
    let open = server.store().await.admin();
    open.add_role(ROOT).await.expect("a role");
    open.add_user(ROOT, &Secret::new(ROOT))
        .await
        .expect("a user");
    open.grant_role(ROOT, ROOT).await.expect("a grant");
    open.enable_auth().await.expect("there is a root");
    let store = log_in(server, ROOT, ROOT).await;
    store.expect("it is his password").admin()
}

#[tokio::test]
async fn a_login_is_asked_for_from_enabling_it_until_disabling_it() {
    let server = Etcd::start_with(&[CHEAP]);
    let open = server.store().await.admin();
    assert!(!open.auth_enabled().await.unwrap());
    let early = open.enable_auth().await.unwrap_err();
    assert_eq!(early.outcome(), Outcome::NotApplied, "{early}");
    assert!(early.to_string().contains("root user"), "{early}");

    let admin = secure(&server).await;
    assert!(admin.auth_enabled().await.unwrap());
    assert!(open.auth_enabled().await.unwrap(), "anybody may ask this");
    let error = open.users().await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");

    admin.disable_auth().await.unwrap();
    assert!(!admin.auth_enabled().await.unwrap());
    assert_eq!(open.users().await.unwrap(), [ROOT]);
}

#[tokio::test]
async fn a_user_may_do_what_its_roles_permit() {
    let server = Etcd::start_with(&[CHEAP]);
    let admin = secure(&server).await;
    let (user, role) = ("agent-1", "agent");
    admin.add_user(user, &Secret::new("first")).await.unwrap();
    admin.add_role(role).await.unwrap();
    admin.grant_role(user, role).await.unwrap();
    admin.grant_role(user, role).await.unwrap();
    let own = Permission::read_write(KeyRange::prefix("agents/1/"));
    admin.grant_permission(role, &own).await.unwrap();
    assert_eq!(admin.users().await.unwrap(), [user, ROOT]);
    assert_eq!(admin.roles().await.unwrap(), [role, ROOT]);
    assert_eq!(admin.user_roles(user).await.unwrap(), [role]);
    assert_eq!(
        admin.role_permissions(role).await.unwrap(),
        std::slice::from_ref(&own)
    );

    let store = log_in(&server, user, "first").await.unwrap();
    store.put("agents/1/a", "1").await.unwrap();
    let error = store.put("agents/10/a", "1").await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    let error = store.admin().add_role("other").await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    let statuses = store.admin().status().await.unwrap();
    assert!(statuses[0].status.is_ok(), "anybody may ask this");

    admin.revoke_permission(role, &own.range).await.unwrap();
    assert_eq!(admin.role_permissions(role).await.unwrap(), []);
    let error = store.get("agents/1/a").await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    admin.grant_permission(role, &own).await.unwrap();
    store.get("agents/1/a").await.unwrap();
    admin.revoke_role(user, role).await.unwrap();
    assert_eq!(admin.user_roles(user).await.unwrap(), [""; 0]);
    let error = store.get("agents/1/a").await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");

    admin.delete_role(role).await.unwrap();
    admin.delete_user(user).await.unwrap();
    assert_eq!(admin.users().await.unwrap(), [ROOT]);
    assert_eq!(admin.roles().await.unwrap(), [ROOT]);
}

#[tokio::test]
async fn every_kind_of_permission_comes_back_as_it_was_granted() {
    let server = Etcd::start();
    let admin = server.store().await.admin();
    for (access, range) in [
        (Access::Read, KeyRange::key("a")),
        (Access::Write, KeyRange::prefix("a/")),
        (Access::ReadWrite, KeyRange::span("a", "c")),
        (Access::Read, KeyRange::all()),
    ] {
        admin.add_role("role").await.unwrap();
        let granted = Permission::new(access, range);
        admin.grant_permission("role", &granted).await.unwrap();
        let kept = admin.role_permissions("role").await.unwrap();
        assert_eq!(kept, std::slice::from_ref(&granted));
        // The same range once more, with another access.
        let other = Permission::write(granted.range.clone());
        admin.grant_permission("role", &other).await.unwrap();
        assert_eq!(admin.role_permissions("role").await.unwrap(), [other]);
        let range = &granted.range;
        admin.revoke_permission("role", range).await.unwrap();
        let error = admin.revoke_permission("role", range).await.unwrap_err();
        assert!(error.to_string().contains("not granted"), "{error}");
        admin.delete_role("role").await.unwrap();
    }
    for range in [KeyRange::key(""), KeyRange::span("b", "a")] {
        let granted = Permission::read(range);
        let error = admin.grant_permission("role", &granted).await.unwrap_err();
        assert_eq!(error.kind(), "invalid", "{error}");
    }
}

#[tokio::test]
async fn another_password_takes_the_place_of_the_old_one() {
    let server = Etcd::start_with(&[CHEAP]);
    let admin = secure(&server).await;
    let (first, second) = (Secret::new("first"), Secret::new("second"));
    admin.add_user("agent", &first).await.unwrap();
    log_in(&server, "agent", "first").await.unwrap();
    admin.change_password("agent", &second).await.unwrap();
    log_in(&server, "agent", "second").await.unwrap();
    let error = log_in(&server, "agent", "first").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");

    admin.add_user_of_certificate("machine").await.unwrap();
    let error = log_in(&server, "machine", "any").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
}

#[tokio::test]
async fn what_names_nobody_is_refused() {
    let server = Etcd::start_with(&[CHEAP]);
    let admin = secure(&server).await;
    let secret = Secret::new("canary");
    let own = Permission::read(KeyRange::key("a"));
    for error in [
        admin.add_user("", &secret).await.unwrap_err(),
        admin.add_user("a", &Secret::default()).await.unwrap_err(),
        admin.add_user_of_certificate("").await.unwrap_err(),
        admin.delete_user("").await.unwrap_err(),
        admin.user_roles("").await.unwrap_err(),
        admin.change_password("", &secret).await.unwrap_err(),
        admin
            .change_password(ROOT, &Secret::default())
            .await
            .unwrap_err(),
        admin.grant_role("", ROOT).await.unwrap_err(),
        admin.grant_role(ROOT, "").await.unwrap_err(),
        admin.revoke_role("", ROOT).await.unwrap_err(),
        admin.revoke_role(ROOT, "").await.unwrap_err(),
        admin.add_role("").await.unwrap_err(),
        admin.delete_role("").await.unwrap_err(),
        admin.role_permissions("").await.unwrap_err(),
        admin.grant_permission("", &own).await.unwrap_err(),
        admin.revoke_permission("", &own.range).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), "invalid", "{error}");
    }
    for error in [
        admin.add_user(ROOT, &secret).await.unwrap_err(),
        admin.delete_user("nobody").await.unwrap_err(),
        admin.user_roles("nobody").await.unwrap_err(),
        admin.change_password("nobody", &secret).await.unwrap_err(),
        admin.grant_role("nobody", ROOT).await.unwrap_err(),
        admin.grant_role(ROOT, "nobody").await.unwrap_err(),
        admin.revoke_role(ROOT, "nobody").await.unwrap_err(),
        admin.add_role(ROOT).await.unwrap_err(),
        admin.delete_role("nobody").await.unwrap_err(),
        admin.role_permissions("nobody").await.unwrap_err(),
        admin.grant_permission("nobody", &own).await.unwrap_err(),
        admin
            .revoke_permission("nobody", &own.range)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
        let told = error.to_string();
        assert!(told.contains(&server.endpoint()), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
}
