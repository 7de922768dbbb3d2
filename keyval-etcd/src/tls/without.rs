//! What stands in place of TLS where it is not built in: a refusal.

use std::io;

use keyval::Result;
use tokio::net::TcpStream;

use super::unusable::Unusable;
use crate::config::EtcdConfig;

/// There is none of it.
#[derive(Debug)]
pub(crate) enum Tls {}

/// What would be encrypted.
pub(crate) type TlsStream = TcpStream;

impl Tls {
    #[expect(clippy::unused_async, reason = "as where TLS is built in")]
    pub(crate) async fn load(_: &EtcdConfig) -> Result<Self> {
        Err(missing().into())
    }

    pub(crate) fn inspect(_: &EtcdConfig) -> Vec<Unusable> {
        vec![missing()]
    }

    #[expect(clippy::unused_async, reason = "as where TLS is built in")]
    pub(crate) async fn wrap(&self, _: &str, _: TcpStream) -> io::Result<TlsStream> {
        match *self {}
    }
}

fn missing() -> Unusable {
    Unusable {
        key: "",
        told: "it asks for TLS, and this program is built without: build keyval-etcd with its \
               feature tls, or use http:// endpoints without keys for TLS"
            .to_owned(),
    }
}
