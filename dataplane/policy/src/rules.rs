//! The rules as people and control planes state them: one serde model, not yet checked as a whole.
//!
//! Every default stands here, and only here. Bounds are checked by [`crate::compile()`].

mod lanes;
mod matching;
mod routes;
mod rpc;
mod short;
mod units;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::yaml::Places;
pub use lanes::{Lanes, Tag, TagFrom};
pub use matching::{Key, PathForm, PathMatch, Range, Sample, SampleForm, ValueForm, ValueMatch};
pub use routes::{
    Abort, Delay, Fault, HeaderEdits, Mirror, Redirect, Respond, Rewrite, Route, RouteAccessLog,
    ServiceBy, Share,
};
pub use rpc::{BizStatus, Exception, ExceptionKind, KeyEdits, RpcMatch};
pub use short::{OneOrMany, Short};
pub(crate) use units::is_dns_name;
pub use units::{Address, Cidr, EndpointAddress, Percent, Period, Size, SocketAddress, UnitError};

/// Configuration of the Sluice gateway.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// This gateway.
    #[serde(default)]
    pub node: Node,
    /// Network ports by name. A port is a DPDK device with its own addresses and routes.
    #[serde(default)]
    pub ports: BTreeMap<String, Port>,
    /// The threads that do the work.
    #[serde(default)]
    pub workers: Workers,
    /// The admin interface.
    #[serde(default)]
    pub admin: Admin,
    /// How the names of endpoints are looked up.
    #[serde(default)]
    pub dns: Dns,
    /// A line for each request; without it, none is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Where requests are accepted, by name.
    #[serde(default)]
    pub listeners: BTreeMap<String, Listener>,
    /// Where requests go, by name.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// Lanes: tags that requests travel under, so that services can be tried out side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Lanes>,
    /// Which request goes to which service. The most specific route that takes a request has it,
    /// whatever the order here.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Where in the document each value stands.
    #[serde(skip)]
    pub places: Places,
}

/// This gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Name of this gateway in logs and metrics.
    pub name: String,
    /// How long running requests may take to finish when the gateway stops.
    pub drain_timeout: Period,
}

impl Default for Node {
    fn default() -> Self {
        Node {
            name: "sluice".into(),
            drain_timeout: seconds(10),
        }
    }
}

/// A network port: a DPDK device with its own addresses and routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["interface"]}, {"required": ["device"]}]))]
pub struct Port {
    /// Linux interface to attach to, by AF_XDP or else AF_PACKET. Either this or `device`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// DPDK device: a PCI address such as 0000:01:00.0, or a virtual device such as net_memif0,role=client.
    /// Either this or `interface`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Addresses of the gateway on this port, each with its network's prefix length.
    #[serde(default)]
    pub addresses: Vec<Cidr>,
    /// Networks behind a router on this port.
    #[serde(default)]
    pub routes: Vec<StaticRoute>,
    /// Largest IP packet in bytes: 576 to 9216, and at least 1280 with IPv6.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// Queue pairs of the device to use at most, where that is fewer than it has and than there are
    /// workers: what the other end of a memif has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
}

/// A network behind a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    /// The network; 0.0.0.0/0 or ::/0 for everything else.
    pub to: Cidr,
    /// The router, on one of the port's own networks.
    pub via: Address,
}

/// The threads that do the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workers {
    /// How many workers there are, on the last cores; 1 where nothing is said. Either this or `cores`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
    /// Processor cores, one worker each. One that is listed twice has two workers, which is for tests.
    pub cores: Vec<u16>,
    /// What a worker does when nothing happens.
    pub idle: Idle,
    /// Hugepage memory for packet buffers.
    pub memory: Size,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            count: None,
            cores: Vec::new(),
            idle: Idle::Poll,
            memory: Size(256 << 20),
        }
    }
}

/// What a worker does when nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Keep polling: lowest latency, the core is always busy.
    Poll,
    /// Yield the core while nothing happens: naps of 50us after 1ms of quiet, of 200us after 100ms and of
    /// 1ms after 1s, which a frame after a quiet time may have to wait for. Without traffic that is about
    /// 2 % of a core.
    Adaptive,
    /// Keep polling, and after each poll that found nothing let whoever else waits for the core go first
    /// (sched_yield): for several gateways on one core.
    Share,
}

/// The admin interface: plain HTTP on a kernel socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Kernel address to listen on.
    pub address: SocketAddress,
}

impl Default for Admin {
    fn default() -> Self {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
        Admin {
            address: SocketAddress(address),
        }
    }
}

/// How the names of endpoints are looked up: by the control thread, over the kernel's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Name servers, each with its port, usually 53; without any, those of /etc/resolv.conf.
    pub servers: Vec<SocketAddress>,
    /// How long a name server may take to answer.
    pub timeout: Period,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            servers: Vec::new(),
            timeout: seconds(2),
        }
    }
}

/// Requests that may wait to be written to the access log where the rules don't say: they bridge some
/// ten milliseconds at the rates that one core reaches.
pub const ACCESS_LOG_BUFFER: u32 = 4096;

/// A line of JSON for each request, written off the data path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// The file that lines are added to, or "-" for standard output. SIGUSR1 opens it anew.
    pub file: String,
    /// How many of the requests are noted; a route may say otherwise.
    #[serde(default = "all")]
    pub sample: Percent,
    /// Which of those that are noted are written.
    #[serde(default)]
    pub only: Only,
    /// Requests that may wait to be written: 64 to 1048576. Beyond it they are dropped and counted.
    #[serde(default = "access_log_buffer")]
    pub buffer: u32,
}

/// Which requests are written to the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Only {
    /// Every one.
    #[default]
    All,
    /// Those answered with a status of 400 or above, or not to the end.
    Errors,
}

/// Where requests are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// One address or a list, all on one port.
    pub address: OneOrMany<SocketAddress>,
    /// What connections speak.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// How long a connection may be idle between requests.
    #[serde(default = "listener_idle_timeout")]
    pub idle_timeout: Period,
    /// How long a client may take to send a request's head.
    #[serde(default = "head_timeout")]
    pub head_timeout: Period,
    /// How long a client may take to send the next part of a request's body, see `limits.body_rate`.
    #[serde(default = "body_timeout")]
    pub body_timeout: Period,
    /// Connections at a time, per worker.
    #[serde(default = "listener_connections")]
    pub max_connections: u32,
    /// Buffer of a connection in each direction: 16KiB to 16MiB.
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
    /// How long a connection takes new HTTP requests; without it, for as long as it lives.
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
    /// Connections at a time to all endpoints, per worker.
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

fn seconds(seconds: u64) -> Period {
    Period(Duration::from_secs(seconds))
}

fn mtu() -> u16 {
    1500
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

fn request_timeout() -> Period {
    seconds(3600)
}

fn tunnel_timeout() -> Period {
    seconds(600)
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

fn all() -> Percent {
    Percent::ALL
}

fn access_log_buffer() -> u32 {
    ACCESS_LOG_BUFFER
}
