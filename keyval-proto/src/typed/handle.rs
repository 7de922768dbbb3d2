//! A handle on values of one type, over any store.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;

use keyval::{Bytes, Key};

use crate::codec::{Codec, Protobuf};
use crate::decoding::Decodable;
use crate::error::{Decoded, Error, Result};

/// A handle on values of one type, over any store or stack of wrappers.
///
/// Values are encoded on their way in and decoded on their way out; keys, revisions, leases and
/// options are the store's. The type says the route: `Typed<Interface, Prefixed<EtcdStore>>`.
/// Cloning is as cheap as cloning the store's handle.
///
/// A value that cannot be decoded is an error of its key: [`get`](Self::get) returns it, lists,
/// watches and followers carry it as the value of its entry and go on. It counts in the metric
/// `keyval_decode_errors_total`.
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
    pub(super) store: S,
    pub(super) codec: C,
    value: PhantomData<fn() -> T>,
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

    /// The store below, for what has no typed form: committing transactions, leases, raw bytes.
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

    /// Decodes whatever the store below has answered: an entry, changes, the reply to a put, a delete,
    /// a transaction or one operation of it. A value that cannot be decoded becomes an error in its
    /// place.
    ///
    /// # Examples
    /// ```
    /// use keyval::{Broker, BrokerExt, Memory, Op, Txn};
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// let names = Typed::<String, _>::new(store.clone(), Protobuf);
    /// let sizes = Typed::<u64, _>::new(store.clone(), Protobuf);
    /// names.put("name", &"left".to_owned()).await?;
    /// sizes.put("size", &3).await?;
    ///
    /// let reply = store.commit(Txn::new().then(Op::get("name")).then(Op::get("size"))).await?;
    /// let [name, size] = reply.replies.try_into().expect("one reply for each operation");
    /// assert_eq!(names.decode(name).into_entries()[0].value, Ok("left".to_owned()));
    /// assert_eq!(sizes.decode(size).into_entries()[0].value, Ok(3));
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub fn decode<R: Decodable>(&self, raw: R) -> R::Of<Decoded<T>> {
        raw.decode(&self.codec)
    }

    /// The bytes of this value, which is meant for this key.
    pub(crate) fn encode(&self, key: &Key, value: &T) -> Result<Bytes> {
        let bytes = self.codec.encode(value);
        bytes.map_err(|source| Error::Encode {
            key: key.clone(),
            source,
        })
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
