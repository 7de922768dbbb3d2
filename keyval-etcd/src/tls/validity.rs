//! From when until when a certificate is valid, read from its DER.
//!
//! rustls checks this of the server's certificate only. Ours and the authorities' are checked here,
//! before a server refuses them with fewer words.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The time in which a certificate is valid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    from: Time,
    until: Time,
}

/// A second of the calendar, in UTC; the order of the fields is that of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Time {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Validity {
    /// Reads it from a certificate; `None` if that is not one.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = value(certificate, SEQUENCE)?;
        let (mut signed, _) = value(certificate, SEQUENCE)?;
        // The first version of certificates does not say its version.
        if let Some((_, rest)) = value(signed, VERSION) {
            signed = rest;
        }
        // The serial number, the algorithm of the signature, the issuer.
        for _ in 0..3 {
            signed = any(signed)?.2;
        }
        let (times, _) = value(signed, SEQUENCE)?;
        let (tag, from, times) = any(times)?;
        let from = Time::parse(tag, from)?;
        let (tag, until, _) = any(times)?;
        let until = Time::parse(tag, until)?;
        Some(Self { from, until })
    }

    /// Why it is not valid at this time, if it is not.
    pub(super) fn fault(&self, now: SystemTime) -> Option<String> {
        let now = Time::of(now);
        if now < self.from {
            Some(format!(
                "it is not valid before {}, and the clock here says {now}",
                self.from
            ))
        } else if now > self.until {
            Some(format!(
                "it expired at {}, and the clock here says {now}",
                self.until
            ))
        } else {
            None
        }
    }
}

impl Time {
    fn of(time: SystemTime) -> Self {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let in_day = |unit, count| u32::try_from(seconds / unit % count).unwrap_or(0);
        let (year, month, day) = date(seconds / 86_400);
        Self {
            year,
            month,
            day,
            hour: in_day(3600, 24),
            minute: in_day(60, 60),
            second: in_day(1, 60),
        }
    }

    /// Reads `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, the only forms that certificates may have.
    fn parse(tag: u8, text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year: u32 = year.parse().ok()?;
                // Two digits mean 1950 to 2049.
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        if rest.len() != 10 {
            return None;
        }
        let part = |at: usize| rest[at..at + 2].parse::<u32>().ok();
        Some(Self {
            year,
            month: part(0)?,
            day: part(2)?,
            hour: part(4)?,
            minute: part(6)?,
            second: part(8)?,
        })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"
        )
    }
}

/// The date that is this many days after the beginning of 1970.
fn date(mut days: u64) -> (u32, u32, u32) {
    let mut year = 1970;
    loop {
        let length = if leaps(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let february = if leaps(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, u32::try_from(days + 1).unwrap_or(31))
}

fn leaps(year: u32) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// The value of this tag at the beginning, and what follows it.
fn value(der: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = any(der)?;
    (tag == expected).then_some((value, rest))
}

/// The tag and the value at the beginning, and what follows them.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // The length in as many bytes as the low bits say.
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.is_empty() || bytes.len() > 4 {
            return None;
        }
        let length = bytes
            .iter()
            .fold(0, |length, &byte| length << 8 | usize::from(byte));
        (length, rest)
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

#[cfg(test)]
mod tests {
    use super::{GENERALIZED_TIME, Time, UTC_TIME, Validity};
    use std::time::{Duration, UNIX_EPOCH};

    fn shown(seconds: u64) -> String {
        Time::of(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    #[test]
    fn seconds_become_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_102_444_800, "2100-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(shown(seconds), expected);
        }
    }

    #[test]
    fn both_forms_of_time_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31 23:59:59 UTC")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01 00:00:00 UTC")),
            (
                GENERALIZED_TIME,
                "20500101000000Z",
                Some("2050-01-01 00:00:00 UTC"),
            ),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "491231235959", None),
            (GENERALIZED_TIME, "2050010100000\u{e9}Z", None),
            (2, "491231235959Z", None),
        ] {
            let time = Time::parse(tag, text.as_bytes()).map(|time| time.to_string());
            assert_eq!(time.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        for der in [
            &b""[..],
            &[0x30],
            &[0x30, 0x05, 0x30],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x80, 0x00, 0x00],
            &[0x30, 0x02, 0x30, 0x00],
        ] {
            assert_eq!(Validity::of(der), None, "{der:?}");
        }
    }
}
