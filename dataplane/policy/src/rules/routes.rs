//! Routes: which requests, where they go, and what is changed on the way.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BizStatus, Cidr, Exception, Key, KeyEdits, OneOrMany, PathMatch, Percent, Period, RpcMatch,
    Sample, Short, Size, ValueMatch,
};

/// Which requests go where, and what is changed on the way. Every condition must hold. A route takes
/// HTTP requests, remote procedure calls, or both where it says nothing that only one of them has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name in logs and metrics; without it, made of host and path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Routes of a lower order are tried before those of a higher one; among equals the more specific
    /// is first.
    #[serde(default)]
    pub order: i32,
    /// Only requests that this listener accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Only requests that came in by this port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Host of the request: exact, *.example.com for any host below it, or * for any. A port in the
    /// request's host is ignored.
    #[serde(default = "any_host")]
    pub host: String,
    /// Prefix of the request's path, by whole segments: /api is /api and /api/x, not /apix. A mapping
    /// for other ways to match it.
    #[serde(default = "any_path")]
    pub path: PathMatch,
    /// Method, or a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<OneOrMany<String>>,
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
    /// Lane of the request, or a list of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<OneOrMany<String>>,
    /// A share of such requests; the others are left to the routes behind this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// The service that answers. Exactly one of this, `split`, `service_by`, `respond` and `redirect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Services that answer, each its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Vec<Share>>,
    /// What keeps requests with one service of a split. Without it, or where a request lacks it, chance
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Key>,
    /// The request names the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_by: Option<ServiceBy>,
    /// The gateway itself answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// The client is sent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// What the service gets to see instead of the request's path and host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// A service that gets a copy of requests without a body. Its answers are thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// Faults for a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// How long an endpoint may take to begin its response; without it, as the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Period>,
    /// How long a request may take as a whole; without it, as the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<Period>,
    /// Largest body of a request; without it, as the listener says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body: Option<Size>,
    /// What the access log notes of these requests; without it, as `access_log` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<RouteAccessLog>,
    /// Changes to the request's headers.
    #[serde(default)]
    pub request_headers: HeaderEdits,
    /// Changes to the response's headers.
    #[serde(default)]
    pub response_headers: HeaderEdits,
    /// Changes to the keys of a remote procedure call.
    #[serde(default)]
    pub request_keys: KeyEdits,
    /// Changes to the keys of its reply.
    #[serde(default)]
    pub response_keys: KeyEdits,
}

/// What a route says about the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteAccessLog {
    /// How many of the route's requests are noted.
    pub sample: Percent,
}

/// One service of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The service.
    pub service: String,
    /// Its part of the sum of all weights: 0 to 1000000.
    pub weight: u32,
}

/// The request names the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceBy {
    /// The header with the name, for HTTP. This, `key`, or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The key with the name, for remote procedure calls, such as to_service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Services that may be named.
    pub allowed: Vec<String>,
    /// The service of requests that name none of them; without it they are answered with 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
}

/// An answer of the gateway's own: `status` for HTTP, `exception` or `biz_status` for remote procedure
/// calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// Status: 200 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Body: up to 16KiB.
    #[serde(default)]
    pub body: String,
    /// Content-Type of the body.
    #[serde(default = "plain_text")]
    pub content_type: String,
    /// An exception.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// A reply without a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biz_status: Option<BizStatus>,
}

/// Where a client is sent. What is left out stays as the client asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Status: 301, 302, 303, 307 or 308.
    #[serde(default = "moved")]
    pub status: u16,
    /// http or https. With it, the port of the request's host is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Host, with a port where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path, with variables. One with a query replaces the query too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What stands in place of the prefix that the route matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Without the query.
    #[serde(default)]
    pub strip_query: bool,
}

/// What the service gets to see instead of the request's own. What is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    /// Path, with variables. One with a query replaces the query too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What stands in place of the prefix that the route matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Host, with a port where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// A service that gets copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The service.
    pub service: String,
    /// How many of the requests.
    #[serde(default = "all")]
    pub share: Percent,
    /// Largest body that is copied with its request, chunk sizes and trailers included: 0B to 1MiB.
    /// Requests with larger ones are not copied.
    #[serde(default = "mirror_body")]
    pub body: Size,
}

/// Faults for a drill: of requests that the route takes, these shares suffer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Requests are held before they go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Bodies go on slowly, those of requests and those of responses. HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// Requests are not sent on, behind their delay if they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    /// When the drill is over: a time such as 2026-12-24T18:00:00Z.
    pub until: String,
}

/// Requests are held before they go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// How long: up to 1h, and no longer than `request_timeout` and the client's connection last.
    pub time: Period,
    /// How many.
    #[serde(default = "all")]
    pub share: Percent,
}

/// Bodies go on slowly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Most bytes per second of one body: 64B to 1GiB.
    pub rate: Size,
    /// How many requests.
    #[serde(default = "all")]
    pub share: Percent,
}

/// Requests are not sent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abort {
    /// The answer's status, 400 to 599; without it, the connection is closed without an answer. Remote
    /// procedure calls get an exception in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The exception that remote procedure calls get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Exception>,
    /// The reply without a result that remote procedure calls get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biz_status: Option<BizStatus>,
    /// How many.
    #[serde(default = "all")]
    pub share: Percent,
}

/// Changes to headers. Values can have variables, such as ${client_ip}.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Headers that get this value in place of any they had.
    pub set: BTreeMap<String, String>,
    /// Headers that get this value beside any they had, as a field of its own.
    pub add: BTreeMap<String, String>,
    /// Headers that get this value behind any they had, in one field, with a comma between them.
    pub append: BTreeMap<String, String>,
    /// Headers that are taken out.
    pub remove: Vec<String>,
}

fn any_host() -> String {
    "*".into()
}

fn any_path() -> PathMatch {
    Short::Short("/".into())
}

fn all() -> Percent {
    Percent::ALL
}

fn mirror_body() -> Size {
    Size(64 << 10)
}

fn plain_text() -> String {
    "text/plain; charset=utf-8".into()
}

fn moved() -> u16 {
    301
}
