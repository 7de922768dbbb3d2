//! Values in transactions: operations, compares and conditions.

use keyval::{
    Bytes, Compare, Condition, DeleteOptions, Key, KeyRange, Op, PutOptions, Relation, Target,
};

use crate::codec::Codec;
use crate::error::Result;
use crate::typed::handle::Typed;

impl<T, S, C: Codec<T>> Typed<T, S, C> {
    /// A put of this value as an operation of a transaction.
    ///
    /// Its key is one of the store below: commit the transaction there
    /// ([`store`](Self::store)), together with operations on values of other types.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode) if the value cannot be encoded.
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
    /// As [`put_op`](Self::put_op); [`keyval::Error::Invalid`] if the options keep the value that
    /// stands there, as this put brings one.
    pub fn put_op_opts(&self, key: impl Into<Key>, value: &T, options: PutOptions) -> Result<Op> {
        let key = key.into();
        let bytes = self.encode_for(&key, value, &options)?;
        Ok(Op::Put(key, bytes, options))
    }

    /// A delete of this key as an operation of a transaction, which tells what stood there:
    /// [`decode`](Self::decode) its reply.
    #[must_use]
    pub fn delete_op(&self, key: impl Into<Key>) -> Op {
        let options = DeleteOptions::default().with_previous();
        Op::Delete(KeyRange::key(key), options)
    }

    /// The compare that holds if the key exists with exactly this value.
    ///
    /// Bytes are compared, so the value must have the same bytes each time it is encoded. Protobuf
    /// messages have, unless they hold a `HashMap`: let `prost-build` generate maps as
    /// `BTreeMap`s. JSON has not where a message holds a map. A compare of the revision
    /// ([`Compare::modified`]) needs no such care, and notices a value that has come back.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode) if the value cannot be encoded.
    ///
    /// # Examples
    /// ```
    /// use keyval::{Broker, Memory, Txn};
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let store = Memory::new();
    /// let states = Typed::<String, _>::new(store.clone(), Protobuf);
    /// let steps = Typed::<u64, _>::new(store.clone(), Protobuf);
    /// states.put("state", &"ready".to_owned()).await?;
    /// let txn = Txn::new()
    ///     .when(states.equals("state", &"ready".to_owned())?)
    ///     .when(steps.differs("step", &7)?)
    ///     .then(steps.put_op("step", &7)?);
    /// assert!(!store.commit(txn).await?.succeeded, "there is no step that could differ");
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub fn equals(&self, key: impl Into<Key>, value: &T) -> Result<Compare> {
        self.compare(key.into(), Relation::Equal, value)
    }

    /// The compare that holds if the key exists with another value than this; an absent key has no
    /// value that could differ.
    ///
    /// Bytes are compared, as [`equals`](Self::equals) does.
    ///
    /// # Errors
    /// As [`equals`](Self::equals).
    pub fn differs(&self, key: impl Into<Key>, value: &T) -> Result<Compare> {
        self.compare(key.into(), Relation::NotEqual, value)
    }

    /// The condition of a put that the key exists with exactly this value: a
    /// [`Condition::Value`] for [`PutOptions::only_if`].
    ///
    /// Bytes are compared, as [`equals`](Self::equals) does.
    ///
    /// # Errors
    /// As [`equals`](Self::equals).
    pub fn condition(&self, key: impl Into<Key>, value: &T) -> Result<Condition> {
        Ok(Condition::Value(self.encode(&key.into(), value)?))
    }

    fn compare(&self, key: Key, relation: Relation, value: &T) -> Result<Compare> {
        let bytes = self.encode(&key, value)?;
        Ok(Compare::new(key, relation, Target::Value(bytes)))
    }

    /// The bytes of this value for a put with these options.
    pub(super) fn encode_for(&self, key: &Key, value: &T, options: &PutOptions) -> Result<Bytes> {
        // The store would notice only where the value is not empty, as default messages are.
        if options.keep_value {
            return Err(keyval::Error::invalid(format!(
                "the put of \"{key}\" keeps the value and brings one: put through the store below \
                 to keep it"
            ))
            .into());
        }
        self.encode(key, value)
    }
}
