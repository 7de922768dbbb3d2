//! An etcd that wants a login, with an administrator and users.

use std::borrow::Borrow;
use std::ops::{Deref, DerefMut};

use etcd_client::{Client, ConnectOptions, Permission, PermissionType};
use keyval_etcd::EtcdConfig;

use crate::etcd::Etcd;

/// The name and the password of the administrator.
const ROOT: &str = "root";
/// How etcd counts logins.
const LOGINS: &str = "grpc_server_started_total{grpc_method=\"Authenticate\",\
                      grpc_service=\"etcdserverpb.Auth\",grpc_type=\"unary\"}";

/// Makes logins cheap: a password need not be hard to guess here.
pub const CHEAP: &str = "--bcrypt-cost=4";

/// The user of an application.
pub const APP: &str = "app";
/// Its password.
pub const PASSWORD: &str = "open sesame";

/// A server that wants a login.
#[derive(Debug)]
pub struct AuthEtcd<E = Etcd> {
    etcd: E,
}

impl AuthEtcd {
    /// Starts one with these arguments, with the user [`APP`] limited to a prefix.
    ///
    /// # Panics
    /// As [`Etcd::start`].
    pub async fn start(prefix: &str, arguments: &[&str]) -> Self {
        let arguments = [&[CHEAP], arguments].concat();
        Self::over(Etcd::start_with(&arguments), prefix).await
    }

    /// A configuration for this server, with the user's login.
    #[must_use]
    pub fn login_config(&self) -> EtcdConfig {
        self.etcd
            .config()
            .with_login(APP, PASSWORD)
            .with_plaintext_credentials()
    }
}

impl<E: Borrow<Etcd>> AuthEtcd<E> {
    /// Makes a server ask for a login from now on.
    ///
    /// # Panics
    /// If it does not take this.
    pub async fn over(etcd: E, prefix: &str) -> Self {
        let auth = Self { etcd };
        let admin = client(auth.etcd.borrow(), None).await;
        let mut users = admin.auth_client();
        users.user_add(ROOT, ROOT, None).await.expect("a user");
        users.role_add(ROOT).await.expect("a role");
        users.user_grant_role(ROOT, ROOT).await.expect("a grant");
        users.user_add(APP, PASSWORD, None).await.expect("a user");
        users.role_add(APP).await.expect("a role");
        users.user_grant_role(APP, APP).await.expect("a grant");
        users
            .role_grant_permission(APP, permission(prefix))
            .await
            .expect("a permission");
        users.auth_enable().await.expect("it is on from now on");
        auth
    }

    /// A client that may do everything.
    ///
    /// # Panics
    /// If the server does not answer.
    pub async fn admin(&self) -> Client {
        client(self.etcd.borrow(), Some(ROOT)).await
    }

    /// Adds another user, who may do what [`APP`] may.
    ///
    /// # Panics
    /// If the server does not take this.
    pub async fn add_user(&self, name: &str, password: &str) {
        let mut users = self.admin().await.auth_client();
        users.user_add(name, password, None).await.expect("a user");
        users.user_grant_role(name, APP).await.expect("a grant");
    }

    /// Lets the user of the application have another prefix besides, or takes one.
    ///
    /// # Panics
    /// If the server does not take this.
    pub async fn permit(&self, prefix: &str, permitted: bool) {
        let mut users = self.admin().await.auth_client();
        if permitted {
            let granted = users.role_grant_permission(APP, permission(prefix)).await;
            granted.expect("a permission");
        } else {
            let options = etcd_client::RoleRevokePermissionOptions::new().with_prefix();
            let revoked = users
                .role_revoke_permission(APP, prefix, Some(options))
                .await;
            revoked.expect("it was permitted");
        }
    }

    /// How many logins the server has seen, those of its administrator included.
    #[must_use]
    pub fn logins(&self) -> u64 {
        // There is no such line before the first.
        self.etcd.borrow().metric(LOGINS).unwrap_or(0.0) as u64
    }
}

impl<E> Deref for AuthEtcd<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.etcd
    }
}

impl<E> DerefMut for AuthEtcd<E> {
    fn deref_mut(&mut self) -> &mut E {
        &mut self.etcd
    }
}

fn permission(prefix: &str) -> Permission {
    Permission::new(PermissionType::Readwrite, prefix).with_prefix()
}

async fn client(etcd: &Etcd, user: Option<&str>) -> Client {
    let options = user.map(|user| ConnectOptions::new().with_user(user, ROOT));
    Client::connect([etcd.endpoint()], options)
        .await
        .expect("the server has just answered")
}
