//! Keys as numbers, so that the keys between two others can be guessed.

use keyval::Key;

/// Positions of a key that are looked at; what differs only behind them cannot be told apart.
const POSITIONS: usize = 256;
/// A character of which so many kinds were seen shows what may stand in its place; with fewer it
/// may be one that changes seldom, as the first digits of a counter do.
const EVIDENCE: u32 = 8;
/// How finely the keys below the first difference are told apart.
const FINE: u128 = 1 << 48;
/// How large a number may become.
const LARGE: u128 = 1 << 112;

/// Which bytes occur at each position of the keys seen so far.
#[derive(Debug, Default)]
pub(crate) struct Alphabets(Vec<Bytes>);

impl Alphabets {
    /// Learns from a key.
    pub(crate) fn learn(&mut self, key: &Key) {
        let bytes = &key.as_bytes()[..key.len().min(POSITIONS)];
        if self.0.len() < bytes.len() {
            self.0.resize(bytes.len(), Bytes::NONE);
        }
        for (seen, &byte) in self.0.iter_mut().zip(bytes) {
            seen.insert(byte);
        }
    }

    /// The scale that tells `near` and `start` apart and reaches as far above them as numbers do,
    /// but not above what all keys of the list have in common with `near`.
    pub(crate) fn scale(&self, near: &Key, start: &Key, common: usize) -> Scale {
        let likely = self.likely();
        let differ = common_length(near.as_bytes(), start.as_bytes()).min(likely.len());
        let mut first = differ;
        let mut last = differ;
        let mut size: u128 = 1;
        while last < likely.len() && size < FINE {
            size *= u128::from(likely[last].len());
            last += 1;
        }
        while first > common {
            let larger = size * u128::from(likely[first - 1].len());
            if larger > LARGE {
                break;
            }
            size = larger;
            first -= 1;
        }
        let prefix = near.as_bytes()[..first.min(near.len())].to_vec();
        Scale {
            prefix,
            digits: likely[first..last].to_vec(),
            size,
        }
    }

    /// What may stand at each position, as far as can be guessed.
    fn likely(&self) -> Vec<Bytes> {
        let mut likely: Vec<Bytes> = self.0.iter().map(Bytes::completed).collect();
        for at in (1..likely.len()).rev() {
            let (seen, behind) = (self.0[at - 1], likely[at]);
            if seen.len() < EVIDENCE && seen.has_word() && self.0[at].has_word() {
                likely[at - 1] = likely[at - 1].union(behind);
            }
        }
        likely
    }
}

/// Numbers for the keys with a prefix, in the order of the keys: each position is a digit.
#[derive(Debug)]
pub(crate) struct Scale {
    prefix: Vec<u8>,
    digits: Vec<Bytes>,
    size: u128,
}

impl Scale {
    /// Above the number of every key with the prefix.
    pub(crate) fn size(&self) -> u128 {
        self.size
    }

    /// The number of a key; those before the prefix have the least, those behind it the greatest.
    pub(crate) fn number(&self, key: &Key) -> u128 {
        let key = key.as_bytes();
        let Some(rest) = key.strip_prefix(&self.prefix[..]) else {
            return if key < &self.prefix[..] { 0 } else { self.size };
        };
        let mut number = 0;
        let mut weight = self.size;
        let mut exact = true;
        for (at, digits) in self.digits.iter().enumerate() {
            weight /= u128::from(digits.len());
            if let (true, Some(&byte)) = (exact, rest.get(at)) {
                number += u128::from(digits.below(byte)) * weight;
                // What follows a byte that no key has says nothing about keys.
                exact = digits.contains(byte);
            }
        }
        number
    }

    /// The first key with a number or above.
    pub(crate) fn key(&self, number: u128) -> Key {
        let mut key = self.prefix.clone();
        let mut weight = self.size;
        for digits in &self.digits {
            weight /= u128::from(digits.len());
            let digit = number / weight % u128::from(digits.len());
            key.push(digits.nth(digit as u32));
        }
        Key::from(key)
    }
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes([u64; 4]);

impl Bytes {
    const NONE: Self = Self([0; 4]);
    const ALL: Self = Self([u64::MAX; 4]);

    fn range(from: u8, to: u8) -> Self {
        let mut bytes = Self::NONE;
        (from..=to).for_each(|byte| bytes.insert(byte));
        bytes
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte / 64)] |= 1 << (byte % 64);
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }

    fn len(&self) -> u32 {
        self.0.iter().map(|part| part.count_ones()).sum()
    }

    fn union(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    fn meets(&self, other: Self) -> bool {
        (0..4).any(|at| self.0[at] & other.0[at] != 0)
    }

    /// How many are below this one.
    fn below(&self, byte: u8) -> u32 {
        let at = usize::from(byte / 64);
        let lower: u32 = self.0[..at].iter().map(|part| part.count_ones()).sum();
        lower + (self.0[at] & ((1 << (byte % 64)) - 1)).count_ones()
    }

    /// The one with so many below it.
    fn nth(&self, nth: u32) -> u8 {
        let found = (0..=u8::MAX).filter(|&byte| self.contains(byte));
        found.into_iter().nth(nth as usize).unwrap_or(u8::MAX)
    }

    fn has_word(&self) -> bool {
        (b'0'..=b'z').any(|byte| byte.is_ascii_alphanumeric() && self.contains(byte))
    }

    /// With the rest of every kind of character of which there is one.
    fn completed(&self) -> Self {
        let printable = Self::range(b' ', b'~');
        if !Self(std::array::from_fn(|at| self.0[at] & !printable.0[at])).is_none() {
            return Self::ALL;
        }
        let mut all = *self;
        for [part, whole] in [
            [Self::range(b'0', b'9'), Self::range(b'0', b'9')],
            [Self::range(b'a', b'f'), Self::range(b'a', b'f')],
            [Self::range(b'A', b'F'), Self::range(b'A', b'F')],
            [Self::range(b'g', b'z'), Self::range(b'a', b'z')],
            [Self::range(b'G', b'Z'), Self::range(b'A', b'Z')],
        ] {
            if self.meets(part) {
                all = all.union(whole);
            }
        }
        all
    }

    fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

/// How many bytes two keys have in common at their beginning.
pub(crate) fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
