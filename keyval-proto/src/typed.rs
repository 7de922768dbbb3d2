//! A handle on values of one type, over any store.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use futures::stream::BoxStream;
use keyval::{
    Broker, BrokerExt, ChangeStream, Condition, Entry, Follow, FollowOptions, GetOptions, Key,
    KeyRange, LeaseId, ListOptions, Op, Prefix, Projection, PutOptions, PutReply, Revision,
    WatchOptions, Watcher, follow,
};

use crate::codec::{Codec, Protobuf};
use crate::decoding::{Decodable, Decoding};
use crate::error::{Decoded, Error, Result};

/// A handle on values of one type, over any store or stack of wrappers.
///
/// Values are encoded on their way in and decoded on their way out; keys, revisions, leases and
/// options are the store's. The type says the route: `Typed<Interface, Prefixed<EtcdStore>>`.
/// Cloning is as cheap as cloning the store's handle.
///
/// A value that cannot be decoded is an error of its key: [`get`](Self::get) returns it, lists,
/// watches and followers carry it as the value of its entry and go on.
///
/// # Examples
/// ```
/// use futures::TryStreamExt;
/// use keyval::{KeyRange, Memory, StoreExt};
/// use keyval_proto::{Protobuf, Typed};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Interface {
///     #[prost(uint32, tag = "1")]
///     mtu: u32,
/// }
///
/// # tokio_test::block_on(async {
/// let interfaces = Typed::new(Memory::new().prefixed("agents/1/interfaces/"), Protobuf);
/// interfaces.put("eth0", &Interface { mtu: 1500 }).await?;
/// interfaces.put("eth1", &Interface { mtu: 9000 }).await?;
///
/// let eth0 = interfaces.get("eth0").await?.expect("it was just put");
/// assert_eq!(eth0.value.mtu, 1500);
///
/// let listing = interfaces.list(KeyRange::all()).await?;
/// let all: Vec<_> = listing.entries.try_collect().await?;
/// let jumbo = all.iter().filter(|entry| matches!(&entry.value, Ok(it) if it.mtu > 1500));
/// assert_eq!(jumbo.count(), 1);
/// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
/// ```
#[doc(alias("ProtoWrapper", "KeyValProtoBroker", "ProtoBroker"))]
pub struct Typed<T, S, C = Protobuf> {
    store: S,
    codec: C,
    value: PhantomData<fn() -> T>,
}

/// A list in typed form: entries of one revision, as a stream.
#[non_exhaustive]
pub struct TypedListing<T> {
    /// The revision of every entry.
    pub revision: Revision,
    /// How many entries the whole range has, whatever the limit; given if the count was asked for.
    pub count: Option<u64>,
    /// The entries, in the order asked for; an error item of the store ends the stream.
    pub entries: BoxStream<'static, keyval::Result<Entry<Decoded<T>>>>,
}

/// The answer to a put in typed form.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypedPutReply<T> {
    /// The revision of the put; where the condition did not hold, the present revision.
    pub revision: Revision,
    /// Whether the put took place: false only if its condition did not hold.
    pub written: bool,
    /// What stood there before, if that was asked for; where the condition did not hold, what
    /// stands there now, asked for or not.
    pub prev: Option<Entry<Decoded<T>>>,
    /// The lease that was made for a put with a TTL.
    pub lease: Option<LeaseId>,
}

impl<T, S, C: Codec<T>> Typed<T, S, C> {
    /// Values of `T`, in this encoding, over this store.
    pub fn new(store: S, codec: C) -> Self {
        Self {
            store,
            codec,
            value: PhantomData,
        }
    }

    /// The store below, for what has no typed form: transactions, leases, raw bytes.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The codec.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// The same store as values of another type.
    #[must_use]
    pub fn of<U>(&self) -> Typed<U, S, C>
    where
        S: Clone,
        C: Codec<U>,
    {
        Typed::new(self.store.clone(), self.codec.clone())
    }

    /// A put of this value as an operation of a transaction.
    ///
    /// Its key is one of the store below: commit the transaction there
    /// ([`store`](Self::store)), together with operations on values of other types.
    ///
    /// # Errors
    /// [`Error::Encode`] if the value cannot be encoded.
    ///
    /// # Examples
    /// ```
    /// use keyval::{Broker, Compare, Memory, Txn};
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// let names = Typed::<String, _>::new(store.clone(), Protobuf);
    /// let sizes = Typed::<u64, _>::new(store.clone(), Protobuf);
    /// let txn = Txn::new()
    ///     .when(Compare::absent("name"))
    ///     .then(names.put_op("name", &"left".to_owned())?)
    ///     .then(sizes.put_op("size", &3)?);
    /// assert!(store.commit(txn).await?.succeeded);
    /// assert_eq!(sizes.get("size").await?.unwrap().value, 3);
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub fn put_op(&self, key: impl Into<Key>, value: &T) -> Result<Op> {
        self.put_op_opts(key, value, PutOptions::default())
    }

    /// A put of this value, with options, as an operation of a transaction.
    ///
    /// # Errors
    /// As [`put_op`](Self::put_op).
    pub fn put_op_opts(&self, key: impl Into<Key>, value: &T, options: PutOptions) -> Result<Op> {
        let key = key.into();
        let bytes = self.encode(&key, value)?;
        Ok(Op::Put(key, bytes, options))
    }

    fn encode(&self, key: &Key, value: &T) -> Result<bytes::Bytes> {
        self.codec.encode(value).map_err(|source| Error::Encode {
            key: key.clone(),
            source,
        })
    }
}

impl<T: 'static, S: Broker, C: Codec<T>> Typed<T, S, C> {
    /// Reads one key; a key that does not exist is `None`.
    ///
    /// # Errors
    /// [`Error::Decode`] if what stands there is no such value; those of the store.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<Entry<T>>> {
        self.get_opts(key, GetOptions::default()).await
    }

    /// Reads one key, with options.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn get_opts(
        &self,
        key: impl Into<Key>,
        options: GetOptions,
    ) -> Result<Option<Entry<T>>> {
        let Some(entry) = self.store.get_opts(&key.into(), options).await? else {
            return Ok(None);
        };
        let Entry {
            key,
            value,
            created,
            modified,
            version,
            lease,
        } = entry.decode(&self.codec);
        Ok(Some(Entry {
            key,
            value: value?,
            created,
            modified,
            version,
            lease,
        }))
    }

    /// Lists a range.
    ///
    /// # Errors
    /// Those of the store; values that cannot be decoded are items of the list.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream stops the reading.
    pub async fn list(&self, range: impl Into<KeyRange>) -> Result<TypedListing<T>> {
        self.list_opts(range, ListOptions::default()).await
    }

    /// Lists a range, with options.
    ///
    /// # Errors
    /// As [`list`](Self::list); [`keyval::Error::Invalid`] if no values are asked for, which
    /// nothing can be decoded from: ask [`store`](Self::store) for keys or a count.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream stops the reading.
    pub async fn list_opts(
        &self,
        range: impl Into<KeyRange>,
        options: ListOptions,
    ) -> Result<TypedListing<T>> {
        if options.projection == Projection::Keys {
            return Err(keyval::Error::invalid(
                "a typed list without values: list the keys of the store below instead",
            )
            .into());
        }
        let listing = self.store.list_opts(&range.into(), options).await?;
        Ok(TypedListing {
            revision: listing.revision,
            count: listing.count,
            entries: Box::pin(Decoding::new(listing.entries, self.codec.clone())),
        })
    }

    /// Puts a value under a key, whatever stood there; returns the revision of the put.
    ///
    /// # Errors
    /// [`Error::Encode`] if the value cannot be encoded; those of the store.
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
    ) -> Result<TypedPutReply<T>> {
        let key = key.into();
        if options.keep_value {
            return Err(keyval::Error::invalid(format!(
                "the put of \"{key}\" keeps the value and brings one: put through the store below \
                 to keep it"
            ))
            .into());
        }
        let bytes = self.encode(&key, value)?;
        Ok(self.reply(self.store.put_opts(&key, bytes, options).await?))
    }

    /// Puts a value unless the key exists; the reply says whether it did, and if not, what stands
    /// there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    ///
    /// # Cancel safety
    /// If the future is dropped, the put may have been applied.
    pub async fn put_if_absent(&self, key: impl Into<Key>, value: &T) -> Result<TypedPutReply<T>> {
        let options = PutOptions::default().only_if(Condition::Absent);
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

    fn reply(&self, reply: PutReply) -> TypedPutReply<T> {
        TypedPutReply {
            revision: reply.revision,
            written: reply.written,
            prev: reply.prev.map(|entry| entry.decode(&self.codec)),
            lease: reply.lease,
        }
    }
}

impl<T, S: Watcher, C: Codec<T>> Typed<T, S, C> {
    /// Watches a range; returns once the store has accepted the watch.
    ///
    /// A raw watch ends with its connection; [`follow`](Self::follow) goes on for ever. The
    /// revision to which it is pinned is in the stream [within](Decoding::inner).
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no watch behind.
    pub async fn watch(
        &self,
        range: impl Into<KeyRange>,
        options: WatchOptions,
    ) -> Result<Decoding<ChangeStream, T, C>> {
        let stream = self.store.watch_opts(&range.into(), options).await?;
        Ok(Decoding::new(stream, self.codec.clone()))
    }
}

impl<T, S: Broker + Watcher + Clone, C: Codec<T>> Typed<T, S, C> {
    /// Follows a range for ever: a snapshot, then every change, across outages.
    ///
    /// # Examples
    /// ```
    /// use futures::StreamExt;
    /// use keyval::{KeyRange, Memory, Update};
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let sizes = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// sizes.put("left", &1).await?;
    /// let mut updates = sizes.follow(KeyRange::all());
    /// let Some(Ok(Update::Resync(snapshot))) = updates.next().await else {
    ///     panic!("the first update is a resync");
    /// };
    /// assert_eq!(snapshot.entries[0].value, Ok(1));
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub fn follow(&self, range: impl Into<KeyRange>) -> Decoding<Follow<S>, T, C> {
        self.follow_opts(range, FollowOptions::default())
    }

    /// Follows a range for ever, with options.
    pub fn follow_opts(
        &self,
        range: impl Into<KeyRange>,
        options: FollowOptions,
    ) -> Decoding<Follow<S>, T, C> {
        let updates = follow(self.store.clone(), range.into(), options);
        Decoding::new(updates, self.codec.clone())
    }
}

impl<T, S: Clone, C: Clone> Clone for Typed<T, S, C> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            codec: self.codec.clone(),
            value: PhantomData,
        }
    }
}

impl<T, S: fmt::Debug, C: fmt::Debug> fmt::Debug for Typed<T, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed")
            .field("value", &type_name::<T>())
            .field("store", &self.store)
            .field("codec", &self.codec)
            .finish()
    }
}

/// Shows the type's name and the stack below: `Typed(Interface, Prefixed(agents/1/, ..))`.
impl<T, S: fmt::Display, C> fmt::Display for Typed<T, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = type_name::<T>();
        // Only the name, not its module, but whole where it has parameters.
        let name = match path.contains('<') {
            true => path,
            false => path.rsplit("::").next().unwrap_or(path),
        };
        write!(f, "Typed({name}, {})", self.store)
    }
}

impl<T> fmt::Debug for TypedListing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedListing")
            .field("revision", &self.revision)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
