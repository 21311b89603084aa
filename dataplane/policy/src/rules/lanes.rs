//! Lanes: tags that requests travel under.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cidr, Key, OneOrMany, RpcMatch, Sample, ValueMatch};

/// Lanes: a request is tagged where it enters and travels under its tag; services with endpoints in
/// that lane get it there, others at their endpoints of no lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lanes {
    /// The header that the tag travels by. It is believed where it comes from a trusted peer, see
    /// `trust` of the listener, and taken out otherwise.
    #[serde(default = "header")]
    pub header: String,
    /// The key that it travels by in remote procedure calls: one that begins with RPC_PERSIST_, which
    /// services pass on by themselves, env or stress_tag.
    #[serde(default = "key")]
    pub key: String,
    /// Who is tagged how; the first that fits. Without any, requests keep the tag that they came with.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// Which requests get a tag. Every condition must hold; one with conditions that only one protocol has is
/// for requests of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    /// The lane: its name, or where the request says it.
    pub lane: TagFrom,
    /// Only requests that this listener accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Headers by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, ValueMatch>,
    /// Parameters of the query by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, ValueMatch>,
    /// Cookies by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cookies: BTreeMap<String, ValueMatch>,
    /// Only remote procedure calls: those that are like this; {} for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc: Option<RpcMatch>,
    /// Networks of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<OneOrMany<Cidr>>,
    /// A share of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// A lane by its name, or by what a request says: only a lane that an endpoint, a tag or a route names
/// counts.
pub type TagFrom = super::Short<String, Key>;

fn header() -> String {
    "x-lane".into()
}

fn key() -> String {
    "RPC_PERSIST_LANE".into()
}
