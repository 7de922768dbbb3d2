//! Single values that cover what a file says: from variables, flags and the program.

use std::ffi::OsString;

use crate::environment::Environment;
use crate::error::{self, Error};
use crate::fault::Fault;
use crate::node::{Entry, Kind, Node, Place, Scalar, Source, Style, in_variables};
use crate::origin::Origin;
use crate::reader::expand;
use crate::yaml::{MAX_DEPTH, too_deep};

/// What stands between the steps in the name of a variable: `ETCD__DIAL_TIMEOUT`.
const BETWEEN: &str = "__";

/// A value for one place in a configuration.
#[derive(Clone)]
pub(crate) struct Override {
    /// The keys from the top of the plugin's configuration; at least one.
    path: Vec<String>,
    value: String,
    origin: Origin,
}

impl Override {
    pub(crate) fn new(path: Vec<String>, value: String, origin: Origin) -> Self {
        Self {
            path,
            value,
            origin,
        }
    }

    /// What a variable says, whatever its name.
    pub(crate) fn of_variable(
        name: &str,
        path: Vec<String>,
        value: OsString,
    ) -> error::Result<Self> {
        let origin = Origin::Variable(name.to_owned());
        match value.into_string() {
            Ok(value) => Ok(Self::new(path, value, origin)),
            Err(_) => {
                let place = Place::nowhere_in(&Source::without_lines(origin));
                Err(refused("the value is not UTF-8", &place))
            }
        }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Puts the value into a configuration, over what is there.
    pub(crate) fn apply(&self, root: &mut Node) -> Result<(), Fault> {
        let place = self.place();
        let kind = Kind::Scalar(Scalar::given(&*self.value));
        set(root, &self.path, Node { kind, place })
    }

    pub(crate) fn place(&self) -> Place {
        Place::nowhere_in(&Source::without_lines(self.origin.clone()))
    }
}

/// A value may be a secret.
impl std::fmt::Debug for Override {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.origin)
    }
}

/// What the variables set for a plugin, the outer before the inner.
pub(crate) fn variables_for(
    plugin: &str,
    environment: &Environment,
) -> error::Result<Vec<Override>> {
    let prefix = in_variables(plugin) + BETWEEN;
    let mut overrides = Vec::new();
    for (name, value) in environment.beginning_with(&prefix) {
        let steps = name[prefix.len()..].split(BETWEEN);
        let path: Vec<String> = steps
            .map(|step| step.to_ascii_lowercase().replace('_', "-"))
            .collect();
        if path.iter().any(String::is_empty) {
            let origin = Origin::Variable(name);
            let message = format!(
                "the name has no key between two {BETWEEN}; write {prefix}KEY, {prefix}MAP{BETWEEN}KEY"
            );
            let place = Place::nowhere_in(&Source::without_lines(origin));
            return Err(refused(message, &place));
        }
        overrides.push(Override::of_variable(&name, path, value)?);
    }
    overrides.sort_by(|a, b| (a.path.len(), &a.path).cmp(&(b.path.len(), &b.path)));
    Ok(overrides)
}

/// Puts a value below a map, over what is there.
fn set(root: &mut Node, path: &[String], value: Node) -> Result<(), Fault> {
    if path.len() > MAX_DEPTH {
        return Err(too_deep().at(&value.place));
    }
    let mut node = root;
    for (depth, key) in path.iter().enumerate() {
        let place = value.place.clone();
        if let Kind::Scalar(scalar) = &node.kind {
            if scalar.is_null() {
                node.kind = Kind::Map(Vec::new());
            } else if scalar.is_collection() {
                *node = expand(scalar, &node.place)?;
            }
        }
        let Kind::Map(entries) = &mut node.kind else {
            let above = path[..depth].join(".");
            let message = format!(
                "there is nothing to set below {above}, which is no map in {}; set it as a whole",
                node.place.source.name
            );
            return Err(Fault::new(message).at(&place));
        };
        let wanted = Entry {
            key: Scalar {
                text: key.clone(),
                style: Style::Quoted,
            },
            place: place.clone(),
            value: Node::null(place),
        };
        let known = |entry: &Entry| entry.is_for(key) || wanted.is_for(&entry.key.text);
        let at = match entries.iter().position(known) {
            Some(at) => at,
            None => {
                entries.push(wanted);
                entries.len() - 1
            }
        };
        node = &mut entries[at].value;
    }
    *node = value;
    Ok(())
}

fn refused(message: impl Into<String>, place: &Place) -> Error {
    Error::Invalid(Box::new(Fault::new(message).into_invalid(place)))
}
