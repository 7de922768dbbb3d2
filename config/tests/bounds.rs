//! What a hostile file may cost, and that two readers agree on every other.

mod work;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use allocation_counter::measure;
use keyval_config::{Error, parse, read};
use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

type TestResult = Result<(), Box<dyn std::error::Error>>;

const MIB: u64 = 1024 * 1024;
/// The most memory that one text of a mebibyte may take while it is read.
const MOST: u64 = 128 * MIB;
/// The longest that a reader may work on one. Measured without optimisation: 0.37 s for "keys", 0.35 s for "items",
/// under 0.1 s for all others.
const LONGEST: Duration = Duration::from_secs(2);

/// How this ended, which must take little memory and time.
fn costs_little<T>(name: &str, most: u64, read: impl FnOnce() -> T) -> T {
    let mut outcome = None;
    let (measured, took) = work::timed(|| measure(|| outcome = Some(read())));
    let bytes = measured.bytes_max;
    println!("{name}: {bytes} bytes, {took:?}");
    assert!(bytes < most, "{name} took {bytes} bytes");
    assert!(took < LONGEST, "{name} took {took:?}");
    outcome.expect("it was read to its end")
}

/// How the reading of a hostile text ended, which must take little memory and time.
fn bomb(name: &str, text: &str) -> Result<IgnoredAny, Error> {
    costs_little(name, MOST, || parse("bomb.yaml", text))
}

#[test]
fn aliases_that_multiply_are_refused_before_they_cost_memory_or_time() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{below}]").expect("a String takes all");
    }
    let long = "x".repeat(900 * 1024);
    let bombs = [
        ("laughs", laughs),
        // Few values, but each of them is long.
        (
            "copies",
            format!("a: &a {long}\nb: [{}]", "*a, ".repeat(900)),
        ),
        (
            "merges",
            format!("a: &a {{b: {long}}}\nc: [{}]", "{<<: *a}, ".repeat(900)),
        ),
    ];
    for (name, text) in bombs {
        let told = bomb(name, &text).err().map(|error| error.to_string());
        let told = told.unwrap_or_default();
        assert!(told.contains("aliases multiply"), "{name}: {told}");
    }
}

#[test]
fn every_text_of_a_mebibyte_is_read_in_bounded_memory_and_time() {
    let size = 1024 * 1024;
    let fill = |unit: &str| unit.repeat(size / unit.len());
    for (name, text) in [
        ("items", fill("- a\n")),
        (
            "keys",
            (0..80_000).fold(String::new(), |text, key| text + &format!("k{key}: 1\n")),
        ),
        ("one text", fill("x")),
        ("one key", format!("{}: 1", "x".repeat(size - 3))),
        (
            "deep maps",
            (0..1000).fold(String::new(), |text, depth| {
                text + &format!("{}a:\n", " ".repeat(depth))
            }),
        ),
        ("brackets", fill("[")),
        ("braces", fill("{a: ")),
        ("questions", fill("? ")),
        ("anchors", fill("&a ")),
        ("escapes", format!("\"{}\"", "\\n".repeat(size / 2 - 1))),
        ("comments", fill("# \n")),
        ("documents", fill("---\n")),
    ] {
        // Whether it is refused is told in mistakes.rs.
        let _ = bomb(name, &text);
    }
}

#[test]
fn a_file_of_ten_mebibytes_is_refused_for_little_memory_and_time() -> TestResult {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), "a: b # and so on\n".repeat(640 * 1024))?;
    assert!(file.as_file().metadata()?.len() >= 10 * MIB);
    let outcome = costs_little("ten mebibytes", 4 * MIB, || read::<IgnoredAny>(file.path()));
    assert!(matches!(outcome, Err(Error::TooLarge { .. })));
    Ok(())
}

#[test]
fn a_file_that_is_no_text_is_refused_for_little_memory_and_time() -> TestResult {
    let file = tempfile::NamedTempFile::new()?;
    for (name, bytes) in [
        ("no UTF-8", b"\xff".repeat(1024 * 1024)),
        (
            "no UTF-8 at its end",
            [&b"# \n".repeat(340 * 1024)[..], b"\xff"].concat(),
        ),
    ] {
        fs::write(file.path(), bytes)?;
        let outcome = costs_little(name, MOST, || read::<IgnoredAny>(file.path()));
        let told = outcome.err().map(|error| error.to_string());
        let told = told.unwrap_or_default();
        assert!(told.contains("is not UTF-8 from here on"), "{name}: {told}");
    }
    Ok(())
}

#[test]
fn a_file_cut_off_anywhere_is_read_or_refused_with_its_place() {
    let whole = "a: &x [1, \"two\", 'three']\nb:\n  c: *x\n  d: |\n    text\n  ? e\n  : {f: ~}\n";
    parse::<IgnoredAny>("cut.yaml", whole).expect("the whole is in order");
    for end in 0..whole.len() {
        if let Err(error) = parse::<IgnoredAny>("cut.yaml", &whole[..end]) {
            let told = error.to_string();
            assert!(told.starts_with("cut.yaml:"), "{end}: {told}");
        }
    }
}

/// What both readers are asked for.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Asked {
    text: Option<String>,
    number: Option<i32>,
    large: Option<u128>,
    ratio: Option<f64>,
    flag: Option<bool>,
    list: Option<Vec<String>>,
    map: Option<BTreeMap<String, i64>>,
    kind: Option<Kind>,
    nested: Option<Box<Asked>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Plain,
    Limited(u8),
    Named { name: String },
}

/// Texts that are mostly in order.
fn asked() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(vec![
        "a",
        "1",
        "-1",
        "+7",
        "0",
        "007",
        "0x1f",
        "0o17",
        "0b11",
        "1_000",
        "1.5",
        "-1e3",
        ".inf",
        "yes",
        "off",
        "true",
        "False",
        "~",
        "null",
        "''",
        "\"x y\"",
        "'it''s'",
        "\"\\u00e9\\n\"",
        "a b",
        "a:b",
        "a#b",
        "plain",
        "limited",
        "-",
        "*x",
        "&x a",
        "&x 5",
        "!!str 5",
        "300",
        "99999999999999999999",
    ]);
    let value = prop_oneof![
        4 => scalar.clone().prop_map(str::to_owned),
        1 => prop::collection::vec(scalar.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
        1 => prop::collection::vec(("[a-d]", scalar.clone()), 0..3).prop_map(|entries| {
            let entries: Vec<String> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            format!("{{{}}}", entries.join(", "))
        }),
        1 => scalar.prop_map(|text| format!("{{limited: {text}}}")),
        1 => Just("{named: {name: n}}".to_owned()),
        1 => Just("|\n    one\n    two\n".to_owned()),
        1 => Just(">-\n    one\n    two\n".to_owned()),
    ];
    let key = prop::sample::select(vec![
        "text",
        "number",
        "large",
        "ratio",
        "flag",
        "list",
        "map",
        "kind",
        "nested:\n  text",
        "other",
    ]);
    prop::collection::vec((key, value), 0..5).prop_map(|entries| {
        let lines = entries
            .iter()
            .map(|(key, value)| format!("{key}: {value}\n"));
        lines.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_another_reader_accepts_too_means_the_same(text in asked()) {
        let ours = parse::<Asked>("asked.yaml", &text);
        let theirs = serde_saphyr::from_str::<Option<Asked>>(&text);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(ours, theirs.unwrap_or_default(), "{}", text);
        }
    }
}
