//! A codec that is chosen by configuration.

use std::fmt;

use bytes::Bytes;
use keyval::BoxError;
use prost_reflect::ReflectMessage;
use serde::{Deserialize, Serialize};

use super::json::{ProtoJson, UnknownFields};
use super::protobuf::Protobuf;
use super::traits::Codec;

/// A codec that is chosen when the program runs, by one word of its configuration.
///
/// All who share keys must choose the same: binary and JSON cannot be told apart for sure, and nothing
/// tries to. Binary protobuf by default.
///
/// # Examples
/// ```
/// use keyval::Memory;
/// use keyval_proto::{AnyCodec, Typed};
/// use keyval_proto_messages::Route;
///
/// #[derive(serde::Deserialize)]
/// struct Config {
///     #[serde(default)]
///     codec: AnyCodec,
/// }
///
/// # tokio_test::block_on(async {
/// let config: Config = serde_json::from_str(r#"{"codec": "json"}"#).unwrap();
/// let routes = Typed::<Route, _, _>::new(Memory::new(), config.codec);
/// let route = Route { next_hop: "10.0.0.1".to_owned(), ..Route::default() };
/// routes.put("default", &route).await?;
/// assert_eq!(routes.get("default").await?.unwrap().value, route);
/// # Ok::<_, keyval_proto::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AnyCodec {
    /// `protobuf`: [`Protobuf`].
    #[default]
    Protobuf,
    /// `json`: [`ProtoJson`] that refuses unknown fields, as cn-infra's agents do.
    Json,
    /// `lenient-json`: [`ProtoJson`] that skips unknown fields.
    LenientJson,
}

impl AnyCodec {
    fn json(self) -> Option<ProtoJson> {
        match self {
            Self::Protobuf => None,
            Self::Json => Some(ProtoJson::default()),
            Self::LenientJson => Some(ProtoJson::new(UnknownFields::Ignore)),
        }
    }
}

impl<T: ReflectMessage + Default> Codec<T> for AnyCodec {
    fn encode(&self, value: &T) -> Result<Bytes, BoxError> {
        match self.json() {
            Some(json) => json.encode(value),
            None => Protobuf.encode(value),
        }
    }

    fn decode(&self, bytes: Bytes) -> Result<T, BoxError> {
        match self.json() {
            Some(json) => json.decode(bytes),
            None => Protobuf.decode(bytes),
        }
    }
}

/// The word that chooses it.
impl fmt::Display for AnyCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
            Self::LenientJson => "lenient-json",
        })
    }
}
