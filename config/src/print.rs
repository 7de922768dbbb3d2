//! Shows what holds in the end, as YAML that can be loaded again.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::node::{Entry, Kind, Node, Place, Scalar, Source, Step, Style};
use crate::number::{decimal, integer, truth};
use crate::origin::Origin;
use crate::secret::HIDDEN;
use crate::tree::Tree;
use crate::yaml::parse_tree;

/// A value as the tree of what it serializes to, with its fields in their order.
pub(crate) fn to_node(name: &str, value: &impl Serialize) -> Result<Node> {
    let fail = |problem: String| Error::Show {
        name: name.to_owned(),
        problem,
    };
    let json = serde_json::to_string(value).map_err(|error| fail(error.to_string()))?;
    // JSON is YAML, but for characters that YAML wants escaped. All of them are inside of texts.
    let is_plain = |c: char| matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}');
    let escaped: String = json
        .chars()
        .map(|c| match is_plain(c) || u32::from(c) > 0xffff {
            true => c.to_string(),
            false => format!("\\u{:04x}", u32::from(c)),
        })
        .collect();
    let source = std::sync::Arc::new(Source {
        name: name.to_owned(),
        origin: Origin::Defaults,
        text: escaped,
    });
    parse_tree(&source).map_err(|fault| fail(fault.to_string()))
}

/// Writes a map in the block style, each value with where it comes from.
pub(crate) struct Printer<'a> {
    pub(crate) out: String,
    /// What was said, in which the origins are.
    pub(crate) tree: &'a Tree,
}

impl Printer<'_> {
    /// Writes the entries of a map, which is at that path of the tree, so far to the right.
    pub(crate) fn map(&mut self, node: &Node, path: &mut Vec<Step>, indent: usize) {
        let entries = node.entries().unwrap_or_default();
        for entry in entries {
            path.push(Step::Key(entry.key.text.clone()));
            self.entry(entry, path, indent);
            path.pop();
        }
    }

    fn entry(&mut self, entry: &Entry, path: &mut Vec<Step>, indent: usize) {
        let key = scalar(&entry.key);
        let origin = origin_of(self.tree.place_of(path));
        let pad = " ".repeat(indent);
        match &entry.value.kind {
            Kind::Scalar(value) if value.text == HIDDEN => {
                // A file may be named, but no secret; so that what is printed can be loaded again.
                let line = match self.reference(path) {
                    Some(file) => format!("{pad}{key}: {}  # {origin}\n", quoted(&file)),
                    None => format!("{pad}# {key}: \"{HIDDEN}\"  # {origin}\n"),
                };
                self.out.push_str(&line);
            }
            Kind::Scalar(value) => {
                let value = scalar(value);
                self.out
                    .push_str(&format!("{pad}{key}: {value}  # {origin}\n"));
            }
            Kind::List(items) if items.is_empty() => {
                self.out.push_str(&format!("{pad}{key}: []  # {origin}\n"));
            }
            Kind::List(_) => {
                self.out.push_str(&format!("{pad}{key}:  # {origin}\n"));
                self.items(&entry.value, path, indent + 2);
            }
            Kind::Map(entries) if entries.is_empty() => {
                self.out
                    .push_str(&format!("{pad}{key}: {{}}  # {origin}\n"));
            }
            Kind::Map(_) => {
                self.out.push_str(&format!("{pad}{key}:\n"));
                self.map(&entry.value, path, indent + 2);
            }
        }
    }

    /// Writes the items of a list; a list or map among them on one line.
    fn items(&mut self, list: &Node, path: &[Step], indent: usize) {
        let Kind::List(items) = &list.kind else {
            return;
        };
        let pad = " ".repeat(indent);
        for (index, item) in items.iter().enumerate() {
            let shown = flow(item);
            let hidden = hides(item);
            let file = || {
                let mut path = path.to_vec();
                path.push(Step::Item(index));
                self.reference(&path).map(|file| quoted(&file))
            };
            let line = match hidden.then(file) {
                None => format!("{pad}- {shown}\n"),
                Some(Some(file)) => format!("{pad}- {file}\n"),
                Some(None) => format!("{pad}# - {shown}\n"),
            };
            self.out.push_str(&line);
        }
    }

    /// What stands in place of a secret: the file that holds it.
    fn reference(&self, path: &[Step]) -> Option<String> {
        let (node, missing) = self.tree.root().closest(path);
        match &node.kind {
            Kind::Scalar(scalar) if missing == 0 && scalar.text.starts_with("file:/") => {
                Some(scalar.text.clone())
            }
            _ => None,
        }
    }
}

/// Where a value comes from, as a comment tells it.
pub(crate) fn origin_of(place: Option<&Place>) -> String {
    let Some(place) = place else {
        return "default".into();
    };
    let origin = match &place.source.origin {
        Origin::Defaults => "default".into(),
        origin => origin.to_string(),
    };
    let shown = match place.position {
        Some((line, _)) => format!("{origin}:{line}"),
        None => origin,
    };
    shown.replace(char::is_control, " ")
}

/// Whether a value has a secret in it.
pub(crate) fn hides(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(value) => value.text == HIDDEN,
        Kind::List(items) => items.iter().any(hides),
        Kind::Map(entries) => entries.iter().any(|entry| hides(&entry.value)),
    }
}

/// A value on one line.
pub(crate) fn flow(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar(value) => scalar(value),
        Kind::List(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Map(entries) => {
            let shown = |entry: &Entry| format!("{}: {}", scalar(&entry.key), flow(&entry.value));
            let entries: Vec<String> = entries.iter().map(shown).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// A scalar as YAML that reads back as the same.
fn scalar(scalar: &Scalar) -> String {
    match scalar.style {
        Style::Plain if scalar.is_null() => "~".into(),
        Style::Plain => scalar.text.clone(),
        Style::Quoted | Style::Given => quoted(&scalar.text),
    }
}

/// A text, in quotes if it has to be.
pub(crate) fn quoted(text: &str) -> String {
    let letters = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/');
    let is_text = integer(text).is_none() && decimal(text).is_none() && truth(text).is_none();
    let is_null = text.eq_ignore_ascii_case("null");
    if begins && text.chars().all(letters) && !text.ends_with(':') && is_text && !is_null {
        return text.to_owned();
    }
    let mut shown = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => shown.extend(['\\', c]),
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' => shown.push(c),
            c if u32::from(c) <= 0xffff => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => shown.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    shown.push('"');
    shown
}
