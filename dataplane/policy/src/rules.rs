//! The rules as people and control planes state them: one serde model, not yet checked as a whole.
//!
//! Every default stands here, and only here. Bounds are checked by [`crate::compile()`].

mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::yaml::{Path, Places};
pub use units::{Address, Cidr, Period, Size, SocketAddress, UnitError};

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
    /// Where requests are accepted, by name.
    #[serde(default)]
    pub listeners: BTreeMap<String, Listener>,
    /// Where requests go, by name.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// Which request goes to which service. An exact host comes before a wildcard, a longer path
    /// before a shorter one, whatever the order here.
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
    /// Processor cores, one worker each; without it, one worker on the last core.
    pub cores: Vec<u16>,
    /// What a worker does when nothing happens.
    pub idle: Idle,
    /// Hugepage memory for packet buffers.
    pub memory: Size,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
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
    /// Yield the core while nothing happens.
    Adaptive,
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

/// Where requests are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// One address or a list, all on one port.
    pub address: OneOrMany<SocketAddress>,
    /// How long a connection may be idle between requests.
    #[serde(default = "listener_idle_timeout")]
    pub idle_timeout: Period,
    /// How long a client may take to send a request's head.
    #[serde(default = "head_timeout")]
    pub head_timeout: Period,
    /// Connections at a time, per worker.
    #[serde(default = "listener_connections")]
    pub max_connections: u32,
    /// Buffer of a connection in each direction: 16KiB to 16MiB.
    #[serde(default = "buffer")]
    pub buffer: Size,
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Addresses that serve it, taken in turn.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub endpoints: Vec<SocketAddress>,
    /// How long connecting to an endpoint may take.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Period,
    /// How long an endpoint may take from the end of the request to the head of its response.
    #[serde(default = "response_timeout")]
    pub response_timeout: Period,
    /// Connections at a time to all endpoints, per worker.
    #[serde(default = "service_connections")]
    pub max_connections: u32,
    /// Unused connections that are kept for each endpoint, per worker.
    #[serde(default = "max_idle")]
    pub max_idle: u32,
    /// How long an unused connection is kept.
    #[serde(default = "service_idle_timeout")]
    pub idle_timeout: Period,
}

/// Which requests go to a service, and what is changed on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Name in logs and metrics; without it, made of host and path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only requests that this listener accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Host of the request: exact, *.example.com for any host below it, or * for any. A port in the
    /// request's host is ignored.
    #[serde(default = "any_host")]
    pub host: String,
    /// Prefix of the request's path, by whole segments: /api is /api and /api/x, not /apix.
    #[serde(default = "any_path")]
    pub path: String,
    /// The service that answers.
    pub service: String,
    /// How long an endpoint may take to begin its response; without it, as the service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<Period>,
    /// Changes to the request's headers.
    #[serde(default)]
    pub request_headers: HeaderEdits,
    /// Changes to the response's headers.
    #[serde(default)]
    pub response_headers: HeaderEdits,
}

/// Changes to headers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Headers that get this value in place of any they had.
    pub set: BTreeMap<String, String>,
    /// Headers that get this value beside any they had.
    pub add: BTreeMap<String, String>,
    /// Headers that are taken out.
    pub remove: Vec<String>,
}

/// One value, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// Written as the value itself.
    One(T),
    /// Written as a list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// Each value with its path below `path`, the place of the whole.
    pub(crate) fn entries<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (Path, &'a T)> {
        let (values, listed) = match self {
            OneOrMany::One(value) => (std::slice::from_ref(value), false),
            OneOrMany::Many(values) => (values.as_slice(), true),
        };
        values.iter().enumerate().map(move |(index, value)| {
            (
                if listed {
                    path.index(index)
                } else {
                    path.clone()
                },
                value,
            )
        })
    }
}

// Not derived: serde's untagged enums lose the place and the reason of an error.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(de::value::StrDeserializer::new(text)).map(OneOrMany::One)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany::Many(values))
            }
        }

        deserializer.deserialize_any(Visitor(PhantomData))
    }
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
    1024
}

fn max_idle() -> u32 {
    64
}

fn service_idle_timeout() -> Period {
    seconds(30)
}

fn any_host() -> String {
    "*".into()
}

fn any_path() -> String {
    "/".into()
}
