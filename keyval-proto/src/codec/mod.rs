//! Codecs: how values of a type become bytes, and back.

#[cfg(feature = "json")]
mod any;
#[cfg(feature = "json")]
mod finite;
#[cfg(feature = "json")]
mod json;
mod protobuf;
mod traits;

#[cfg(feature = "json")]
pub use any::AnyCodec;
#[cfg(feature = "json")]
pub use json::{ProtoJson, UnknownFields};
pub use protobuf::Protobuf;
pub use traits::Codec;
