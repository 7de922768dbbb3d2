//! The line of a text that is at fault, with a mark under the column, and no secret in it.

/// The most characters of a line that are shown.
const WIDTH: usize = 100;

/// What stands in place of a value that is not to be seen.
const HIDDEN: &str = "***";

/// Words in a key that make its value unfit to be shown.
const SENSITIVE: [&str; 7] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "username",
];

/// How much of a line may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reveal {
    /// The whole line, but for the values of sensitive keys.
    Line,
    /// Up to the end of the key at the column: a misspelt key may hide a secret's value.
    Key,
}

/// Draws the line (from 1) with a mark under the column (from 1, in characters).
pub(crate) fn draw(text: &str, line: usize, column: usize, reveal: Reveal) -> Option<String> {
    let source = text.lines().nth(line.checked_sub(1)?)?;
    let column = column.saturating_sub(1);
    let shown = if belongs_to_a_sensitive_key(text, line) {
        format!("{}{HIDDEN}", &source[..indent_of(source)])
    } else {
        match reveal {
            Reveal::Line => hide_sensitive(source),
            Reveal::Key => hide_sensitive(&up_to_the_key(source, column)),
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

/// Whether a key of this name may have a secret as its value.
pub(crate) fn is_sensitive(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SENSITIVE.iter().any(|word| key.contains(word))
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

fn up_to_the_key(line: &str, column: usize) -> String {
    let key_start = line
        .char_indices()
        .nth(column)
        .map_or(line.len(), |(at, _)| at);
    match line[key_start..].find(':') {
        Some(colon) => format!("{}: ...", &line[..key_start + colon]),
        None => line.to_owned(),
    }
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
    // ASCII folding keeps every byte where it is.
    let folded = line.to_ascii_lowercase();
    let ends = SENSITIVE
        .iter()
        .filter_map(|word| folded.find(word).map(|at| at + word.len()));
    let end = ends.min()?;
    Some(end + line[end..].find(':')?)
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
    use super::*;

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
    fn positions_count_characters_from_one() {
        assert_eq!(position_of(b""), (1, 1));
        assert_eq!(position_of(b"a: 1\n\xc3\xa9b"), (2, 3));
    }
}
