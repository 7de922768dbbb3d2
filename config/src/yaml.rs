//! YAML to a tree: the only file that knows which parser does it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use granit_parser::{
    ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag,
};

use crate::fault::Fault;
use crate::margin::Margin;
use crate::node::{Entry, Kind, Node, Place, Scalar, Source, Style};
use crate::snippet::hide_sensitive;

/// The deepest nesting of maps and lists accepted.
pub(crate) const MAX_DEPTH: usize = 32;
/// The most maps, lists and scalars in one text, those that aliases repeat among them.
const MAX_NODES: usize = 100_000;
/// The most bytes of scalars, those that aliases repeat among them.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The key whose value gives a map what it lacks itself.
const MERGE: &str = "<<";

/// Parses the text of a source; without any value it is null.
pub(crate) fn parse_tree(source: &Arc<Source>) -> Result<Node, Fault> {
    // Read as a whole, so that a fault behind the last value is found, too.
    let mut builder = Builder {
        events: Parser::new_from_str_with_options(&source.text, options()),
        source,
        anchors: HashMap::new(),
        margin: Margin::default(),
        nodes: 0,
        bytes: 0,
    };
    let mut root = None;
    loop {
        let (event, span) = builder.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(..) if root.is_some() => {
                let message = "a second document begins here; keep one and remove this `---`";
                return Err(Fault::new(message).at(&builder.place(span)).of_the_key());
            }
            Event::DocumentStart(..) => {
                let (event, span) = builder.next()?;
                root = Some(builder.node(event, span, 0)?);
            }
            _ => {}
        }
    }
    Ok(root.unwrap_or_else(|| Node::null(Place::nowhere_in(source))))
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options
}

/// Makes nodes of events, within the limits.
struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
    source: &'a Arc<Source>,
    anchors: HashMap<usize, Anchored>,
    margin: Margin,
    nodes: usize,
    bytes: usize,
}

/// A node that aliases may repeat, and what each repetition costs.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.events.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => Err(self.refused(&error)),
            None => Err(Fault::new("the text ends too early")),
        }
    }

    fn refused(&self, error: &ScanError) -> Fault {
        let at = error.marker();
        let place = Place {
            source: Arc::clone(self.source),
            position: Some((at.line(), at.col() + 1)),
            clear: self.margin.before_a_fault(at.line(), &self.source.text),
            is_inside: self.margin.is_inside(),
            is_crowded: self.margin.is_crowded(),
        };
        let fault = match error.kind() {
            ErrorKind::RecursionLimitExceeded => too_deep(),
            ErrorKind::UnknownAnchor => Fault::new(
                "an alias `*name` repeats what `&name` marks above it, and nothing is marked so; \
                 put a text that begins with * in quotes",
            ),
            kind => Fault::new(kind.to_string()),
        };
        fault.untyped(&place)
    }

    fn place(&self, span: Span) -> Place {
        let (line, column) = (span.start.line(), span.start.col());
        Place {
            source: Arc::clone(self.source),
            position: Some((line, column + 1)),
            clear: self.margin.before(line, column),
            is_inside: self.margin.is_inside(),
            is_crowded: self.margin.is_crowded(),
        }
    }

    /// The node that begins with this event.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let place = self.place(span);
        if depth > MAX_DEPTH {
            return Err(too_deep().untyped(&place));
        }
        let before = (self.nodes, self.bytes);
        self.spend(1, 0).map_err(|fault| fault.untyped(&place))?;
        let (kind, anchor) = match event {
            Event::Alias(id) => {
                let repeated = self.repeat(id, depth);
                return repeated.map_err(|fault| fault.untyped(&place));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar = scalar(text.into_owned(), style, tag.as_deref());
                let scalar = scalar.map_err(|fault| fault.untyped(&place))?;
                self.spend(0, scalar.text.len())
                    .map_err(|fault| fault.untyped(&place))?;
                (Kind::Scalar(scalar), anchor)
            }
            Event::SequenceStart(style, anchor, tag) => {
                refuse_own(tag.as_deref()).map_err(|fault| fault.untyped(&place))?;
                let around = self.margin.enter(style, false, span);
                let list = self.list(depth)?;
                self.margin.leave_to(around);
                (list, anchor)
            }
            Event::MappingStart(style, anchor, tag) => {
                refuse_own(tag.as_deref()).map_err(|fault| fault.untyped(&place))?;
                let around = self.margin.enter(style, true, span);
                let map = self.map(depth)?;
                self.margin.leave_to(around);
                (map, anchor)
            }
            _ => return Err(Fault::new("a value is missing").untyped(&place)),
        };
        let node = Node { kind, place };
        if anchor != 0 {
            self.keep(anchor, &node, before)?;
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Kind, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Kind::List(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, Fault> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        let mut keys = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let Node { kind, place } = self.node(event, span, depth + 1)?;
            let Kind::Scalar(key) = kind else {
                let message = "a key must be a single value, not a list or a map";
                return Err(Fault::new(message).untyped(&place));
            };
            self.margin.pass_key(span);
            if !keys.insert(key.text.clone()) {
                return Err(twice(&key.text).at(&place).of_the_key());
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            if key.text == MERGE && key.style == Style::Plain {
                merged.push(value);
            } else {
                entries.push(Entry { key, place, value });
            }
        }
        for value in merged {
            merge(value, &mut entries, &mut keys)?;
        }
        Ok(Kind::Map(entries))
    }

    /// Keeps a node for aliases, which costs as much again.
    fn keep(&mut self, id: usize, node: &Node, before: (usize, usize)) -> Result<(), Fault> {
        let (nodes, bytes) = (self.nodes - before.0, self.bytes - before.1);
        let spent = self.spend(nodes, bytes);
        spent.map_err(|fault| fault.untyped(&node.place))?;
        let anchored = Anchored {
            depth: depth_of(node),
            node: node.clone(),
            nodes,
            bytes,
        };
        self.anchors.insert(id, anchored);
        Ok(())
    }

    fn repeat(&mut self, id: usize, depth: usize) -> Result<Node, Fault> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(Fault::new("a value cannot contain itself"));
        };
        if depth + anchored.depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let (nodes, bytes) = (anchored.nodes, anchored.bytes);
        self.spend(nodes, bytes)?;
        Ok(self.anchors[&id].node.clone())
    }

    fn spend(&mut self, nodes: usize, bytes: usize) -> Result<(), Fault> {
        self.nodes += nodes;
        self.bytes += bytes;
        if self.nodes <= MAX_NODES && self.bytes <= MAX_BYTES {
            return Ok(());
        }
        Err(Fault::new(if self.anchors.is_empty() {
            format!("more than {MAX_NODES} values, too much for a configuration")
        } else {
            "aliases multiply to too many values; write the values out".into()
        }))
    }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar, Fault> {
    refuse_own(tag)?;
    let is_text = match tag {
        Some(tag) => tag.core_suffix().is_none_or(|name| name == "str"),
        None => style != ScalarStyle::Plain,
    };
    let style = match is_text {
        true => Style::Quoted,
        false => Style::Plain,
    };
    Ok(Scalar { text, style })
}

/// Refuses tags beyond those for what a configuration is made of.
fn refuse_own(tag: Option<&Tag>) -> Result<(), Fault> {
    const KNOWN: [&str; 7] = ["str", "int", "float", "bool", "null", "seq", "map"];
    match tag {
        Some(tag) if !tag.core_suffix().is_some_and(|name| KNOWN.contains(&name)) => {
            let message = "a configuration has no tags of its own; remove it, or put a text that \
                           begins with ! in quotes";
            Err(Fault::new(message))
        }
        _ => Ok(()),
    }
}

/// Adds the entries that a map lacks.
fn merge(from: Node, into: &mut Vec<Entry>, keys: &mut HashSet<String>) -> Result<(), Fault> {
    match from.kind {
        Kind::Map(entries) => {
            for entry in entries {
                if keys.insert(entry.key.text.clone()) {
                    into.push(entry);
                }
            }
            Ok(())
        }
        Kind::List(maps) => {
            for map in maps {
                merge(map, into, keys)?;
            }
            Ok(())
        }
        Kind::Scalar(_) => {
            let message = "what is merged by `<<` must be a map, `<<: *name`";
            Err(Fault::new(message).untyped(&from.place))
        }
    }
}

fn twice(key: &str) -> Fault {
    let key = hide_sensitive(key);
    Fault::new(format!("key {key:?} is set twice; remove one"))
}

pub(crate) fn too_deep() -> Fault {
    Fault::new(format!(
        "maps and lists are nested more than {MAX_DEPTH} deep"
    ))
}

/// How many levels of lists and maps there are in a node.
fn depth_of(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar(_) => 0,
        Kind::List(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Kind::Map(entries) => {
            let below = entries.iter().map(|entry| depth_of(&entry.value));
            1 + below.max().unwrap_or(0)
        }
    }
}
