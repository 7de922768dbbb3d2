//! Durations as people and Go programs write them: `300ms`, `1h30m`, `1.5h`, `1d`.
//!
//! A duration is a sequence of decimal numbers with units, largest first or in any order, with or
//! without spaces between: `2m0.5s`, `1h 30m`. Units: `ns`, `us`, `ms`, `s`, `m`, `h`, `d` (24 h).
//! In YAML a bare integer counts nanoseconds, as in cn-infra's files. The range is 0 to
//! 9223372036854775807 ns (292 years), Go's; below a nanosecond is cut off, as in Go.
//!
//! The module itself serves as `#[serde(with = "duration")]` for a [`Duration`] field,
//! [`option`] for an `Option<Duration>`, and [`seconds`] for the keys whose bare integers count
//! seconds.
//!
//! # Examples
//! ```
//! use keyval_config::{duration, parse};
//! use std::time::Duration;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "kebab-case", deny_unknown_fields)]
//! struct Timeouts {
//!     #[serde(with = "duration")]
//!     dial_timeout: Duration,
//!     #[serde(with = "duration")]
//!     operation_timeout: Duration,
//! }
//!
//! let timeouts: Timeouts = parse("etcd.yaml", "dial-timeout: 1.5s\noperation-timeout: 3000000000")?;
//! assert_eq!(timeouts.dial_timeout, Duration::from_millis(1500));
//! assert_eq!(timeouts.operation_timeout, Duration::from_secs(3));
//! # keyval_config::Result::Ok(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

const NANOSECOND: u128 = 1;
const MICROSECOND: u128 = 1_000;
const MILLISECOND: u128 = 1_000_000;
const SECOND: u128 = 1_000_000_000;
const MINUTE: u128 = 60 * SECOND;
const HOUR: u128 = 60 * MINUTE;
const DAY: u128 = 24 * HOUR;
/// Go's longest duration, so that what we accept a Go agent accepts too.
const LONGEST: u128 = i64::MAX as u128;
/// By this name a reader knows what is read, which can be written in more than one way.
pub(crate) const DURATION: &str = "keyval_config::Duration";

/// A duration that reads and prints itself as people write it.
///
/// Prints in Go's notation without the empty parts, in hours at most: `1h30m`, `2m0.5s`, `300ms`,
/// `24h`, `0s`. What it prints parses to the same duration.
///
/// # Examples
/// ```
/// use keyval_config::HumanDuration;
/// use std::time::Duration;
///
/// let ttl: HumanDuration = "1.5h".parse()?;
/// assert_eq!(Duration::from(ttl), Duration::from_secs(5400));
/// assert_eq!(ttl.to_string(), "1h30m");
/// # Ok::<(), keyval_config::duration::ParseDurationError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration(
    /// The duration itself.
    pub Duration,
);

impl From<Duration> for HumanDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumanDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if nanos < MICROSECOND {
            return write!(f, "{nanos}ns");
        }
        if nanos < MILLISECOND {
            return write_decimal(f, nanos, MICROSECOND, "us");
        }
        if nanos < SECOND {
            return write_decimal(f, nanos, MILLISECOND, "ms");
        }
        let (hours, minutes, rest) = (nanos / HOUR, nanos % HOUR / MINUTE, nanos % MINUTE);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if rest > 0 {
            write_decimal(f, rest, SECOND, "s")?;
        }
        Ok(())
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^\\s*\\+?(0|((\\d+\\.?\\d*|\\.\\d+)(ns|us|\u{b5}s|\u{3bc}s|ms|s|m|h|d) *)+)\\s*$",
            "minimum": 0,
            "description": "A time such as 300ms, 1.5s, 1h30m or 1d; an integer counts nanoseconds, \
                            or what the key says.",
        })
    }
}

/// Why a text or a number is not a duration; the message shows it and the accepted forms.
///
/// # Examples
/// ```
/// let error = keyval_config::duration::parse("5 parsecs").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "\"5 parsecs\" is not a duration: unknown unit \"parsecs\"; \
///      write it as 300ms, 1.5s, 1h30m or 1d"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{shown} is not a duration: {reason}; write it as 300ms, 1.5s, 1h30m or 1d")]
pub struct ParseDurationError {
    shown: String,
    reason: String,
}

impl ParseDurationError {
    fn of_text(text: &str, reason: impl Into<String>) -> Self {
        Self {
            shown: quoted(text),
            reason: reason.into(),
        }
    }

    fn of_number(number: impl fmt::Display, reason: impl Into<String>) -> Self {
        Self {
            shown: number.to_string(),
            reason: reason.into(),
        }
    }
}

/// Reads a duration with units, such as `300ms`, `1h30m`, `1.5h` or `1d`.
///
/// A number needs its unit here, except `0`.
///
/// # Errors
/// Empty text, a number without a unit, an unknown unit, a negative or a too long duration.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// assert_eq!(keyval_config::duration::parse("2m0.5s")?, Duration::from_millis(120_500));
/// assert!(keyval_config::duration::parse("-1s").is_err());
/// # Ok::<(), keyval_config::duration::ParseDurationError>(())
/// ```
pub fn parse(text: &str) -> Result<Duration, ParseDurationError> {
    let fail = |reason: &str| ParseDurationError::of_text(text, reason);
    let too_long = || fail("it is longer than 292 years");

    let trimmed = text.trim();
    let mut rest = trimmed.strip_prefix('+').unwrap_or(trimmed);
    if rest.is_empty() {
        return Err(fail("it is empty"));
    }
    if rest.starts_with('-') {
        return Err(fail("it is negative"));
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }

    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_while(rest, |c| c.is_ascii_digit());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_while(after, |c| c.is_ascii_digit()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(fail("a number is missing"));
        }
        let (unit, after) = split_while(after, |c| !c.is_ascii_digit() && c != '.' && c != ' ');
        let scale = match unit {
            "ns" => NANOSECOND,
            // Both signs Go accepts, micro and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            "d" => DAY,
            "" if after.starts_with('.') => return Err(fail("a number has two points")),
            "" => {
                // "5 parsecs": the unit is there, only after a space.
                let (word, _) = split_while(after.trim_start(), |c| !c.is_ascii_digit());
                return Err(match word.trim() {
                    "" => fail("a number has no unit"),
                    word => fail(&format!("unknown unit {}", quoted(word))),
                });
            }
            unit => return Err(fail(&format!("unknown unit {}", quoted(unit)))),
        };
        total = parse_digits(whole)
            .and_then(|whole| whole.checked_mul(scale))
            .and_then(|whole| whole.checked_add(fraction_of(fraction, scale)))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(too_long)?;
        rest = after.trim_start_matches(' ');
    }
    Ok(from_nanos(total))
}

/// Shows a duration as [`HumanDuration`] does: `1h30m`, `2m0.5s`, `300ms`.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// assert_eq!(keyval_config::duration::format(Duration::from_secs(90)), "1m30s");
/// ```
#[must_use]
pub fn format(duration: Duration) -> String {
    HumanDuration(duration).to_string()
}

/// Deserializes a duration: a text with units, or a bare integer of nanoseconds.
///
/// # Errors
/// Anything else, and a negative or too long duration; the message names the value.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let integers_count = NANOSECOND;
    deserializer.deserialize_newtype_struct(DURATION, DurationVisitor { integers_count })
}

/// Serializes a duration as a text with units.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    HumanDuration(*duration).serialize(serializer)
}

/// `#[serde(default, with = "duration::option")]` for an `Option<Duration>`: null is `None`.
///
/// # Examples
/// ```
/// use keyval_config::{duration, parse};
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// struct Retention {
///     #[serde(default, with = "duration::option")]
///     keep: Option<Duration>,
/// }
///
/// assert_eq!(parse::<Retention>("a.yaml", "keep: 1d")?.keep, Some(Duration::from_secs(86400)));
/// assert_eq!(parse::<Retention>("a.yaml", "keep: ~")?.keep, None);
/// assert_eq!(parse::<Retention>("a.yaml", "")?.keep, None);
/// # keyval_config::Result::Ok(())
/// ```
pub mod option {
    use super::{Deserialize, Deserializer, Duration, HumanDuration, Serialize, Serializer};

    /// Deserializes a duration as the parent module does, or null as `None`.
    ///
    /// # Errors
    /// As [`super::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let duration: Option<HumanDuration> = Option::deserialize(deserializer)?;
        Ok(duration.map(Duration::from))
    }

    /// Serializes a duration as a text with units, or `None` as null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(HumanDuration).serialize(serializer)
    }
}

/// `#[serde(with = "duration::seconds")]` for a key whose bare integers count seconds.
///
/// cn-infra counts `session-ttl` so; texts with units mean the same as everywhere.
///
/// # Examples
/// ```
/// use keyval_config::{duration, parse};
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "kebab-case")]
/// struct Session {
///     #[serde(with = "duration::seconds")]
///     session_ttl: Duration,
/// }
///
/// let five = Duration::from_secs(5);
/// assert_eq!(parse::<Session>("etcd.conf", "session-ttl: 5")?.session_ttl, five);
/// assert_eq!(parse::<Session>("etcd.yaml", "session-ttl: 5s")?.session_ttl, five);
/// # keyval_config::Result::Ok(())
/// ```
pub mod seconds {
    use super::{DURATION, Deserializer, Duration, DurationVisitor, SECOND, Serializer};

    /// Deserializes a duration: a text with units, or a bare integer of seconds.
    ///
    /// # Errors
    /// As [`super::deserialize`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let integers_count = SECOND;
        deserializer.deserialize_newtype_struct(DURATION, DurationVisitor { integers_count })
    }

    /// Serializes a duration as a text with units.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(duration, serializer)
    }
}

/// Accepts a text with units, or an integer that counts the unit given.
struct DurationVisitor {
    integers_count: u128,
}

impl<'de> Visitor<'de> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.integers_count == SECOND {
            "seconds"
        } else {
            "nanoseconds"
        };
        write!(
            f,
            "a duration such as 300ms, 1.5s, 1h30m or 1d, or an integer of {unit}"
        )
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Duration, E> {
        self.visit_u128(u128::from(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Duration, E> {
        self.visit_i128(i128::from(number))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Duration, E> {
        number
            .checked_mul(self.integers_count)
            .filter(|nanos| *nanos <= LONGEST)
            .map_or_else(
                || {
                    let reason = "it is longer than 292 years";
                    Err(E::custom(ParseDurationError::of_number(number, reason)))
                },
                |nanos| Ok(from_nanos(nanos)),
            )
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Duration, E> {
        match u128::try_from(number) {
            Ok(number) => self.visit_u128(number),
            Err(_) => Err(E::custom(ParseDurationError::of_number(
                number,
                "it is negative",
            ))),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Duration, E> {
        let reason = if number < 0.0 {
            "it is negative"
        } else if number > LONGEST as f64 {
            "it is longer than 292 years"
        } else {
            "a decimal number needs a unit"
        };
        Err(E::custom(ParseDurationError::of_number(
            format_args!("{number:?}"),
            reason,
        )))
    }
}

fn from_nanos(nanos: u128) -> Duration {
    // Both parts fit: callers stay within LONGEST.
    Duration::new((nanos / SECOND) as u64, (nanos % SECOND) as u32)
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// The number that decimal digits spell; none for no digits is 0, `None` if beyond `u64`.
fn parse_digits(digits: &str) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    digits.parse::<u64>().ok().map(u128::from)
}

/// What `0.<digits>` of a unit is in whole nanoseconds, rounded down.
fn fraction_of(digits: &str, scale: u128) -> u128 {
    // Exact in integers: a day has 14 digits of nanoseconds, so 18 places decide the result.
    let (value, divisor) = digits
        .bytes()
        .take(18)
        .fold((0, 1), |(value, divisor), digit| {
            (value * 10 + u128::from(digit - b'0'), divisor * 10)
        });
    scale * value / divisor
}

/// Writes `nanos / scale` as a decimal number without trailing zeros.
fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: u128, scale: u128, unit: &str) -> fmt::Result {
    let (whole, part) = (nanos / scale, nanos % scale);
    if part == 0 {
        return write!(f, "{whole}{unit}");
    }
    let places = scale.ilog10() as usize;
    let digits = format!("{part:0places$}");
    write!(f, "{whole}.{}{unit}", digits.trim_end_matches('0'))
}

/// The text in quotes, escaped and cut after 40 characters, safe to show on a terminal.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}
