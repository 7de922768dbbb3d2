//! What plain scalars of YAML are: numbers and truth values.

/// The integer that a plain scalar spells: decimal, `0x1f`, `0o17` or `0b11`, with `_` between
/// digits. A decimal with leading zeros is none, as some readers take it for octal.
pub(crate) fn integer(text: &str) -> Option<Integer> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let radixes = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = radixes
        .iter()
        .find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix)));
    let (digits, radix) = prefixed.unwrap_or((digits, 10));
    if radix == 10 && digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    // What reads digits would take another sign.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let digits = joined(digits)?;
    let value = u128::from_str_radix(&digits, radix).ok()?;
    Some(Integer { negative, value })
}

/// A whole number, with its sign apart so that all of `u128` has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer {
    negative: bool,
    value: u128,
}

impl Integer {
    pub(crate) fn unsigned(self) -> Option<u128> {
        (!self.negative || self.value == 0).then_some(self.value)
    }

    pub(crate) fn signed(self) -> Option<i128> {
        match self.negative {
            true => 0_i128.checked_sub_unsigned(self.value),
            false => i128::try_from(self.value).ok(),
        }
    }
}

/// The number that a plain scalar spells, whole or not: `1.5`, `1e3`, `.inf`, `.nan`.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        ".inf" | "+.inf" => return Some(f64::INFINITY),
        "-.inf" => return Some(f64::NEG_INFINITY),
        ".nan" => return Some(f64::NAN),
        _ => {}
    }
    // Else Rust's own words for what is no number would be taken, too.
    let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E' | '_');
    if !text.chars().all(is_plain) {
        return None;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let ambiguous = unsigned.len() > 1 && unsigned.starts_with('0') && {
        let rest = &unsigned[1..];
        rest.starts_with(|c: char| c.is_ascii_digit())
    };
    if ambiguous {
        return None;
    }
    joined(text)?.parse().ok()
}

/// The truth value that a plain scalar spells, by all the words of YAML 1.1.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

/// The text without its underscores, which must stand between digits.
fn joined(text: &str) -> Option<String> {
    let misplaced = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!misplaced && !text.is_empty()).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_in_every_notation_and_nothing_else_is() {
        let cases = [
            ("0", Some(0)),
            ("42", Some(42)),
            ("+42", Some(42)),
            ("-42", Some(-42)),
            ("1_000", Some(1000)),
            ("0x1F", Some(31)),
            ("0o17", Some(15)),
            ("-0b11", Some(-3)),
            ("", None),
            ("-", None),
            ("--1", None),
            ("+-1", None),
            ("017", None),
            ("_1", None),
            ("1__0", None),
            ("1.0", None),
            ("0x", None),
            ("0x-1", None),
            ("0x+1", None),
            ("\u{661}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(integer(text).and_then(Integer::signed), expected, "{text}");
        }
        let largest = u128::MAX.to_string();
        assert_eq!(
            integer(&largest).and_then(Integer::unsigned),
            Some(u128::MAX)
        );
        assert_eq!(integer(&format!("{largest}0")), None);
        assert_eq!(integer("-1").and_then(Integer::unsigned), None);
    }

    #[test]
    fn decimals_are_numbers_and_not_words() {
        for (text, expected) in [
            ("1.5", Some(1.5)),
            ("-1e3", Some(-1000.0)),
            (".5", Some(0.5)),
            (".inf", Some(f64::INFINITY)),
            ("7", Some(7.0)),
            ("inf", None),
            ("nan", None),
            ("infinity", None),
            ("1.2.3", None),
            ("01.5", None),
            ("", None),
        ] {
            assert_eq!(decimal(text), expected, "{text}");
        }
    }
}
