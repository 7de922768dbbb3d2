//! A configuration that is read again while the program runs.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::dir::ConfigDir;
use crate::error::Result;
use crate::load::Loaded;
use crate::validate::{Findings, Validate};

/// A configuration that may change while the program runs, and what of it may not.
///
/// # Examples
/// ```
/// use keyval_config::{ConfigDir, Findings, Reload, Validate};
///
/// #[derive(Debug, Default, serde::Deserialize)]
/// #[serde(default, deny_unknown_fields)]
/// struct Greeter {
///     text: String,
///     port: u16,
/// }
///
/// impl Validate for Greeter {}
///
/// impl Reload for Greeter {
///     fn check_change(&self, next: &Self, findings: &mut Findings) {
///         findings.fixed("port", self.port == next.port);
///     }
/// }
///
/// let config = ConfigDir::new("/no/such/folder").with_flag("greeter.port=80")?;
/// let running = Greeter { text: "hello".into(), port: 8080 };
/// let error = config.load_again("greeter", &running).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "--set greeter.port: cannot change while the program runs: set it back, or restart"
/// );
/// # keyval_config::Result::Ok(())
/// ```
pub trait Reload: Validate {
    /// Refuses what cannot change while the program runs, from `self`, which is in force, to `next`;
    /// by default everything can. See [`Findings::fixed`].
    fn check_change(&self, next: &Self, findings: &mut Findings) {
        let _ = (next, findings);
    }
}

impl Findings {
    /// Refuses the change of a key that cannot change while the program runs, unless it is the same.
    pub fn fixed(&mut self, path: &str, is_the_same: bool) {
        if !is_the_same {
            self.refuse(
                path,
                "cannot change while the program runs: set it back, or restart",
            );
        }
    }
}

impl ConfigDir {
    /// The configuration of a plugin as it is now, in place of one that is in force.
    ///
    /// All layers are read again as [`load_valid`](Self::load_valid) does; nothing is changed.
    ///
    /// # Errors
    /// As [`load_valid`](Self::load_valid), and [`Error::Refused`](crate::Error::Refused) with every
    /// key that the type's [`Reload`] does not let change.
    pub fn load_again<T>(&self, plugin: &str, in_force: &T) -> Result<Loaded<T>>
    where
        T: DeserializeOwned + Default + Reload,
    {
        let mut tree = self.tree(plugin)?;
        let value: T = tree.read_inspected(&[])?;
        let mut findings = Findings::default();
        in_force.check_change(&value, &mut findings);
        tree.refuse::<T>(findings, &[])?;
        Ok(Loaded {
            value,
            origin: tree.origin().clone(),
            tree: Arc::new(tree),
        })
    }
}
