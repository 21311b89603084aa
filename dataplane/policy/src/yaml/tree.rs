//! A document as a tree that keeps what each value says and where it stands.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use serde_saphyr::{Error, Spanned};

use super::options;

/// Any YAML value.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    /// A value without parts; its text where that is neither a number, nor true, nor false.
    Scalar(Option<Box<str>>),
    List(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    /// What stood here is wrong, and has been told.
    Pruned,
}

impl Node {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it as YAML, whatever it is about.
    pub(super) fn read(text: &str) -> Result<Spanned<Node>, Error> {
        serde_saphyr::from_str_with_options(text, options())
    }

    /// The value of a key.
    pub(super) fn value_mut(&mut self, wanted: &str) -> Option<&mut Spanned<Node>> {
        let Node::Map(nodes) = self else { return None };
        let mut found = nodes.iter_mut().filter(|(key, _)| key.value == wanted);
        found.next().map(|(_, value)| value)
    }

    /// The value a step below this.
    pub(super) fn below_mut(&mut self, step: &Step) -> Option<&mut Spanned<Node>> {
        match (self, step) {
            (Node::List(nodes), Step::Index(index)) => nodes.get_mut(*index),
            (map, Step::Key(key)) => map.value_mut(key),
            _ => None,
        }
    }

    /// Whether something directly below this has been pruned.
    pub(super) fn is_maimed(&self) -> bool {
        let pruned = |node: &Spanned<Node>| matches!(node.value, Node::Pruned);
        match self {
            Node::List(nodes) => nodes.iter().any(pruned),
            Node::Map(nodes) => nodes.iter().any(|(_, node)| pruned(node)),
            _ => false,
        }
    }
}

/// One step from a value to one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> de::Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar(None))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Scalar(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar(None))
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Scalar(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar(None))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Some(text.into())))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(key) = map.next_key()? {
            nodes.push((key, map.next_value()?));
        }
        Ok(Node::Map(nodes))
    }
}
