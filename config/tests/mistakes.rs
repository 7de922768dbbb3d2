//! What the author of a wrong file is told.

mod work;

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use keyval_config::{
    Choice, ConfigDir, Error, Findings, Invalid, Secret, Section, Validate, duration, parse,
    parse_valid, read, schemars,
};
use serde::Deserialize;
use tempfile::TempDir;

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct Store {
    backend: Backend,
    endpoints: Vec<String>,
    port: u16,
    label: String,
    #[serde(with = "duration")]
    dial_timeout: Duration,
    insecure_transport: bool,
    password: Secret,
    limits: Option<Limits>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Backend {
    #[default]
    Memory,
    Etcd,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Limits {
    max_operations: u32,
}

fn invalid(text: &str) -> Invalid {
    match parse::<Store>("store.yaml", text) {
        Err(Error::Invalid(invalid)) => *invalid,
        other => panic!("{text:?} gave {other:?}"),
    }
}

/// The error without its snippet.
fn headline(text: &str) -> String {
    invalid(text)
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn an_unknown_key_shows_its_place_and_the_key_probably_meant() {
    let error = invalid("port: 1\ndial-timout: 5s\n");
    assert_eq!(
        error.to_string(),
        "store.yaml:2:1: unknown key \"dial-timout\", did you mean \"dial-timeout\"?\n  \
           |\n\
         2 | dial-timout: ...\n  \
           | ^"
    );
    assert_eq!((error.line(), error.column()), (Some(2), Some(1)));
    assert_eq!(error.did_you_mean(), Some("dial-timeout"));

    assert_eq!(
        headline("dial_timeout: 5s"),
        "store.yaml:1:1: unknown key \"dial_timeout\", did you mean \"dial-timeout\"?"
    );
    assert_eq!(
        headline("limits:\n  max-operation: 5"),
        "store.yaml:2:3: limits: unknown key \"max-operation\", did you mean \"max-operations\"?"
    );
}

#[test]
fn an_unknown_key_like_no_other_lists_those_known() {
    let error = invalid("colour: red");
    assert_eq!(error.did_you_mean(), None);
    assert_eq!(
        error.message(),
        "unknown key \"colour\", expected one of backend, endpoints, port, label, dial-timeout, \
         insecure-transport, password, limits"
    );
}

#[test]
fn each_mistake_says_where_and_what_was_expected() {
    let cases = [
        (
            "backend: etdc",
            "1:10: backend: unknown value \"etdc\", did you mean \"etcd\"?",
        ),
        (
            "backend: redis",
            "1:10: backend: unknown value \"redis\", expected one of memory, etcd",
        ),
        (
            "port: 1\nport: 2",
            "2:1: key \"port\" is set twice; remove one",
        ),
        (
            "port: many",
            "1:7: port: expected an integer from 0 to 65535",
        ),
        (
            "port: 70000",
            "1:7: port: expected an integer from 0 to 65535",
        ),
        ("port: -1", "1:7: port: expected an integer from 0 to 65535"),
        (
            "port: [1]",
            "1:7: port: expected a single value, found a list or a map",
        ),
        (
            "insecure-transport: maybe",
            "1:21: insecure-transport: expected true or false",
        ),
        (
            "endpoints: a:2379",
            "1:12: endpoints: expected a list, `[a, b]` or one `- item` per line",
        ),
        (
            "label: ~",
            "1:8: label: expected a text, found nothing; give a value or remove the key",
        ),
        ("- port", "1:1: expected a map, `key: value`"),
        ("limits: {}", "1:9: limits: missing key \"max-operations\""),
        (
            "port: 1\n---\nport: 2",
            "2:1: a second document begins here; keep one and remove this `---`",
        ),
        (
            "dial-timeout: 5 parsecs",
            "1:15: dial-timeout: \"5 parsecs\" is not a duration: unknown unit \"parsecs\"; \
             write it as 300ms, 1.5s, 1h30m or 1d",
        ),
        (
            "dial-timeout: -5",
            "1:15: dial-timeout: -5 is not a duration: it is negative; write it as 300ms, 1.5s, 1h30m or 1d",
        ),
        (
            "dial-timeout: 1.5",
            "1:15: dial-timeout: 1.5 is not a duration: a decimal number needs a unit; \
             write it as 300ms, 1.5s, 1h30m or 1d",
        ),
        (
            "dial-timeout: 99999999999999999999",
            "1:15: dial-timeout: 99999999999999999999 is not a duration: it is longer than 292 years; \
             write it as 300ms, 1.5s, 1h30m or 1d",
        ),
        ("label: 'x", "1:8: unclosed quote"),
        (
            "label: *x",
            "1:8: an alias `*name` repeats what `&name` marks above it, and nothing is marked so; \
             put a text that begins with * in quotes",
        ),
        (
            "label: !x y",
            "1:11: a configuration has no tags of its own; remove it, or put a text that \
             begins with ! in quotes",
        ),
        (
            "{[a]: b}",
            "1:2: a key must be a single value, not a list or a map",
        ),
        ("limits: &a [*a]", "1:13: a value cannot contain itself"),
        (
            "<<: 5",
            "1:5: what is merged by `<<` must be a map, `<<: *name`",
        ),
        ("port: 1\u{7}", "1:7: unexpected character: `\\u{7}'"),
    ];
    for (text, expected) in cases {
        assert_eq!(headline(text), format!("store.yaml:{expected}"), "{text:?}");
    }
}

#[test]
fn the_mark_stands_under_the_fault() {
    let error = invalid("# the store\nlimits:\n  max-operations: lots # of them\nport: 1\n");
    assert_eq!(
        error.to_string(),
        "store.yaml:3:19: limits.max-operations: expected an integer from 0 to 4294967295\n  \
           |\n\
         3 |   max-operations: lots # of them\n  \
           |                   ^"
    );
}

#[test]
fn an_empty_file_means_the_defaults() -> TestResult {
    for text in ["", "\n", "# nothing yet\n", "---\n", "{}", "~", "\u{feff}"] {
        assert_eq!(
            parse::<Store>("store.yaml", text)?,
            Store::default(),
            "{text:?}"
        );
    }
    let error = parse::<Limits>("limits.yaml", "").unwrap_err();
    assert_eq!(
        error.to_string(),
        "limits.yaml: missing key \"max-operations\""
    );
    Ok(())
}

#[test]
fn no_error_shows_a_secret() {
    for text in [
        "password: [hunter2]",
        "pasword: hunter2",
        "password: hunter2\npassword: hunter2",
        "password:\n  sub: hunter2",
        "password: file:hunter2",
        "password: 'hunter2",
        "password: hunter2: x",
        "password: |\n  x\n hunter2",
        "{ password: hunter2, port: many }",
        "Password: hunter2",
        "{'\npassword: hunter2\n'}: 1",
        "password: |\nhunter2\n",
    ] {
        let error = parse::<Store>("store.yaml", text).unwrap_err();
        assert!(
            !error.to_string().contains("hunter2"),
            "{text:?} gave {error}"
        );
        assert!(
            !format!("{error:?}").contains("hunter2"),
            "{text:?} gave {error:?}"
        );
    }

    /// A secret whose key does not tell that it is one.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Door {
        code: Secret,
        codes: Vec<Secret>,
        port: u16,
        back: Option<Box<Door>>,
    }
    for text in [
        "code: @hunter2",
        "code: 'hunter2",
        "code: \"hunter2",
        "code: \"hunter2\\q\"",
        "code: \"a\n  hunter2: \\q\"",
        "code: [hunter2",
        "code: [hunter2]",
        "code: {hunter2",
        "code: {hunter2}",
        "code: {hunter2: 1}",
        "code: {{ hunter2 }}",
        "code: hunter2: x",
        "code: *hunter2",
        "code: !hunter2 x",
        "code: !hunter2",
        "code: &hunter2",
        "code: %hunter2",
        "code: `hunter2`",
        "code: \"a\" hunter2",
        "code: 'a' 'hunter2'",
        "code:\n- hunter2",
        "code:\n  - hunter2",
        "code: hunter2\n  x: y",
        "code: |\n  a\n hunter2",
        "code:\n\thunter2",
        "code: file:hunter2",
        "code: - hunter2",
        "cod: hunter2",
        "codes: [a, {b: hunter2}]",
        "codes:\n- a\n- {b: hunter2}",
        "codes: hunter2",
        "codes: [hunter2, [a]]",
        "codes: [hunter2, {a: b}, 5",
        "{code: hunter2, port: many}",
        "{code: hunter2, prot: 1}",
        "{code: hunter2, code: 1}",
        "{code: hunter2, port: @}",
        "{code: hunter2,\n port: many}",
        "{port: 1,\n code: hunter2, port: 2}",
        "{port: 1, code: 'hunter2, port: 2}",
        "back: {code: hunter2, port: many}",
        "back: {code: [hunter2]}",
        "port: 1\n--- {code: hunter2}",
        "code: hunter2\ncode: hunter2",
        "code: hunter2\u{7}",
    ] {
        let error = parse::<Door>("door.yaml", text).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter2"), "{text:?} gave {error}");
        assert!(
            error.to_string().starts_with("door.yaml:"),
            "{text:?} gave {error}"
        );
    }
    let told = parse::<Door>("door.yaml", "code: 'hunter2").unwrap_err();
    let told = told.to_string();
    let expected = "door.yaml:1:7: unclosed quote\n  |\n1 | code: ***\n  |       ^";
    assert_eq!(told, expected);

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only its parsing matters")]
    struct Ids {
        token: u128,
        secret: Backend,
    }
    for text in [
        "token: hunter2",
        "secret: hunter2",
        "token: {}\nsecret: hunter2",
    ] {
        let error = parse::<Ids>("ids.yaml", text).unwrap_err();
        assert!(
            !error.to_string().contains("hunter2"),
            "{text:?} gave {error}"
        );
    }
}

/// Secrets whose keys do not tell that they are some, and rules about all there is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Vault {
    code: Secret,
    codes: Vec<Secret>,
    pair: (Secret, String),
    name: String,
    names: Vec<String>,
    door: Option<Box<Vault>>,
}

/// The paths that the rules refuse, whatever is there.
const RULED: [&str; 14] = [
    "",
    "code",
    "codes",
    "codes[0]",
    "pair",
    "pair[1]",
    "name",
    "lock",
    "door",
    "door.code",
    "door.lock",
    "door.name.x",
    "names",
    "door.names",
];

impl Validate for Vault {
    fn validate(&self, findings: &mut Findings) {
        for path in RULED {
            findings.refuse(path, "is not as it should be");
            findings.refuse_hidden(path, "is not as it should be");
        }
    }
}

#[test]
fn no_finding_of_a_rule_shows_a_secret() {
    for text in [
        "code: hunter2",
        "code: |\n  hunter2",
        "cod: hunter2",
        "codes: [hunter2]",
        "codes:\n- hunter2",
        "pair: [hunter2, a]",
        "pair: [\"a\n  hunter2\", a]",
        "names:\ncode: hunter2",
        "name: &a hunter2\ncode: *a",
        "door:\n  code: hunter2",
        "door:\n  cod: hunter2",
        "door:\n  name: a\n  code: hunter2",
        "door:\n  names:\n  code: hunter2",
        "door: {code: hunter2}",
        "door: {code: hunter2, name: a}",
        "door: {cod: hunter2}",
        "door:\n  codes: [hunter2]",
        "door:\n  <<: {code: hunter2}\n  code: a",
        "{code: hunter2, name: a}",
        "{code: hunter2, door: {name: a}}",
    ] {
        let error = parse_valid::<Vault>("vault.yaml", text).unwrap_err();
        let Error::Refused(findings) = &error else {
            panic!("{text:?}: {error}");
        };
        assert_eq!(findings.len(), 2 * RULED.len());
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter2"), "{text:?} gave {error}");
    }
}

#[test]
fn a_finding_shows_the_value_that_it_is_about_or_else_the_key_above() {
    let drawn = |text: &str, path: &str| {
        let error = parse_valid::<Vault>("vault.yaml", text).unwrap_err();
        let Error::Refused(findings) = error else {
            panic!("{text:?}: {error}");
        };
        let at = RULED
            .iter()
            .position(|ruled| *ruled == path)
            .expect("a rule");
        findings[2 * at].snippet().unwrap_or_default().to_owned()
    };
    for (text, path, expected) in [
        (
            "name: left # ours",
            "name",
            "  |\n1 | name: left # ours\n  |       ^",
        ),
        ("code: hunter2", "code", "  |\n1 | code: ***\n  |       ^"),
        (
            "name: a\ndoor:\n  code: x",
            "door",
            "  |\n2 | door: ...\n  | ^",
        ),
        ("door:\n  code: x", "door.lock", "  |\n1 | door: ...\n  | ^"),
        (
            "door:\n  code: x",
            "door.code",
            "  |\n2 |   code: ***\n  |         ^",
        ),
        (
            "codes: [x]",
            "codes[0]",
            "  |\n1 | codes: ***\n  |        ^",
        ),
        ("name: x", "lock", ""),
    ] {
        assert_eq!(drawn(text, path), expected, "{text:?} {path}");
    }
}

/// A plugin that can be nothing else.
#[derive(Debug, Default, Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Nothing {}

impl Validate for Nothing {}

#[test]
fn a_file_of_a_choice_that_is_no_map_is_not_shown() -> TestResult {
    let choice = Choice::new("backend", "memory").with::<Nothing>("memory");
    let section = Section::choice("store", choice);
    for text in [
        "password=hunter2",
        "- [a, {b: hunter2}]",
        "[hunter2]",
        "'hunter2'",
    ] {
        let folder = TempDir::new()?;
        fs::write(folder.path().join("store.yaml"), text)?;
        let error = section.check(&ConfigDir::new(folder.path())).unwrap_err();
        let told = format!("{error} {error:?}");
        assert!(
            told.contains("expected a map with the key backend"),
            "{told}"
        );
        assert!(!told.contains("hunter2"), "{text:?} gave {error}");
    }
    Ok(())
}

#[test]
fn a_key_with_a_word_of_secrets_in_it_is_told_what_was_expected() -> TestResult {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
    struct Waits {
        #[serde(with = "duration")]
        auth_timeout: Duration,
    }
    let error = parse::<Waits>("waits.yaml", "auth-timeout: 5x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "waits.yaml:1:15: auth-timeout: \"5x\" is not a duration: unknown unit \"x\"; write it as 300ms, \
         1.5s, 1h30m or 1d\n  \
           |\n\
         1 | auth-timeout: ***\n  \
           |               ^"
    );
    Ok(())
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() -> TestResult {
    let folder = TempDir::new()?;
    let path = folder.path().join("store.yaml");
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend("port: 1".encode_utf16().flat_map(u16::to_le_bytes));
    for (bytes, place) in [(&b"port: 1\nlabel: caf\xe9\n"[..], "2:11"), (&utf16, "1:1")] {
        fs::write(&path, bytes)?;
        let error = ConfigDir::new(folder.path())
            .load::<Store>("store")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}:{place}: the text is not UTF-8 from here on; save the file as UTF-8",
                path.display()
            )
        );
    }
    Ok(())
}

#[test]
fn a_file_beyond_a_mebibyte_is_refused() -> TestResult {
    let folder = TempDir::new()?;
    let path = folder.path().join("store.yaml");
    let limit = 1024 * 1024;

    fs::write(&path, "#".repeat(limit))?;
    assert_eq!(read::<Store>(&path)?, Store::default());

    fs::File::options()
        .write(true)
        .open(&path)?
        .set_len(10 * 1024 * limit as u64)?;
    let error = read::<Store>(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is larger than 1048576 bytes, too large for a configuration",
            path.display()
        )
    );

    let error = parse::<Store>("text", &"#".repeat(limit + 1)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    Ok(())
}

#[test]
fn files_made_to_exhaust_the_reader_come_to_the_end_that_each_must() {
    const DEEP: &str = "nested more than 32 deep";
    const MANY: &str = "more than 100000 values";
    const MULTIPLY: &str = "aliases multiply";
    /// They are no YAML, which the parser tells in words of its own.
    const REFUSED: &str = "bomb.yaml:";
    /// They say nothing, or one text.
    const ACCEPTED: &str = "";
    /// The longest that the reader may work on each. Measured without optimisation: 0.36 s for "keys", 0.2 to 0.3 s
    /// for "items", "inline items", "aliases" and "block scalars", under 0.1 s for all others.
    const LONGEST: Duration = Duration::from_secs(2);
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(laughs, "a{level}: &a{level} [{below}]").expect("a String takes all");
    }
    let size = 1024 * 1024;
    let fill = |unit: &str| unit.repeat(size / unit.len());
    let indented = |unit: &str| -> String {
        (0..1000)
            .map(|depth| format!("{}{unit}\n", " ".repeat(depth)))
            .collect()
    };
    let cases = [
        ("laughs", MULTIPLY, laughs),
        ("brackets", DEEP, fill("[")),
        ("braces", DEEP, fill("{a: ")),
        ("dashes", DEEP, fill("- ")),
        ("questions", DEEP, fill("? ")),
        ("anchors", REFUSED, fill("&a ")),
        ("deep maps", DEEP, indented("a:")),
        ("deep lists", DEEP, indented("-")),
        ("items", MANY, fill("- a\n")),
        (
            "inline items",
            MANY,
            format!("[{}]", fill("a,").trim_end_matches(',')),
        ),
        (
            "keys",
            MANY,
            (0..80_000).map(|key| format!("k{key}: 1\n")).collect(),
        ),
        ("documents", "a second document begins here", fill("---\n")),
        (
            "aliases",
            MULTIPLY,
            format!("a: &a x\nb: [{}]", "*a,".repeat(200_000)),
        ),
        (
            "merges",
            "is set twice",
            format!("a: &a {{b: 1}}\n{}", "<<: *a\n".repeat(100_000)),
        ),
        ("open quote", REFUSED, format!("a: \"{}", fill("x"))),
        ("escapes", REFUSED, fill("\"\\")),
        ("tags", "no tags of its own", fill("!a ")),
        ("colons", REFUSED, fill(":")),
        ("tabs", ACCEPTED, fill("\t")),
        ("carriage returns", ACCEPTED, fill("\r")),
        ("percents", REFUSED, fill("%")),
        ("block scalars", ACCEPTED, fill("|\n")),
        ("comments", ACCEPTED, fill("#\n ")),
    ];
    for (name, end, text) in cases {
        let text: String = text.chars().take(size).collect();
        let told = |error: Error| error.to_string();
        let read = || parse::<serde::de::IgnoredAny>("bomb.yaml", &text).map_err(told);
        let (ended, took) = work::timed(read);
        println!("{name}: {took:?}");
        assert!(took < LONGEST, "{name} took {took:?}");
        match ended {
            Ok(_) => assert_eq!(end, ACCEPTED, "{name} was accepted"),
            Err(told) => {
                let is_that = end != ACCEPTED && told.contains(end);
                assert!(is_that && told.len() < 2000, "{name}: {told}");
            }
        }
        // A type may have more to say, and not at length.
        if let Err(error) = parse::<Store>("bomb.yaml", &text) {
            let length = error.to_string().len();
            assert!(length < 2000, "{name}: the error has {length} bytes");
        }
    }
}

#[test]
fn nesting_and_aliases_within_reason_are_accepted() -> TestResult {
    let shared = "a: &a [x, y]\nb: *a\nc: *a\n";
    let lists: std::collections::BTreeMap<String, Vec<String>> = parse("a.yaml", shared)?;
    assert_eq!(lists["c"], ["x", "y"]);

    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    parse::<serde::de::IgnoredAny>("a.yaml", &deep(30))?;
    let error = parse::<serde::de::IgnoredAny>("a.yaml", &deep(40)).unwrap_err();
    assert!(
        error.to_string().contains("nested more than 32 deep"),
        "{error}"
    );
    Ok(())
}
