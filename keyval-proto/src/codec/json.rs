//! JSON as protobuf defines it.

use bytes::Bytes;
use keyval::BoxError;
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, ReflectMessage, SerializeOptions};

use super::finite::Finite;
use super::traits::Codec;

/// JSON as protobuf defines it, for messages that know their descriptors; what cn-infra's agents
/// write.
///
/// - Fields are written under the names that they have in the `.proto` file (`physical_address`), and
///   read under these and their JSON names (`physicalAddress`). Defaults are left out.
/// - 64-bit integers are strings, enums are their names, bytes are base64, timestamps and durations
///   are texts, and `"NaN"` and `"Infinity"` are numbers, also where a message wraps them.
/// - [`UnknownFields`] says what becomes of a field or the name of an enum's value that the message
///   does not know. No bytes at all are no value, and of a field that stands twice the last counts.
/// - The order of the entries of a map may differ from one time to the next.
///
/// A message knows its descriptor by [`ReflectMessage`], which `prost-reflect-build` generates beside
/// the message itself; the crate `keyval-proto-messages` in this repository shows how. Descriptors and
/// not generated `serde` implementations (`pbjson`), since these fix spelling and policy when they
/// are generated, write a NaN as `null`, cannot write a value of an enum that was added later, and
/// want other types for timestamps. The price is that a value passes through
/// its binary form: a few microseconds each way, where a store on a network takes hundreds. If that
/// matters, such a `serde` implementation is a codec in a few lines: see [`Codec`].
///
/// # Examples
/// ```
/// use keyval_proto::{Codec, ProtoJson, UnknownFields};
/// use keyval_proto_messages::{Interface, Kind};
///
/// let strict = ProtoJson::default();
/// let mut interface = Interface { mtu: 1500, received_bytes: 7, ..Interface::default() };
/// interface.set_kind(Kind::Ethernet);
/// let text = strict.encode(&interface)?;
/// assert_eq!(text, r#"{"mtu":1500,"kind":"KIND_ETHERNET","received_bytes":"7"}"#);
///
/// let newer = r#"{"mtu":1500,"kind":"KIND_ETHERNET","receivedBytes":7,"colour":"red"}"#;
/// let refused = Codec::<Interface>::decode(&strict, newer.into()).unwrap_err();
/// assert!(refused.to_string().contains("colour"));
/// let lenient = ProtoJson::new(UnknownFields::Ignore);
/// assert_eq!(Codec::<Interface>::decode(&lenient, newer.into())?, interface);
/// # Ok::<(), keyval::BoxError>(())
/// ```
#[doc(alias = "SerializerJSON")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProtoJson {
    unknown_fields: UnknownFields,
}

/// What becomes of fields in JSON that the message does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UnknownFields {
    /// The value cannot be decoded: it may be misspelt, or from a program that knows more.
    #[default]
    Refuse,
    /// They are skipped, as binary protobuf skips them. Whoever writes the value back drops them.
    Ignore,
}

impl ProtoJson {
    /// JSON with this policy; [`default`](Self::default) refuses unknown fields.
    #[must_use]
    pub const fn new(unknown_fields: UnknownFields) -> Self {
        Self { unknown_fields }
    }

    /// What becomes of unknown fields.
    #[must_use]
    pub fn unknown_fields(&self) -> UnknownFields {
        self.unknown_fields
    }
}

impl<T: ReflectMessage + Default> Codec<T> for ProtoJson {
    fn encode(&self, value: &T) -> Result<Bytes, BoxError> {
        let message = DynamicMessage::decode(value.descriptor(), value.encode_to_vec().as_slice())?;
        let options = SerializeOptions::new().use_proto_field_name(true);
        let mut text = serde_json::Serializer::new(Vec::new());
        // The causes there are name the value that is out of its range.
        message
            .serialize_with_options(Finite(&mut text), &options)
            .map_err(|_| "a timestamp, duration or other well-known type has no form in JSON")?;
        Ok(text.into_inner().into())
    }

    fn decode(&self, bytes: Bytes) -> Result<T, BoxError> {
        let refuse = self.unknown_fields == UnknownFields::Refuse;
        let options = DeserializeOptions::new().deny_unknown_fields(refuse);
        let mut text = serde_json::Deserializer::from_slice(&bytes);
        let descriptor = T::default().descriptor();
        let message = DynamicMessage::deserialize_with_options(descriptor, &mut text, &options);
        let message = message.and_then(|message| text.end().map(|()| message));
        let message = message.map_err(|error| without_values(&error))?;
        Ok(T::decode(message.encode_to_vec().as_slice())?)
    }
}

/// Tells what is wrong and where without the values that errors of JSON quote.
fn without_values(error: &serde_json::Error) -> String {
    let place = format!("at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    if !error.is_data() {
        return format!("no JSON: {text}");
    }
    // Names of fields belong to the schema, not to the data.
    match text.split('\'').collect::<Vec<_>>()[..] {
        ["unrecognized field name ", name, ..] => {
            let name: String = name.chars().take(64).collect();
            format!(
                "the message has no field \"{}\" {place}",
                name.escape_debug()
            )
        }
        ["multiple fields provided for oneof ", name, ..] => {
            format!("more than one field of the oneof \"{name}\" {place}")
        }
        _ => format!("the value does not fit its field {place}"),
    }
}
