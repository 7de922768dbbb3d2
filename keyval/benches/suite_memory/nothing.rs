//! A store that does nothing, to measure what stands above a store.

use std::fmt;

use async_trait::async_trait;
use futures::stream::{StreamExt, empty};
use keyval::{
    Broker, Bytes, Capabilities, DeleteOptions, DeleteReply, Entry, GetOptions, Key, KeyRange,
    ListOptions, Listing, PutOptions, PutReply, Result, Revision, Txn, TxnReply,
};

/// Answers at once, always the same.
#[derive(Clone, Debug)]
pub(crate) struct Nothing;

const REVISION: Revision = Revision::new(1);

impl fmt::Display for Nothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

#[async_trait]
impl Broker for Nothing {
    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    async fn get_opts(&self, key: &Key, _: GetOptions) -> Result<Option<Entry>> {
        Ok(Some(Entry {
            key: key.clone(),
            value: Bytes::from_static(b"value"),
            created: REVISION,
            modified: REVISION,
            version: 1,
            lease: None,
        }))
    }

    async fn list_opts(&self, _: &KeyRange, _: ListOptions) -> Result<Listing> {
        Ok(Listing {
            revision: REVISION,
            count: None,
            entries: empty().boxed(),
        })
    }

    async fn put_opts(&self, _: &Key, _: Bytes, _: PutOptions) -> Result<PutReply> {
        Ok(PutReply {
            revision: REVISION,
            written: true,
            prev: None,
            lease: None,
        })
    }

    async fn delete_opts(&self, _: &KeyRange, _: DeleteOptions) -> Result<DeleteReply> {
        Ok(DeleteReply {
            revision: REVISION,
            deleted: 0,
            prev: Vec::new(),
        })
    }

    async fn commit(&self, _: Txn) -> Result<TxnReply> {
        Ok(TxnReply {
            revision: REVISION,
            succeeded: true,
            replies: Vec::new(),
        })
    }
}
