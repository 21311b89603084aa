//! The rules as people and control planes state them: one serde model, not yet checked as a whole.
//!
//! Every default stands here, and only here. Bounds are checked by [`crate::compile()`].

mod addresses;
mod lanes;
mod listeners;
mod matching;
mod routes;
mod rpc;
mod services;
mod short;
mod tcp;
mod units;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::yaml::{Broken, Places};
pub(crate) use addresses::is_dns_name;
pub use addresses::{Address, Cidr, EndpointAddress, SocketAddress};
pub use lanes::{Lanes, Tag, TagFrom};
pub use listeners::{
    Forwarded, ForwardedHeader, ForwardedMode, Listener, ListenerProtocol, ProxyProtocol, Replies,
    RequestLimits,
};
pub use matching::{Key, PathForm, PathMatch, Range, Sample, SampleForm, ValueForm, ValueMatch};
pub use routes::{
    Abort, Bandwidth, Delay, Fault, HeaderEdits, Mirror, Redirect, Respond, Rewrite, Route,
    RouteAccessLog, ServiceBy, Share,
};
pub use rpc::{BizStatus, Exception, ExceptionKind, KeyEdits, RpcMatch};
pub use services::{Endpoint, EndpointForm, Multiplex, Service, ServiceProtocol};
pub use short::{OneOrMany, Short};
pub use tcp::{Congestion, Tcp};
pub use units::{Percent, Period, Size, UnitError};

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
    /// How connections behave, those of clients and those to services.
    #[serde(default)]
    pub tcp: Tcp,
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
    /// What of the document could not be read, where these are rules to be refused.
    #[serde(skip)]
    pub(crate) broken: Broken,
}

impl Rules {
    /// Whether these are the same rules, wherever in their document each of them stands.
    pub fn say_the_same(&self, other: &Rules) -> bool {
        let Rules {
            node,
            ports,
            workers,
            tcp,
            admin,
            dns,
            access_log,
            listeners,
            services,
            lanes,
            routes,
            places: _,
            broken: _,
        } = self;
        (node, ports, workers, tcp) == (&other.node, &other.ports, &other.workers, &other.tcp)
            && (admin, dns, access_log) == (&other.admin, &other.dns, &other.access_log)
            && (listeners, services) == (&other.listeners, &other.services)
            && (lanes, routes) == (&other.lanes, &other.routes)
    }
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
    /// VLAN whose 802.1Q tag every frame on this port carries, 1 to 4094. Without it, no frame does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Queue pairs of the device to use at most, where that is fewer than it has and than there are
    /// workers: what the other end of a memif has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<u16>,
    /// What is left to the device.
    #[serde(default)]
    pub offload: Offload,
}

/// What of the work on frames a port leaves to its device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Offload {
    /// What the device says it can do: checksums, and cutting what is sent into segments.
    #[default]
    Auto,
    /// Nothing.
    None,
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
    /// NUMA node whose cores they are on, that of the network card. Not beside `cores`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa: Option<u16>,
    /// Processor cores, one worker each. One that is listed twice has two workers, which is for tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<Vec<u16>>,
    /// What a worker does when nothing happens.
    pub idle: Idle,
    /// Hugepage memory for packet buffers.
    pub memory: Size,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            count: None,
            numa: None,
            cores: None,
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

fn seconds(seconds: u64) -> Period {
    Period(Duration::from_secs(seconds))
}

fn mtu() -> u16 {
    1500
}

fn all() -> Percent {
    Percent::ALL
}

fn access_log_buffer() -> u32 {
    ACCESS_LOG_BUFFER
}
