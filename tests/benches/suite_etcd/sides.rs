//! The two sides: our stack, and the bare client.

use bytes::Bytes;
use etcd_client::{Client, KvClient};
use keyval::Prefixed;
use keyval_etcd::EtcdStore;
use keyval_proto::{Protobuf, Typed};
use keyval_tests::etcd::Etcd;
use tokio::runtime::{Builder, Runtime};

/// The size of all values, in bytes.
pub(crate) const VALUE: usize = 256;

/// A message that is encoded in 256 bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

impl Blob {
    pub(crate) fn new() -> Self {
        // The tag and the length take three bytes.
        let data = Bytes::from(vec![b'.'; VALUE - 3]);
        Self { data }
    }
}

/// The whole stack: values of a type, in a scope, on etcd.
pub(crate) type Stack = Typed<Blob, Prefixed<EtcdStore>, Protobuf>;

pub(crate) async fn stack(server: &Etcd, scope: &str) -> Stack {
    Typed::new(Prefixed::new(server.store().await, scope), Protobuf)
}

pub(crate) async fn client(endpoint: &str) -> Client {
    Client::connect([endpoint], None)
        .await
        .expect("the server answers")
}

pub(crate) async fn raw(server: &Etcd) -> KvClient {
    client(&server.endpoint()).await.kv_client()
}

/// As programs have it.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
