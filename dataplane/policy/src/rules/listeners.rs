//! Where requests are accepted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::seconds;
use super::{Cidr, OneOrMany, Period, Size, SocketAddress};

/// Where requests are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// One address or a list, all on one port.
    pub address: OneOrMany<SocketAddress>,
    /// What connections speak.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// In which order callers of TTHeader get their replies that don't say so (flag 0x01).
    #[serde(default)]
    pub replies: Replies,
    /// How long a connection may be idle between requests.
    #[serde(default = "listener_idle_timeout")]
    pub idle_timeout: Period,
    /// How long a client may take to send a request's head.
    #[serde(default = "head_timeout")]
    pub head_timeout: Period,
    /// How long a client may take to send the next part of a request's body, see `limits.body_rate`.
    #[serde(default = "body_timeout")]
    pub body_timeout: Period,
    /// Connections at a time. Each of several workers allows an equal part.
    #[serde(default = "listener_connections")]
    pub max_connections: u32,
    /// Buffer of a connection in each direction: 16KiB to 16MiB. It grows up to `tcp.window` where the path
    /// of a connection needs more.
    #[serde(default = "buffer")]
    pub buffer: Size,
    /// How large a request may be, and how many may come on one connection.
    #[serde(default)]
    pub limits: RequestLimits,
    /// Only requests for these hosts are taken, others are answered with 421. Each exact, or
    /// *.example.com for any host below it; without any, all hosts.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Networks of proxies in front whose word about the client is taken: PROXY headers, forwarded
    /// headers, request ids.
    #[serde(default)]
    pub trust: Vec<Cidr>,
    /// Networks of clients that may ask, by a header `X-Sluice-Explain`, to be told with the response what
    /// the rules made of a request and why. From all others the header is taken out and means nothing.
    #[serde(default)]
    pub explain: Vec<Cidr>,
    /// Every connection begins with a PROXY protocol header, version 1 or 2. With `trust`, only the
    /// networks there may connect.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// How services are told about the client.
    #[serde(default)]
    pub forwarded: Forwarded,
    /// Every request goes on with an X-Request-Id: that of a trusted proxy, or a new one.
    #[serde(default = "yes")]
    pub request_id: bool,
    /// A request without a valid traceparent begins a trace. A valid one is passed on in any case.
    #[serde(default)]
    pub traceparent: bool,
    /// Responses name the gateway in Via, as requests do in any case.
    #[serde(default)]
    pub response_via: bool,
}

/// In which order replies go to callers of TTHeader whose frames don't say that any will do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Replies {
    /// That of their calls: right for every client.
    #[default]
    Ordered,
    /// As they come: for clients that go by the sequence though they don't say so, as Volo's that
    /// multiplex.
    Any,
}

/// What the connections of a listener speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// HTTP, TTHeader or plain Thrift: the first bytes of each connection tell.
    #[default]
    Auto,
    /// HTTP/1.
    Http,
    /// TTHeader.
    TtHeader,
    /// Thrift without TTHeader, in frames or not, binary or compact.
    Thrift,
}

/// How large a request may be, and how many may come on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestLimits {
    /// Request line: 64B to 32KiB. What is longer is answered with 414.
    pub request_line: Size,
    /// Whole head: 256B to 63KiB, and no more than `buffer`. What is larger is answered with 431.
    /// Heads of responses have the same limit.
    pub head: Size,
    /// Header fields: 1 to 128. More are answered with 431.
    pub headers: u32,
    /// Body. What is larger is answered with 413.
    pub body: Size,
    /// Fewest bytes of a body per second, on average over `body_timeout`; what is slower is answered
    /// with 408. 0B: any byte will do.
    pub body_rate: Size,
    /// Requests on one connection, which is closed after that.
    pub requests: u32,
    /// How long a connection takes new requests; without it, for as long as it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Period>,
    /// Connections at a time from one client address, per worker: 1 to 1,000,000. Of IPv6 the first 64
    /// bits are the address. Networks in `trust` are not counted. Without it, any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_connections: Option<u32>,
    /// New connections per second from one client address, per worker: 1 to 1,000,000. Twice as many
    /// may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_rate: Option<u32>,
    /// Whole frame of an RPC, those of replies included: 1KiB to 64MiB. What is larger ends the
    /// connection.
    pub frame: Size,
}

impl Default for RequestLimits {
    fn default() -> Self {
        RequestLimits {
            request_line: Size(8 << 10),
            head: Size(16 << 10),
            headers: 100,
            body: Size(16 << 30),
            body_rate: Size(64),
            requests: 1_000_000,
            lifetime: None,
            client_connections: None,
            client_rate: None,
            frame: Size(16 << 20),
        }
    }
}

/// How services are told about the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Forwarded {
    /// In which headers. Those not chosen are never added.
    pub header: ForwardedHeader,
    /// What becomes of these headers where the peer is trusted. From all others they are taken out.
    pub mode: ForwardedMode,
}

/// Which headers tell about the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// X-Forwarded-For and X-Forwarded-Proto.
    #[default]
    XForwarded,
    /// Forwarded, RFC 7239.
    Forwarded,
    /// All of them. X-Forwarded-For is the one that is read.
    Both,
}

/// What becomes of a trusted peer's forwarded headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForwardedMode {
    /// They are kept, and the peer is added.
    #[default]
    Append,
    /// They are replaced by the address of the client that they tell of.
    Replace,
    /// They are kept, and nothing is added, to anyone's request.
    Off,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

fn listener_idle_timeout() -> Period {
    seconds(60)
}

fn head_timeout() -> Period {
    seconds(10)
}

fn body_timeout() -> Period {
    seconds(30)
}

fn yes() -> bool {
    true
}

fn listener_connections() -> u32 {
    16_384
}

fn buffer() -> Size {
    Size(64 << 10)
}
