//! What an edit of a view reads and writes, before it is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use keyval::{
    Bytes, Compare, DeleteOptions, Key, KeyRange, Lifetime, Op, PutOptions, Revision, Txn,
};

use crate::error::Result;
use crate::view::picture::{ViewEntry, ViewSnapshot};

/// An edit in the making, handed to the function that makes it; see
/// [`View::edit`](crate::View::edit).
///
/// Every key that is read or written here is guarded: the edit takes place only if each of them
/// still is what this draft shows. The keys must lie in the range of the view.
pub struct Draft<'a, T> {
    basis: &'a Basis<T>,
    range: &'a KeyRange,
    encode: &'a dyn Fn(&Key, &T) -> Result<Bytes>,
    seen: Seen,
    writes: BTreeMap<Key, Op>,
}

/// What becomes of a key that is [updated](crate::View::update); made from a value, or from an option,
/// of which `None` deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit<T> {
    /// It gets this value.
    Put(T),
    /// It is deleted.
    Delete,
    /// It stays as it is.
    Keep,
}

impl<T> From<T> for Edit<T> {
    fn from(value: T) -> Self {
        Self::Put(value)
    }
}

impl<T> From<Option<T>> for Edit<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Delete, Self::Put)
    }
}

/// An edit that has taken place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edited<R = ()> {
    /// What the function returned that made the edit.
    pub value: R,
    /// The revision of the edit; if it wrote nothing, one at which all was as the function saw it.
    pub revision: Revision,
    /// How often it was tried: 1 if nobody else was faster.
    pub attempts: u32,
}

/// What a draft shows: a picture of the view, and what the store has told since.
pub(super) struct Basis<T> {
    pub(super) picture: Arc<ViewSnapshot<T>>,
    pub(super) newer: Newer<T>,
}

/// The revision of the last put of each key that was looked at; zero if it does not exist.
pub(super) type Seen = BTreeMap<Key, Revision>;

/// What the store has told of some keys; `None` of those that do not exist.
pub(super) type Newer<T> = BTreeMap<Key, Option<ViewEntry<T>>>;

impl<T> Basis<T> {
    fn find(&self, key: &Key) -> Option<&ViewEntry<T>> {
        match self.newer.get(key) {
            Some(entry) => entry.as_ref(),
            None => self.picture.get(key),
        }
    }
}

impl<'a, T> Draft<'a, T> {
    pub(super) fn new(
        basis: &'a Basis<T>,
        range: &'a KeyRange,
        encode: &'a dyn Fn(&Key, &T) -> Result<Bytes>,
    ) -> Self {
        Self {
            basis,
            range,
            encode,
            seen: Seen::new(),
            writes: BTreeMap::new(),
        }
    }

    /// The value of a key as it is before this edit: what the draft puts is not seen. `None` if the
    /// key does not exist.
    ///
    /// # Errors
    /// [`Error::Decode`](crate::Error::Decode) if what stands there is no such value;
    /// [`keyval::Error::Invalid`] if the key lies outside the view.
    pub fn get(&mut self, key: impl Into<Key>) -> Result<Option<&'a T>> {
        match self.entry(key)? {
            None => Ok(None),
            Some(entry) => match &*entry.value {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(error.clone().into()),
            },
        }
    }

    /// The entry of a key as it is before this edit, whether or not its value can be decoded; `None`
    /// if the key does not exist.
    ///
    /// # Errors
    /// [`keyval::Error::Invalid`] if the key lies outside the view.
    pub fn entry(&mut self, key: impl Into<Key>) -> Result<Option<&'a ViewEntry<T>>> {
        self.look(key.into())
    }

    /// Puts a value, whatever stood there, decodable or not. A key that exists keeps its lease.
    ///
    /// The last put or delete of a key counts.
    ///
    /// # Errors
    /// [`Error::Encode`](crate::Error::Encode) if the value cannot be encoded;
    /// [`keyval::Error::Invalid`] if the key lies outside the view.
    pub fn put(&mut self, key: impl Into<Key>, value: &T) -> Result<()> {
        let key = key.into();
        let lifetime = match self.look(key.clone())? {
            Some(_) => Lifetime::Keep,
            None => Lifetime::Permanent,
        };
        self.put_for(key, value, lifetime)
    }

    /// Puts a value that lives for this long, whatever stood there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_for(&mut self, key: impl Into<Key>, value: &T, lifetime: Lifetime) -> Result<()> {
        let key = key.into();
        self.look(key.clone())?;
        let bytes = (self.encode)(&key, value)?;
        let options = PutOptions::default().with_lifetime(lifetime);
        self.writes
            .insert(key.clone(), Op::Put(key, bytes, options));
        Ok(())
    }

    /// Deletes a key; one that does not exist stays so.
    ///
    /// # Errors
    /// [`keyval::Error::Invalid`] if the key lies outside the view.
    pub fn delete(&mut self, key: impl Into<Key>) -> Result<()> {
        let key = key.into();
        match self.look(key.clone())? {
            Some(_) => {
                let delete = Op::Delete(KeyRange::key(&key), DeleteOptions::default());
                self.writes.insert(key, delete);
            }
            None => {
                self.writes.remove(&key);
            }
        }
        Ok(())
    }

    /// Notes what is seen of a key, and with that guards it.
    fn look(&mut self, key: Key) -> Result<Option<&'a ViewEntry<T>>> {
        if !self.range.contains(&key) {
            return Err(keyval::Error::invalid(format!(
                "the key \"{key}\" is outside of {}, which the view shows: open a view that covers it",
                self.range
            ))
            .into());
        }
        let entry = self.basis.find(&key);
        let modified = entry.map_or(Revision::ZERO, |entry| entry.modified);
        self.seen.insert(key, modified);
        Ok(entry)
    }

    /// The transaction that carries the draft out, or only confirms it, if all is as it was seen, and
    /// else reads what is there now; beside it, what was seen.
    pub(super) fn finish(self, carry_out: bool) -> (Txn, Seen) {
        let writes = if carry_out {
            self.writes
        } else {
            BTreeMap::new()
        };
        let compares = self.seen.iter();
        let compares = compares.map(|(key, modified)| Compare::modified(key, *modified));
        let txn = Txn {
            compares: compares.collect(),
            then: writes.into_values().collect(),
            otherwise: self.seen.keys().map(Op::get).collect(),
        };
        (txn, self.seen)
    }
}

impl<T> fmt::Debug for Draft<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("seen", &self.seen)
            .field("writes", &self.writes.keys())
            .finish_non_exhaustive()
    }
}
