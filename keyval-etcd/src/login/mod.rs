//! Logging in to an etcd: one token for all connections, renewed by whoever first finds it refused.

mod account;
mod renew;
mod token;

pub(crate) use self::account::read_password;
pub(crate) use self::renew::Login;
