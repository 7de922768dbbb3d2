//! A key: bytes that name one entry.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;

use crate::error::Error;

/// A key: bytes, compared bytewise, never normalised.
///
/// `//`, `..`, NUL, 0xFF and a leading `/` are data. An empty key can be built, as a part to be
/// joined to a prefix, but every store refuses it. `Display` escapes what is not printable.
///
/// # Examples
/// ```
/// use keyval::Key;
///
/// let key = Key::from("agents/1/name");
/// assert_eq!(key, "agents/1/name");
/// assert_eq!(Key::from(&b"a\x00\xff"[..]).to_string(), r"a\0\xff");
/// ```
#[doc(alias = "path")]
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// The key with the bytes of this literal, without copying them.
    #[must_use]
    pub const fn from_static(key: &'static str) -> Self {
        Self(Bytes::from_static(key.as_bytes()))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The bytes, without copying them.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The bytes, shared, without copying them.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is not a single byte; such a key is refused by every store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The least key above this one: this key and a NUL byte.
    ///
    /// # Examples
    /// ```
    /// # use keyval::Key;
    /// let key = Key::from("a");
    /// assert!(key < key.successor() && key.successor() < Key::from("a0"));
    /// ```
    #[must_use]
    pub fn successor(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.len() + 1);
        bytes.extend_from_slice(&self.0);
        bytes.push(0);
        Self(bytes.into())
    }

    /// Refuses what no store accepts: the empty key.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the key is empty.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_empty() {
            return Err(Error::invalid(
                "the key is empty: a key needs at least one byte",
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(\"{self}\")")
    }
}

/// Writes bytes as text, escaping what is not printable, so that no key can control a terminal.
pub(crate) fn write_escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\'' => f.write_char(c)?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}

impl PartialEq<str> for Key {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Key {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}
