//! Which of the values of a text may be shown: those that a type has read, and not as a secret.

use std::collections::HashSet;

use crate::node::{Kind, Node, Place};

/// Where the values stand that a type has read. What it has not read may be the value of a misspelt secret.
#[derive(Default)]
pub(crate) struct Seen {
    read: HashSet<(usize, usize)>,
    /// Of these, those that it has read as a secret, be it through an alias.
    secret: HashSet<(usize, usize)>,
}

impl Seen {
    pub(crate) fn read(&mut self, place: &Place) {
        self.read.extend(place.position);
    }

    pub(crate) fn read_secret(&mut self, place: &Place) {
        self.secret.extend(place.position);
    }

    /// Whether the line of a value may be shown, if nothing else stands there. Of a map it may not: keys that
    /// others cover are in the text alone.
    pub(crate) fn may_be_shown(&self, node: &Node) -> bool {
        let is_open = |at| self.read.contains(&at) && !self.secret.contains(&at);
        match &node.kind {
            Kind::Scalar(scalar) => scalar.is_null() || node.place.position.is_some_and(is_open),
            Kind::List(items) => items.iter().all(|item| self.may_be_shown(item)),
            Kind::Map(_) => false,
        }
    }
}
