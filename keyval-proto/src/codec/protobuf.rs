//! Binary protobuf, the default codec.

use bytes::Bytes;
use keyval::BoxError;
use prost::Message;

use super::traits::Codec;

/// Binary protobuf, for every message that `prost` knows; the default codec.
///
/// As protobuf has it, no bytes at all are the default message, and fields that the message does
/// not know are skipped.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use keyval_proto::{Codec, Protobuf};
///
/// #[derive(Clone, PartialEq, prost::Message)]
/// struct Interface {
///     #[prost(uint32, tag = "1")]
///     mtu: u32,
/// }
///
/// let bytes = Protobuf.encode(&Interface { mtu: 1500 })?;
/// assert_eq!(Codec::<Interface>::decode(&Protobuf, bytes)?.mtu, 1500);
/// assert_eq!(Codec::<Interface>::decode(&Protobuf, Bytes::new())?, Interface::default());
/// # Ok::<(), keyval::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protobuf;

impl<T: Message + Default> Codec<T> for Protobuf {
    fn encode(&self, value: &T) -> Result<Bytes, BoxError> {
        Ok(value.encode_to_vec().into())
    }

    fn decode(&self, bytes: Bytes) -> Result<T, BoxError> {
        Ok(T::decode(bytes)?)
    }
}
