//! Reads values of the model out of a tree: one part at a time, so that a mistake in one of them does not
//! hide those in others.

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_saphyr::{Error, Location, Spanned};

use super::tree::{Node, Step};
use super::{innermost, options};

/// What is wrong, and the steps from the value that was read to where it is, the last one first.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) error: Box<Error>,
    pub(super) steps: Vec<Step>,
}

impl Wrong {
    fn unexpected(expected: &'static str) -> Wrong {
        Wrong::from(Error::Unexpected {
            expected,
            location: Location::UNKNOWN,
        })
    }

    fn below(mut self, step: Step) -> Wrong {
        self.steps.push(step);
        self
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Wrong {
        Wrong {
            error: Box::new(error),
            steps: Vec::new(),
        }
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: Display>(message: T) -> Self {
        <Error as de::Error>::custom(message).into()
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        <Error as de::Error>::invalid_type(unexpected, expected).into()
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        <Error as de::Error>::invalid_value(unexpected, expected).into()
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        <Error as de::Error>::unknown_variant(variant, expected).into()
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        <Error as de::Error>::unknown_field(field, expected).into()
    }

    fn missing_field(field: &'static str) -> Self {
        <Error as de::Error>::missing_field(field).into()
    }
}

/// A value of the tree as serde wants it. Scalars are read by the parser itself, so that they mean what
/// they mean in a document without mistakes.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    pub(super) node: &'t Spanned<Node>,
    /// The whole document.
    pub(super) text: &'t str,
}

impl<'t> Value<'t> {
    /// A scalar as it is written.
    fn written(&self) -> &'t str {
        if let Node::Null = self.node.value {
            return "null";
        }
        let span = self.node.defined.span();
        let place = span.byte_offset().zip(span.byte_len());
        let written = place.and_then(|(offset, len)| {
            let begin = usize::try_from(offset).ok()?;
            let end = begin.checked_add(usize::try_from(len).ok()?)?;
            self.text.get(begin..end)
        });
        written.unwrap_or_default()
    }
}

/// Reads a value without parts by the parser. What is written in several lines is text and nothing else.
macro_rules! by_the_parser {
    ($value:expr, $method:ident($($argument:expr),*)) => {{
        let written = $value.written();
        match &$value.node.value {
            Node::Scalar(Some(text)) if written.contains('\n') => {
                de::Deserializer::$method(StrDeserializer::<Wrong>::new(text), $($argument),*)
            }
            _ => serde_saphyr::with_deserializer_from_str_with_options(
                written,
                options(),
                |parser| de::Deserializer::$method(parser, $($argument),*),
            )
            .map_err(|error| innermost(error).into()),
        }
    }};
}

macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            match &self.node.value {
                Node::List(_) | Node::Map(_) => Err(Wrong::unexpected("string scalar")),
                _ => by_the_parser!(self, $method(visitor)),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for Value<'de> {
    type Error = Wrong;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_unit
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Node::List(_) => self.list(visitor),
            Node::Map(_) => self.map(visitor),
            _ => by_the_parser!(self, deserialize_any(visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Node::List(_) | Node::Map(_) => Err(Wrong::unexpected("string scalar")),
            Node::Scalar(Some(text)) => visitor.visit_str(text),
            _ => by_the_parser!(self, deserialize_str(visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Node::List(_) => self.list(visitor),
            Node::Map(_) => Err(Wrong::unexpected("sequence start")),
            _ => by_the_parser!(self, deserialize_seq(visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Node::Map(_) => self.map(visitor),
            Node::List(_) => Err(Wrong::unexpected("mapping start")),
            _ => by_the_parser!(self, deserialize_map(visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.node.value {
            Node::Map(nodes) => {
                let mut entries = nodes.iter().filter(|(_, node)| !is_pruned(node));
                let Some((key, node)) = entries.next() else {
                    let empty = de::Unexpected::Map;
                    return Err(de::Error::invalid_type(empty, &"enum"));
                };
                if let Some((beside, _)) = entries.next() {
                    let step = Step::Key(beside.value.clone());
                    return Err(Wrong::unexpected("mapping end").below(step));
                }
                let value = Value { node, ..self };
                visitor.visit_enum(Variant {
                    key: &key.value,
                    value,
                })
            }
            Node::List(_) => Err(Wrong::unexpected("string scalar")),
            _ => by_the_parser!(self, deserialize_enum(name, variants, visitor)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit_struct tuple tuple_struct
    }
}

impl<'de> Value<'de> {
    fn list<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_seq(List { whole: self, at: 0 })
    }

    fn map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let mut map = Map { whole: self, at: 0 };
        let value = visitor.visit_map(&mut map)?;
        // A choice is written as a mapping of one key.
        match map.next() {
            None => Ok(value),
            Some((key, _)) => {
                let step = Step::Key(key.value.clone());
                Err(Wrong::unexpected("mapping end").below(step))
            }
        }
    }
}

fn is_pruned(node: &Spanned<Node>) -> bool {
    matches!(node.value, Node::Pruned)
}

struct List<'t> {
    whole: Value<'t>,
    at: usize,
}

impl<'de> SeqAccess<'de> for List<'de> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Node::List(nodes) = &self.whole.node.value else {
            return Ok(None);
        };
        while let Some(node) = nodes.get(self.at) {
            self.at += 1;
            if !is_pruned(node) {
                let value = seed.deserialize(Value { node, ..self.whole });
                let step = Step::Index(self.at - 1);
                return value.map(Some).map_err(|wrong| wrong.below(step));
            }
        }
        Ok(None)
    }
}

struct Map<'t> {
    whole: Value<'t>,
    /// The entry behind the one whose key was asked for last.
    at: usize,
}

impl<'t> Map<'t> {
    fn entry(&self, at: usize) -> Option<&'t (Spanned<String>, Spanned<Node>)> {
        match &self.whole.node.value {
            Node::Map(nodes) => nodes.get(at),
            _ => None,
        }
    }

    fn next(&mut self) -> Option<&'t (Spanned<String>, Spanned<Node>)> {
        loop {
            let entry = self.entry(self.at)?;
            self.at += 1;
            if !is_pruned(&entry.1) {
                return Some(entry);
            }
        }
    }
}

impl<'de> MapAccess<'de> for Map<'de> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let Some((key, _)) = self.next() else {
            return Ok(None);
        };
        let read = seed.deserialize(StrDeserializer::<Wrong>::new(&key.value));
        read.map(Some)
            .map_err(|wrong| wrong.below(Step::Key(key.value.clone())))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Wrong> {
        let Some((key, node)) = self.at.checked_sub(1).and_then(|at| self.entry(at)) else {
            return Err(de::Error::custom("has no value"));
        };
        let value = seed.deserialize(Value { node, ..self.whole });
        value.map_err(|wrong| wrong.below(Step::Key(key.value.clone())))
    }
}

/// A choice that is written as a mapping of one key.
struct Variant<'t> {
    key: &'t str,
    value: Value<'t>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Wrong;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Wrong> {
        let read = seed.deserialize(StrDeserializer::<Wrong>::new(self.key));
        match read {
            Ok(variant) => Ok((variant, self)),
            Err(wrong) => Err(wrong.below(Step::Key(self.key.to_owned()))),
        }
    }
}

impl Variant<'_> {
    fn at<T>(self, read: Result<T, Wrong>) -> Result<T, Wrong> {
        read.map_err(|wrong| wrong.below(Step::Key(self.key.to_owned())))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        let value = self.value;
        self.at(de::Deserialize::deserialize(value))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Wrong> {
        let value = self.value;
        self.at(seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        let value = self.value;
        self.at(de::Deserializer::deserialize_seq(value, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let value = self.value;
        self.at(de::Deserializer::deserialize_map(value, visitor))
    }
}
