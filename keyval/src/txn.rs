//! A transaction as data: compares, and what to do if they all hold or if one does not.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::capability::Capabilities;
use crate::error::{Error, Result};
use crate::key::Key;
use crate::lease_id::LeaseId;
use crate::options::{DeleteOptions, ListOptions, PutOptions};
use crate::range::{KeyRange, Prefix};
use crate::revision::Revision;

/// What a compare looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The number of puts since the key came to be.
    Version(u64),
    /// The revision at which the key came to be.
    Created(Revision),
    /// The revision of the last put.
    Modified(Revision),
    /// The value.
    Value(Bytes),
    /// The lease; `None` is no lease.
    Lease(Option<LeaseId>),
}

/// How a compare relates what stands in the store to what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The store's equals the given.
    Equal,
    /// The store's differs from the given.
    NotEqual,
    /// The store's is greater than the given.
    Greater,
    /// The store's is less than the given.
    Less,
}

impl Relation {
    /// Whether the relation holds between what stands in the store and what is given.
    pub fn holds<T: Ord + ?Sized>(self, stored: &T, given: &T) -> bool {
        match self {
            Self::Equal => stored == given,
            Self::NotEqual => stored != given,
            Self::Greater => stored > given,
            Self::Less => stored < given,
        }
    }
}

/// One condition of a transaction, on one key.
///
/// For a key that does not exist, version, revisions and lease count as zero, and no compare of
/// its value holds, not even "not equal": absent is not a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Key,
    /// What to look at, and the given side.
    pub target: Target,
    /// How the two must relate.
    pub relation: Relation,
}

impl Compare {
    /// The store's `target` of the key relates so to the given one.
    #[must_use]
    pub fn new(key: impl Into<Key>, relation: Relation, target: Target) -> Self {
        Self {
            key: key.into(),
            target,
            relation,
        }
    }

    /// The key does not exist.
    #[must_use]
    pub fn absent(key: impl Into<Key>) -> Self {
        Self::new(key, Relation::Equal, Target::Version(0))
    }

    /// The key exists.
    #[must_use]
    pub fn exists(key: impl Into<Key>) -> Self {
        Self::new(key, Relation::Greater, Target::Version(0))
    }

    /// The key was last put at this revision.
    #[must_use]
    pub fn modified(key: impl Into<Key>, revision: Revision) -> Self {
        Self::new(key, Relation::Equal, Target::Modified(revision))
    }

    /// The key came to be at this revision: it was not deleted and made again since.
    #[must_use]
    pub fn created(key: impl Into<Key>, revision: Revision) -> Self {
        Self::new(key, Relation::Equal, Target::Created(revision))
    }

    /// The key exists with exactly this value.
    #[must_use]
    pub fn value(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        Self::new(key, Relation::Equal, Target::Value(value.into()))
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads a range. Sees the writes that stand before it in the transaction.
    Get(KeyRange, ListOptions),
    /// Puts a key. A condition is refused here: it belongs into the compares.
    Put(Key, Bytes, PutOptions),
    /// Deletes a range.
    Delete(KeyRange, DeleteOptions),
}

impl Op {
    /// Reads one key.
    #[must_use]
    pub fn get(key: impl Into<Key>) -> Self {
        Self::Get(KeyRange::key(key), ListOptions::default())
    }

    /// Reads a range.
    #[must_use]
    pub fn list(range: KeyRange) -> Self {
        Self::Get(range, ListOptions::default())
    }

    /// Puts a key.
    #[must_use]
    pub fn put(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        Self::Put(key.into(), value.into(), PutOptions::default())
    }

    /// Deletes one key.
    #[must_use]
    pub fn delete(key: impl Into<Key>) -> Self {
        Self::Delete(KeyRange::key(key), DeleteOptions::default())
    }

    /// Deletes every key with this prefix.
    #[must_use]
    pub fn delete_prefix(prefix: impl Into<Prefix>) -> Self {
        Self::Delete(KeyRange::prefix(prefix), DeleteOptions::default())
    }
}

/// A transaction: if every compare holds, the `then` list is carried out, else the `otherwise`
/// list; all at one revision, or not at all.
///
/// It is plain data: build it, inspect it, keep it, send it to any store.
///
/// # Examples
/// ```
/// use keyval::{BrokerExt, Broker, Compare, Memory, Op, Txn};
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let reply = store
///     .commit(
///         Txn::new()
///             .when(Compare::absent("leader"))
///             .then(Op::put("leader", "me"))
///             .otherwise(Op::get("leader")),
///     )
///     .await?;
/// assert!(reply.succeeded);
/// # Ok::<_, keyval::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The compares, all of which must hold; none always holds.
    pub compares: Vec<Compare>,
    /// What to do if they all hold.
    pub then: Vec<Op>,
    /// What to do if one does not.
    pub otherwise: Vec<Op>,
}

impl Txn {
    /// A transaction that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a compare that must hold.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Adds an operation to do if every compare holds.
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.then.push(op);
        self
    }

    /// Adds an operation to do if a compare does not hold.
    #[must_use]
    pub fn otherwise(mut self, op: Op) -> Self {
        self.otherwise.push(op);
        self
    }

    /// Whether neither list writes anything.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.then
            .iter()
            .chain(&self.otherwise)
            .all(|op| matches!(op, Op::Get(..)))
    }

    /// The same transaction on the keys of this scope, each with the prefix before it.
    ///
    /// # Examples
    /// ```
    /// use keyval::{Op, Prefix, Txn};
    ///
    /// let txn = Txn::new().then(Op::delete("name")).under(&Prefix::segment("agents/1"));
    /// assert_eq!(txn, Txn::new().then(Op::delete("agents/1/name")));
    /// ```
    #[must_use]
    pub fn under(mut self, scope: &Prefix) -> Self {
        for compare in &mut self.compares {
            compare.key = scope.join(&compare.key);
        }
        for op in self.then.iter_mut().chain(&mut self.otherwise) {
            match op {
                Op::Get(range, _) | Op::Delete(range, _) => *range = scope.shift(range),
                Op::Put(key, ..) => *key = scope.join(key),
            }
        }
        self
    }

    /// Refuses what no store accepts and what is beyond the limits of this one, before anything is
    /// sent.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty key, an empty range, a limit of zero, or a condition within
    /// an operation; [`Error::TooManyOps`] and [`Error::TooLarge`] with the numbers;
    /// [`Error::DuplicateKey`] if one branch puts a key twice, or puts and deletes it.
    pub fn check(&self, limits: &Capabilities) -> Result<()> {
        let count = self
            .compares
            .len()
            .max(self.then.len())
            .max(self.otherwise.len());
        if let Some(limit) = limits.max_txn_ops
            && count > limit
        {
            let limit = Some(limit);
            return Err(Error::TooManyOps { count, limit });
        }
        for compare in &self.compares {
            compare.key.check()?;
        }
        for branch in [&self.then, &self.otherwise] {
            check_branch(branch)?;
        }
        if let Some(limit) = limits.max_request_bytes {
            let size = self.size();
            if size > limit {
                let limit = Some(limit);
                return Err(Error::TooLarge { size, limit });
            }
        }
        Ok(())
    }

    /// The bytes of all keys and values, as limits count them.
    #[must_use]
    pub fn size(&self) -> usize {
        let compares: usize = self.compares.iter().map(compare_size).sum();
        let ops: usize = self.then.iter().chain(&self.otherwise).map(op_size).sum();
        compares + ops
    }
}

fn check_branch(branch: &[Op]) -> Result<()> {
    let mut put = BTreeSet::new();
    for op in branch {
        match op {
            Op::Get(range, options) => {
                range.check()?;
                options.check()?;
            }
            Op::Delete(range, _) => range.check()?,
            Op::Put(key, value, options) => {
                options.check(key, value)?;
                if options.only_if.is_some() {
                    return Err(Error::invalid(format!(
                        "the put of \"{key}\" in a transaction has a condition: \
                         add it to the compares instead"
                    )));
                }
                if !put.insert(key) {
                    return Err(Error::DuplicateKey { key: key.clone() });
                }
            }
        }
    }
    for op in branch {
        if let Op::Delete(range, _) = op
            && let Some(key) = put.range::<&Key, _>(range.start()..).next()
            && range.contains(key)
        {
            return Err(Error::DuplicateKey {
                key: (*key).clone(),
            });
        }
    }
    Ok(())
}

fn compare_size(compare: &Compare) -> usize {
    let value = match &compare.target {
        Target::Value(value) => value.len(),
        _ => 0,
    };
    compare.key.len() + value
}

fn op_size(op: &Op) -> usize {
    match op {
        Op::Put(key, value, _) => key.len() + value.len(),
        Op::Get(range, _) | Op::Delete(range, _) => range.size(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Condition;

    fn limits() -> Capabilities {
        Capabilities::all()
            .with_max_txn_ops(Some(128))
            .with_max_request_bytes(Some(1000))
    }

    #[test]
    fn as_many_operations_as_the_limit_pass_and_one_more_does_not() {
        let puts =
            |n: usize| (0..n).fold(Txn::new(), |txn, i| txn.then(Op::put(format!("{i}"), "")));
        assert!(puts(128).check(&limits()).is_ok());
        assert!(matches!(
            puts(129).check(&limits()),
            Err(Error::TooManyOps {
                count: 129,
                limit: Some(128)
            })
        ));
        let compares = (0..129).fold(Txn::new(), |txn, i| {
            txn.when(Compare::exists(format!("{i}")))
        });
        assert!(matches!(
            compares.check(&limits()),
            Err(Error::TooManyOps { count: 129, .. })
        ));
        assert!(
            puts(129).check(&Capabilities::all()).is_ok(),
            "a store may have no limit"
        );
    }

    #[test]
    fn keys_and_values_together_count_as_the_size() {
        let txn = |len: usize| Txn::new().then(Op::put("key", vec![0; len]));
        assert!(txn(997).check(&limits()).is_ok());
        assert!(matches!(
            txn(998).check(&limits()),
            Err(Error::TooLarge {
                size: 1001,
                limit: Some(1000)
            })
        ));
        let key = "k".repeat(1000);
        let once = Txn::new().then(Op::delete(key));
        assert!(once.check(&limits()).is_ok(), "one key counts once");
    }

    #[test]
    fn one_branch_writes_a_key_once() {
        let twice = Txn::new().then(Op::put("a", "1")).then(Op::put("a", "2"));
        let put_and_delete = Txn::new()
            .otherwise(Op::delete_prefix("a"))
            .otherwise(Op::put("ab", ""));
        for txn in [twice, put_and_delete] {
            assert!(
                matches!(txn.check(&limits()), Err(Error::DuplicateKey { .. })),
                "{txn:?}"
            );
        }
        let apart = Txn::new()
            .then(Op::put("a", "1"))
            .otherwise(Op::put("a", "2"));
        let neighbours = Txn::new()
            .then(Op::delete_prefix("a/"))
            .then(Op::put("a", ""));
        let deletes = Txn::new()
            .then(Op::delete_prefix("a"))
            .then(Op::delete("ab"));
        for txn in [apart, neighbours, deletes] {
            assert!(txn.check(&limits()).is_ok(), "{txn:?}");
        }
    }

    #[test]
    fn what_no_store_accepts_is_refused_beforehand() {
        let refused = [
            Txn::new().when(Compare::exists("")),
            Txn::new().then(Op::put("", "")),
            Txn::new().then(Op::get("")),
            Txn::new().otherwise(Op::list(KeyRange::span("b", "a"))),
            Txn::new().then(Op::Get(
                KeyRange::all(),
                ListOptions::default().with_limit(0),
            )),
            Txn::new().then(Op::Put(
                Key::from("a"),
                Bytes::new(),
                PutOptions::default().only_if(Condition::Absent),
            )),
            Txn::new().then(Op::Put(
                Key::from("a"),
                Bytes::from("v"),
                PutOptions::default().keep_value(),
            )),
        ];
        for txn in refused {
            assert!(
                matches!(txn.check(&limits()), Err(Error::Invalid { .. })),
                "{txn:?}"
            );
        }
    }

    #[test]
    fn a_scope_is_put_before_every_key() {
        let txn = Txn::new()
            .when(Compare::exists("a"))
            .then(Op::put("b", "1"))
            .otherwise(Op::list(KeyRange::all()));
        let scope = Prefix::segment("s");
        let expected = Txn::new()
            .when(Compare::exists("s/a"))
            .then(Op::put("s/b", "1"))
            .otherwise(Op::list(scope.shift(&KeyRange::all())));
        assert_eq!(txn.under(&scope), expected);
    }

    #[test]
    fn relations_compare_the_stored_with_the_given() {
        for (relation, less, equal, greater) in [
            (Relation::Equal, false, true, false),
            (Relation::NotEqual, true, false, true),
            (Relation::Greater, false, false, true),
            (Relation::Less, true, false, false),
        ] {
            assert_eq!(relation.holds(&1, &2), less, "{relation:?}");
            assert_eq!(relation.holds(&2, &2), equal, "{relation:?}");
            assert_eq!(relation.holds(&3, &2), greater, "{relation:?}");
        }
    }
}
