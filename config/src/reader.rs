//! Reads typed values from a tree, and tells of each fault where it is.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};

use crate::duration::DURATION;
use crate::fault::Fault;
use crate::node::{Entry, Kind, Node, Place, Scalar, Source, Step, Style, folded};
use crate::number::{decimal, integer, truth};
use crate::secret::SECRET;
use crate::seen::Seen;
use crate::yaml::parse_tree;

const NOT_A_TEXT: &str = "expected a single value, found a list or a map";
const NOT_A_LIST: &str = "expected a list, `[a, b]` or one `- item` per line";
const NOT_A_MAP: &str = "expected a map, `key: value`";

/// Reads a value from a node.
pub(crate) fn read_node<T: DeserializeOwned>(node: &Node) -> Result<T, Fault> {
    let reading = &Reading {
        opens_files: true,
        seen: None,
    };
    T::deserialize(Reader { node, reading })
}

/// Refuses what cannot be read as a type, but for keys that are missing; opens no file of a secret.
///
/// A type that lacks a key is not read any further, so what is around that is read again without it: all of
/// a list, if it is in one.
pub(crate) fn check_shape<T: DeserializeOwned>(node: &Node) -> Result<(), Fault> {
    /// The most maps that may lack a key; behind more of them nothing is looked at.
    const MOST: usize = 100;
    let reading = &Reading {
        opens_files: false,
        seen: None,
    };
    let mut node = Cow::Borrowed(node);
    for _ in 0..MOST {
        let read = T::deserialize(Reader {
            node: &node,
            reading,
        });
        let Err(fault) = read else {
            return Ok(());
        };
        if !fault.is_of_what_is_missing() {
            return Err(fault);
        }
        let mut keys = fault.keys();
        // A value that was given has its keys in its text.
        while !keys.is_empty() && !node.to_mut().remove(&keys) {
            keys.pop();
        }
        if keys.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

/// Which values a type reads, and which of them as secrets; opens no file of one.
pub(crate) fn values_of<T: DeserializeOwned>(node: &Node) -> Seen {
    let reading = Reading {
        opens_files: false,
        seen: Some(RefCell::default()),
    };
    // What it has read up to a fault, it has read.
    let _ = T::deserialize(Reader {
        node,
        reading: &reading,
    });
    reading.seen.map(RefCell::into_inner).unwrap_or_default()
}

/// The list or map that a given value spells.
pub(crate) fn expand(scalar: &Scalar, place: &Place) -> Result<Node, Fault> {
    let spelled = Arc::new(Source {
        name: place.source.name.clone(),
        origin: place.source.origin.clone(),
        text: scalar.text.clone(),
    });
    let mut node = parse_tree(&spelled).map_err(|fault| fault.moved_to(place))?;
    forget_positions(&mut node, place);
    Ok(node)
}

/// Places a value that was given on one line where it was given, as its text is not to be shown.
fn forget_positions(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::List(items) => items
            .iter_mut()
            .for_each(|item| forget_positions(item, place)),
        Kind::Map(entries) => {
            for entry in entries {
                entry.place = place.clone();
                forget_positions(&mut entry.value, place);
            }
        }
    }
}

/// How to read.
struct Reading {
    /// Whether to open the files that secrets name.
    opens_files: bool,
    /// What was read, if anybody asks.
    seen: Option<RefCell<Seen>>,
}

/// Lets serde read one node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    reading: &'a Reading,
}

impl<'a> Reader<'a> {
    fn fault(self, message: &str) -> Fault {
        Fault::new(message).at(&self.node.place)
    }

    /// The fault of a value where a list or map is expected, or the other way round: what is inside, here
    /// or there, may be secret.
    fn misshapen(self, message: &str) -> Fault {
        self.fault(message).hidden()
    }

    fn scalar(self) -> Result<&'a Scalar, Fault> {
        match &self.node.kind {
            Kind::Scalar(scalar) => {
                self.note(Seen::read);
                Ok(scalar)
            }
            Kind::List(_) | Kind::Map(_) => Err(self.misshapen(NOT_A_TEXT)),
        }
    }

    /// Notes that this node is read, by a type that says what it reads.
    fn note(self, note: impl FnOnce(&mut Seen, &Place)) {
        if let Some(seen) = &self.reading.seen {
            note(&mut seen.borrow_mut(), &self.node.place);
        }
    }

    fn text(self) -> Result<&'a str, Fault> {
        let scalar = self.scalar()?;
        if scalar.style == Style::Plain && scalar.is_null() {
            let message = "expected a text, found nothing; give a value or remove the key";
            return Err(self.fault(message));
        }
        Ok(&scalar.text)
    }

    /// Carries on with what a given value spells.
    fn expanded<T>(self, read: impl FnOnce(Reader<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        let node = expand(self.scalar()?, &self.node.place)?;
        read(self.to(&node))
    }

    /// Reads another node in the same way.
    fn to<'b>(self, node: &'b Node) -> Reader<'b>
    where
        'a: 'b,
    {
        let reading = self.reading;
        Reader { node, reading }
    }

    /// What stands for a secret in a file that is not to be opened.
    fn stand_in(&self) -> Option<Node> {
        match &self.node.kind {
            Kind::Scalar(scalar)
                if !self.reading.opens_files && scalar.text.starts_with("file:/") =>
            {
                let kind = Kind::Scalar(Scalar::given("in a file"));
                let place = self.node.place.clone();
                Some(Node { kind, place })
            }
            _ => None,
        }
    }

    fn list<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let items = match &self.node.kind {
            Kind::List(items) => items,
            Kind::Scalar(scalar) if scalar.is_collection() => {
                return self.expanded(|reader| reader.list(visitor));
            }
            Kind::Scalar(scalar) if scalar.is_null() => &Vec::new(),
            Kind::Scalar(scalar) if scalar.style == Style::Given => {
                &items_of(&scalar.text, &self.node.place)
            }
            Kind::Scalar(_) | Kind::Map(_) => return Err(self.misshapen(NOT_A_LIST)),
        };
        let mut access = Items {
            list: self,
            items,
            next: 0,
        };
        let value = visitor.visit_seq(&mut access);
        let value = value.map_err(|fault| fault.about(&self.node.place))?;
        if access.next < items.len() {
            let message = format!("expected {} items, found {}", access.next, items.len());
            return Err(self.fault(&message));
        }
        Ok(value)
    }

    fn map<'de, V: Visitor<'de>>(self, fields: &[&str], visitor: V) -> Result<V::Value, Fault> {
        if let Kind::Scalar(scalar) = &self.node.kind
            && scalar.is_collection()
        {
            return self.expanded(|reader| reader.map(fields, visitor));
        }
        let Some(entries) = self.node.entries() else {
            return Err(self.misshapen(NOT_A_MAP));
        };
        let access = Entries {
            map: self,
            entries,
            fields,
            value: None,
        };
        let value = visitor.visit_map(access);
        value.map_err(|fault| fault.about(&self.node.place))
    }
}

/// The items of a list that was given as a text with commas.
fn items_of(text: &str, place: &Place) -> Vec<Node> {
    let items = text.split(',').map(str::trim);
    items
        .filter(|item| !item.is_empty())
        .map(|item| Node {
            kind: Kind::Scalar(Scalar::given(item)),
            place: place.clone(),
        })
        .collect()
}

/// Methods that read an integer of a type, or say which range it has.
macro_rules! integers {
    ($($method:ident $visit:ident $ty:ident $wide:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            let number = integer(&self.scalar()?.text).and_then(|number| number.$wide());
            let Some(number) = number.and_then(|number| $ty::try_from(number).ok()) else {
                let (least, most) = ($ty::MIN, $ty::MAX);
                return Err(self.fault(&format!("expected an integer from {least} to {most}")));
            };
            visitor.$visit(number).map_err(|fault: Fault| fault.at(&self.node.place))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    integers! {
        deserialize_i8 visit_i8 i8 signed,
        deserialize_i16 visit_i16 i16 signed,
        deserialize_i32 visit_i32 i32 signed,
        deserialize_i64 visit_i64 i64 signed,
        deserialize_i128 visit_i128 i128 signed,
        deserialize_u8 visit_u8 u8 unsigned,
        deserialize_u16 visit_u16 u16 unsigned,
        deserialize_u32 visit_u32 u32 unsigned,
        deserialize_u64 visit_u64 u64 unsigned,
        deserialize_u128 visit_u128 u128 unsigned,
    }

    /// What is left to the type is read by the rules of YAML.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let scalar = match &self.node.kind {
            Kind::List(_) => return self.list(visitor),
            Kind::Map(_) => return self.map(&[], visitor),
            Kind::Scalar(scalar) => scalar,
        };
        if scalar.is_collection() {
            return self.expanded(|reader| reader.deserialize_any(visitor));
        }
        let text = &*scalar.text;
        let visited = if scalar.style == Style::Quoted {
            visitor.visit_str(text)
        } else if scalar.is_null() {
            visitor.visit_unit()
        } else if let Some(number) = integer(text) {
            match (number.unsigned(), number.signed()) {
                (Some(number), _) => match u64::try_from(number) {
                    Ok(number) => visitor.visit_u64(number),
                    Err(_) => visitor.visit_u128(number),
                },
                (None, Some(number)) => match i64::try_from(number) {
                    Ok(number) => visitor.visit_i64(number),
                    Err(_) => visitor.visit_i128(number),
                },
                (None, None) => visitor.visit_str(text),
            }
        } else if let Some(number) = decimal(text) {
            visitor.visit_f64(number)
        } else {
            match text {
                "true" | "True" | "TRUE" => visitor.visit_bool(true),
                "false" | "False" | "FALSE" => visitor.visit_bool(false),
                text => visitor.visit_str(text),
            }
        };
        visited.map_err(|fault: Fault| fault.at(&self.node.place))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match truth(&self.scalar()?.text) {
            Some(truth) => visitor.visit_bool(truth),
            None => Err(Fault::new("expected true or false")),
        }
        .map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match decimal(&self.scalar()?.text) {
            Some(number) => visitor.visit_f64(number),
            None => Err(Fault::new("expected a number")),
        }
        .map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let visited = visitor.visit_str(self.text()?);
        visited.map_err(|fault: Fault| fault.at(&self.node.place))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Kind::List(_) = self.node.kind {
            return self.list(visitor);
        }
        let visited = visitor.visit_bytes(self.text()?.as_bytes());
        visited.map_err(|fault: Fault| fault.at(&self.node.place))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.kind {
            Kind::Scalar(scalar) if scalar.is_null() => visitor.visit_unit(),
            _ => Err(self.fault("expected nothing; remove the value")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match name {
            SECRET => self.note(Seen::read_secret),
            DURATION => self.note(Seen::read),
            _ => {}
        }
        let stand_in = self.stand_in().filter(|_| name == SECRET);
        let reader = stand_in.as_ref().map_or(self, |node| self.to(node));
        let value = visitor.visit_newtype_struct(reader);
        match name {
            SECRET => value.map_err(|fault| fault.trusted().hidden()),
            _ => value,
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.map(&[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.map(fields, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let visited = match &self.node.kind {
            Kind::Scalar(scalar) if scalar.is_collection() => {
                return self.expanded(|reader| reader.deserialize_enum("", &[], visitor));
            }
            Kind::Scalar(_) => visitor.visit_enum(self.text()?.into_deserializer()),
            Kind::Map(entries) => match &**entries {
                [entry] => visitor.visit_enum(Variant { map: self, entry }),
                _ => Err(Fault::new(
                    "expected one of several kinds: a map of one key",
                )),
            },
            Kind::List(_) => Err(self.misshapen(NOT_A_TEXT)),
        };
        visited.map_err(|fault| fault.at(&self.node.place))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
}

/// The items of a list, one after the other.
struct Items<'a> {
    list: Reader<'a>,
    items: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for &mut Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.items.get(self.next) else {
            return Ok(None);
        };
        let step = Step::Item(self.next);
        self.next += 1;
        let value = seed.deserialize(self.list.to(node));
        let value = value.map_err(|fault| fault.at(&node.place).below(step));
        value.map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

/// The entries of a map, one after the other.
struct Entries<'a> {
    map: Reader<'a>,
    entries: &'a [Entry],
    /// The keys that the type knows, where it says so.
    fields: &'a [&'a str],
    value: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((entry, rest)) = self.entries.split_first() else {
            return Ok(None);
        };
        self.entries = rest;
        self.value = Some(entry);
        // A variable cannot spell every name as the type does.
        let meant = self.fields.iter().find(|field| {
            entry.is_of_a_variable()
                && !self.fields.contains(&&*entry.key.text)
                && folded(field) == folded(&entry.key.text)
        });
        let text = meant.map_or(&*entry.key.text, |field| *field);
        let node = Node {
            kind: Kind::Scalar(Scalar {
                text: text.to_owned(),
                // Nothing is a key as good as any.
                style: Style::Quoted,
            }),
            place: entry.place.clone(),
        };
        let key = seed.deserialize(self.map.to(&node));
        key.map(Some).map_err(|fault| fault.at(&entry.place))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(entry) = self.value.take() else {
            return Err(Fault::custom("a value was asked for before its key"));
        };
        let value = seed.deserialize(self.map.to(&entry.value));
        value.map_err(|fault| {
            let step = Step::Key(entry.key.text.clone());
            fault.at(&entry.value.place).below(step)
        })
    }
}

/// A variant with a content: `kind: content`.
struct Variant<'a> {
    map: Reader<'a>,
    entry: &'a Entry,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = Fault;
    type Variant = Reader<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Reader<'a>), Fault> {
        let name = IntoDeserializer::<Fault>::into_deserializer(&*self.entry.key.text);
        let variant = seed.deserialize(name);
        let variant = variant.map_err(|fault| fault.at(&self.entry.place).of_the_key())?;
        Ok((variant, self.map.to(&self.entry.value)))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        serde::Deserialize::deserialize(self)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.map(fields, visitor)
    }
}
