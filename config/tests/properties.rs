//! What holds for every duration and every file, tried on many random ones.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use keyval_config::{ConfigDir, Secret, duration, parse};
use proptest::prelude::*;
use serde::Deserialize;
use tempfile::TempDir;

/// Far above what any of these texts takes, even on a busy machine in a debug build.
const QUICKLY: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[allow(dead_code, reason = "only its parsing matters")]
struct Anything {
    a: Option<u16>,
    b: Vec<String>,
    #[serde(with = "duration")]
    c: Duration,
    d: Secret,
    e: BTreeMap<String, Vec<bool>>,
    f: Option<Box<Anything>>,
}

/// Pieces of YAML, put together without sense: nearer to what breaks parsers than random bytes.
fn yaml_soup() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "password",
        ": ",
        ":",
        "- ",
        "-",
        "\n",
        "\n  ",
        "\n    ",
        " ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&x ",
        "*x",
        "!!str ",
        "!!binary ",
        "!t ",
        "|",
        ">",
        "|-\n",
        "'",
        "\"",
        "\\",
        "\\u",
        "# ",
        "%",
        "---\n",
        "...\n",
        "? ",
        "<<: ",
        "~",
        "null",
        "true",
        "1s",
        "-5",
        "0x1F",
        "1e999",
        ".inf",
        "file:/",
        "\t",
        "\r",
        "\0",
        "\u{feff}",
        "\u{2028}",
        "\u{e9}",
        "\u{1f600}",
        "@",
        "`",
    ]);
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_duration_printed_and_read_is_the_same(nanos in prop_oneof![
        0..=i64::MAX as u64,
        0..10_000_000_000u64,
        (0..100_000u64).prop_map(|seconds| seconds * 1_000_000_000),
    ]) {
        let time = Duration::from_nanos(nanos);
        let text = duration::format(time);
        prop_assert_eq!(duration::parse(&text).expect("printed durations parse"), time, "{}", text);
    }

    #[test]
    fn any_text_is_a_duration_or_an_error_of_one_line(text in "[0-9.hmsdnu\u{b5} +-]{0,50}|.{0,60}") {
        if let Err(error) = duration::parse(&text) {
            let error = error.to_string();
            prop_assert!(error.len() < 600 && !error.contains('\n'), "{}", error);
        }
    }

    #[test]
    fn any_bytes_as_a_file_are_read_or_refused_quickly(
        bytes in prop::collection::vec(any::<u8>(), 0..4096)
    ) {
        let folder = TempDir::new().expect("the temporary folder is writable");
        fs::write(folder.path().join("etcd.yaml"), &bytes).expect("the folder is writable");
        let started = Instant::now();
        let loaded = ConfigDir::new(folder.path()).load::<Anything>("etcd");
        prop_assert!(started.elapsed() < QUICKLY);
        if let Err(error) = loaded {
            prop_assert!(error.to_string().contains("etcd.yaml"), "{}", error);
        }
    }

    #[test]
    fn any_yaml_is_read_or_refused_quickly_with_a_whole_message(text in yaml_soup()) {
        let started = Instant::now();
        let loaded = parse::<Anything>("etcd.yaml", &text);
        prop_assert!(started.elapsed() < QUICKLY);
        if let Err(error) = loaded {
            let error = error.to_string();
            prop_assert!(error.starts_with("etcd.yaml:"), "{}", error);
            prop_assert!(error.len() < 2000, "{}", error);
            prop_assert!(!error.contains(|c: char| c.is_control() && c != '\n'), "{:?}", error);
        }
    }
}
