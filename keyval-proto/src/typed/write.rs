//! Writing values.

use keyval::{
    Broker, BrokerExt, Condition, DeleteOptions, DeleteReply, Key, KeyRange, Prefix, PutOptions,
    PutReply, Revision,
};

use crate::codec::Codec;
use crate::error::{Decoded, Result};
use crate::typed::handle::Typed;

impl<T, S: Broker, C: Codec<T>> Typed<T, S, C> {
    /// Puts a value under a key, whatever stood there; returns the revision of the put.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode) if the value cannot be encoded; those of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the put may have been applied.
    pub async fn put(&self, key: impl Into<Key>, value: &T) -> Result<Revision> {
        let key = key.into();
        let bytes = self.encode(&key, value)?;
        let reply = self.store.put_opts(&key, bytes, PutOptions::default());
        Ok(reply.await?.revision)
    }

    /// Puts a value under a key, with options: a lifetime, a condition, the previous value.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`keyval::Error::Invalid`] if the options keep the value that stands
    /// there, as this put brings one.
    ///
    /// # Cancel safety
    /// If the future is dropped, the put may have been applied.
    ///
    /// # Examples
    /// ```
    /// use keyval::{Condition, Memory, PutOptions};
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let sizes = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// let seen = sizes.put("size", &1).await?;
    /// let options = PutOptions::default().only_if(Condition::Modified(seen)).with_previous();
    /// let reply = sizes.put_opts("size", &2, options).await?;
    /// assert!(reply.written);
    /// assert_eq!(reply.prev.unwrap().value, Ok(1));
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub async fn put_opts(
        &self,
        key: impl Into<Key>,
        value: &T,
        options: PutOptions,
    ) -> Result<PutReply<Decoded<T>>> {
        let key = key.into();
        let bytes = self.encode_for(&key, value, &options)?;
        Ok(self.decode(self.store.put_opts(&key, bytes, options).await?))
    }

    /// Puts a value unless the key exists; the reply says whether it did, and if not, what stands
    /// there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// If the future is dropped, the put may have been applied.
    pub async fn put_if_absent(
        &self,
        key: impl Into<Key>,
        value: &T,
    ) -> Result<PutReply<Decoded<T>>> {
        let options = PutOptions::default().only_if(Condition::Absent);
        self.put_opts(key, value, options).await
    }

    /// Replaces a value, only if what stands there is as expected: a revision
    /// ([`Condition::Modified`]) or a value ([`condition`](Self::condition)). A lost race is a reply
    /// with `written` false and the present entry.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// If the future is dropped, the put may have been applied.
    ///
    /// # Examples
    /// ```
    /// use keyval::Memory;
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let sizes = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// sizes.put("size", &1).await?;
    /// let is_one = sizes.condition("size", &1)?;
    /// assert!(sizes.compare_and_swap("size", is_one.clone(), &2).await?.written);
    /// let lost = sizes.compare_and_swap("size", is_one, &3).await?;
    /// assert_eq!(lost.prev.unwrap().value, Ok(2));
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Key>,
        expected: Condition,
        value: &T,
    ) -> Result<PutReply<Decoded<T>>> {
        let options = PutOptions::default().only_if(expected);
        self.put_opts(key, value, options).await
    }

    /// Deletes a key; returns whether it existed.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the delete may have been applied.
    pub async fn delete(&self, key: impl Into<Key>) -> Result<bool> {
        Ok(self.store.delete(key).await?)
    }

    /// Deletes every key of a range, at one revision, with options: the values that went.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the delete may have been applied.
    ///
    /// # Examples
    /// ```
    /// use keyval::{DeleteOptions, KeyRange, Memory};
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let sizes = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// sizes.put("size", &3).await?;
    /// let options = DeleteOptions::default().with_previous();
    /// let reply = sizes.delete_opts(KeyRange::key("size"), options).await?;
    /// assert_eq!(reply.prev[0].value, Ok(3));
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub async fn delete_opts(
        &self,
        range: impl Into<KeyRange>,
        options: DeleteOptions,
    ) -> Result<DeleteReply<Decoded<T>>> {
        let reply = self.store.delete_opts(&range.into(), options).await?;
        Ok(self.decode(reply))
    }

    /// Deletes every key with this prefix, at one revision; returns how many there were.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the delete may have been applied.
    pub async fn delete_prefix(&self, prefix: impl Into<Prefix>) -> Result<u64> {
        Ok(self.store.delete_prefix(prefix).await?)
    }

    /// Deletes a key, only if what stands there is as expected: a revision
    /// ([`Condition::Modified`]) or a value ([`condition`](Self::condition)); returns whether it did.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// If the future is dropped, the delete may have been applied.
    pub async fn compare_and_delete(
        &self,
        key: impl Into<Key>,
        expected: Condition,
    ) -> Result<bool> {
        Ok(self.store.compare_and_delete(key, expected).await?)
    }
}
