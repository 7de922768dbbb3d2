//! Puts and gets of values as bytes and of a type.

use std::fmt;
use std::hint::black_box;

use keyval::{Broker, BrokerExt, Bytes};
use keyval_proto::{Protobuf, Typed};

use crate::tasks::{KEYS, Picks};

/// The size of all values, in bytes.
const VALUE: usize = 256;

/// A message that is encoded in 256 bytes.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
}

impl Blob {
    fn new() -> Self {
        // The tag and the length take three bytes.
        let data = Bytes::from(vec![b'.'; VALUE - 3]);
        Self { data }
    }
}

/// A store of values.
#[derive(Clone)]
pub(crate) enum Values<S> {
    /// As bytes.
    Bytes(S),
    /// Of a type.
    Typed(Typed<Blob, S, Protobuf>),
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Put,
    Get,
}

impl<S: Broker + Clone> Values<S> {
    pub(crate) fn typed(store: S) -> Self {
        Self::Typed(Typed::new(store, Protobuf))
    }

    /// Puts a value under each key.
    pub(crate) async fn fill(&self) {
        for at in 0..KEYS {
            self.once(Operation::Put, at, &Blob::new(), &bytes()).await;
        }
    }

    /// Does it again and again, and counts.
    pub(crate) async fn again(self, operation: Operation, picks: Picks) -> u64 {
        let (value, bytes) = (Blob::new(), bytes());
        let mut count = 0;
        for at in picks {
            self.once(operation, at, &value, &bytes).await;
            count += 1;
        }
        count
    }

    async fn once(&self, operation: Operation, at: usize, value: &Blob, bytes: &Bytes) {
        let key = format!("host/{at:06}");
        match (operation, self) {
            (Operation::Put, Self::Bytes(store)) => {
                store.put(key, bytes.clone()).await.expect("a put");
            }
            (Operation::Put, Self::Typed(typed)) => {
                typed.put(key, value).await.expect("a put");
            }
            (Operation::Get, Self::Bytes(store)) => {
                let entry = store.get(key).await.expect("a get");
                black_box(entry.expect("an entry").value);
            }
            (Operation::Get, Self::Typed(typed)) => {
                let entry = typed.get(key).await.expect("a get");
                black_box(entry.expect("an entry").value);
            }
        }
    }
}

fn bytes() -> Bytes {
    Bytes::from(vec![b'.'; VALUE])
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "put",
            Self::Get => "get",
        })
    }
}
