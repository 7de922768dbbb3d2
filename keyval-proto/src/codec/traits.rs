//! What turns values of a type into bytes, and back.

use bytes::Bytes;
use keyval::BoxError;

/// Turns values of `T` into bytes, and back.
///
/// A codec is cheap to clone: every stream that decodes has one. What it decodes comes from
/// outside, so it must refuse what it does not understand, and never panic.
///
/// # Examples
/// JSON instead of protobuf, in a few lines:
/// ```
/// use bytes::Bytes;
/// use keyval::{BoxError, BrokerExt, Memory};
/// use keyval_proto::{Codec, Typed};
/// use serde::{Serialize, de::DeserializeOwned};
///
/// #[derive(Clone, Copy, Debug)]
/// struct Json;
///
/// impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
///     fn encode(&self, value: &T) -> Result<Bytes, BoxError> {
///         Ok(serde_json::to_vec(value)?.into())
///     }
///
///     fn decode(&self, bytes: Bytes) -> Result<T, BoxError> {
///         Ok(serde_json::from_slice(&bytes)?)
///     }
/// }
///
/// # tokio_test::block_on(async {
/// let store = Memory::new();
/// let ports = Typed::<Vec<u16>, _, _>::new(store.clone(), Json);
/// ports.put("web", &vec![80, 443]).await?;
/// assert_eq!(store.get("web").await?.unwrap().value, "[80,443]");
/// assert_eq!(ports.get("web").await?.unwrap().value, [80, 443]);
/// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
/// ```
#[doc(alias("Serializer", "keyval.Serializer"))]
pub trait Codec<T>: Clone + Send + Sync + 'static {
    /// Turns a value into bytes.
    ///
    /// # Errors
    /// If the value cannot be expressed in this encoding.
    fn encode(&self, value: &T) -> Result<Bytes, BoxError>;

    /// Turns bytes into a value.
    ///
    /// # Errors
    /// If the bytes are no such value. The error must not show them: they may hold a secret.
    fn decode(&self, bytes: Bytes) -> Result<T, BoxError>;
}
