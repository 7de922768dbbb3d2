//! A configuration as a tree of which each value knows where it was written.

use std::fmt;
use std::sync::Arc;

use crate::origin::Origin;

/// A value and where it was written.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map and its value. No two keys of a map have the same text.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// A text whose type is decided by who reads it.
#[derive(Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) style: Style,
}

/// How a scalar was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// As it is: `5` may be a number, and nothing is null.
    Plain,
    /// In quotes, or as a block: a text and nothing else.
    Quoted,
    /// As a variable or flag has it: the text of a text, the YAML of everything else.
    Given,
}

/// Where a value was written: in which source, and at which line and column (from 1) of it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) source: Arc<Source>,
    pub(crate) position: Option<(usize, usize)>,
    /// How many characters of the line come before every value on it.
    pub(crate) clear: usize,
    /// Whether it is in a list in brackets or a map in braces.
    pub(crate) is_inside: bool,
    /// Whether it is in a map in braces, whose other values may stand on the same line.
    pub(crate) is_crowded: bool,
}

/// What a configuration is read from.
pub(crate) struct Source {
    /// As errors name it.
    pub(crate) name: String,
    pub(crate) origin: Origin,
    /// To draw the line at fault from; empty where there are no lines.
    pub(crate) text: String,
}

impl Source {
    /// A source without lines: a variable, a flag, the program itself.
    pub(crate) fn without_lines(origin: Origin) -> Arc<Self> {
        /// The most characters of a name that are shown.
        const LONGEST: usize = 200;
        let whole = origin.to_string();
        let mut name: String = whole.chars().take(LONGEST).collect();
        if name.len() < whole.len() {
            name.push_str("...");
        }
        Arc::new(Self {
            name,
            origin,
            text: String::new(),
        })
    }
}

impl Place {
    pub(crate) fn nowhere_in(source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            position: None,
            clear: 0,
            is_inside: false,
            is_crowded: false,
        }
    }
}

impl Scalar {
    pub(crate) fn given(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            style: Style::Given,
        }
    }

    /// Nothing, as YAML writes it.
    pub(crate) fn null() -> Self {
        Self {
            text: String::new(),
            style: Style::Plain,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        let nothing = ["", "~", "null", "Null", "NULL"].contains(&&*self.text);
        self.style != Style::Quoted && nothing
    }

    /// Whether a value that was given is written as a list or map of YAML.
    pub(crate) fn is_collection(&self) -> bool {
        self.style == Style::Given && self.text.trim_start().starts_with(['[', '{'])
    }
}

impl Node {
    pub(crate) fn null(place: Place) -> Self {
        Self {
            kind: Kind::Scalar(Scalar::null()),
            place,
        }
    }

    /// The entries of a map; what is empty is a map without any.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Scalar(scalar) if scalar.is_null() => Some(&[]),
            Kind::Scalar(_) | Kind::List(_) => None,
        }
    }

    /// The entry of a key, if this is a map that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries()?.iter().find(|entry| entry.is_for(key))
    }

    /// The value of a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Takes away what stands below these keys, one in the other; false if nothing does.
    pub(crate) fn remove(&mut self, keys: &[String]) -> bool {
        let (Some((key, below)), Kind::Map(entries)) = (keys.split_first(), &mut self.kind) else {
            return false;
        };
        let Some(at) = entries.iter().position(|entry| entry.is_for(key)) else {
            return false;
        };
        if below.is_empty() {
            entries.remove(at);
            return true;
        }
        entries[at].value.remove(below)
    }

    /// The value at a path, or what comes closest above it, and how many steps are left from there.
    pub(crate) fn closest(&self, path: &[Step]) -> (&Node, usize) {
        let mut node = self;
        for (done, step) in path.iter().enumerate() {
            let below = match (step, &node.kind) {
                (Step::Key(key), _) => node.get(key),
                (Step::Item(index), Kind::List(items)) => items.get(*index),
                (Step::Item(_), _) => None,
            };
            match below {
                Some(below) => node = below,
                None => return (node, path.len() - done),
            }
        }
        (node, 0)
    }
}

impl Entry {
    /// Whether this is the entry of that key. A variable cannot spell the difference between `-`
    /// and `_`, so where one made the entry it does not count.
    pub(crate) fn is_for(&self, key: &str) -> bool {
        self.key.text == key || (self.is_of_a_variable() && folded(&self.key.text) == folded(key))
    }

    pub(crate) fn is_of_a_variable(&self) -> bool {
        matches!(self.place.source.origin, Origin::Variable(_))
    }
}

/// A name as the environment spells it, but for the case of its letters.
pub(crate) fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// A name in the spelling of the environment: `etcd-backup` is `ETCD_BACKUP`.
pub(crate) fn in_variables(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// One step from a value into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the value of this key.
    Key(String),
    /// To the item of this index, from 0.
    Item(usize),
}

impl Step {
    /// The key that it leads to, if it does.
    pub(crate) fn key(&self) -> Option<String> {
        match self {
            Self::Key(key) => Some(key.clone()),
            Self::Item(_) => None,
        }
    }
}

/// A path as people write it: `limits.hosts[2].name`.
pub(crate) fn show_path(path: &[Step]) -> String {
    let mut shown = String::new();
    for step in path {
        match step {
            Step::Key(key) if shown.is_empty() => shown.push_str(key),
            Step::Key(key) => {
                shown.push('.');
                shown.push_str(key);
            }
            Step::Item(index) => shown.push_str(&format!("[{index}]")),
        }
    }
    shown
}

/// The steps of a path as people write it.
pub(crate) fn read_path(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, items) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !key.is_empty() {
            steps.push(Step::Key(key.to_owned()));
        }
        let items = items.split(['[', ']']).filter_map(|item| item.parse().ok());
        steps.extend(items.map(Step::Item));
    }
    steps
}

/// Values may be secrets.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.place.source.name)
    }
}
