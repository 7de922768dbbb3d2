//! Configurations that are read again, and what of them is another.

#![allow(clippy::unwrap_used)]

use std::fs;

use keyval_config::{
    Choice, ConfigDir, Effective, Error, Findings, Reload, Secret, Section, Validate, schemars,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

#[derive(Debug, Default, Deserialize, Serialize, PartialEq, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Greeter {
    text: String,
    port: u16,
    names: Vec<String>,
    password: Secret,
}

impl Validate for Greeter {
    fn validate(&self, findings: &mut Findings) {
        if self.text.len() > 9 {
            findings.refuse("text", "must have at most 9 bytes");
        }
    }
}

impl Reload for Greeter {
    fn check_change(&self, next: &Self, findings: &mut Findings) {
        findings.fixed("port", self.port == next.port);
    }
}

fn folder(yaml: &str) -> (TempDir, ConfigDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("greeter.yaml"), yaml).unwrap();
    let config = ConfigDir::new(folder.path());
    (folder, config)
}

#[test]
fn all_layers_are_read_again() {
    let (folder, config) = folder("text: hi\nport: 1\n");
    let config = config.with_flag("greeter.names=a").unwrap();
    let first = config.load_valid::<Greeter>("greeter").unwrap().value;
    fs::write(
        folder.path().join("greeter.yaml"),
        "text: ho\nport: 1\nnames: [b]\n",
    )
    .unwrap();
    let next = config.load_again("greeter", &first).unwrap().value;
    // The flag still covers the file.
    assert_eq!(
        (&*next.text, &next.names[..]),
        ("ho", &["a".to_owned()][..])
    );
}

#[test]
fn a_key_that_cannot_change_is_named_with_its_line_beside_what_else_is_wrong() {
    let (_folder, config) = folder("text: hi\nport: 2\n");
    let running = Greeter {
        port: 1,
        ..Greeter::default()
    };
    let error = config.load_again("greeter", &running).unwrap_err();
    let Error::Refused(found) = &error else {
        panic!("{error}");
    };
    assert_eq!((found[0].line(), found.len()), (Some(2), 1));
    assert!(
        error
            .to_string()
            .contains("port: cannot change while the program runs")
    );

    let error = config
        .with_flag("greeter.text=far too long")
        .unwrap()
        .load_again("greeter", &running)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("text: must have at most 9 bytes")
    );
}

fn effective(section: &Section, yaml: &str) -> Effective {
    section.effective(&folder(yaml).1).unwrap()
}

#[test]
fn what_differs_is_named_by_its_keys_secrets_and_lists_included() {
    let section = Section::of::<Greeter>("greeter");
    let before = effective(&section, "text: hi\nnames: [a]\npassword: sesame\n");
    for (yaml, differs) in [
        ("text: 'hi'\nport: 0\nnames: [a]\npassword: sesame", &[][..]),
        ("text: ho\nnames: [a]\npassword: sesame", &["text"]),
        ("text: hi\nnames: [a, b]\npassword: sesame", &["names"]),
        ("text: hi\nnames: [a]\npassword: poppy", &["password"]),
        ("port: 1", &["names", "password", "port", "text"]),
    ] {
        let after = effective(&section, yaml);
        assert_eq!(before.differences(&after), differs, "{yaml}");
        let shown = format!("{after:?}");
        assert!(
            !shown.contains("poppy") && !shown.contains("sesame"),
            "{shown}"
        );
    }
}

#[test]
fn a_secret_that_was_replaced_in_its_file_differs() {
    let section = Section::of::<Greeter>("greeter");
    let secret = tempfile::NamedTempFile::new().unwrap();
    let yaml = format!("password: file:{}", secret.path().display());
    fs::write(secret.path(), "sesame\n").unwrap();
    let before = effective(&section, &yaml);
    assert!(before.differences(&effective(&section, &yaml)).is_empty());
    fs::write(secret.path(), "poppy\n").unwrap();
    let after = effective(&section, &yaml);
    assert_eq!(before.differences(&after), ["password"]);
    let shown = format!("{before:?} {after:?}");
    assert!(
        !shown.contains("poppy") && !shown.contains("sesame"),
        "{shown}"
    );
}

#[test]
fn of_a_choice_the_choice_and_the_settings_of_the_chosen_are_compared() {
    let choice = Choice::new("backend", "memory")
        .with::<Greeter>("memory")
        .with::<Greeter>("etcd");
    let section = Section::choice("greeter", choice);
    let before = effective(&section, "backend: etcd\netcd: { text: hi }\n");
    for (yaml, differs) in [
        // Of what is not chosen nothing is compared.
        (
            "backend: etcd\netcd: { text: hi }\nmemory: { port: 7 }",
            &[][..],
        ),
        ("backend: etcd\netcd: { text: ho }", &["etcd.text"]),
    ] {
        assert_eq!(before.differences(&effective(&section, yaml)), differs);
    }
    let other = effective(&section, "backend: memory").differences(&before);
    assert!(other.contains(&"backend".to_owned()) && other.contains(&"etcd.text".to_owned()));
}
