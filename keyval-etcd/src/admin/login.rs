//! Whether a cluster asks for a login.

use etcd_client::AuthClient;
use keyval::Result;

use super::handle::EtcdAdmin;
use crate::error::{self, Call};

impl EtcdAdmin {
    /// Has the cluster ask for a login from now on. It needs a user `root` with the role `root`.
    ///
    /// A store that does not log in is refused from then on, this one included.
    ///
    /// # Examples
    /// ```no_run
    /// use keyval_config::Secret;
    ///
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// admin.add_role("root").await?;
    /// admin.add_user("root", &Secret::new("open sesame")).await?;
    /// admin.grant_role("root", "root").await?;
    /// admin.enable_auth().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Any error of the store, as without such a user.
    ///
    /// # Cancel safety
    /// If the future is dropped, it may be enabled all the same.
    pub async fn enable_auth(&self) -> Result<()> {
        let call = Call::write("enable_auth", self);
        let ask = |mut auth: AuthClient| async move { auth.auth_enable().await };
        self.auth(call, ask).await?;
        Ok(())
    }

    /// Has the cluster take everybody's word from now on; users and roles stay for later.
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, it may be disabled all the same.
    pub async fn disable_auth(&self) -> Result<()> {
        let call = Call::write("disable_auth", self);
        let ask = |mut auth: AuthClient| async move { auth.auth_disable().await };
        self.auth(call, ask).await?;
        Ok(())
    }

    /// Whether the cluster asks for a login. Anybody may ask this.
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn auth_enabled(&self) -> Result<bool> {
        let call = Call::read("auth_enabled", self);
        // etcd before 3.5 has no request for this, and later ones answer it to some users only. All
        // tell whoever wants to log in whether there is such a thing, before they look for the user;
        // there is none without a name.
        let ask = |mut auth: AuthClient| async move {
            match auth.authenticate(String::new(), String::new()).await {
                Err(failure) if error::login_is_off(&failure) => Ok(false),
                Err(failure) if error::password_refused(&failure).is_some() => Ok(true),
                Err(failure) if error::token_refused(&failure) => Ok(true),
                Err(failure) => Err(failure),
                Ok(_) => Ok(true),
            }
        };
        self.auth(call, ask).await
    }
}
