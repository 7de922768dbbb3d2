//! A write that is held on its way to the store.

use bytes::Bytes;

use crate::broker::Broker;
use crate::error::Result;
use crate::key::Key;
use crate::options::{DeleteOptions, PutOptions};
use crate::range::KeyRange;
use crate::testing::operation::Operation;
use crate::txn::Txn;

/// A write as data, so that it can be carried out long after its caller was told that it failed.
#[derive(Clone)]
pub(super) enum Write {
    Put(Key, Bytes, PutOptions),
    Delete(KeyRange, DeleteOptions),
    Commit(Txn),
}

impl Write {
    pub(super) fn operation(&self) -> Operation {
        match self {
            Self::Put(..) => Operation::Put,
            Self::Delete(..) => Operation::Delete,
            Self::Commit(_) => Operation::Commit,
        }
    }

    /// Carries out the write; nobody waits for the answer but whoever delivers it.
    pub(super) async fn deliver(self, store: &impl Broker) -> Result<()> {
        match self {
            Self::Put(key, value, options) => store.put_opts(&key, value, options).await.map(drop),
            Self::Delete(range, options) => store.delete_opts(&range, options).await.map(drop),
            Self::Commit(txn) => store.commit(txn).await.map(drop),
        }
    }
}
