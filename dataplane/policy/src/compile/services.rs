//! Services: endpoints, each with the port to leave by.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::ports::{NoWay, is_unicast, way_out};
use super::report::Report;
use crate::rules::{self, SocketAddress};
use crate::snapshot::{Endpoint, Port, Service};
use crate::yaml::Path;

/// Longest name of a protocol in `Upgrade`.
const MAX_PROTOCOL: usize = 32;
/// Connections to one service from one worker.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=1_000_000;

pub(super) fn compile(
    services: &BTreeMap<String, rules::Service>,
    ports: &[Port],
    report: &mut Report<'_>,
) -> Vec<Service> {
    let section = Path::section("services");
    let mut compiled = Vec::with_capacity(services.len());
    for (name, service) in services {
        let path = section.key(name);
        report.key_name(&path, name);
        let connections = path.key("max_connections");
        compiled.push(Service {
            name: name.as_str().into(),
            endpoints: endpoints(&path.key("endpoints"), &service.endpoints, ports, report),
            connect_timeout: report.period(&path.key("connect_timeout"), service.connect_timeout),
            response_timeout: report
                .period(&path.key("response_timeout"), service.response_timeout),
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
        });
    }
    compiled
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

fn endpoints(
    path: &Path,
    endpoints: &[SocketAddress],
    ports: &[Port],
    report: &mut Report<'_>,
) -> Vec<Endpoint> {
    if endpoints.is_empty() {
        report.mend(path, "has no endpoint", "add one, such as [10.0.0.2:8080]");
    }
    let mut seen: BTreeMap<SocketAddr, Path> = BTreeMap::new();
    let mut compiled = Vec::with_capacity(endpoints.len());
    for (index, SocketAddress(address)) in endpoints.iter().enumerate() {
        let (path, address) = (path.index(index), *address);
        match seen.get(&address) {
            Some(first) => {
                let message = format!("{address} is listed twice{}", report.line(first));
                report.mend(&path, message, "keep one");
            }
            None => {
                seen.insert(address, path.clone());
            }
        }
        if address.port() == 0 {
            report.mend(
                &path,
                "port 0 cannot be connected to",
                "write a port from 1 to 65535",
            );
        }
        if !is_unicast(address.ip()) {
            report.wrong(
                &path,
                format!("{} is not an address that a host can have", address.ip()),
            );
            continue;
        }
        match way_out(ports, address.ip()) {
            Ok(port) => compiled.push(Endpoint { address, port }),
            // Without ports nothing is reachable; that they are missing is said once, elsewhere.
            Err(_) if ports.is_empty() => {}
            Err(no_way) => {
                let (message, mend) = explain(&no_way, address, ports);
                report.mend(&path, message, mend);
            }
        }
    }
    compiled
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
