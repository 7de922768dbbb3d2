//! The tables of what broke in cn-infra name tests that exist, and leave no number out.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The tables.
const TABLES: &str = "docs/cn-infra-defects.md";

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

/// The lines of the table whose first column has this title, without its head.
fn rows<'a>(tables: &'a str, title: &str) -> Vec<&'a str> {
    let head = format!("| {title} |");
    let table = tables.lines().skip_while(|line| !line.starts_with(&head));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    rows.collect()
}

/// The numbers of the first column: `7`, `7, 8` or `7 to 9`.
fn numbers(row: &str) -> Vec<u32> {
    let column = row.split('|').nth(1).unwrap().trim();
    let number = |text: &str| -> u32 { text.trim().parse().unwrap() };
    match column.split_once(" to ") {
        Some((first, last)) => (number(first)..=number(last)).collect(),
        None => column.split(',').map(number).collect(),
    }
}

/// The tests of a row, as file and name.
fn tests(row: &str) -> Vec<(&str, &str)> {
    let quoted = row.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.split_once(".rs::")).collect()
}

#[test]
fn every_test_that_the_tables_name_exists() {
    let tables = fs::read_to_string(root().join(TABLES)).unwrap();
    let mut missing = BTreeSet::new();
    let mut count = 0;
    for (file, name) in tables.lines().flat_map(tests) {
        let text = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap_or_default();
        if !text.contains(&format!("fn {name}(")) && !text.contains(&format!("fn {name}<")) {
            missing.insert(format!("{file}.rs::{name}"));
        }
        count += 1;
    }
    assert!(count > 150, "only {count} tests were found in {TABLES}");
    assert!(
        missing.is_empty(),
        "{TABLES} names what is not: {missing:#?}"
    );
}

#[test]
fn no_defect_and_no_promise_is_left_out() {
    let tables = fs::read_to_string(root().join(TABLES)).unwrap();
    for (title, last) in [("W", 30), ("K", 96)] {
        let rows = rows(&tables, title);
        let mut listed: Vec<u32> = rows.iter().copied().flat_map(numbers).collect();
        listed.sort_unstable();
        assert_eq!(listed, (1..=last).collect::<Vec<_>>(), "{title}");
    }
}

#[test]
fn a_row_without_a_test_says_that_it_is_not_here() {
    let tables = fs::read_to_string(root().join(TABLES)).unwrap();
    for row in ["W", "K"].iter().flat_map(|title| rows(&tables, title)) {
        assert!(!tests(row).is_empty() || row.contains("Not here"), "{row}");
    }
}
