//! The pages that say which test proves what name tests that there are.

use std::fs;
use std::path::{Path, PathBuf};

/// The pages, from the root of the repository. In their tables each row names a test, as
/// `path/to/file.rs::function`.
const PAGES: &[&str] = &["docs/faults.md"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The tests that a line names: what stands between backquotes and has a file of Rust in it.
fn named(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once(".rs::"))
}

fn is_row(line: &str) -> bool {
    line.starts_with('|') && !line.starts_with("|---")
}

#[test]
fn every_test_that_a_page_names_exists() {
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).expect("the page is there");
        let missing: Vec<String> = text
            .lines()
            .flat_map(named)
            .filter(|(file, test)| {
                let source = fs::read_to_string(root().join(format!("{file}.rs")));
                !source.is_ok_and(|source| source.contains(&format!("fn {test}(")))
            })
            .map(|(file, test)| format!("{file}.rs::{test}"))
            .collect();
        assert!(missing.is_empty(), "{page} names {missing:#?}");
    }
}

#[test]
fn every_row_of_a_page_names_a_test() {
    for page in PAGES {
        let text = fs::read_to_string(root().join(page)).expect("the page is there");
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let heads_a_table = lines.peek().is_some_and(|next| next.starts_with("|---"));
            if is_row(line) && !heads_a_table {
                assert!(named(line).next().is_some(), "{page}: no test in {line}");
            }
        }
    }
}
