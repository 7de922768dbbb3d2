//! Durations and secrets, as they come from files and as they are shown.

use std::fs;
use std::time::Duration;

use keyval_config::{HumanDuration, Secret, duration, parse};
use serde::Deserialize;
use tempfile::TempDir;

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Debug, Deserialize)]
struct Wait {
    #[serde(with = "duration")]
    wait: Duration,
}

#[test]
fn durations_are_read_as_go_and_people_write_them() -> TestResult {
    let nanos = Duration::from_nanos;
    let cases = [
        ("0", nanos(0)),
        ("0s", nanos(0)),
        ("7ns", nanos(7)),
        ("10us", nanos(10_000)),
        ("10\u{b5}s", nanos(10_000)),
        ("10\u{3bc}s", nanos(10_000)),
        ("300ms", nanos(300_000_000)),
        ("5s", nanos(5_000_000_000)),
        ("+5s", nanos(5_000_000_000)),
        ("1.5h", Duration::from_secs(5400)),
        ("1h30m", Duration::from_secs(5400)),
        ("1h 30m", Duration::from_secs(5400)),
        ("2m0.5s", Duration::from_millis(120_500)),
        (".5s", Duration::from_millis(500)),
        ("1.s", Duration::from_secs(1)),
        ("1d", Duration::from_secs(86_400)),
        ("1s1s", Duration::from_secs(2)),
        ("0.3333333333333333333333333s", nanos(333_333_333)),
        ("0.1ns", nanos(0)),
        ("9223372036854775807ns", nanos(i64::MAX as u64)),
        ("1000000000", Duration::from_secs(1)),
        ("1_000", nanos(1000)),
    ];
    for (text, expected) in cases {
        assert_eq!(
            parse::<Wait>("a.yaml", &format!("wait: {text}"))?.wait,
            expected,
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn what_is_no_duration_is_named_and_the_forms_are_shown() {
    let cases = [
        ("", "it is empty"),
        ("-1s", "it is negative"),
        ("5", "a number has no unit"),
        ("1m5", "a number has no unit"),
        ("1.5", "a number has no unit"),
        ("s", "a number is missing"),
        (".s", "a number is missing"),
        ("1.2.3s", "a number has two points"),
        ("1S", "unknown unit \"S\""),
        ("1 s", "unknown unit \"s\""),
        ("5 parsecs", "unknown unit \"parsecs\""),
        ("1h-5m", "unknown unit \"h-\""),
        ("1:30", "unknown unit \":\""),
        ("9223372036854775808ns", "it is longer than 292 years"),
        (
            "99999999999999999999999999999999999999999h",
            "it is longer than 292 years",
        ),
        ("200000d", "it is longer than 292 years"),
    ];
    for (text, reason) in cases {
        let shown = if text.len() > 40 {
            format!("{:?}...", &text[..40])
        } else {
            format!("{text:?}")
        };
        assert_eq!(
            duration::parse(text).unwrap_err().to_string(),
            format!("{shown} is not a duration: {reason}; write it as 300ms, 1.5s, 1h30m or 1d")
        );
    }
}

#[test]
fn durations_print_short_and_readable_for_go() {
    let cases = [
        (0, "0s"),
        (7, "7ns"),
        (1_500, "1.5us"),
        (300_000_000, "300ms"),
        (1_000_000_001, "1.000000001s"),
        (90_000_000_000, "1m30s"),
        (120_500_000_000, "2m0.5s"),
        (86_400_000_000_000, "24h"),
    ];
    for (nanos, expected) in cases {
        assert_eq!(duration::format(Duration::from_nanos(nanos)), expected);
    }
}

#[test]
fn a_secret_is_shown_nowhere_but_where_exposed() {
    let secret = Secret::new("hunter2");
    assert_eq!(secret.expose(), "hunter2");
    assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "*** *** ***");
    assert_eq!(serialized(&secret), "***");
    assert_eq!(serialized(&HumanDuration(Duration::from_secs(90))), "1m30s");
}

/// What a value serializes to, by a serializer of serde itself.
fn serialized(value: &impl serde::Serialize) -> String {
    struct Shown<'a, T>(&'a T);
    impl<T: serde::Serialize> std::fmt::Display for Shown<'_, T> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            self.0.serialize(f)
        }
    }
    Shown(value).to_string()
}

#[derive(Debug, Deserialize)]
struct Login {
    password: Secret,
}

#[test]
fn a_secret_is_the_text_or_the_file_it_refers_to() -> TestResult {
    let folder = TempDir::new()?;
    let path = folder.path().join("password");
    let login: Login = parse("a.yaml", "password: 1234")?;
    assert_eq!(login.password.expose(), "1234");

    for (content, expected) in [
        ("hunter2", "hunter2"),
        ("hunter2\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        (" x \n\n", " x \n"),
    ] {
        fs::write(&path, content)?;
        let login: Login = parse("a.yaml", &format!("password: file:{}", path.display()))?;
        assert_eq!(login.password.expose(), expected);
    }
    Ok(())
}

#[test]
fn a_secret_file_that_cannot_be_used_is_named() -> TestResult {
    let folder = TempDir::new()?;
    let path = folder.path().join("key");
    let text = format!("password: file:{}", path.display());
    let fault = || parse::<Login>("a.yaml", &text).unwrap_err().to_string();

    let error = fault();
    let expected = format!(
        "a.yaml:1:11: password: cannot use the secret: cannot read {}: No such file",
        path.display()
    );
    assert!(error.starts_with(&expected), "{error}");

    fs::write(&path, "\n")?;
    let error = fault();
    assert!(
        error.contains(&format!(
            "cannot use the secret: {} is empty",
            path.display()
        )),
        "{error}"
    );

    fs::write(&path, b"hunter2\xff")?;
    let error = fault();
    assert!(
        error.contains(&format!("{}:1:8: the text is not UTF-8", path.display())),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");

    let error = parse::<Login>("a.yaml", "password: file:key")
        .unwrap_err()
        .to_string();
    assert!(error.contains("needs an absolute path after it"), "{error}");
    Ok(())
}
