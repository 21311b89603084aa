//! Services: endpoints, each with the port to leave by.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::known::Known;
use super::ports::{NoWay, is_unicast, way_out};
use super::report::Report;
use crate::lanes::Lanes;
use crate::names::{self, Lookup, Resolved};
use crate::rules::{self, EndpointAddress, Multiplex, ServiceProtocol, Short, is_dns_name};
use crate::snapshot::{Endpoint, Group, LaneId, Port, Service, ServiceId};
use crate::yaml::Path;

/// Longest name of a protocol in `Upgrade`.
const MAX_PROTOCOL: usize = 32;
/// Services that fall back one on another.
const MAX_FALLBACKS: usize = 8;
/// Shared connections to one endpoint from one worker.
const SHARED: std::ops::RangeInclusive<u32> = 1..=64;
/// Connections to one service from one worker.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=1_000_000;

/// What stands beside the services.
pub(super) struct Around<'a> {
    pub(super) ports: &'a [Port],
    pub(super) lanes: Option<&'a Lanes>,
    pub(super) resolved: &'a Resolved,
}

/// Compiles all services; `known` gives those that need not be compiled again.
pub(super) fn compile(
    services: &BTreeMap<String, rules::Service>,
    around: &Around<'_>,
    known: impl Fn(&str, &rules::Service) -> Option<Arc<Service>>,
    report: &mut Report<'_>,
) -> Vec<Arc<Service>> {
    let section = Path::section("services");
    let by_name = Known::new("service", services);
    let mut compiled = Vec::with_capacity(services.len());
    for (name, service) in services {
        if let Some(service) = known(name, service) {
            compiled.push(service);
            continue;
        }
        let path = section.key(name);
        report.key_name(&path, name);
        let fallback = service.fallback.as_ref().and_then(|name| {
            let (at, _) = by_name.find(&path.key("fallback"), name, report)?;
            Some(ServiceId(at))
        });
        compiled.push(Arc::new(one(
            &path, name, service, around, fallback, report,
        )));
    }
    check_circles(services, report);
    compiled
}

/// Whether services have the same names, and the same can be said of them by others.
pub(super) fn are_called_alike(
    old: &BTreeMap<String, rules::Service>,
    new: &BTreeMap<String, rules::Service>,
) -> bool {
    let mut pairs = old.iter().zip(new);
    old.len() == new.len()
        && pairs
            .all(|((was, old), (is, new))| was == is && old.proxy_protocol == new.proxy_protocol)
}

fn one(
    path: &Path,
    name: &str,
    service: &rules::Service,
    around: &Around<'_>,
    fallback: Option<ServiceId>,
    report: &mut Report<'_>,
) -> Service {
    let connections = path.key("max_connections");
    check_multiplex(path, service, report);
    let compiled = endpoints(&path.key("endpoints"), service, around, report);
    let mut own = compiled.endpoints;
    // Stable: endpoints of one lane stay as written.
    own.sort_by_key(|(lane, _)| *lane);
    let mut groups: Vec<Group> = Vec::new();
    for (index, (lane, _)) in own.iter().enumerate() {
        match groups.last_mut() {
            Some(group) if group.lane == *lane => group.endpoints.end = index + 1,
            _ => groups.push(Group {
                lane: *lane,
                endpoints: index..index + 1,
            }),
        }
    }
    Service {
        name: name.into(),
        endpoints: own.into_iter().map(|(_, endpoint)| endpoint).collect(),
        names: compiled.names,
        unreachable: compiled.unreachable,
        groups,
        protocol: service.protocol,
        multiplex: service.multiplex,
        shared_connections: report.number(
            &path.key("shared_connections"),
            service.shared_connections,
            SHARED,
        ),
        fallback,
        connect_timeout: report.period(&path.key("connect_timeout"), service.connect_timeout),
        response_timeout: report.period(&path.key("response_timeout"), service.response_timeout),
        request_timeout: report.period(&path.key("request_timeout"), service.request_timeout),
        idle_timeout: report.period(&path.key("idle_timeout"), service.idle_timeout),
        proxy_protocol: service.proxy_protocol,
        upgrade: protocols(&path.key("upgrade"), &service.upgrade, report),
        tunnel_timeout: report.period(&path.key("tunnel_timeout"), service.tunnel_timeout),
        max_connections: report.number(&connections, service.max_connections, CONNECTIONS),
        max_idle: report.number(
            &path.key("max_idle"),
            service.max_idle,
            0..=*CONNECTIONS.end(),
        ),
    }
}

/// Only frames of TTHeader can share a connection.
fn check_multiplex(path: &Path, service: &rules::Service, report: &mut Report<'_>) {
    if service.multiplex != Multiplex::None && service.protocol != ServiceProtocol::TtHeader {
        report.mend(
            &path.key("multiplex"),
            "only a service whose protocol is ttheader can be multiplexed",
            "write protocol: ttheader, or take multiplex out",
        );
    }
}

/// Services that lead back to where a request came from.
fn check_circles(services: &BTreeMap<String, rules::Service>, report: &mut Report<'_>) {
    let next = |name: &str| services.get(name)?.fallback.as_deref();
    for name in services.keys() {
        let mut way = vec![name.as_str()];
        let mut at = next(name);
        while let Some(name) = at
            && !way.contains(&name)
        {
            way.push(name);
            at = next(name);
        }
        if way.len() > MAX_FALLBACKS && at.is_none_or(|at| at != name) {
            let path = Path::section("services").key(name).key("fallback");
            let message = format!("more than {MAX_FALLBACKS} services fall back one on another");
            let mend = "fall back sooner on the last of them".to_owned();
            report.refuse(&path, message, mend);
        }
        // Told once, at the first of those in the circle.
        let first = way.iter().min() == Some(&name.as_str());
        if at == Some(name) && first {
            way.push(name);
            let path = Path::section("services").key(name).key("fallback");
            let message = format!("leads in a circle: {}", way.join(" to "));
            let mend = "take one of these fallbacks out".to_owned();
            report.refuse(&path, message, mend);
        }
    }
}

/// The protocols that may be changed to. Not a version of HTTP, which the gateway would have to
/// speak itself.
fn protocols(path: &Path, protocols: &[String], report: &mut Report<'_>) -> Vec<Box<str>> {
    let mut compiled = Vec::new();
    for (index, protocol) in protocols.iter().enumerate() {
        let path = path.index(index);
        let lower = protocol.to_ascii_lowercase();
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&b);
        if lower.is_empty() || lower.len() > MAX_PROTOCOL || !lower.bytes().all(legal) {
            report.mend(
                &path,
                format!("{protocol:?} is no name of a protocol"),
                "write one such as websocket",
            );
        } else if matches!(lower.as_str(), "h2c" | "h2" | "http/2.0" | "tls/1.0") {
            report.wrong(&path, format!("a change to {protocol} is not supported"));
        } else {
            compiled.push(lower.into());
        }
    }
    compiled
}

/// The endpoints of a service as they are compiled.
#[derive(Default)]
struct Compiled {
    endpoints: Vec<(Option<LaneId>, Endpoint)>,
    names: Vec<Lookup>,
    unreachable: Vec<SocketAddr>,
}

fn endpoints(
    path: &Path,
    service: &rules::Service,
    around: &Around<'_>,
    report: &mut Report<'_>,
) -> Compiled {
    if service.endpoints.is_empty() {
        report.mend(path, "has no endpoint", "add one, such as [10.0.0.2:8080]");
    }
    let mut seen: BTreeMap<String, Path> = BTreeMap::new();
    let mut compiled = Compiled {
        names: names::of_service(service).collect(),
        ..Compiled::default()
    };
    for (index, endpoint) in service.endpoints.iter().enumerate() {
        let path = path.index(index);
        let (address, lane) = match endpoint {
            Short::Short(address) => (Ok((path.clone(), address)), None),
            Short::Full(form) => (one_address(&path, form, report), form.lane.as_ref()),
        };
        let lane = lane.and_then(|lane| around.lanes?.find(lane.as_bytes()));
        let (path, text) = match &address {
            Ok((path, address)) => (path.clone(), address.to_string()),
            Err(Some(srv)) => (path.key("srv"), (*srv).to_owned()),
            Err(None) => continue,
        };
        if let Some(first) = seen.get(&text) {
            let message = format!("{text} is listed twice{}", report.line(first));
            report.mend(&path, message, "keep one");
        }
        seen.entry(text).or_insert_with(|| path.clone());
        match address {
            Ok((_, EndpointAddress::Socket(address))) => {
                let port = reached(&path, *address, around.ports, report);
                if let Some(port) = port {
                    let address = *address;
                    compiled.push(lane, Endpoint { address, port });
                }
            }
            Ok((_, name)) => {
                if matches!(name, EndpointAddress::Name { port: 0, .. }) {
                    no_port(&path, report);
                }
                compiled.add(lane, around.resolved.addresses(name), around.ports);
            }
            Err(srv) => {
                let name = srv.unwrap_or_default().to_ascii_lowercase();
                let own = around.resolved.services.get(&*name);
                compiled.add(lane, own.cloned().unwrap_or_default(), around.ports);
            }
        }
    }
    compiled
}

/// The address of an endpoint, or else its SRV name; neither where that is not to be told.
fn one_address<'a>(
    path: &Path,
    form: &'a rules::EndpointForm,
    report: &mut Report<'_>,
) -> Result<(Path, &'a EndpointAddress), Option<&'a str>> {
    match (&form.address, &form.srv) {
        (Some(address), None) => Ok((path.key("address"), address)),
        (None, Some(srv)) => {
            if !is_dns_name(srv) {
                let mend = "write one such as _http._tcp.cart.internal";
                report.mend(&path.key("srv"), format!("{srv:?} is no name"), mend);
            }
            Err(Some(srv))
        }
        (Some(_), Some(_)) => {
            report.mend(
                &path.key("srv"),
                "stands beside `address`",
                "keep one of them",
            );
            Err(None)
        }
        (None, None) => {
            report.mend(path, "`address` is missing", "add `address` or `srv`");
            Err(None)
        }
    }
}

impl Compiled {
    /// Adds an endpoint that is not there yet: a name may stand for an address that is given, too.
    fn push(&mut self, lane: Option<LaneId>, endpoint: Endpoint) {
        if !self.endpoints.contains(&(lane, endpoint)) {
            self.endpoints.push((lane, endpoint));
        }
    }

    /// Adds what a name stands for. That it leads nowhere is no mistake in the rules.
    fn add(&mut self, lane: Option<LaneId>, addresses: Vec<SocketAddr>, ports: &[Port]) {
        for address in addresses {
            match way_out(ports, address.ip()) {
                Ok(port) if is_unicast(address.ip()) && address.port() != 0 => {
                    self.push(lane, Endpoint { address, port });
                }
                _ => self.unreachable.push(address),
            }
        }
    }
}

fn no_port(path: &Path, report: &mut Report<'_>) {
    let mend = "write a port from 1 to 65535".to_owned();
    report.refuse(path, "port 0 cannot be connected to", mend);
}

/// The port that an address is reached by.
fn reached(
    path: &Path,
    address: SocketAddr,
    ports: &[Port],
    report: &mut Report<'_>,
) -> Option<usize> {
    if address.port() == 0 {
        no_port(path, report);
    }
    if !is_unicast(address.ip()) {
        let message = format!("{} is not an address that a host can have", address.ip());
        report.refuse(path, message, None);
        return None;
    }
    match way_out(ports, address.ip()) {
        Ok(port) => Some(port),
        // Without ports nothing is reachable; that they are missing is said once, elsewhere.
        Err(_) if ports.is_empty() || report.is_any_broken("ports") => None,
        Err(no_way) => {
            let (message, mend) = explain(&no_way, address, ports);
            report.refuse(path, message, mend.to_owned());
            None
        }
    }
}

fn explain(no_way: &NoWay, address: SocketAddr, ports: &[Port]) -> (String, &'static str) {
    let name = |index: usize| ports.get(index).map(|port| &*port.name).unwrap_or_default();
    let address = address.ip();
    match *no_way {
        NoWay::Own(port) => (
            format!(
                "{address} is the gateway's own address on port \"{}\"",
                name(port)
            ),
            "give the address of a backend",
        ),
        NoWay::Unreachable => (
            format!("{address} is on no port's network and behind no port's route"),
            "add an address on its network, or a route to it, to a port",
        ),
        NoWay::Ambiguous(first, second) => (
            format!(
                "{address} can be reached by ports \"{}\" and \"{}\" alike",
                name(first),
                name(second)
            ),
            "add a longer route to one of them",
        ),
    }
}
