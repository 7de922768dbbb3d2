#![doc = include_str!("lib.md")]

mod codec;
mod decoding;
mod error;
mod typed;
mod view;

#[cfg(feature = "json")]
pub use crate::codec::{AnyCodec, ProtoJson, UnknownFields};
pub use crate::codec::{Codec, Protobuf};
pub use crate::decoding::{Decodable, Decoding};
pub use crate::error::{DecodeError, Decoded, Error, Result};
pub use crate::typed::Typed;
pub use crate::view::{
    Difference, Draft, Edit, Edited, Pace, View, ViewChanges, ViewEntry, ViewOptions, ViewSnapshot,
};
