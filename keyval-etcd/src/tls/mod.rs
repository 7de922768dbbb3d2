//! Encrypted connections: certificates from files, checked, reloaded, and clear words if they fail.

#[cfg(feature = "tls")]
mod client;
#[cfg(feature = "tls")]
mod failure;
#[cfg(feature = "tls")]
mod files;
mod unusable;
#[cfg(feature = "tls")]
mod validity;
#[cfg(feature = "tls")]
mod verify;

#[cfg(not(feature = "tls"))]
mod without;

#[cfg(feature = "tls")]
pub(crate) use self::client::{Tls, TlsStream};
pub(crate) use self::unusable::Unusable;
#[cfg(not(feature = "tls"))]
pub(crate) use self::without::{Tls, TlsStream};
