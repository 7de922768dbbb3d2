//! The numbers by which etcd tells its members apart.

use std::fmt;
use std::str::FromStr;

use keyval::Error;

/// The number of a member of a cluster; shown and read in hexadecimal, as `etcdctl` does.
///
/// # Examples
/// ```
/// use keyval_etcd::MemberId;
///
/// let id: MemberId = "8e9e05c52164694d".parse()?;
/// assert_eq!(id, MemberId::new(0x8e9e_05c5_2164_694d));
/// assert_eq!(id.to_string(), "8e9e05c52164694d");
/// # Ok::<(), keyval::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u64);

impl MemberId {
    /// The member with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for MemberId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // Digits alone, as a sign would pass for one.
        let digits = text.bytes().all(|digit| digit.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(number) if digits => Ok(Self(number)),
            _ => Err(Error::invalid(format!(
                "\"{}\" is not the number of a member: write up to 16 hexadecimal digits",
                text.escape_debug()
            ))),
        }
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::MemberId;

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "+1", "-1", "0x1", "g", "10000000000000000"] {
            let told = text.parse::<MemberId>().unwrap_err().to_string();
            assert!(told.contains("hexadecimal"), "{told}");
        }
        assert_eq!("FF".parse::<MemberId>().unwrap(), MemberId::new(255));
    }
}
