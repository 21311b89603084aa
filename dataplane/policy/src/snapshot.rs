//! What workers execute: rules that were checked and resolved. Immutable from end to end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_wire::http1::{Limits, Via};

use crate::action::{Action, Fault, HeaderEdits, KeyEdits, Mirror, Rewrite};
use crate::lanes::Lanes;
use crate::matching::{Condition, NameMatch, PathMatch, Regexes};
use crate::names::{Lookup, Resolved};
use crate::request::{HttpView, Message, RequestView, RpcView};
use crate::router::Router;
use crate::rules::{
    Cidr, Congestion, Forwarded, Idle, ListenerProtocol, Multiplex, Only, ProxyProtocol, Replies,
    ServiceProtocol,
};

/// One checked, resolved set of rules.
///
/// Plain data without interior mutability: threads share it by `Arc`. Ids and indices hold for this
/// snapshot alone.
#[derive(Debug)]
pub struct Snapshot {
    /// Which set this is: grows with every accepted one. Set by whoever hands snapshots out.
    pub generation: u64,
    /// This gateway.
    pub node: Node,
    /// Network ports, in order of their names.
    pub ports: Vec<Port>,
    /// The threads that do the work.
    pub workers: Workers,
    /// How connections behave.
    pub tcp: Tcp,
    /// Kernel address of the admin interface.
    pub admin: SocketAddr,
    /// The access log, if one is written.
    pub access_log: Option<AccessLog>,
    /// Listeners, in order of their names; [`ListenerId`] is the index.
    pub listeners: Vec<Listener>,
    /// Services, in order of their names; [`ServiceId`] is the index.
    pub services: Vec<Arc<Service>>,
    /// Lanes, if there are any.
    pub lanes: Option<Lanes>,
    /// Routes, in the order in which they are tried; [`RouteId`] is the index.
    pub routes: Arc<[Arc<Route>]>,
    pub(crate) router: Arc<Router>,
    pub(crate) regexes: Arc<Regexes>,
    pub(crate) resolved: Arc<Resolved>,
}

/// Index of a listener in [`Snapshot::listeners`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub usize);

/// Index of a service in [`Snapshot::services`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub usize);

/// Index of a route in [`Snapshot::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub usize);

/// Index of a lane in [`Lanes::names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub usize);

/// This gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Name in logs and metrics.
    pub name: Arc<str>,
    /// The same as it goes into `Via`.
    pub via: Via,
    /// How long running requests may take to finish when the gateway stops.
    pub drain_timeout: Duration,
}

/// The threads that do the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// How many there are, and where.
    pub cores: WorkerCores,
    /// What a worker does when nothing happens.
    pub idle: Idle,
    /// Hugepage memory for packet buffers, in bytes: whole MiB, 64 MiB to 64 GiB.
    pub memory: u64,
}

/// Where the workers run: 1 to 64 of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCores {
    /// So many, on the machine's last cores.
    Last(u16),
    /// So many, on the last cores of a NUMA node.
    OfNode {
        /// Workers.
        count: u16,
        /// The node.
        node: u16,
    },
    /// One for each of these cores, which need not differ.
    These(Vec<u16>),
}

impl WorkerCores {
    /// How many workers there are.
    pub fn count(&self) -> u16 {
        match self {
            WorkerCores::Last(count) | WorkerCores::OfNode { count, .. } => *count,
            WorkerCores::These(cores) => cores.len() as u16,
        }
    }
}

/// How connections behave, those of clients and those to services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tcp {
    /// What a connection's buffer may grow to in each direction, in bytes: 64 KiB to 64 MiB.
    pub window: usize,
    /// Bytes that all connections of a worker may hold beyond their buffers.
    pub window_memory: usize,
    /// The floor of retransmission timeouts: 1 ms to 1 s.
    pub min_timeout: Duration,
    /// How long a peer may acknowledge nothing of what waits.
    pub user_timeout: Duration,
    /// How long a peer may be silent before it is asked.
    pub keep_alive: Duration,
    /// What decides how fast to send.
    pub congestion: Congestion,
}

/// A network port: a device with its own addresses and routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Name in the rules.
    pub name: Arc<str>,
    /// The device.
    pub attachment: Attachment,
    /// The gateway's addresses on this port, each with its network. At least one.
    pub addresses: Vec<Cidr>,
    /// Networks behind a router, longest prefix first.
    pub routes: Vec<StaticRoute>,
    /// Largest IP packet in bytes: 576 to 9216, and at least 1280 with IPv6.
    pub mtu: u16,
    /// VLAN whose 802.1Q tag every frame carries, 1 to 4094.
    pub vlan: Option<u16>,
    /// Queue pairs to use at most; no more than workers.
    pub queues: u16,
    /// Leave checksums and segmentation to the device, as far as it can do them.
    pub offload: bool,
}

/// How a port finds its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// A Linux interface, by AF_XDP or else AF_PACKET.
    Interface(Arc<str>),
    /// A PCI device, as `0000:01:00.0`.
    Pci(Arc<str>),
    /// A DPDK virtual device with its arguments, as `net_memif0,role=client`.
    Vdev(Arc<str>),
}

/// A network behind a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticRoute {
    /// The network.
    pub to: Cidr,
    /// The router, on one of the port's own networks.
    pub via: IpAddr,
}

/// A line for each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub target: LogTarget,
    /// How many requests are noted where no route says otherwise, in parts per million.
    pub sample: u32,
    /// Which of those that are noted are written.
    pub only: Only,
    /// Requests that may wait to be written.
    pub buffer: usize,
}

/// Where the access log's lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// The end of this file.
    File(Arc<str>),
}

/// Where requests are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Name in the rules.
    pub name: Arc<str>,
    /// Index in [`Snapshot::ports`] of the port that owns the addresses.
    pub port: usize,
    /// Addresses, at least one; no two listeners share one.
    pub addresses: Vec<SocketAddr>,
    /// What connections speak.
    pub protocol: ListenerProtocol,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// In which order callers get replies that don't say so.
    pub replies: Replies,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// How long a client may take to send `body_least` more bytes of a body.
    pub body_timeout: Duration,
    /// See `body_timeout`; at least 1.
    pub body_least: u64,
    /// Connections at a time, per worker.
    pub max_connections: u32,
    /// Buffer of a connection in each direction in bytes: 16 KiB to 16 MiB.
    pub buffer: usize,
    /// How large heads may be, those of responses included.
    pub limits: Limits,
    /// Largest body of a request in bytes, where a route has no limit of its own.
    pub max_body: u64,
    /// Requests on one connection.
    pub max_requests: u32,
    /// How long a connection takes new HTTP requests.
    pub lifetime: Option<Duration>,
    /// Connections at a time from one client address, per worker.
    pub client_connections: Option<u32>,
    /// New connections per second from one client address, per worker.
    pub client_rate: Option<u32>,
    /// Largest frame of an RPC or its reply in bytes: 1 KiB to 64 MiB.
    pub max_frame: usize,
    /// The only hosts taken; all where there are none.
    pub hosts: Vec<HostMatch>,
    /// Proxies whose word about the client is taken.
    pub trust: Vec<Cidr>,
    /// Clients that may ask what the rules make of their requests.
    pub explain: Vec<Cidr>,
    /// Every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// How services are told about the client.
    pub forwarded: Forwarded,
    /// Every request goes on with an `X-Request-Id`.
    pub request_id: bool,
    /// A request without a valid `traceparent` begins a trace.
    pub traceparent: bool,
    /// Responses name the gateway in `Via`.
    pub response_via: bool,
}

impl Listener {
    /// Whether requests for this host are taken: without its port, in any case.
    pub fn takes(&self, host: &[u8]) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|allowed| allowed.takes(host))
    }

    /// Whether a peer of this address is a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trust.iter().any(|network| network.contains(address))
    }

    /// Whether a client of this address may ask what the rules make of its requests.
    pub fn explains_to(&self, client: IpAddr) -> bool {
        self.explain.iter().any(|network| network.contains(client))
    }
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Name in the rules.
    pub name: Arc<str>,
    /// Addresses that serve it, those of no lane, then those of each lane in order: at least one, but where
    /// all are by name and the names stand for nothing.
    pub endpoints: Vec<Endpoint>,
    /// The names among its endpoints.
    pub names: Vec<Lookup>,
    /// What they stand for, but no port leads there.
    pub unreachable: Vec<SocketAddr>,
    /// Which of them serve which lane, none first.
    pub groups: Vec<Group>,
    /// What its endpoints speak.
    pub protocol: ServiceProtocol,
    /// What its endpoints go by on connections that callers share.
    pub multiplex: Multiplex,
    /// Connections that callers share, for each endpoint, per worker; 1 to 64.
    pub shared_connections: u32,
    /// Who gets the requests while none of them can be connected to. Leads to no circle.
    pub fallback: Option<ServiceId>,
    /// How long connecting to an endpoint may take.
    pub connect_timeout: Duration,
    /// How long an endpoint may take to the head of its response, unless a route says otherwise.
    pub response_timeout: Duration,
    /// How long a request may take as a whole, unless a route says otherwise.
    pub request_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// The PROXY header that each connection begins with.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Protocols that a client's connection may be changed to, in lower case.
    pub upgrade: Vec<Box<str>>,
    /// How long a connection may be silent both ways after such a change.
    pub tunnel_timeout: Duration,
    /// Connections at a time to all endpoints, per worker.
    pub max_connections: u32,
    /// Unused connections that are kept for each endpoint, per worker.
    pub max_idle: u32,
}

/// An address that serves a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Index in [`Snapshot::ports`] of the port to leave by: the longest prefix over networks on
    /// link and static routes.
    pub port: usize,
}

/// The endpoints of a service that serve one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The lane; `None` for requests of no lane, and of lanes that the service has nothing for.
    pub lane: Option<LaneId>,
    /// Indices in [`Service::endpoints`], at least one.
    pub endpoints: std::ops::Range<usize>,
}

impl Service {
    /// Whether HTTP requests can go to it.
    #[inline]
    pub fn speaks_http(&self) -> bool {
        matches!(self.protocol, ServiceProtocol::Auto | ServiceProtocol::Http)
    }

    /// The endpoints that serve a lane: an index in [`Service::groups`]. `None` if none do, nor any of
    /// no lane.
    #[inline]
    pub fn group(&self, lane: Option<LaneId>) -> Option<usize> {
        let of = |lane: Option<LaneId>| self.groups.iter().position(|group| group.lane == lane);
        match lane {
            Some(_) => of(lane).or_else(|| of(None)),
            None => of(None),
        }
    }
}

/// Which requests go where, and what is changed on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Index in [`Snapshot::routes`].
    pub id: RouteId,
    /// Name as given, or made of listener, host and path: `shop.example.com/api`. Unique.
    pub name: Arc<str>,
    /// Which requests.
    pub matches: RouteMatch,
    /// What becomes of them.
    pub action: Action,
    /// What the service gets to see instead of path and host.
    pub rewrite: Rewrite,
    /// Who gets a copy.
    pub mirror: Option<Mirror>,
    /// Faults for a drill.
    pub fault: Option<Fault>,
    /// How long an endpoint may take to the head of its response; as the service says without it.
    pub response_timeout: Option<Duration>,
    /// How long a request may take as a whole; as the service says without it.
    pub request_timeout: Option<Duration>,
    /// Largest body of a request in bytes; the listener's without one.
    pub max_body: Option<u64>,
    /// How many of its requests the access log notes, in parts per million; 0 without an access log.
    pub sample: u32,
    /// Changes to the request's headers.
    pub request_headers: HeaderEdits,
    /// Changes to the response's headers.
    pub response_headers: HeaderEdits,
    /// Changes to a call's keys.
    pub request_keys: KeyEdits,
    /// Changes to the keys of its reply.
    pub response_keys: KeyEdits,
    /// Something depends on what parts of the path stood for.
    pub(crate) uses_captures: bool,
    /// Its place among the routes as they are written.
    pub(crate) written: usize,
    /// It depends on nothing but what is written there, and on names: the same again is the same.
    pub(crate) stands_alone: bool,
}

impl Route {
    /// Every service that it can send requests to, without fallbacks and copies.
    pub fn services(&self) -> Vec<ServiceId> {
        match &self.action {
            Action::Forward(destination) => destination.services(),
            Action::Respond(_) | Action::Redirect(_) => Vec::new(),
        }
    }
}

/// Which protocols a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP.
    Http,
    /// Remote procedure calls.
    Rpc,
    /// Every one.
    All,
}

impl Protocols {
    /// Whether it is for requests of this protocol.
    #[inline]
    pub fn take(self, message: &Message<'_>) -> bool {
        match message {
            Message::Http(_) => self != Protocols::Rpc,
            Message::Rpc(_) => self != Protocols::Http,
        }
    }
}

/// Which requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// Only those of this protocol.
    pub protocols: Protocols,
    /// Of HTTP requests, only those for this host.
    pub host: HostMatch,
    /// Of HTTP requests, only those for such a path.
    pub path: PathMatch,
    /// Of calls, only those to such a service.
    pub service: NameMatch,
    /// Of calls, only those of such a method.
    pub method: NameMatch,
    /// Only those for which all of this holds.
    pub conditions: Box<[Condition]>,
}

impl RouteMatch {
    /// Whether path and conditions fit an HTTP request that has what the index finds the route by.
    pub(crate) fn fits_http(&self, http: &HttpView<'_>, request: &RequestView<'_>) -> bool {
        (self.path.is_literal() || self.path.takes(http.path)) && self.conditions_hold(request)
    }

    /// Whether service, method and conditions fit a call.
    pub(crate) fn fits_rpc(&self, rpc: &RpcView<'_>, request: &RequestView<'_>) -> bool {
        self.service.takes(rpc.to_service())
            && self.method.takes(Some(rpc.method))
            && self.conditions_hold(request)
    }

    #[inline]
    fn conditions_hold(&self, request: &RequestView<'_>) -> bool {
        self.conditions
            .iter()
            .all(|condition| condition.holds(request))
    }
}

/// Which hosts a route takes. All names in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostMatch {
    /// This one.
    Exact(Box<str>),
    /// Any below this one, at any depth: `example.com` for `*.example.com`.
    Below(Box<str>),
    /// Any, or none.
    Any,
}

impl HostMatch {
    /// Whether it takes this host: without its port, in any case, with or without one dot at the end.
    pub fn takes(&self, host: &[u8]) -> bool {
        let host = host.strip_suffix(b".").unwrap_or(host);
        match self {
            HostMatch::Any => true,
            HostMatch::Exact(own) => own.as_bytes().eq_ignore_ascii_case(host),
            HostMatch::Below(own) => {
                let own = own.as_bytes();
                let split = host.len().saturating_sub(own.len());
                host.split_at_checked(split).is_some_and(|(label, rest)| {
                    label.len() > 1 && label.ends_with(b".") && rest.eq_ignore_ascii_case(own)
                })
            }
        }
    }
}

impl Snapshot {
    /// The first route that takes a request, in time that grows with the number of alternatives for
    /// one host and path, or one service and method, not with that of routes. Does not allocate.
    ///
    /// Hosts are compared without regard to case or one dot at the end; a host of more than 255
    /// bytes (RFC 1035, 2.3.4) is taken by no route.
    #[inline]
    pub fn route(&self, request: &RequestView<'_>) -> Option<&Route> {
        self.route_of(self.router.find(&self.routes, request)?)
    }

    /// The route of that id.
    #[inline]
    pub fn route_of(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.0).map(|route| &**route)
    }

    /// The service of that id.
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.0).map(|service| &**service)
    }

    /// The name of a lane; `None` for no lane.
    #[inline]
    pub fn lane_name(&self, lane: Option<LaneId>) -> Option<&str> {
        self.lanes.as_ref()?.name(lane?)
    }
}
