//! YAML to typed values: the only file that knows which parser does it.

use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::localizer::ExternalMessageSource;
use serde_saphyr::{
    DuplicateKeyPolicy, Error as YamlError, Location, MessageFormatter, Options,
    UserMessageFormatter,
};

use crate::error::{Error, Invalid, Result};
use crate::file::MAX_SIZE;
use crate::snippet::{Reveal, draw, hide_sensitive, redact};
use crate::suggest::closest;

/// The deepest nesting of maps and lists accepted.
const MAX_DEPTH: usize = 32;
/// The most maps, lists and scalars in one text.
const MAX_NODES: usize = 100_000;
/// The most aliases used, and the most anchors set.
const MAX_ALIASES: usize = 1_000;
/// The most characters of one message; what a file says may be repeated in it.
const MAX_MESSAGE: usize = 500;

/// Parses a YAML text into a typed value; `name` stands for the file in errors.
///
/// An empty text, or one of comments only, is an empty map: all defaults. Twice the same key, more
/// than one document, more than 1 MiB, nesting beyond 32 levels and aliases that multiply are
/// errors. A type refuses unknown keys by `#[serde(deny_unknown_fields)]`, and should.
///
/// # Errors
/// [`Error::TooLarge`] and [`Error::Invalid`].
///
/// # Examples
/// ```
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "kebab-case", deny_unknown_fields)]
/// struct Probe {
///     listen_on: std::net::SocketAddr,
/// }
///
/// let probe: Probe = keyval_config::parse("probe.yaml", "listen-on: 127.0.0.1:9191")?;
/// assert_eq!(probe.listen_on.port(), 9191);
/// # keyval_config::Result::Ok(())
/// ```
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T> {
    if text.len() > MAX_SIZE {
        return Err(Error::TooLarge {
            file: name.to_owned(),
            limit: MAX_SIZE,
        });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match serde_saphyr::from_str_with_options::<Option<T>>(text, options()) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => from_nothing(name),
        Err(error) => Err(Error::Invalid(Box::new(translate(name, text, &error)))),
    }
}

/// The value of an empty text: what the type makes of a map without keys.
fn from_nothing<T: DeserializeOwned>(name: &str) -> Result<T> {
    let no_keys = MapDeserializer::<_, YamlError>::new(std::iter::empty::<((), ())>());
    T::deserialize(no_keys).map_err(|error| {
        let (message, did_you_mean, _) = describe(&error);
        Error::Invalid(Box::new(Invalid {
            file: name.to_owned(),
            position: None,
            message: tidy(&format!("the text is empty: {message}")),
            did_you_mean,
            snippet: None,
        }))
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_SIZE),
            flow_nesting_limit: MAX_DEPTH,
            max_depth: MAX_DEPTH,
            max_documents: 2,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            max_aliases: MAX_ALIASES,
            max_anchors: MAX_ALIASES,
            max_recorded_anchor_events: MAX_NODES,
            max_recorded_anchor_bytes: 4 * MAX_SIZE,
            max_total_scalar_bytes: 4 * MAX_SIZE,
            max_merge_keys: 100,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_NODES,
            max_replay_stack_depth: MAX_DEPTH,
            max_alias_expansions_per_anchor: MAX_ALIASES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        // The snippet is drawn here, where secrets are hidden.
        with_snippet: false,
    }
}

fn translate(name: &str, text: &str, error: &YamlError) -> Invalid {
    let (message, did_you_mean, reveal) = describe(error);
    let position = error
        .location()
        .filter(|location| *location != Location::UNKNOWN)
        .map(|location| (location.line() as usize, location.column() as usize));
    let (message, snippet) = match position {
        Some((line, column)) => (
            redact(message, text, line),
            draw(text, line, column, reveal),
        ),
        None => (message, None),
    };
    Invalid {
        file: name.to_owned(),
        position,
        message: tidy(&message),
        did_you_mean,
        snippet,
    }
}

/// What is wrong in words for who wrote the file, the name probably meant, and what may be shown.
fn describe(error: &YamlError) -> (String, Option<&'static str>, Reveal) {
    let error = error.without_snippet();
    let message = match error {
        YamlError::AliasError { error, .. } => return describe(error),
        YamlError::SerdeUnknownField {
            field, expected, ..
        } => {
            let (message, meant) = unknown("key", field, expected);
            return (message, meant, Reveal::Key);
        }
        YamlError::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            let (message, meant) = unknown("value", variant, expected);
            return (message, meant, Reveal::Line);
        }
        YamlError::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or_else(
                || "a key".into(),
                |key| format!("key {:?}", hide_sensitive(key)),
            );
            return (format!("{key} is set twice; remove one"), None, Reveal::Key);
        }
        YamlError::SerdeMissingField { field, .. } => format!("missing key {field:?}"),
        YamlError::InvalidScalar { ty, .. } => format!("expected {}", scalar(ty)),
        YamlError::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | YamlError::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => {
            format!("expected {expected}, found {}", hide_sensitive(unexpected))
        }
        YamlError::NullIntoString { .. } => {
            "expected a text, found nothing; give a value or remove the key".into()
        }
        YamlError::Unexpected {
            expected: "mapping start",
            ..
        } => "expected a map, `key: value`".into(),
        YamlError::Unexpected {
            expected: "sequence start",
            ..
        } => "expected a list, `[a, b]` or one `- item` per line".into(),
        YamlError::Unexpected {
            expected: "string scalar",
            ..
        } => "expected a single value, found a list or a map".into(),
        YamlError::MultipleDocuments { .. } => {
            "a second document begins here; keep one and remove this `---`".into()
        }
        YamlError::ExternalMessage { source, .. }
            if matches!(&**source, ExternalMessageSource::Parser(error)
                if matches!(error.kind(), ErrorKind::RecursionLimitExceeded)) =>
        {
            too_deep()
        }
        YamlError::Budget { breach, .. } => too_much(breach),
        YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => {
            "aliases multiply to too many values; write the values out".into()
        }
        other => UserMessageFormatter.format_message(other).into_owned(),
    };
    (message, None, Reveal::Line)
}

fn unknown(what: &str, given: &str, expected: &[&'static str]) -> (String, Option<&'static str>) {
    let known = expected.join(", ");
    let meant = closest(given, expected);
    // An open quote turns whole lines into one name.
    let given = hide_sensitive(given);
    let message = match meant {
        Some(meant) => format!("unknown {what} {given:?}, did you mean {meant:?}?"),
        None if expected.is_empty() => format!("unknown {what} {given:?}, none is expected"),
        None => format!("unknown {what} {given:?}, expected one of {known}"),
    };
    (message, meant)
}

/// A Rust scalar type in words, with its range.
fn scalar(ty: &str) -> String {
    let range = match ty {
        "boolean" => return "true or false".into(),
        "floating point" => return "a number".into(),
        "u8" => (0, i128::from(u8::MAX)),
        "u16" => (0, i128::from(u16::MAX)),
        "u32" => (0, i128::from(u32::MAX)),
        "u64" => (0, i128::from(u64::MAX)),
        "i8" => (i128::from(i8::MIN), i128::from(i8::MAX)),
        "i16" => (i128::from(i16::MIN), i128::from(i16::MAX)),
        "i32" => (i128::from(i32::MIN), i128::from(i32::MAX)),
        "i64" => (i128::from(i64::MIN), i128::from(i64::MAX)),
        other => return format!("a value of type {other}"),
    };
    format!("an integer from {} to {}", range.0, range.1)
}

fn too_deep() -> String {
    format!("maps and lists are nested more than {MAX_DEPTH} deep")
}

fn too_much(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => too_deep(),
        BudgetBreach::Documents { .. } => "more than one document; keep one".into(),
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::MergeKeys { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. } => {
            "aliases multiply to too many values; write the values out".into()
        }
        _ => format!("more than {MAX_NODES} values, too much for a configuration"),
    }
}

/// One line of bounded length without control characters.
fn tidy(message: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut tidy: String = message.chars().take(MAX_MESSAGE).map(plain).collect();
    if tidy.len() < message.len() {
        tidy.push_str("...");
    }
    tidy
}
