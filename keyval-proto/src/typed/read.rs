//! Reading values.

use keyval::{
    Broker, Children, Entry, GetOptions, Key, KeyRange, ListOptions, Listing, Prefix, Projection,
    children,
};

use crate::codec::Codec;
use crate::decoding::Decoding;
use crate::error::{Decoded, Result};
use crate::typed::handle::Typed;

impl<T: 'static, S: Broker, C: Codec<T>> Typed<T, S, C> {
    /// Reads one key; a key that does not exist is `None`.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) if what stands there is no such value; those of the store.
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
        } = self.decode(entry);
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
    pub async fn list(&self, range: impl Into<KeyRange>) -> Result<Listing<Decoded<T>>> {
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
    ) -> Result<Listing<Decoded<T>>> {
        if options.projection == Projection::Keys {
            return Err(keyval::Error::invalid(
                "a typed list without values: list the keys of the store below instead",
            )
            .into());
        }
        let listing = self.store.list_opts(&range.into(), options).await?;
        Ok(Listing {
            revision: listing.revision,
            count: listing.count,
            entries: Box::pin(Decoding::new(listing.entries, self.codec.clone())),
        })
    }

    /// Lists the names one level below a prefix, as a file system lists a directory; see
    /// [`keyval::children`]. No value is read.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream stops the reading.
    ///
    /// # Examples
    /// ```
    /// use keyval::Memory;
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let sizes = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// sizes.put("eth0/mtu", &1500).await?;
    /// sizes.put("eth0/queue", &1000).await?;
    /// sizes.put("lo/mtu", &65536).await?;
    /// let children = sizes.children("", b'/').await?.collect().await?;
    /// let names: Vec<_> = children.iter().map(|child| child.name.to_string()).collect();
    /// assert_eq!(names, ["eth0", "lo"]);
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub async fn children(
        &self,
        prefix: impl Into<Prefix> + Send,
        separator: u8,
    ) -> Result<Children>
    where
        S: Clone,
    {
        Ok(children(self.store.clone(), prefix, separator).await?)
    }
}
