//! Layered, typed YAML configuration for plugins.
//!
//! A [`ConfigDir`] is a folder of YAML files, one per plugin. Each plugin describes its file by a
//! type with `serde::Deserialize` and `Default`, and asks for it by its own name. Mistakes are
//! refused with the line, a mark under the column and what was probably meant:
//!
//! ```text
//! config/etcd.yaml:2:1: unknown key "dial-timout", did you mean "dial-timeout"?
//!   |
//! 2 | dial-timout: ...
//!   | ^
//! ```
//!
//! Variables, flags and the program itself may set single values over the file: see [`ConfigDir`]. The
//! rules of a type ([`Validate`]) point at the line, variable or flag as well, and a [`Section`] checks,
//! shows and describes a plugin's configuration without starting the plugin.
//!
//! [`duration`] reads durations as people and Go programs write them; a [`Secret`] is never shown.
//!
//! # Examples
//! ```
//! use keyval_config::{ConfigDir, Secret, duration};
//! use std::time::Duration;
//!
//! #[derive(Debug, serde::Deserialize)]
//! #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
//! struct Etcd {
//!     endpoints: Vec<String>,
//!     #[serde(with = "duration")]
//!     dial_timeout: Duration,
//!     password: Secret,
//! }
//!
//! impl Default for Etcd {
//!     fn default() -> Self {
//!         Self {
//!             endpoints: vec!["127.0.0.1:2379".into()],
//!             dial_timeout: Duration::from_secs(1),
//!             password: Secret::default(),
//!         }
//!     }
//! }
//!
//! # let folder = std::env::temp_dir().join(format!("keyval-config-tour-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
//! std::fs::write(folder.join("etcd.yaml"), "dial-timeout: 2m\npassword: open sesame")
//!     .expect("the folder is writable");
//! let etcd = ConfigDir::new(&folder).load::<Etcd>("etcd")?;
//! assert_eq!(etcd.value.dial_timeout, Duration::from_secs(120));
//! assert_eq!(etcd.value.endpoints, ["127.0.0.1:2379"]);
//! println!("{:?} from {}", etcd.value, etcd.origin); // .. password: *** } from /../etcd.yaml
//! # std::fs::remove_dir_all(&folder).ok();
//! # keyval_config::Result::Ok(())
//! ```

mod choice;
mod described;
mod dir;
pub mod duration;
mod effective;
mod environment;
mod error;
mod fault;
mod file;
mod layers;
mod load;
mod margin;
mod names;
mod node;
mod number;
mod origin;
mod print;
mod reader;
mod reload;
mod secret;
mod section;
mod seen;
mod snippet;
mod stray;
mod suggest;
mod tree;
mod validate;
mod values;
mod yaml;

pub use crate::choice::{Choice, Chosen};
pub use crate::described::Settings;
pub use crate::dir::ConfigDir;
pub use crate::duration::HumanDuration;
pub use crate::effective::Effective;
pub use crate::environment::Environment;
pub use crate::error::{Error, Invalid, Result};
pub use crate::load::{Loaded, parse, parse_valid, read};
pub use crate::names::check_names;
pub use crate::origin::Origin;
pub use crate::reload::Reload;
pub use crate::secret::Secret;
pub use crate::section::Section;
pub use crate::validate::{Findings, Validate};

/// Describes types to editors; a type of configuration derives [`schemars::JsonSchema`] by
/// `#[schemars(crate = "keyval_config::schemars")]`.
pub use schemars;
