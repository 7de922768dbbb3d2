//! Everything that is said about a plugin, in one tree.

use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fault::Fault;
use crate::file::{MAX_SIZE, read_text};
use crate::layers::Override;
use crate::node::{Entry, Kind, Node, Place, Source, Step};
use crate::origin::Origin;
use crate::reader::{check_shape, read_node, values_of};
use crate::seen::Seen;
use crate::validate::{Finding, Findings, Validate};
use crate::yaml::parse_tree;

/// What a file says and what covers it.
#[derive(Debug)]
pub(crate) struct Tree {
    root: Node,
    origin: Origin,
    /// For the variables that a type has of its own.
    environment: Environment,
}

impl Tree {
    /// What is said where there is no file.
    pub(crate) fn empty() -> Self {
        let nothing = Source::without_lines(Origin::Defaults);
        Self {
            root: Node::null(Place::nowhere_in(&nothing)),
            origin: Origin::Defaults,
            environment: Environment::empty(),
        }
    }

    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        Self::of_text(path, read_text(path)?)
    }

    /// What a text says that stands for the file of this name.
    pub(crate) fn of_text(path: &Path, mut text: String) -> Result<Self> {
        let name = path.display().to_string();
        if text.len() > MAX_SIZE {
            let (file, limit) = (name, MAX_SIZE);
            return Err(Error::TooLarge { file, limit });
        }
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        let origin = Origin::File(path.to_owned());
        let source = Arc::new(Source {
            name,
            origin: origin.clone(),
            text,
        });
        let whole = Place::nowhere_in(&source);
        let root = parse_tree(&source).map_err(|fault| invalid(fault, &whole))?;
        Ok(Self {
            root,
            origin,
            environment: Environment::empty(),
        })
    }

    /// Looks here for the variables that a type has of its own.
    pub(crate) fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    /// The file, or without one the first that says something.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// What is said by these entries of the whole, and nothing of the others.
    pub(crate) fn only(&self, wanted: impl Fn(&Entry) -> bool) -> Self {
        let entries = self.root.entries().unwrap_or_default().iter();
        let entries: Vec<Entry> = entries.filter(|entry| wanted(entry)).cloned().collect();
        let origin = match entries.is_empty() {
            true => Origin::Defaults,
            false => self.origin.clone(),
        };
        let place = self.root.place.clone();
        let kind = Kind::Map(entries);
        Self {
            root: Node { kind, place },
            origin,
            environment: self.environment.clone(),
        }
    }

    /// Puts one value over what is said so far.
    pub(crate) fn cover(&mut self, value: &Override) -> Result<()> {
        let applied = value.apply(&mut self.root);
        applied.map_err(|fault| invalid(fault, &value.place()))?;
        if self.origin == Origin::Defaults {
            self.origin = value.origin().clone();
        }
        Ok(())
    }

    /// Reads what stands at a path; what is not there is read as nothing.
    pub(crate) fn read<T: DeserializeOwned>(&self, path: &[Step]) -> Result<T> {
        let (node, missing) = self.root.closest(path);
        let nothing = Node::null(node.place.clone());
        let node = if missing == 0 { node } else { &nothing };
        read_node(node).map_err(|fault| self.invalid(fault, path))
    }

    /// Refuses what stands at a path, if anything does, if it cannot be of a type.
    pub(crate) fn check_shape<T: DeserializeOwned>(&self, path: &[Step]) -> Result<()> {
        let (node, missing) = self.root.closest(path);
        match missing {
            0 => check_shape::<T>(node).map_err(|fault| self.invalid(fault, path)),
            _ => Ok(()),
        }
    }

    /// The error for a fault that was found below a path.
    pub(crate) fn invalid(&self, fault: Fault, path: &[Step]) -> Error {
        let above = path.iter().rev().cloned();
        invalid(above.fold(fault, Fault::below), &self.root.place)
    }

    /// Reads what stands at a path, which is the type's default if nothing does.
    pub(crate) fn read_or_default<T>(&self, path: &[Step]) -> Result<T>
    where
        T: DeserializeOwned + Default,
    {
        match self.origin != Origin::Defaults && self.has(path) {
            true => self.read(path),
            false => Ok(T::default()),
        }
    }

    /// Whether anything stands at a path.
    pub(crate) fn has(&self, path: &[Step]) -> bool {
        self.root.closest(path).1 == 0
    }

    /// Where the value at a path was written, unless nothing is said about it.
    pub(crate) fn place_of(&self, path: &[Step]) -> Option<&Place> {
        let (node, missing) = self.root.closest(path);
        (missing == 0 && !path.is_empty()).then_some(&node.place)
    }

    /// Reads what stands at a path, with what the type's own variables say, by the type's rules.
    pub(crate) fn read_valid<T>(&mut self, path: &[Step]) -> Result<T>
    where
        T: DeserializeOwned + Default + Validate,
    {
        let mut value: T = self.read_or_default(path)?;
        if self.cover_by_own_variables(&value, path)? {
            value = self.read_or_default(path)?;
        }
        self.check(&value, path)?;
        Ok(value)
    }

    /// Reads the same to be used, so that what its values name is looked at, too.
    pub(crate) fn read_inspected<T>(&mut self, path: &[Step]) -> Result<T>
    where
        T: DeserializeOwned + Default + Validate,
    {
        let value: T = self.read_valid(path)?;
        self.refuse::<T>(Findings::of_inspecting(&value), path)?;
        Ok(value)
    }

    /// Takes the variables for keys about which nothing is said, and tells whether there was one.
    fn cover_by_own_variables(&mut self, value: &impl Validate, path: &[Step]) -> Result<bool> {
        let mut covered = false;
        for (key, variables) in value.own_variables() {
            let mut found = variables.iter().filter_map(|name| {
                let value = self.environment.get(name)?;
                // A list of nothing says nothing.
                let is_blank = |c: char| c == ',' || c.is_whitespace();
                let says_nothing = value
                    .to_str()
                    .is_some_and(|text| text.chars().all(is_blank));
                (!says_nothing).then_some((name, value))
            });
            if let Some((name, value)) = found.next() {
                let mut keys: Vec<String> = path.iter().filter_map(Step::key).collect();
                keys.push((*key).to_owned());
                self.cover(&Override::of_variable(name, keys, value)?)?;
                covered = true;
            }
        }
        Ok(covered)
    }

    /// Refuses what was read from a path if its type finds fault with it.
    pub(crate) fn check<T>(&self, value: &T, path: &[Step]) -> Result<()>
    where
        T: DeserializeOwned + Validate,
    {
        self.refuse::<T>(Findings::of(value), path)
    }

    /// Refuses what stands at a path, and was read as a type, for these reasons, if there are any.
    pub(crate) fn refuse<T: DeserializeOwned>(
        &self,
        findings: Findings,
        path: &[Step],
    ) -> Result<()> {
        if findings.is_empty() {
            return Ok(());
        }
        // Read once more to learn what may be shown: it is seldom that anything has to be.
        let (read, missing) = self.root.closest(path);
        let seen = match missing {
            0 => values_of::<T>(read),
            _ => Seen::default(),
        };
        let nowhere = Place::nowhere_in(&self.root.place.source);
        let told = findings.into_found().map(|finding| {
            let steps: Vec<Step> = path.iter().cloned().chain(finding.path.clone()).collect();
            let fault = self.point(finding, &steps, &seen);
            let fault = steps.into_iter().rev().fold(fault, Fault::below);
            fault.into_invalid(&nowhere)
        });
        Err(Error::Refused(told.collect()))
    }

    /// The fault of a finding, with its place, that shows no value but the one that it is about.
    fn point(&self, finding: Finding, steps: &[Step], seen: &Seen) -> Fault {
        let fault = Fault::new(finding.message);
        let (node, missing) = self.root.closest(steps);
        let found = &steps[..steps.len() - missing];
        if found.is_empty() {
            // Something in the file is missing: there is no line to point at.
            return fault;
        }
        let is_whole = missing > 0 || matches!(node.kind, Kind::Map(_));
        if is_whole && let Some(key) = self.key_of(found) {
            return fault.at(key).of_the_key();
        }
        let is_shown = !is_whole && !finding.is_hidden && self.may_be_shown(found, seen);
        match is_shown {
            true => fault.at(&node.place),
            false => fault.hidden().at(&node.place),
        }
    }

    /// Where the key stands whose value is at a path, if that value was written there.
    fn key_of(&self, path: &[Step]) -> Option<&Place> {
        let (last, above) = path.split_last()?;
        let entry = self.root.closest(above).0.entry(&last.key()?)?;
        entry.value.place.position.map(|_| &entry.place)
    }

    /// Whether the line of the value at a path may be shown: with it, in brackets, all of them.
    fn may_be_shown(&self, path: &[Step], seen: &Seen) -> bool {
        let on_the_way = (0..=path.len())
            .rev()
            .map(|end| self.root.closest(&path[..end]).0);
        let mut outside = on_the_way.filter(|node| !node.place.is_inside);
        outside.next().is_some_and(|node| seen.may_be_shown(node))
    }
}

/// The error for a fault, which is in this place unless it knows better.
fn invalid(fault: Fault, unplaced: &Place) -> Error {
    Error::Invalid(Box::new(fault.into_invalid(unplaced)))
}
