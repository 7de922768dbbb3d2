//! The line of a text that is at fault, with a mark under the column, and no secret in it.

use crate::node::Place;

/// The most characters of a line that are shown.
const WIDTH: usize = 100;

/// What stands in place of a value that is not to be seen.
const HIDDEN: &str = "***";

/// Parts of a key that make its value unfit to be shown, or to be repeated by a message.
const SENSITIVE: [&str; 7] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "username",
];
/// Words of a key that make its line unfit to be shown: `api-key`, but not `keepalive`. Such a key may as
/// well be an `auth-timeout`, so that messages say of its value what they say of all.
const SENSITIVE_WORDS: [&str; 4] = ["key", "apikey", "auth", "pin"];

/// How much of a line may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reveal {
    /// The whole line, but for the values of sensitive keys, and for what may belong to others.
    Line,
    /// The key at the column: if it is misspelt, its value may be a secret.
    Key,
    /// What comes before the value: it is a secret, or may be one.
    Nothing,
}

/// Draws the line of a place with a mark under the column, unless the place has none.
pub(crate) fn draw(place: &Place, reveal: Reveal) -> Option<String> {
    let text = &*place.source.text;
    let (line, column) = place.position?;
    let source = text.lines().nth(line.checked_sub(1)?)?;
    let column = column.saturating_sub(1);
    let (shown, column) = if belongs_to_a_sensitive_key(text, line) {
        (format!("{}{HIDDEN}", &source[..indent_of(source)]), column)
    } else {
        match reveal {
            Reveal::Line if !place.is_crowded => (hide_sensitive(source), column),
            Reveal::Line | Reveal::Nothing => without_values(source, place.clear, column),
            Reveal::Key => with_the_key(source, place.clear, column),
        }
    };

    let length = shown.chars().count();
    // Past the end, the mark stands right behind the last character.
    let column = column.min(length);
    let start = if column < WIDTH {
        0
    } else {
        column - WIDTH / 2
    };
    let window: String = shown.chars().skip(start).take(WIDTH).map(plain).collect();
    let before = if start > 0 { "..." } else { "" };
    let after = if start + WIDTH < length { "..." } else { "" };

    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let indent = " ".repeat(before.len() + column - start);
    let window = window.trim_end();
    Some(format!(
        "{gutter} |\n{number} | {before}{window}{after}\n{gutter} | {indent}^"
    ))
}

/// Whether a key of this name has a value that no message may repeat.
pub(crate) fn is_sensitive(key: &str) -> bool {
    let folded = key.to_ascii_lowercase();
    SENSITIVE.iter().any(|part| folded.contains(part))
}

/// The line and column, both from 1, that follow the bytes, which are UTF-8.
pub(crate) fn position_of(before: &[u8]) -> (usize, usize) {
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count()
        + 1;
    (line, column)
}

/// What comes before the values of a line, and the column where they begin or one of them does.
fn without_values(line: &str, clear: usize, column: usize) -> (String, usize) {
    let shown = before_values(line, clear);
    let end = shown.chars().count();
    (format!("{shown}{HIDDEN}"), column.min(end))
}

/// The key at a column, with what comes before the values of its line, and the column where it is shown.
fn with_the_key(line: &str, clear: usize, column: usize) -> (String, usize) {
    let at = byte_of(line, column);
    let mut shown = before_values(line, clear.min(column));
    let between = &line[byte_of(line, shown.chars().count()).min(at)..at];
    let is_value = |c: char| !c.is_whitespace() && !"{[?-".contains(c);
    match between.contains(is_value) {
        true => shown.push_str("*** "),
        false => shown.push_str(between),
    }
    let column = shown.chars().count();
    match line[at..].find(':') {
        Some(colon) => shown.push_str(&format!("{}: ...", &line[at..at + colon])),
        None => shown.push_str(&line[at..]),
    }
    (hide_sensitive(&shown), column)
}

/// So many characters of a line, or fewer: marks and tags before a value may be the begin of a password
/// that lacks its quotes.
fn before_values(line: &str, clear: usize) -> String {
    let indent = indent_of(line);
    let before = &line[..byte_of(line, clear).max(indent)];
    let marks = before.match_indices(['&', '!', '*']);
    let mut marks = marks.filter(|(at, _)| *at == 0 || before[..*at].ends_with(' '));
    before[..marks.next().map_or(before.len(), |(at, _)| at)].to_owned()
}

/// Where the character of this number begins.
fn byte_of(line: &str, character: usize) -> usize {
    let mut characters = line.char_indices();
    characters.nth(character).map_or(line.len(), |(at, _)| at)
}

/// The text without what follows the first sensitive key in it.
pub(crate) fn hide_sensitive(line: &str) -> String {
    match sensitive_value(line) {
        Some(start) => format!("{}{HIDDEN}", &line[..start]),
        None => line.to_owned(),
    }
}

/// Where the value of the first sensitive key of the line begins, unless it has none.
fn sensitive_value(line: &str) -> Option<usize> {
    let colon = sensitive_key(line)?;
    let value = line[colon + 1..].trim_start();
    (!value.is_empty() && value != "...").then_some(line.len() - value.len())
}

/// Where the colon after the first sensitive key of the line stands.
fn sensitive_key(line: &str) -> Option<usize> {
    let end = sensitive_end(line)?;
    Some(end + line[end..].find(':')?)
}

/// Where the first sensitive part of a text ends.
fn sensitive_end(text: &str) -> Option<usize> {
    // ASCII folding keeps every byte where it is.
    let folded = text.to_ascii_lowercase();
    let parts = SENSITIVE
        .iter()
        .filter_map(|part| folded.find(part).map(|at| at + part.len()));
    let words = SENSITIVE_WORDS.iter().flat_map(|word| {
        let found = folded
            .match_indices(word)
            .map(|(at, _)| (at, at + word.len()));
        found.filter_map(|(at, end)| is_a_word(text, at, end).then_some(end))
    });
    parts.chain(words).min()
}

/// Whether a part of a text is a word of its own: `api-key`, `apiKey`, `API_KEY`.
fn is_a_word(text: &str, at: usize, end: usize) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic();
    let is_upper = text[at..].starts_with(|c: char| c.is_ascii_uppercase());
    let begins = match text[..at].chars().next_back() {
        Some(before) if letter(before) => before.is_ascii_lowercase() && is_upper,
        _ => true,
    };
    begins && !text[end..].starts_with(|c: char| c.is_ascii_lowercase())
}

/// True if the line (from 1) continues the value of a sensitive key above it.
fn belongs_to_a_sensitive_key(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let Some((here, above)) = lines.split_last() else {
        return false;
    };
    // A line without a key goes on with the value above it, however wrongly it is indented.
    let keyed = |line: &&&str| line.contains(':');
    if !here.contains(':')
        && above
            .iter()
            .rev()
            .find(keyed)
            .is_some_and(|line| sensitive_key(line).is_some())
    {
        return true;
    }
    let mut depth = indent_of(here);
    // The items of a list may stand as deep as its key.
    let mut in_list = here[depth..].starts_with('-');
    for parent in above.iter().rev().filter(|line| !line.trim().is_empty()) {
        let indent = indent_of(parent);
        if indent < depth || (in_list && indent == depth && !parent[indent..].starts_with('-')) {
            if sensitive_key(parent).is_some() {
                return true;
            }
            depth = indent;
            in_list = parent[indent..].starts_with('-');
        }
    }
    false
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Keeps columns and the terminal whole: no tabs, no control characters.
fn plain(c: char) -> char {
    if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') {
        ' '
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::node::Source;
    use crate::origin::Origin;

    /// Draws a place that comes before every value of its line.
    fn draw(text: &str, line: usize, column: usize, reveal: Reveal) -> Option<String> {
        let source = Arc::new(Source {
            name: "a.yaml".into(),
            origin: Origin::Defaults,
            text: text.into(),
        });
        let mut place = Place::nowhere_in(&source);
        place.position = Some((line, column));
        place.clear = column.saturating_sub(1);
        super::draw(&place, reveal)
    }

    #[test]
    fn the_mark_stands_under_the_column() {
        assert_eq!(
            draw("a: 1\nb: x\n", 2, 4, Reveal::Line).unwrap(),
            "  |\n2 | b: x\n  |    ^"
        );
        assert_eq!(
            draw("a: 1", 1, 99, Reveal::Line).unwrap(),
            "  |\n1 | a: 1\n  |     ^"
        );
        assert_eq!(draw("a: 1", 7, 1, Reveal::Line), None);
        assert_eq!(draw("a: 1", 0, 0, Reveal::Line), None);
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let text = format!("{}!{}", "x".repeat(5000), "y".repeat(5000));
        let drawn = draw(&text, 1, 5001, Reveal::Line).unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[1].len() < 120, "{drawn}");
        assert_eq!(lines[1].find('!'), lines[2].find('^'), "{drawn}");
    }

    #[test]
    fn the_value_of_a_sensitive_key_is_hidden() {
        for text in [
            "password: hunter2",
            "db: { api-token: hunter2, x: 1 }",
            "SECRET:   'hunter2' # ours",
            "password: |\n  hunter2",
            "tokens:\n- hunter2",
            "tokens:\n  - name: a\n    value: hunter2",
            "secret:\n  hunter2",
            "password: |\nhunter2",
            "api-key: hunter2",
            "apiKey: hunter2",
            "PIN_CODE: hunter2",
            "auth: hunter2",
        ] {
            let line = text.lines().count();
            let drawn = draw(text, line, 3, Reveal::Line).unwrap();
            assert!(
                drawn.contains("***") && !drawn.contains("hunter2"),
                "{drawn}"
            );
        }
        assert!(
            !draw("pasword: hunter2", 1, 1, Reveal::Key)
                .unwrap()
                .contains("hunter2")
        );
    }

    #[test]
    fn other_values_are_shown() {
        for text in [
            "user: root",
            "keepalive: 5s",
            "mapping: monkey",
            "password:",
            "password: x\nuser: root",
            "tokens:\n- x\nuser: root",
        ] {
            let line = text.lines().count();
            assert!(
                !draw(text, line, 1, Reveal::Line).unwrap().contains("***"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_lacks_its_quotes_is_not_taken_for_a_mark_or_tag() {
        for text in ["code: &hunter2", "code: !hunter2 x", "- *hunter2"] {
            let column = text.len() + 1;
            let drawn = draw(text, 1, column, Reveal::Nothing).unwrap();
            assert!(!drawn.contains("hunter2"), "{drawn}");
        }
    }

    #[test]
    fn positions_count_characters_from_one() {
        assert_eq!(position_of(b""), (1, 1));
        assert_eq!(position_of(b"a: 1\n\xc3\xa9b"), (2, 3));
    }
}
