//! Reading and writing: the small trait that stores implement, and what is built on it.

use std::fmt::{Debug, Display};
use std::future::Future;

use async_trait::async_trait;
use bytes::Bytes;

use crate::capability::Capabilities;
use crate::entry::Entry;
use crate::error::Result;
use crate::key::Key;
use crate::options::{Condition, DeleteOptions, GetOptions, ListOptions, PutOptions};
use crate::range::{KeyRange, Prefix};
use crate::reply::{DeleteReply, Listing, OpReply, PutReply, TxnReply};
use crate::revision::Revision;
use crate::txn::{Compare, Op, Txn};

/// Reads and writes of a store.
///
/// This is what a store implements: five operations, no default bodies. Callers use it through
/// [`BrokerExt`], which every broker has. `Display` shows the stack of wrappers and the store
/// below, without secrets.
#[doc(alias("KV", "KeyValProtoBroker", "BytesBroker"))]
#[async_trait]
pub trait Broker: Debug + Display + Send + Sync + 'static {
    /// What the store can do, and where its limits lie.
    fn capabilities(&self) -> Capabilities;

    /// Reads one key; a key that does not exist is `None`, an empty value is a value.
    ///
    /// # Errors
    /// [`Error::Compacted`](crate::Error::Compacted) and
    /// [`Error::FutureRevision`](crate::Error::FutureRevision) for reads of the past;
    /// [`Error::TooLarge`](crate::Error::TooLarge) from a store that takes no key as long.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<Option<Entry>>;

    /// Lists a range, in key order, at one revision, in constant memory.
    ///
    /// # Errors
    /// As for [`get_opts`](Self::get_opts); later pages fail as items of the stream.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream stops the reading.
    async fn list_opts(&self, range: &KeyRange, options: ListOptions) -> Result<Listing>;

    /// Puts a value under a key.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) with the numbers, as far as they are known;
    /// [`Error::LeaseLost`](crate::Error::LeaseLost) if the lease it is to live by has ended;
    /// [`Error::Invalid`](crate::Error::Invalid) if it is to keep the value or the lease of a key
    /// that does not exist. A condition that does not hold is not an error: see
    /// [`PutReply::written`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the put may have been applied.
    async fn put_opts(&self, key: &Key, value: Bytes, options: PutOptions) -> Result<PutReply>;

    /// Deletes every key of a range, at one revision, and says how many existed.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for an empty key or range;
    /// [`Error::TooLarge`](crate::Error::TooLarge) for bounds beyond the limit of a request.
    ///
    /// # Cancel safety
    /// If the future is dropped, the delete may have been applied.
    async fn delete_opts(&self, range: &KeyRange, options: DeleteOptions) -> Result<DeleteReply>;

    /// Carries out a transaction, whole or not at all, at one revision. It is never split.
    ///
    /// # Errors
    /// Those of [`Txn::check`], before anything is sent; those of its operations.
    ///
    /// # Cancel safety
    /// If the future is dropped, the transaction may have been applied.
    async fn commit(&self, txn: Txn) -> Result<TxnReply>;
}

/// The everyday form of every broker's operations.
///
/// Implemented for every [`Broker`]; do not implement it yourself. Each method is one operation of
/// the broker, with its errors and its cancel safety, unless it says otherwise.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Memory};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let first = store.put("greeting", "hello").await?;
/// let entry = store.get("greeting").await?.expect("it was just put");
/// assert_eq!(entry.value, "hello");
/// assert_eq!(entry.modified, first);
/// assert!(store.get("nothing").await?.is_none());
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
pub trait BrokerExt: Broker {
    /// Reads one key.
    ///
    /// # Errors
    /// As [`Broker::get_opts`].
    fn get(&self, key: impl Into<Key>) -> impl Future<Output = Result<Option<Entry>>> + Send {
        let key = key.into();
        async move { self.get_opts(&key, GetOptions::default()).await }
    }

    /// Lists a range.
    ///
    /// # Errors
    /// As [`Broker::list_opts`].
    ///
    /// # Examples
    /// ```
    /// # use keyval::{BrokerExt, KeyRange, Memory};
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// store.put("a/1", "x").await?;
    /// store.put("b/1", "y").await?;
    /// let entries = store.list(KeyRange::prefix("a/")).await?.collect().await?;
    /// assert_eq!(entries.len(), 1);
    /// # Ok::<_, keyval::Error>(()) }).unwrap();
    /// ```
    fn list(&self, range: impl Into<KeyRange>) -> impl Future<Output = Result<Listing>> + Send {
        let range = range.into();
        async move { self.list_opts(&range, ListOptions::default()).await }
    }

    /// Lists the keys of a range: entries with empty values.
    ///
    /// # Errors
    /// As [`Broker::list_opts`].
    fn keys(&self, range: impl Into<KeyRange>) -> impl Future<Output = Result<Listing>> + Send {
        let range = range.into();
        async move {
            self.list_opts(&range, ListOptions::default().keys_only())
                .await
        }
    }

    /// Counts the keys of a range.
    ///
    /// # Errors
    /// As [`Broker::list_opts`].
    fn count(&self, range: impl Into<KeyRange>) -> impl Future<Output = Result<u64>> + Send {
        let range = range.into();
        async move {
            let listing = self
                .list_opts(&range, ListOptions::default().count_only())
                .await?;
            Ok(listing.count.unwrap_or_default())
        }
    }

    /// Puts a value under a key, whatever stood there; returns the revision of the put.
    ///
    /// # Errors
    /// As [`Broker::put_opts`].
    fn put(
        &self,
        key: impl Into<Key>,
        value: impl Into<Bytes>,
    ) -> impl Future<Output = Result<Revision>> + Send {
        let (key, value) = (key.into(), value.into());
        async move {
            Ok(self
                .put_opts(&key, value, PutOptions::default())
                .await?
                .revision)
        }
    }

    /// Puts a value unless the key exists; the reply says whether it did, and if not, what stands
    /// there.
    ///
    /// # Errors
    /// As [`Broker::put_opts`].
    ///
    /// # Examples
    /// ```
    /// # use keyval::{BrokerExt, Memory};
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// assert!(store.put_if_absent("owner", "me").await?.written);
    /// let lost = store.put_if_absent("owner", "you").await?;
    /// assert!(!lost.written);
    /// assert_eq!(lost.prev.unwrap().value, "me");
    /// # Ok::<_, keyval::Error>(()) }).unwrap();
    /// ```
    #[doc(alias = "PutIfNotExists")]
    fn put_if_absent(
        &self,
        key: impl Into<Key>,
        value: impl Into<Bytes>,
    ) -> impl Future<Output = Result<PutReply>> + Send {
        let (key, value) = (key.into(), value.into());
        let options = PutOptions::default().only_if(Condition::Absent);
        async move { self.put_opts(&key, value, options).await }
    }

    /// Replaces a value, only if what stands there is as expected: a value
    /// ([`Condition::Value`]) or, safe against values that come back, a revision
    /// ([`Condition::Modified`]). A lost race is a reply with `written` false and the present
    /// entry.
    ///
    /// # Errors
    /// As [`Broker::put_opts`].
    ///
    /// # Examples
    /// ```
    /// # use keyval::{BrokerExt, Condition, Memory};
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// let seen = store.put("count", "1").await?;
    /// assert!(store.compare_and_swap("count", Condition::Modified(seen), "2").await?.written);
    /// assert!(!store.compare_and_swap("count", Condition::Modified(seen), "3").await?.written);
    /// # Ok::<_, keyval::Error>(()) }).unwrap();
    /// ```
    fn compare_and_swap(
        &self,
        key: impl Into<Key>,
        expected: Condition,
        value: impl Into<Bytes>,
    ) -> impl Future<Output = Result<PutReply>> + Send {
        let (key, value) = (key.into(), value.into());
        let options = PutOptions::default().only_if(expected);
        async move { self.put_opts(&key, value, options).await }
    }

    /// Deletes a key; returns whether it existed.
    ///
    /// # Errors
    /// As [`Broker::delete_opts`].
    fn delete(&self, key: impl Into<Key>) -> impl Future<Output = Result<bool>> + Send {
        let range = KeyRange::key(key);
        async move {
            Ok(self
                .delete_opts(&range, DeleteOptions::default())
                .await?
                .deleted
                > 0)
        }
    }

    /// Deletes every key with this prefix, at one revision; returns how many there were.
    ///
    /// # Errors
    /// As [`Broker::delete_opts`].
    fn delete_prefix(&self, prefix: impl Into<Prefix>) -> impl Future<Output = Result<u64>> + Send {
        let range = KeyRange::prefix(prefix);
        async move {
            Ok(self
                .delete_opts(&range, DeleteOptions::default())
                .await?
                .deleted)
        }
    }

    /// Deletes a key, only if what stands there is as expected; returns whether it did.
    ///
    /// # Errors
    /// As [`Broker::commit`].
    fn compare_and_delete(
        &self,
        key: impl Into<Key>,
        expected: Condition,
    ) -> impl Future<Output = Result<bool>> + Send {
        let key = key.into();
        async move {
            let txn = Txn::new()
                .when(expected.compare(&key))
                .then(Op::delete(&key));
            let reply = self.commit(txn).await?;
            Ok(matches!(reply.replies.first(), Some(OpReply::Delete(reply)) if reply.deleted > 0))
        }
    }
}

impl<B: Broker + ?Sized> BrokerExt for B {}

impl Condition {
    /// The compare that holds exactly if this condition holds for the key.
    #[must_use]
    pub fn compare(&self, key: &Key) -> Compare {
        match self {
            Self::Absent => Compare::absent(key),
            Self::Exists => Compare::exists(key),
            Self::Modified(revision) => Compare::modified(key, *revision),
            Self::Value(value) => Compare::value(key, value.clone()),
        }
    }
}
