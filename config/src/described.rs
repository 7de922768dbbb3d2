//! A type of configuration without its type.

use std::marker::PhantomData;

use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Result;
use crate::node::{Node, Step};
use crate::print::to_node;
use crate::tree::Tree;
use crate::validate::Validate;

/// What a type must be to be a plugin's configuration in full; every type that is all of it, is.
///
/// Read ([`DeserializeOwned`]) over its [`Default`], by its rules ([`Validate`]); shown
/// ([`Serialize`]); described to editors ([`JsonSchema`]). All three derives use the same names, and
/// [`Serialize`] hides what is secret: a [`Secret`](crate::Secret) does so itself. There is an example
/// at [`Section`](crate::Section).
pub trait Settings:
    DeserializeOwned + Serialize + JsonSchema + Default + Validate + 'static
{
}

impl<T> Settings for T where
    T: DeserializeOwned + Serialize + JsonSchema + Default + Validate + 'static
{
}

/// What can be done with a type of configuration whatever it is.
pub(crate) trait Described: Send + Sync {
    /// What holds in the end, if it is in order, of what stands at a path.
    fn effective(&self, name: &str, tree: &mut Tree, path: &[Step]) -> Result<Node>;

    /// Refuses what stands at a path as a start would.
    fn check(&self, tree: &mut Tree, path: &[Step]) -> Result<()>;

    /// Refuses what stands at a path and is not in use, if it could not be.
    fn check_shape(&self, tree: &Tree, path: &[Step]) -> Result<()>;

    /// Its JSON Schema, but for the definitions that the generator collects.
    fn schema(&self, generator: &mut SchemaGenerator) -> Value;

    /// The keys that it knows.
    fn keys(&self) -> Vec<String> {
        let schema = self.schema(&mut SchemaGenerator::default());
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.map_or_else(Vec::new, |properties| properties.keys().cloned().collect())
    }
}

/// Stands for a type.
pub(crate) struct Typed<T>(PhantomData<fn() -> T>);

impl<T> Typed<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Settings> Described for Typed<T> {
    fn effective(&self, name: &str, tree: &mut Tree, path: &[Step]) -> Result<Node> {
        to_node(name, &tree.read_valid::<T>(path)?)
    }

    fn check(&self, tree: &mut Tree, path: &[Step]) -> Result<()> {
        tree.read_inspected::<T>(path).map(drop)
    }

    fn check_shape(&self, tree: &Tree, path: &[Step]) -> Result<()> {
        tree.check_shape::<T>(path)
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Value {
        T::json_schema(generator).to_value()
    }
}
