//! Who logs in, and where the password is.

use std::path::{Path, PathBuf};

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
        let read = tokio::task::spawn_blocking(move || read_password(&path)).await;
        match read {
            Ok(read) => read.map_err(|why| format!("the password-file for etcd {why}")),
            Err(_) => Err("the runtime ended while the password was read".to_owned()),
        }
    }
}

/// The password in a file, or why there is none, which goes on from the name of the file's key.
pub(crate) fn read_password(path: &Path) -> Result<Secret, String> {
    match Secret::from_file(path) {
        Ok(password) if password.is_empty() => {
            Err("is empty: write the password into it".to_owned())
        }
        Ok(password) => Ok(password),
        Err(error) => Err(format!("is of no use: {error}")),
    }
}
