//! What stands in place of TLS where it is not built in: a refusal.

use std::io;

use keyval::{Error, Result};
use tokio::net::TcpStream;

use crate::config::EtcdConfig;

/// There is none of it.
#[derive(Debug)]
pub(crate) enum Tls {}

/// What would be encrypted.
pub(crate) type TlsStream = TcpStream;

impl Tls {
    #[expect(clippy::unused_async, reason = "as where TLS is built in")]
    pub(crate) async fn load(_: &EtcdConfig) -> Result<Self> {
        Err(Error::invalid(
            "the etcd configuration asks for TLS, and this program is built without it: build \
             keyval-etcd with its feature tls, or use http:// endpoints without keys for TLS",
        ))
    }

    #[expect(clippy::unused_async, reason = "as where TLS is built in")]
    pub(crate) async fn wrap(&self, _: &str, _: TcpStream) -> io::Result<TlsStream> {
        match *self {}
    }
}
