//! Where requests go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use super::{EndpointAddress, Period, ProxyProtocol, Short};

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Addresses that serve it, taken in turn. One that belongs to a lane gets the requests of that
    /// lane alone.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub endpoints: Vec<Endpoint>,
    /// What its endpoints speak. RPCs with and without TTHeader are changed into one another for it,
    /// HTTP and RPC are not.
    #[serde(default)]
    pub protocol: ServiceProtocol,
    /// Whether RPCs of several callers share connections, and what the endpoints go by when they
    /// answer.
    #[serde(default)]
    pub multiplex: Multiplex,
    /// Connections that are shared, for each endpoint and worker: 1 to 64. Without `multiplex`, none.
    #[serde(default = "shared_connections")]
    pub shared_connections: u32,
    /// The service that gets the requests while no endpoint of this one can be connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// How long connecting to an endpoint may take.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Period,
    /// How long an endpoint may take from the end of the request to the head of its response.
    #[serde(default = "response_timeout")]
    pub response_timeout: Period,
    /// How long a request may take as a whole, from its head to the last byte of the response.
    #[serde(default = "request_timeout")]
    pub request_timeout: Period,
    /// Connections at a time to all endpoints. Each of several workers allows an equal part.
    #[serde(default = "service_connections")]
    pub max_connections: u32,
    /// Unused connections that are kept for each endpoint, per worker.
    #[serde(default = "max_idle")]
    pub max_idle: u32,
    /// How long an unused connection is kept.
    #[serde(default = "service_idle_timeout")]
    pub idle_timeout: Period,
    /// Begin each connection with a PROXY header that tells the client's address. Such a connection
    /// serves one client connection and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Protocols that a client may change its connection to by Upgrade, such as websocket. Requests
    /// for any other go on without their Upgrade.
    #[serde(default)]
    pub upgrade: Vec<String>,
    /// How long a connection may be silent both ways after such a change.
    #[serde(default = "tunnel_timeout")]
    pub tunnel_timeout: Period,
}

/// What the endpoints of a service speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceProtocol {
    /// What each request comes in.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http,
    /// TTHeader.
    TtHeader,
    /// Thrift without TTHeader.
    Thrift,
}

/// What an endpoint goes by when it answers RPCs on a connection that several callers share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Multiplex {
    /// It is not known: one call at a time on each connection.
    #[default]
    None,
    /// The sequence of the frame: another Sluice, or a server known to do so.
    Frame,
    /// The sequence of the message, as the multiplexing servers of Kitex and Volo do.
    Message,
}

/// An address that serves a service: the address alone, or with more to say about it.
pub type Endpoint = Short<EndpointAddress, EndpointForm>;

/// An address that serves a service, and what sets it apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["address"]}, {"required": ["srv"]}]))]
pub struct EndpointForm {
    /// Where it listens: an address, or a name that is looked up (A and AAAA). Either this or `srv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<EndpointAddress>,
    /// A name whose SRV records say where it listens. Of several targets those of the lowest priority
    /// count, each alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub srv: Option<String>,
    /// The lane it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
}

fn request_timeout() -> Period {
    seconds(3600)
}

fn tunnel_timeout() -> Period {
    seconds(600)
}

fn connect_timeout() -> Period {
    seconds(5)
}

fn response_timeout() -> Period {
    seconds(30)
}

fn service_connections() -> u32 {
    16_384
}

fn shared_connections() -> u32 {
    2
}

fn max_idle() -> u32 {
    1024
}

fn service_idle_timeout() -> Period {
    seconds(30)
}
