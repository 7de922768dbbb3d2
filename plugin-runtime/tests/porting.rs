//! The porting guide names nothing that there is not.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The words of all sources below a folder.
fn words(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            words(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            // What is only spoken of does not count, but for the paths and variables in texts.
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let all = code.flat_map(|line| line.split(move |c| !is_of_word(c)));
            found.extend(all.map(str::to_owned));
        }
    }
}

#[test]
fn every_name_in_the_right_column_is_in_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known = BTreeSet::new();
    for source in [
        "keyval",
        "config",
        "keyval-etcd",
        "keyval-proto",
        "plugin-runtime",
    ] {
        words(&root.join(source).join("src"), &mut known);
    }
    // The logger of the examples reads it.
    known.extend(["RUST_LOG", "PUT"].map(str::to_owned));
    let guide = fs::read_to_string(root.join("docs/porting-from-cn-infra.md")).unwrap();
    let mut names = 0;
    for row in guide.lines().filter(|line| line.starts_with("| `")) {
        let ours = row.trim_end_matches('|').rsplit('|').next().unwrap();
        // Every second piece between backticks is a name.
        for name in ours.split('`').skip(1).step_by(2) {
            for word in name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                assert!(word.is_empty() || known.contains(word), "{word}, in {row}");
            }
            names += 1;
        }
    }
    assert!(names > 60, "{names}: the tables are not where they were");
}
