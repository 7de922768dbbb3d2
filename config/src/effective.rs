//! What holds in the end, to be compared with what holds later.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::node::{Kind, Node, Step, show_path};
use crate::print::{flow, hides, quoted};
use crate::secret::Secret;
use crate::tree::Tree;

/// What the configuration of a plugin says in the end, to be compared with what it says later.
///
/// Secrets are in it as what they are, also those in files. It shows no value:
/// [`Section::effective`](crate::Section::effective) makes it, and there is an example.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Effective(BTreeMap<String, String>);

impl Effective {
    /// The keys whose values differ, as paths, in the order of their names.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let keys = keys.into_iter();
        keys.filter(|key| self.0.get(*key) != other.0.get(*key))
            .cloned()
            .collect()
    }

    /// Takes a value and all below it; `shown` is its path as it is told, `path` the one in the tree.
    pub(crate) fn take(&mut self, node: &Node, shown: &[Step], tree: &Tree, path: &[Step]) {
        let below = |step: &Step, path: &[Step]| [path, std::slice::from_ref(step)].concat();
        match &node.kind {
            Kind::Map(entries) => {
                for entry in entries {
                    let step = Step::Key(entry.key.text.clone());
                    let (shown, path) = (below(&step, shown), below(&step, path));
                    self.take(&entry.value, &shown, tree, &path);
                }
            }
            _ => {
                // What stands for a secret is the same for all: what it is tells them apart.
                let (written, missing) = tree.root().closest(path);
                let value = match hides(node) && missing == 0 {
                    true => exposed(written),
                    false => flow(node),
                };
                self.0.insert(show_path(shown), value);
            }
        }
    }
}

/// What was written, with the secrets that are in files.
fn exposed(written: &Node) -> String {
    match &written.kind {
        Kind::Scalar(scalar) => {
            let file = scalar.text.strip_prefix("file:");
            let secret = file.and_then(|path| Secret::from_file(path).ok());
            secret.map_or_else(|| flow(written), |secret| quoted(secret.expose()))
        }
        Kind::List(items) => items.iter().map(exposed).collect::<Vec<_>>().join(", "),
        Kind::Map(entries) => {
            let entries = entries.iter();
            let shown =
                entries.map(|entry| format!("{}: {}", entry.key.text, exposed(&entry.value)));
            shown.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Values may be secrets.
impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
