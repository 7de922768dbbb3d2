//! The roles of users, and what they permit.

use std::fmt;

use etcd_client::{
    AuthClient, Permission as EtcdPermission, PermissionType, RoleRevokePermissionOptions,
};
use keyval::{Key, KeyRange, Result};

use super::handle::{EtcdAdmin, check_name};
use crate::convert::{malformed, wire_range};
use crate::error::Call;

/// What may be done with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Get, list and watch.
    Read,
    /// Put and delete.
    Write,
    /// Both.
    ReadWrite,
}

/// What a role permits: one kind of access to one range of keys.
///
/// # Examples
/// ```
/// use keyval::KeyRange;
/// use keyval_etcd::{Access, Permission};
///
/// let own = Permission::read_write(KeyRange::prefix("agents/1/"));
/// assert_eq!(own.access, Access::ReadWrite);
/// assert_eq!(Permission::read(KeyRange::all()).range, KeyRange::all());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permission {
    /// What may be done.
    pub access: Access,
    /// With which keys.
    pub range: KeyRange,
}

impl Permission {
    /// Permits this access to these keys.
    #[must_use]
    pub fn new(access: Access, range: KeyRange) -> Self {
        Self { access, range }
    }

    /// Permits reading these keys.
    #[must_use]
    pub fn read(range: KeyRange) -> Self {
        Self::new(Access::Read, range)
    }

    /// Permits writing these keys.
    #[must_use]
    pub fn write(range: KeyRange) -> Self {
        Self::new(Access::Write, range)
    }

    /// Permits reading and writing these keys.
    #[must_use]
    pub fn read_write(range: KeyRange) -> Self {
        Self::new(Access::ReadWrite, range)
    }
}

impl EtcdAdmin {
    /// The names of all roles.
    ///
    /// # Errors
    /// Any error of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn roles(&self) -> Result<Vec<String>> {
        let call = Call::read("roles", self);
        let ask = |mut auth: AuthClient| async move { auth.role_list().await };
        Ok(self.auth(call, ask).await?.0.roles)
    }

    /// Adds a role, which permits nothing yet.
    ///
    /// # Errors
    /// [`Error::Invalid`](keyval::Error::Invalid) for an empty name; any other error of the store,
    /// as for a role that is there already.
    ///
    /// # Cancel safety
    /// If the future is dropped, the role may be added all the same.
    pub async fn add_role(&self, role: &str) -> Result<()> {
        check_name("role", role)?;
        let call = Call::write("add_role", &role);
        self.auth(call, |mut auth| async move { auth.role_add(role).await })
            .await?;
        Ok(())
    }

    /// Deletes a role, and takes it from all users.
    ///
    /// # Errors
    /// [`Error::Invalid`](keyval::Error::Invalid) for an empty name; any other error of the store,
    /// as for a role that there is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, the role may be deleted all the same.
    pub async fn delete_role(&self, role: &str) -> Result<()> {
        check_name("role", role)?;
        let call = Call::write("delete_role", &role);
        self.auth(call, |mut auth| async move { auth.role_delete(role).await })
            .await?;
        Ok(())
    }

    /// What a role permits.
    ///
    /// # Errors
    /// As [`delete_role`](Self::delete_role).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn role_permissions(&self, role: &str) -> Result<Vec<Permission>> {
        check_name("role", role)?;
        let call = Call::read("role_permissions", &role);
        let ask = |mut auth: AuthClient| async move { auth.role_get(role).await };
        let reply = self.auth(call, ask).await?.0;
        let permissions = reply.perm.into_iter();
        permissions
            .map(|wire| {
                let access = access(wire.perm_type)?;
                Ok(Permission::new(access, range(wire.key, wire.range_end)))
            })
            .collect()
    }

    /// Lets a role do this besides. A permission for the same range takes the place of the one
    /// before.
    ///
    /// # Examples
    /// ```no_run
    /// use keyval::KeyRange;
    /// use keyval_etcd::Permission;
    ///
    /// # async fn run(admin: keyval_etcd::EtcdAdmin) -> keyval::Result<()> {
    /// admin.add_role("agent").await?;
    /// let own = Permission::read_write(KeyRange::prefix("agents/1/"));
    /// admin.grant_permission("agent", &own).await?;
    /// assert_eq!(admin.role_permissions("agent").await?, [own]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](keyval::Error::Invalid) for an empty name, key or range; any other error of
    /// the store, as for a role that there is not.
    ///
    /// # Cancel safety
    /// If the future is dropped, it may be permitted all the same.
    pub async fn grant_permission(&self, role: &str, permission: &Permission) -> Result<()> {
        check_name("role", role)?;
        permission.range.check()?;
        let wire = wire_range(&permission.range);
        let kind = match permission.access {
            Access::Read => PermissionType::Read,
            Access::Write => PermissionType::Write,
            Access::ReadWrite => PermissionType::Readwrite,
        };
        let mut granted = EtcdPermission::new(kind, wire.key);
        if let Some(end) = wire.end {
            granted = granted.with_range_end(end);
        }
        let call = Call::write("grant_permission", &role);
        self.auth(call, |mut auth| {
            let granted = granted.clone();
            async move { auth.role_grant_permission(role, granted).await }
        })
        .await?;
        Ok(())
    }

    /// Takes from a role what it permits for exactly this range, whatever access that is.
    ///
    /// # Errors
    /// [`Error::Invalid`](keyval::Error::Invalid) for an empty name, key or range; any other error of
    /// the store, as for a range that was not granted.
    ///
    /// # Cancel safety
    /// If the future is dropped, it may be taken all the same.
    pub async fn revoke_permission(&self, role: &str, range: &KeyRange) -> Result<()> {
        check_name("role", role)?;
        range.check()?;
        let wire = wire_range(range);
        let options = wire
            .end
            .map(|end| RoleRevokePermissionOptions::new().with_range_end(end));
        let call = Call::write("revoke_permission", &role);
        self.auth(call, |mut auth| {
            let (key, options) = (wire.key.clone(), options.clone());
            async move { auth.role_revoke_permission(role, key, options).await }
        })
        .await?;
        Ok(())
    }
}

fn access(wire: i32) -> Result<Access> {
    match PermissionType::try_from(wire) {
        Ok(PermissionType::Read) => Ok(Access::Read),
        Ok(PermissionType::Write) => Ok(Access::Write),
        Ok(PermissionType::Readwrite) => Ok(Access::ReadWrite),
        Err(_) => Err(malformed(format_args!(
            "a permission of the unknown type {wire}"
        ))),
    }
}

/// The range that etcd spells so; other clients may have granted what no range of ours is spelled
/// like.
fn range(key: Vec<u8>, end: Vec<u8>) -> KeyRange {
    if end.is_empty() {
        return KeyRange::key(key);
    }
    if end == [0] {
        let all = KeyRange::all();
        return match key.is_empty() {
            true => all,
            false => all.starting_at(Key::from(key)),
        };
    }
    KeyRange::span(key, end)
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadWrite => "readwrite",
        })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.access, self.range)
    }
}

#[cfg(test)]
mod tests {
    use keyval::{Key, KeyRange};

    use super::range;
    use crate::convert::wire_range;

    #[test]
    fn every_range_comes_back_as_it_was_granted() {
        for granted in [
            KeyRange::key("a"),
            KeyRange::prefix("a/"),
            KeyRange::span("a", "c"),
            KeyRange::all(),
            KeyRange::all().starting_at(Key::from("m")),
        ] {
            let wire = wire_range(&granted);
            assert_eq!(range(wire.key, wire.end.unwrap_or_default()), granted);
        }
        assert_eq!(range(vec![], vec![0]), KeyRange::all());
    }
}
