//! Edits of a view that never overwrite a change that was not seen.

use std::sync::Arc;
use std::time::Duration;

use keyval::{BackoffPolicy, Broker, Key, Revision, TxnReply};

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::view::draft::{Basis, Draft, Edit, Edited, Newer, Seen};
use crate::view::handle::View;

/// How long to wait after a race was lost again.
fn policy() -> BackoffPolicy {
    BackoffPolicy::default()
        .with_initial(Duration::from_millis(1))
        .with_max(Duration::from_millis(50))
}

impl<T, S, C> View<T, S, C>
where
    T: Send + Sync + 'static,
    S: Broker,
    C: Codec<T>,
{
    /// Replaces the value of a key by what a function makes of it: a value, `None` to delete it, or
    /// an [`Edit`].
    ///
    /// The function gets the value, or `None` if there is none. It is written only if nobody has
    /// changed the key since; otherwise the function is asked again, with the newer value, up to
    /// [`ViewOptions::attempts`](crate::ViewOptions::attempts) times. So it must have no other effect
    /// than its result. A key that exists keeps its lease.
    ///
    /// Mind that fields that `T` does not know are lost when its value is written back.
    ///
    /// # Errors
    /// As [`edit`](Self::edit).
    ///
    /// # Cancel safety
    /// If the future is dropped, the edit may have taken place.
    ///
    /// # Examples
    /// ```
    /// use keyval::{KeyRange, Memory};
    /// use keyval_proto::{Protobuf, Typed, View};
    ///
    /// # tokio_test::block_on(async {
    /// let counts = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// let view = View::open(counts, KeyRange::all())?;
    /// view.update("visits", |old| old.copied().unwrap_or(0) + 1).await?;
    /// let edited = view.update("visits", |old| old.copied().unwrap_or(0) + 1).await?;
    /// let picture = view.caught_up(edited.revision).await.expect("the view is open");
    /// assert_eq!(*picture.get("visits").unwrap().value, Ok(2));
    ///
    /// view.update("visits", |_| None).await?;
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub async fn update<E: Into<Edit<T>>>(
        &self,
        key: impl Into<Key>,
        mut change: impl FnMut(Option<&T>) -> E + Send,
    ) -> Result<Edited> {
        let key = key.into();
        self.edit(|draft| match change(draft.get(&key)?).into() {
            Edit::Put(value) => draft.put(&key, &value),
            Edit::Delete => draft.delete(&key),
            Edit::Keep => Ok(()),
        })
        .await
    }

    /// Edits several keys, all at one revision or none.
    ///
    /// The function reads and writes a [`Draft`]. What it wrote takes place only if every key that it
    /// has read or written is as the draft showed it; otherwise the function is asked again, with what
    /// is there now, up to [`ViewOptions::attempts`](crate::ViewOptions::attempts) times. So it must
    /// have no other effect than its result. It gives up by returning an error, such as
    /// [`Error::refused`]. That, too, and an edit that only reads, counts only if the store confirms
    /// what the function has read.
    ///
    /// The draft begins with the view's picture, however old that is, so this works, if with one more
    /// attempt, before the view is ready and while it is cut off from its watch. Guards are revisions:
    /// across a wipe of the store, one of the old history may hold by chance until the view has noticed.
    ///
    /// # Errors
    /// Those of the function; [`Error::Decode`] where it reads a value that is none;
    /// [`Error::Contended`] if others were faster each time; those of the store, among them
    /// [`keyval::Error::TooManyOps`]. Where the answer is lost, the edit may have taken place
    /// ([`Error::may_have_applied`]), and is not tried again.
    ///
    /// # Cancel safety
    /// If the future is dropped, the edit may have taken place.
    ///
    /// # Examples
    /// ```
    /// use keyval::{KeyRange, Memory};
    /// use keyval_proto::{Error, Protobuf, Typed, View};
    ///
    /// # tokio_test::block_on(async {
    /// let accounts = Typed::<u64, _>::new(Memory::new(), Protobuf);
    /// accounts.put("left", &10).await?;
    /// let view = View::open(accounts.clone(), KeyRange::all())?;
    /// view.edit(|draft| {
    ///     let (left, right) = (draft.get("left")?, draft.get("right")?);
    ///     let rest = left.copied().unwrap_or(0).checked_sub(7);
    ///     let rest = rest.ok_or_else(|| Error::refused("not enough is left"))?;
    ///     draft.put("left", &rest)?;
    ///     draft.put("right", &(right.copied().unwrap_or(0) + 7))
    /// })
    /// .await?;
    /// assert_eq!(accounts.get("left").await?.unwrap().value, 3);
    /// assert_eq!(accounts.get("right").await?.unwrap().value, 7);
    /// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
    /// ```
    pub async fn edit<R: Send>(
        &self,
        mut make: impl FnMut(&mut Draft<'_, T>) -> Result<R> + Send,
    ) -> Result<Edited<R>> {
        let mut basis = Basis {
            picture: self.snapshot(),
            newer: Newer::new(),
        };
        let mut backoff = None;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (made, txn, seen) = {
                let encode = |key: &Key, value: &T| self.typed().encode(key, value);
                let mut draft = Draft::new(&basis, self.range(), &encode);
                let made = make(&mut draft);
                let (txn, seen) = draft.finish(made.is_ok());
                (made, txn, seen)
            };
            if seen.is_empty() {
                return Ok(Edited {
                    value: made?,
                    revision: basis.picture.revision(),
                    attempts,
                });
            }
            let reply = self.typed().store().commit(txn).await?;
            if reply.succeeded {
                return Ok(Edited {
                    value: made?,
                    revision: reply.revision,
                    attempts,
                });
            }
            let revision = reply.revision;
            let mut newer = self.newer(&seen, reply);
            if attempts >= self.attempts() {
                let key = changed(seen, &newer);
                return Err(Error::Contended { key, attempts });
            }
            // Once more at once; who loses again waits, so that crowds thin out.
            match &mut backoff {
                None => backoff = Some(policy().start()),
                Some(backoff) => tokio::time::sleep(backoff.next_wait()).await,
            }
            let picture = self.snapshot();
            // The view may have seen more by now than the store has answered. If it has not moved,
            // its revision proves nothing: it may be of a history that is no more.
            let moved = !Arc::ptr_eq(&picture, &basis.picture);
            if moved && picture.revision() >= revision {
                newer.clear();
            }
            basis = Basis { picture, newer };
        }
    }

    /// What the store has answered for each key that was seen.
    fn newer(&self, seen: &Seen, reply: TxnReply) -> Newer<T> {
        let mut newer = Newer::new();
        for (key, reply) in seen.keys().zip(reply.replies) {
            let entry = self.typed().decode(reply).into_entries().pop();
            newer.insert(key.clone(), entry.map(|entry| entry.map(Arc::new)));
        }
        newer
    }
}

/// A key that was not as it had been seen.
fn changed<T>(seen: Seen, newer: &Newer<T>) -> Key {
    let now = |key: &Key| newer.get(key).and_then(Option::as_ref);
    let is_changed = |(key, revision): &(Key, Revision)| {
        now(key).map_or(Revision::ZERO, |entry| entry.modified) != *revision
    };
    // One is changed, or the compares would have held.
    let key = seen.into_iter().find(is_changed).map(|(key, _)| key);
    key.unwrap_or_default()
}
