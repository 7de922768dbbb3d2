//! The users that may log in.

use etcd_client::{AuthClient, UserAddOptions};
use keyval::{Error, Result};
use keyval_config::Secret;

use super::handle::{EtcdAdmin, check_name};
use crate::error::Call;

impl EtcdAdmin {
    /// The names of all users.
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn users(&self) -> Result<Vec<String>> {
        let call = Call::read("users", self);
        let ask = |mut auth: AuthClient| async move { auth.user_list().await };
        Ok(self.auth(call, ask).await?.0.users)
    }

    /// The roles that a user has.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name; any other error of the store, as for a user that there
    /// is not.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn user_roles(&self, user: &str) -> Result<Vec<String>> {
        check_name("user", user)?;
        let call = Call::read("user_roles", &user);
        let ask = |mut auth: AuthClient| async move { auth.user_get(user).await };
        Ok(self.auth(call, ask).await?.0.roles)
    }

    /// Adds a user, who has no role yet.
    ///
    /// # Examples
    /// ```no_run
    /// use keyval_config::Secret;
    ///
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// admin.add_user("agent-1", &Secret::new("open sesame")).await?;
    /// admin.grant_role("agent-1", "agent").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name or password; any other error of the store, as for a
    /// user that is there already.
    ///
    /// # Cancel safety
    /// If the future is dropped, the user may be added all the same.
    pub async fn add_user(&self, user: &str, password: &Secret) -> Result<()> {
        check_name("user", user)?;
        check_password(password)?;
        let call = Call::write("add_user", &user);
        self.auth(call, |mut auth| async move {
            auth.user_add(user, password.expose(), None).await
        })
        .await?;
        Ok(())
    }

    /// Adds a user without a password, who has no role yet: whoever shows a client certificate with
    /// this common name is that user, and nobody else.
    ///
    /// # Errors
    /// As [`add_user`](Self::add_user).
    ///
    /// # Cancel safety
    /// If the future is dropped, the user may be added all the same.
    pub async fn add_user_of_certificate(&self, user: &str) -> Result<()> {
        check_name("user", user)?;
        let call = Call::write("add_user_of_certificate", &user);
        self.auth(call, |mut auth| async move {
            let options = UserAddOptions::new().with_no_pwd();
            auth.user_add(user, "", Some(options)).await
        })
        .await?;
        Ok(())
    }

    /// Deletes a user.
    ///
    /// # Errors
    /// As [`user_roles`](Self::user_roles).
    ///
    /// # Cancel safety
    /// If the future is dropped, the user may be deleted all the same.
    pub async fn delete_user(&self, user: &str) -> Result<()> {
        check_name("user", user)?;
        let call = Call::write("delete_user", &user);
        self.auth(call, |mut auth| async move { auth.user_delete(user).await })
            .await?;
        Ok(())
    }

    /// Gives a user another password, and makes all logins with the old one worthless.
    ///
    /// A store that logs in as this user goes on only if it finds the new password, in its
    /// `password-file`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name or password; any other error of the store, as for a
    /// user that there is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, the password may be changed all the same.
    pub async fn change_password(&self, user: &str, password: &Secret) -> Result<()> {
        check_name("user", user)?;
        check_password(password)?;
        let call = Call::write("change_password", &user);
        self.auth(call, |mut auth| async move {
            auth.user_change_password(user, password.expose()).await
        })
        .await?;
        Ok(())
    }

    /// Gives a user a role. A user who has it already is no error.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name; any other error of the store, as for a user or a role
    /// that there is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, the role may be given all the same.
    pub async fn grant_role(&self, user: &str, role: &str) -> Result<()> {
        check_name("user", user)?;
        check_name("role", role)?;
        let call = Call::write("grant_role", &user);
        self.auth(call, |mut auth| async move {
            auth.user_grant_role(user, role).await
        })
        .await?;
        Ok(())
    }

    /// Takes a role from a user.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name; any other error of the store, as for a role that the
    /// user does not have.
    ///
    /// # Cancel safety
    /// If the future is dropped, the role may be taken all the same.
    pub async fn revoke_role(&self, user: &str, role: &str) -> Result<()> {
        check_name("user", user)?;
        check_name("role", role)?;
        let call = Call::write("revoke_role", &user);
        self.auth(call, |mut auth| async move {
            auth.user_revoke_role(user, role).await
        })
        .await?;
        Ok(())
    }
}

fn check_password(password: &Secret) -> Result<()> {
    if password.is_empty() {
        return Err(Error::invalid(
            "the password is empty: give one, or add a user of a certificate",
        ));
    }
    Ok(())
}
