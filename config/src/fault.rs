//! What is wrong with one value, as it is found: first without, then with its place and path.

use std::fmt;

use serde::de;

use crate::error::Invalid;
use crate::node::{Place, Step, in_variables, show_path};
use crate::origin::Origin;
use crate::snippet::{Reveal, draw, hide_sensitive, is_sensitive};
use crate::suggest::closest;

/// The most characters of one message; what a file says may be repeated in it.
const MAX_MESSAGE: usize = 500;
/// The most characters of a path.
const MAX_PATH: usize = 200;

/// A fault on its way up from where it was found.
#[derive(Debug)]
pub(crate) struct Fault(Box<Parts>);

#[derive(Debug)]
struct Parts {
    message: String,
    did_you_mean: Option<String>,
    /// Whether the message may repeat the value, which may be a secret.
    may_repeat: bool,
    /// Whether a key is missing that the type requires.
    is_of_what_is_missing: bool,
    reveal: Reveal,
    place: Option<Place>,
    /// The innermost step first.
    path: Vec<Step>,
}

impl Fault {
    /// A fault whose message repeats no value.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            message: message.into(),
            did_you_mean: None,
            may_repeat: false,
            is_of_what_is_missing: false,
            reveal: Reveal::Line,
            place: None,
            path: Vec::new(),
        }))
    }

    /// Says where it is, unless that is known more exactly.
    pub(crate) fn at(mut self, place: &Place) -> Self {
        self.0.place.get_or_insert_with(|| place.clone());
        self
    }

    /// Says that it is about the whole of a list or map, unless that is known more exactly: a type may
    /// have read ahead, so that it can be about any of the values.
    pub(crate) fn about(self, place: &Place) -> Self {
        match (&self.0.place, self.0.reveal) {
            (None, Reveal::Line) => self.hidden().at(place),
            _ => self.at(place),
        }
    }

    /// Says where it is, before a type has said whether that is a secret.
    pub(crate) fn untyped(self, place: &Place) -> Self {
        match self.0.reveal {
            Reveal::Line => self.hidden().at(place),
            Reveal::Key | Reveal::Nothing => self.at(place),
        }
    }

    /// Says that it is here, whatever was known.
    pub(crate) fn moved_to(mut self, place: &Place) -> Self {
        self.0.place = Some(place.clone());
        self
    }

    /// Says that it is inside of a value with this step to it.
    pub(crate) fn below(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    /// Whether it is a key that is missing, and what was read before it is in order.
    pub(crate) fn is_of_what_is_missing(&self) -> bool {
        self.0.is_of_what_is_missing
    }

    /// The keys that lead to it, up to the first list.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.path.iter().rev().map_while(Step::key).collect()
    }

    /// Hides all but the key at the place: what follows may be the value of a misspelt secret.
    pub(crate) fn of_the_key(mut self) -> Self {
        self.0.reveal = Reveal::Key;
        self
    }

    /// Hides the value, which is a secret or may be one.
    pub(crate) fn hidden(mut self) -> Self {
        self.0.reveal = Reveal::Nothing;
        self
    }

    /// Vouches that the message repeats no secret.
    pub(crate) fn trusted(mut self) -> Self {
        self.0.may_repeat = false;
        self
    }

    /// What the author of the configuration is told.
    pub(crate) fn into_invalid(self, unplaced: &Place) -> Invalid {
        let Parts {
            mut message,
            did_you_mean,
            may_repeat,
            is_of_what_is_missing: _,
            reveal,
            place,
            mut path,
        } = *self.0;
        path.reverse();
        let place = place.unwrap_or_else(|| unplaced.clone());
        let secret = |step: &Step| matches!(step, Step::Key(key) if is_sensitive(key));
        if may_repeat && path.iter().any(secret) {
            message = "the value is not accepted".into();
        }
        if let (Origin::Variable(name), Some(meant)) = (&place.source.origin, &did_you_mean)
            && reveal == Reveal::Key
            && let Some((above, _)) = name.rsplit_once("__")
        {
            let meant = in_variables(meant);
            message.push_str(&format!(" Name the variable {above}__{meant}."));
        }
        let snippet = draw(&place, reveal);
        let path = hide_sensitive(&tidy(&show_path(&path), MAX_PATH));
        let path_is_told = match &place.source.origin {
            Origin::Variable(name) => name.ends_with(&in_variables(&path.replace('.', "__"))),
            Origin::Flag(name) | Origin::Code(name) => name.ends_with(&path),
            Origin::File(_) | Origin::Defaults => false,
        };
        Invalid {
            file: place.source.name.clone(),
            position: place.position,
            path,
            path_is_told,
            message: tidy(&message, MAX_MESSAGE),
            did_you_mean,
            snippet,
        }
    }

    fn repeating(message: String) -> Self {
        let mut fault = Self::new(message);
        fault.0.may_repeat = true;
        fault
    }

    /// A key or value that is none of those expected.
    pub(crate) fn unknown(what: &str, given: &str, expected: &[&str]) -> Self {
        let known = expected.join(", ");
        let meant = closest(given, expected);
        // An open quote turns whole lines into one name.
        let given = hide_sensitive(given);
        let message = match meant {
            Some(meant) => format!("unknown {what} {given:?}, did you mean {meant:?}?"),
            None if expected.is_empty() => format!("unknown {what} {given:?}, none is expected"),
            None => format!("unknown {what} {given:?}, expected one of {known}"),
        };
        let mut fault = Self::repeating(message);
        fault.0.did_you_mean = meant.map(str::to_owned);
        fault
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::repeating(message.to_string())
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::repeating(format!("expected {expected}, found {unexpected}"))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::new(format!("expected {expected}, found {length}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("value", variant, expected)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("key", field, expected).of_the_key()
    }

    fn missing_field(field: &'static str) -> Self {
        let mut fault = Self::new(format!("missing key {field:?}")).of_the_key();
        fault.0.is_of_what_is_missing = true;
        fault
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("key {field:?} is set twice; remove one"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fault {}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.source.name, self.position)
    }
}

/// One line of bounded length without control characters.
fn tidy(message: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut tidy: String = message.chars().take(most).map(plain).collect();
    if tidy.len() < message.len() {
        tidy.push_str("...");
    }
    tidy
}
