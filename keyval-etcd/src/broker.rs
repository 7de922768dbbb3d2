//! Reading and writing on etcd.

use async_trait::async_trait;
use bytes::Bytes;
use keyval::{
    Broker, Capabilities, DeleteOptions, DeleteReply, Entry, Error, GetOptions, Key, KeyRange,
    Lifetime, ListOptions, Listing, Op, OpReply, Outcome, PutOptions, PutReply, Result, Txn,
    TxnReply,
};

use crate::convert;
use crate::error::Call;
use crate::lease;
use crate::list;
use crate::store::EtcdStore;
use crate::txn;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Broker for EtcdStore {
    fn capabilities(&self) -> Capabilities {
        self.limits
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>> {
        key.check()?;
        let mut listing = ListOptions::default().with_consistency(options.consistency);
        listing.at = options.at;
        let reply = self
            .client
            .call(
                Call::read("get", key).at(options.at).of_size(key.len()),
                |node| {
                    let mut kv = node.kv.clone();
                    let wire = convert::get_options(None, &listing);
                    async move { kv.get(key.as_bytes(), Some(wire)).await }
                },
            )
            .await?;
        Ok(reply.0.kvs.into_iter().next().map(convert::entry))
    }

    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing> {
        range.check()?;
        options.check()?;
        list::list(&self.client, range, options).await
    }

    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply> {
        options.check(key, &value)?;
        if options.only_if.is_some() {
            // Boxed, as all that is rare, to keep a plain put small.
            return Box::pin(self.put_if(key, value, options)).await;
        }
        let (size, limit) = (key.len() + value.len(), self.max_request_bytes());
        if size > limit {
            let limit = Some(limit);
            return Err(Error::TooLarge { size, limit });
        }
        let granted = match options.lifetime {
            Lifetime::Ttl(ttl) => Some(Box::pin(lease::grant_for_put(&self.client, ttl)).await?),
            _ => None,
        };
        let named = match options.lifetime {
            Lifetime::Lease(lease) => Some(lease),
            _ => granted,
        };
        let call = Call::write("put", key).of_lease(named).of_size(size);
        let sent = self
            .client
            .call(call, |node| {
                let mut kv = node.kv.clone();
                let wire = convert::put_options(&options, granted);
                let value = value.clone();
                async move { kv.put(key.as_bytes(), value, Some(wire)).await }
            })
            .await;
        match sent {
            Ok(reply) => {
                let revision = convert::header_revision(reply.0.header.as_ref());
                Ok(convert::put_reply(reply.0, revision, granted))
            }
            Err(error) => {
                if error.outcome() == Outcome::NotApplied {
                    Box::pin(lease::give_back(&self.client, granted)).await;
                }
                Err(error)
            }
        }
    }

    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply> {
        range.check()?;
        let (size, limit) = (range.size(), self.max_request_bytes());
        if size > limit {
            let limit = Some(limit);
            return Err(Error::TooLarge { size, limit });
        }
        let reply = self
            .client
            .call(Call::write("delete", range).of_size(size), |node| {
                let mut kv = node.kv.clone();
                let wire = convert::wire_range(range);
                let options = convert::delete_options(wire.end, options);
                async move { kv.delete(wire.key, Some(options)).await }
            })
            .await?
            .0;
        let revision = convert::header_revision(reply.header.as_ref());
        Ok(convert::delete_reply(reply, revision))
    }

    async fn commit(&self, txn: Txn) -> Result<TxnReply> {
        txn::commit(&self.client, &self.limits, &txn).await
    }
}

impl EtcdStore {
    /// Puts under a condition: a transaction that otherwise reads what stands in the way.
    async fn put_if(&self, key: &Key, value: Bytes, mut options: PutOptions) -> Result<PutReply> {
        let mut txn = Txn::new();
        if let Some(condition) = options.only_if.take() {
            txn = txn.when(condition.compare(key));
        }
        let txn = txn
            .then(Op::Put(key.clone(), value, options))
            .otherwise(Op::get(key));
        let mut reply = txn::commit(&self.client, &self.limits, &txn).await?;
        match reply.replies.pop() {
            Some(OpReply::Put(put)) => Ok(put),
            Some(OpReply::Get(mut found)) => Ok(PutReply {
                revision: reply.revision,
                written: false,
                prev: found.entries.pop(),
                lease: None,
            }),
            _ => Err(convert::malformed_after(
                Outcome::Unknown,
                "neither a put nor a read",
            )),
        }
    }

    fn max_request_bytes(&self) -> usize {
        self.limits.max_request_bytes.unwrap_or(usize::MAX)
    }
}
