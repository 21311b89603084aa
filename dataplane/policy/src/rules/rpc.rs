//! What rules say of remote procedure calls.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ValueMatch;

/// Which remote procedure calls: TTHeader, and Thrift without a head. Every condition must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RpcMatch {
    /// The service that the caller names, key to_service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ValueMatch>,
    /// The method: that of the Thrift message or, where the payload is none, key to_method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<ValueMatch>,
    /// The service that calls, key from_service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<ValueMatch>,
    /// The environment, key env.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<ValueMatch>,
    /// Any keys: an integer key by its name, such as to_cluster, or its number; a string key by its
    /// name, such as RPC_PERSIST_user, with string: in front where it would be an integer key's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, ValueMatch>,
}

/// Changes to the keys of a call or its reply. Integer keys by name or number, string keys by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyEdits {
    /// Keys that get this value, whatever they had. Values can have variables, such as ${client_ip}.
    pub set: BTreeMap<String, String>,
    /// Keys that get this value if they have none.
    pub add: BTreeMap<String, String>,
    /// Keys that are taken out; PREFIX* for all string keys that begin so.
    pub remove: Vec<String>,
}

/// An exception in place of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Its type.
    #[serde(default)]
    pub kind: ExceptionKind,
    /// What it says: up to 1KiB.
    pub message: String,
}

/// The type of an exception.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExceptionKind {
    /// 0.
    Unknown,
    /// 1: there is no such method.
    UnknownMethod,
    /// 6: refused, or failed within.
    #[default]
    Internal,
    /// 7: the request is malformed.
    Protocol,
    /// 20: there is no such service.
    UnknownService,
    /// 21: the request names no service.
    NoServiceName,
}

/// A reply that says for the business why there is no result. Callers keep their connection, which some
/// close behind an exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BizStatus {
    /// The status; 0 would be no failure.
    pub status: i32,
    /// What it says: up to 1KiB.
    pub message: String,
    /// What else belongs to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
}
