#![doc = include_str!("lib.md")]

mod codec;
mod decoding;
mod error;
mod typed;

pub use crate::codec::{Codec, Protobuf};
pub use crate::decoding::{Decodable, Decoding};
pub use crate::error::{DecodeError, Decoded, Error, Result};
pub use crate::typed::{Typed, TypedListing, TypedPutReply};
