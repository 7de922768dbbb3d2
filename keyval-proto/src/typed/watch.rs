//! Watching values, following them, and keeping a copy.

use futures::future::{BoxFuture, FutureExt};
use keyval::{
    Broker, ChangeStream, Follow, FollowOptions, KeyRange, Mirror, WatchOptions, Watcher, follow,
    mirror,
};

use crate::codec::Codec;
use crate::decoding::Decoding;
use crate::error::{Decoded, Result};
use crate::typed::handle::Typed;

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

    /// Keeps a local copy of a range: the copy, and the work that keeps it fresh. Drive the work in a
    /// task of yours. A [`View`](crate::View) does so by itself.
    ///
    /// # Errors
    /// Those of the work: it ends only if the store cannot be followed at all, with that error. A value
    /// that cannot be decoded is in the copy as the error of its key.
    ///
    /// # Cancel safety
    /// Dropping the work ends the copy as it then is; no watch stays behind.
    ///
    /// # Examples
    /// ```
    /// use keyval::{FollowOptions, KeyRange, Memory};
    /// use keyval_proto::{Protobuf, Typed};
    ///
    /// # tokio_test::block_on(async {
    /// let sizes = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// let (copy, work) = sizes.mirror(KeyRange::all(), FollowOptions::default());
    /// let task = tokio::spawn(work);
    /// let revision = sizes.put("left", &1).await?;
    /// let snapshot = copy.caught_up(revision).await.expect("the task runs");
    /// assert_eq!(*snapshot.get("left").unwrap().value, Ok(1));
    /// # task.abort();
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub fn mirror(
        &self,
        range: impl Into<KeyRange>,
        options: FollowOptions,
    ) -> (Mirror<Decoded<T>>, BoxFuture<'static, keyval::Result<()>>)
    where
        T: PartialEq + Send + Sync + 'static,
    {
        let (copy, writer) = mirror();
        (copy, writer.run(self.follow_opts(range, options)).boxed())
    }
}
