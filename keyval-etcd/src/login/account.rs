//! Who logs in, and where the password is.

use std::path::PathBuf;

use keyval_config::Secret;

use crate::config::EtcdConfig;

/// A user with a password, or with a file that holds it at each moment.
pub(super) struct Account {
    user: Secret,
    password: Password,
}

enum Password {
    Fixed(Secret),
    File(PathBuf),
}

impl Account {
    /// The account that a configuration names, if it names one.
    pub(super) fn new(config: &EtcdConfig) -> Option<Self> {
        if config.username.is_empty() {
            return None;
        }
        let password = match &config.password_file {
            Some(path) => Password::File(path.clone()),
            None => Password::Fixed(config.password.clone()),
        };
        Some(Self {
            user: config.username.clone(),
            password,
        })
    }

    /// The name of the user.
    pub(super) fn user(&self) -> &Secret {
        &self.user
    }

    /// The password as it is now, or why there is none.
    pub(super) async fn password(&self) -> Result<Secret, String> {
        let path = match &self.password {
            Password::Fixed(password) => return Ok(password.clone()),
            Password::File(path) => path.clone(),
        };
        let read = tokio::task::spawn_blocking(move || Secret::from_file(&path)).await;
        match read {
            Ok(Ok(password)) if password.is_empty() => {
                Err("the password-file for etcd is empty: write the password into it".to_owned())
            }
            Ok(Ok(password)) => Ok(password),
            Ok(Err(error)) => Err(format!("the password-file for etcd is of no use: {error}")),
            Err(_) => Err("the runtime ended while the password was read".to_owned()),
        }
    }
}
