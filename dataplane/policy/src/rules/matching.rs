//! What a request must be like.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OneOrMany, Percent, Short};

/// A path: the prefix of it, by whole segments, or a mapping.
pub type PathMatch = Short<String, PathForm>;

/// A path that is matched as a whole, or by more than its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathForm {
    /// Whole segments that the path begins with.
    Prefix(String),
    /// The whole path, to the byte.
    Exact(String),
    /// The whole path, by segments: {name} is any one segment, and {name...} at the end is all that
    /// remains. What they stood for is known as capture.name.
    Pattern(String),
    /// The whole path, by a regular expression over bytes. Named groups are known as capture.name.
    Regex(String),
}

/// A value: exactly this, one of a list, or a mapping.
pub type ValueMatch = Short<OneOrMany<String>, ValueForm>;

/// A value that is more than equal to something. Of several values, such as headers of one name, one
/// has to fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueForm {
    /// Exactly this, or one of a list.
    Exact(OneOrMany<String>),
    /// It begins so.
    Prefix(String),
    /// It ends so.
    Suffix(String),
    /// The whole value, by a regular expression over bytes.
    Regex(String),
    /// It is a whole number in this range.
    Range(Range),
    /// There is such a value at all; false: there is none.
    Present(bool),
    /// No value is like this, or there is none.
    Not(Box<ValueMatch>),
}

/// Whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The smallest.
    pub from: i64,
    /// One more than the largest.
    pub to: i64,
}

/// What tells requests apart: those with the same value of it are treated alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Key {
    /// The first header of this name.
    Header(String),
    /// The first cookie of this name.
    Cookie(String),
    /// The first parameter of the query of this name.
    Query(String),
    /// The key of this name of a remote procedure call, see `rpc` of a route.
    Key(String),
    /// The client's address.
    Source,
}

/// A share of requests, drawn by chance, or a mapping.
pub type Sample = Short<Percent, SampleForm>;

/// A share of requests, the same ones every time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleForm {
    /// How many.
    pub share: Percent,
    /// What decides whether a request is one of them. Those that lack it are drawn by chance.
    pub by: Key,
}
