//! Prefixes and ranges of keys: the arithmetic of scopes, written once.

use std::fmt;

use bytes::Bytes;

use crate::error::Error;
use crate::key::{Key, write_escaped};

/// The bytes with which all keys of a scope begin.
///
/// A prefix is plain bytes: `agents/1` also covers `agents/10`. End it with a separator, or let
/// [`Prefix::segment`] do so. The empty prefix covers every key.
///
/// # Examples
/// ```
/// use keyval::{Key, Prefix};
///
/// let scope = Prefix::segment("agents/1");
/// assert_eq!(scope.to_string(), "agents/1/");
/// assert_eq!(scope.join(&Key::from("name")), "agents/1/name");
/// assert_eq!(scope.strip(&Key::from("agents/1/name")), Some(Key::from("name")));
/// assert_eq!(scope.strip(&Key::from("agents/10/name")), None);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(Bytes);

impl Prefix {
    /// The prefix with exactly these bytes.
    #[must_use]
    pub fn new(prefix: impl Into<Key>) -> Self {
        Self(prefix.into().into_bytes())
    }

    /// The prefix of everything below a path: adds the separator `/` unless it is there.
    ///
    /// The empty path stays empty: it is the root.
    #[must_use]
    pub fn segment(path: impl Into<Key>) -> Self {
        let path = path.into();
        if path.is_empty() || path.as_bytes().ends_with(b"/") {
            return Self(path.into_bytes());
        }
        let mut bytes = path.as_bytes().to_vec();
        bytes.push(b'/');
        Self(bytes.into())
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root, which covers every key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key outside the scope for a key inside: the prefix and then the key.
    #[must_use]
    pub fn join(&self, key: &Key) -> Key {
        if self.is_empty() {
            return key.clone();
        }
        let mut bytes = Vec::with_capacity(self.0.len() + key.len());
        bytes.extend_from_slice(&self.0);
        bytes.extend_from_slice(key.as_bytes());
        Key::from(bytes)
    }

    /// The key inside the scope for a key outside, sharing its bytes; `None` if it does not lie in
    /// the scope, or is the prefix itself, of which nothing would remain.
    #[must_use]
    pub fn strip(&self, key: &Key) -> Option<Key> {
        if key.len() <= self.0.len() || !key.as_bytes().starts_with(&self.0) {
            return None;
        }
        Some(Key::from(key.to_bytes().slice(self.0.len()..)))
    }

    /// The prefix of a scope inside this scope.
    #[must_use]
    pub fn nest(&self, inner: &Prefix) -> Prefix {
        Prefix(self.join(&Key::from(inner.0.clone())).into_bytes())
    }

    /// The range outside the scope for a range inside. Whatever the range is, the result lies
    /// within the scope: [`KeyRange::all`] becomes everything in the scope.
    ///
    /// # Examples
    /// ```
    /// # use keyval::{Key, KeyRange, Prefix};
    /// let scope = Prefix::segment("agents/1");
    /// let all = scope.shift(&KeyRange::all());
    /// assert!(all.contains(&Key::from("agents/1/name")));
    /// assert!(!all.contains(&Key::from("agents/10/name")));
    /// assert!(!all.contains(&Key::from("agents/1/")), "no key of the scope has an empty name");
    /// ```
    #[must_use]
    pub fn shift(&self, range: &KeyRange) -> KeyRange {
        let end = match &range.end {
            Some(end) => Some(self.join(end)),
            None => self.end(),
        };
        KeyRange {
            start: self.join(&range.start),
            end,
        }
    }

    /// The range inside the scope for a range outside, or `None` if it is not a range of the scope.
    #[must_use]
    pub fn unshift(&self, range: &KeyRange) -> Option<KeyRange> {
        let start = self.strip(&range.start)?;
        if range.end == self.end() {
            return Some(KeyRange { start, end: None });
        }
        let end = self.strip(range.end.as_ref()?)?;
        Some(KeyRange {
            start,
            end: Some(end),
        })
    }

    /// The least key above every key with this prefix; `None` if there is none, which is so for
    /// the empty prefix and for one of 0xFF bytes only.
    #[must_use]
    pub fn end(&self) -> Option<Key> {
        let last = self.0.iter().rposition(|byte| *byte != 0xFF)?;
        let mut bytes = self.0[..=last].to_vec();
        bytes[last] += 1;
        Some(Key::from(bytes))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prefix(\"{self}\")")
    }
}

impl<K: Into<Key>> From<K> for Prefix {
    fn from(prefix: K) -> Self {
        Self::new(prefix)
    }
}

/// A set of neighbouring keys: one key, a prefix, a half-open span, or all.
///
/// There is no "from this key on": a range without an end can only be made by [`KeyRange::all`] or
/// by a prefix that has none, and inside a scope such a range ends where the scope ends. So a
/// request that leaves a scope cannot be built.
///
/// # Examples
/// ```
/// use keyval::{Key, KeyRange};
///
/// let range = KeyRange::prefix("config/");
/// assert!(range.contains(&Key::from("config/log")));
/// assert!(!range.contains(&Key::from("configure")));
/// assert_eq!(range.to_string(), "config/*");
/// assert_eq!(KeyRange::span("a", "c").to_string(), "[a, c)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// The first key that may be in the range; never empty, so that shifting it into a scope
    /// leaves out the scope's own prefix, which is not a key of the scope.
    start: Key,
    /// The first key after the range; `None` is no end.
    end: Option<Key>,
}

impl KeyRange {
    /// Exactly this key.
    #[must_use]
    pub fn key(key: impl Into<Key>) -> Self {
        let start = key.into();
        let end = Some(start.successor());
        Self { start, end }
    }

    /// Every key that begins with this prefix; the empty prefix is [`KeyRange::all`].
    #[must_use]
    pub fn prefix(prefix: impl Into<Prefix>) -> Self {
        let prefix = prefix.into();
        Self {
            start: first_key(Key::from(prefix.0.clone())),
            end: prefix.end(),
        }
    }

    /// Every key from `start` (inclusive) to `end` (exclusive).
    ///
    /// A span whose end is not above its start holds no key, and is refused by every store: an
    /// empty end never means "no end".
    #[must_use]
    pub fn span(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        Self {
            start: first_key(start.into()),
            end: Some(end.into()),
        }
    }

    /// Every key; inside a scope, every key of the scope.
    #[must_use]
    pub fn all() -> Self {
        Self {
            start: first_key(Key::default()),
            end: None,
        }
    }

    /// The first key that may be in the range.
    #[must_use]
    pub fn start(&self) -> &Key {
        &self.start
    }

    /// The first key after the range; `None` if the range has no end.
    #[must_use]
    pub fn end(&self) -> Option<&Key> {
        self.end.as_ref()
    }

    /// The key, if the range is one key.
    #[must_use]
    pub fn single(&self) -> Option<&Key> {
        let end = self.end.as_ref()?.as_bytes();
        let (last, rest) = end.split_last()?;
        (*last == 0 && rest == self.start.as_bytes()).then_some(&self.start)
    }

    /// Whether the key is in the range.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        *key >= self.start && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The bytes of its bounds, as limits count them: of the key, if the range is one key.
    ///
    /// # Examples
    /// ```
    /// # use keyval::KeyRange;
    /// assert_eq!(KeyRange::key("abc").size(), 3);
    /// assert_eq!(KeyRange::span("a", "bc").size(), 3);
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        match (self.single(), &self.end) {
            (None, Some(end)) => self.start.len() + end.len(),
            _ => self.start.len(),
        }
    }

    /// The part of the range from this key on; used to go on behind a page.
    ///
    /// # Examples
    /// ```
    /// # use keyval::{Key, KeyRange};
    /// let rest = KeyRange::prefix("a/").starting_at(Key::from("a/m"));
    /// assert!(!rest.contains(&Key::from("a/l")) && rest.contains(&Key::from("a/m")));
    /// ```
    #[must_use]
    pub fn starting_at(&self, key: Key) -> Self {
        Self {
            start: key.max(self.start.clone()),
            end: self.end.clone(),
        }
    }

    /// The part of the range below this key; used to go on behind a page that is read backwards.
    #[must_use]
    pub fn ending_at(&self, key: Key) -> Self {
        let end = match &self.end {
            Some(end) => key.min(end.clone()),
            None => key,
        };
        Self {
            start: self.start.clone(),
            end: Some(end),
        }
    }

    /// Refuses what no store accepts: the empty key, and a range that can hold no key.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the range.
    pub fn check(&self) -> Result<(), Error> {
        self.start.check()?;
        if self.is_empty() {
            return Err(Error::invalid(format!(
                "the range {self} holds no key: its end is not above its start"
            )));
        }
        Ok(())
    }
}

/// The least key there is, in place of the empty one.
fn first_key(key: Key) -> Key {
    if key.is_empty() {
        Key::from_static("\0")
    } else {
        key
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = self.single() {
            return key.fmt(f);
        }
        if *self == Self::all() {
            return f.write_str("*");
        }
        if self.end == Prefix::new(&self.start).end() {
            return write!(f, "{}*", self.start);
        }
        // All of a scope starts just above the scope's prefix.
        if let Some((0, scope)) = self.start.as_bytes().split_last()
            && self.end == Prefix::new(scope).end()
        {
            return write!(f, "{}*", Prefix::new(scope));
        }
        match &self.end {
            Some(end) => write!(f, "[{}, {end})", self.start),
            None => write!(f, "[{}, )", self.start),
        }
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRange(\"{self}\")")
    }
}

impl From<Prefix> for KeyRange {
    fn from(prefix: Prefix) -> Self {
        Self::prefix(prefix.0)
    }
}
