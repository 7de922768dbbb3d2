//! The page of metrics has each that there is, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/metrics.md";
/// Where metrics are told.
const SOURCES: [&str; 4] = [
    "keyval/src",
    "keyval-etcd/src",
    "keyval-proto/src",
    "plugin-runtime/src",
];
/// How their names begin.
const BEGINNINGS: [&str; 4] = ["keyval_", "plugin_", "agent_", "service_"];

/// What stands between two of these marks and can be the name of a metric.
fn names(text: &str, mark: char) -> impl Iterator<Item = String> {
    let quoted = text.lines().flat_map(move |line| line.split(mark));
    let named = quoted.filter(|name| {
        BEGINNINGS.iter().any(|begin| name.starts_with(begin))
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    named.map(str::to_owned)
}

fn told(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            told(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("it is text");
            into.extend(names(&text, '"'));
        }
    }
}

#[test]
fn every_metric_is_on_the_page_and_the_page_has_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut there = BTreeSet::new();
    for folder in SOURCES {
        told(&root.join(folder), &mut there);
    }
    let page = fs::read_to_string(root.join(PAGE)).expect("the page is there");
    let shown: BTreeSet<String> = names(&page, '`').collect();
    assert_eq!(there, shown);
}
