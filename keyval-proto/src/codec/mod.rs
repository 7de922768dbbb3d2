//! Codecs: how values of a type become bytes, and back.

mod protobuf;
mod traits;

pub use protobuf::Protobuf;
pub use traits::Codec;
