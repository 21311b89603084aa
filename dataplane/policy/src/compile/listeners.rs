//! Listeners: addresses that a port owns.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_wire::http1::Limits;

use super::matching::host;
use super::report::Report;
use crate::problem::did_you_mean;
use crate::rules::{self, RequestLimits, Size};
use crate::snapshot::{HostMatch, Listener, Port};
use crate::yaml::Path;

/// Buffer of a connection in each direction.
const BUFFER: std::ops::RangeInclusive<u64> = 16 << 10..=16 << 20;
/// Connections of one listener on one worker.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// Requests on one connection.
const REQUESTS: std::ops::RangeInclusive<u32> = 1..=1_000_000_000;
/// Length of a request line.
const REQUEST_LINE: std::ops::RangeInclusive<u64> = 64..=32 << 10;
/// Length of a head; the parser keeps positions in 16 bits.
const HEAD: std::ops::RangeInclusive<u64> = 256..=63 << 10;
/// Number of header fields; the parser has room for so many.
const HEADERS: std::ops::RangeInclusive<u32> = 1..=128;
/// Frame of an RPC. No protocol's first bytes can be taken for the length of such a frame.
const FRAME: std::ops::RangeInclusive<u64> = 1 << 10..=64 << 20;
/// Fewest bytes of a body per second. What is faster is taken for a typing error: it would refuse
/// honest clients.
const BODY_RATE: std::ops::RangeInclusive<u64> = 0..=1 << 20;

pub(super) fn compile(
    listeners: &BTreeMap<String, rules::Listener>,
    ports: &[Port],
    report: &mut Report<'_>,
) -> Vec<Listener> {
    let section = Path::section("listeners");
    if listeners.is_empty() {
        report.mend(
            &section,
            "there is no listener",
            "add one, such as web: { address: 10.0.0.1:80 }",
        );
    }
    let mut taken = BTreeMap::new();
    let mut compiled = Vec::with_capacity(listeners.len());
    for (name, listener) in listeners {
        let path = section.key(name);
        report.key_name(&path, name);
        let (port, addresses) = addresses(&path, name, listener, ports, &mut taken, report);
        let buffer = report.size(&path.key("buffer"), listener.buffer, BUFFER);
        let connections = path.key("max_connections");
        let limits_path = path.key("limits");
        let limits = limits(&limits_path, &listener.limits, listener.buffer, report);
        let body_timeout = report.period(&path.key("body_timeout"), listener.body_timeout);
        let rate_path = limits_path.key("body_rate");
        let body_rate = report.size(&rate_path, listener.limits.body_rate, BODY_RATE);
        compiled.push(Listener {
            name: name.as_str().into(),
            port,
            addresses,
            protocol: listener.protocol,
            idle_timeout: report.period(&path.key("idle_timeout"), listener.idle_timeout),
            head_timeout: report.period(&path.key("head_timeout"), listener.head_timeout),
            body_timeout,
            body_least: body_rate.saturating_mul(body_timeout.as_secs()).max(1),
            max_connections: report.number(&connections, listener.max_connections, CONNECTIONS),
            buffer: usize::try_from(buffer).unwrap_or(usize::MAX),
            limits,
            max_body: listener.limits.body.0,
            max_requests: report.number(
                &limits_path.key("requests"),
                listener.limits.requests,
                REQUESTS,
            ),
            max_frame: usize::try_from(report.size(
                &limits_path.key("frame"),
                listener.limits.frame,
                FRAME,
            ))
            .unwrap_or(usize::MAX),
            lifetime: (listener.limits.lifetime)
                .map(|own| report.period(&limits_path.key("lifetime"), own)),
            client_connections: (listener.limits.client_connections)
                .map(|own| report.number(&limits_path.key("client_connections"), own, CONNECTIONS)),
            client_rate: (listener.limits.client_rate)
                .map(|own| report.number(&limits_path.key("client_rate"), own, CONNECTIONS)),
            hosts: hosts(&path.key("hosts"), &listener.hosts, report),
            replies: listener.replies,
            trust: listener.trust.clone(),
            explain: listener.explain.clone(),
            proxy_protocol: listener.proxy_protocol,
            forwarded: listener.forwarded,
            request_id: listener.request_id,
            traceparent: listener.traceparent,
            response_via: listener.response_via,
        });
    }
    compiled
}

/// The limits of heads, in the parser's own terms.
fn limits(path: &Path, limits: &RequestLimits, buffer: Size, report: &mut Report<'_>) -> Limits {
    let head = report.size(&path.key("head"), limits.head, HEAD);
    if limits.head > buffer && BUFFER.contains(&buffer.0) {
        report.mend(
            &path.key("head"),
            format!("{} does not fit into a buffer of {buffer}", limits.head),
            "write less, or make the listener's buffer larger",
        );
    }
    let line = path.key("request_line");
    let request_line = report.size(&line, limits.request_line, REQUEST_LINE);
    Limits {
        request_line: usize::try_from(request_line).unwrap_or(usize::MAX),
        head: usize::try_from(head).unwrap_or(usize::MAX),
        headers: report.number(&path.key("headers"), limits.headers, HEADERS) as usize,
    }
}

/// The only hosts that are taken.
fn hosts(path: &Path, hosts: &[String], report: &mut Report<'_>) -> Vec<HostMatch> {
    let compiled = hosts
        .iter()
        .enumerate()
        .filter_map(|(index, text)| host(&path.index(index), text, report));
    compiled.collect()
}

/// The addresses of a listener and the port that owns them all.
fn addresses<'a>(
    path: &Path,
    name: &'a str,
    listener: &rules::Listener,
    ports: &[Port],
    taken: &mut BTreeMap<SocketAddr, (&'a str, Path)>,
    report: &mut Report<'_>,
) -> (usize, Vec<SocketAddr>) {
    let whole = path.key("address");
    let ports_are_unsure = report.is_any_broken("ports");
    let mut owner: Option<usize> = None;
    let mut addresses = Vec::new();
    for (path, address) in listener.address.entries(&whole) {
        let address = address.0;
        addresses.push(address);
        if address.port() == 0 {
            let mend = "write a port from 1 to 65535".to_owned();
            report.refuse(&path, "port 0 cannot be listened on", mend);
        }
        if let Some((other, first)) = taken.get(&address) {
            let message = format!(
                "{address} is already an address of listener \"{other}\"{}",
                report.line(first)
            );
            report.mend(&path, message, "give each listener addresses of its own");
        } else {
            taken.insert(address, (name, path.clone()));
        }
        let Some(port) = owner_of(ports, address) else {
            if ports_are_unsure {
                continue;
            }
            let known = known_addresses(ports, address);
            let mend = Some(address.to_string())
                .filter(|_| !address.ip().is_unspecified())
                .and_then(|text| did_you_mean(&text, known.iter().map(String::as_str)))
                .or_else(|| {
                    (!known.is_empty()).then(|| format!("ports have {}", known.join(", ")))
                });
            let message = format!("{} is not an address of any port", address.ip());
            report.refuse(&path, message, mend);
            continue;
        };
        match owner
            .and_then(|owner| ports.get(owner))
            .zip(ports.get(port))
        {
            Some((first, second)) if first.name != second.name => report.mend(
                &path,
                format!(
                    "{} is on port \"{}\", not \"{}\"",
                    address.ip(),
                    second.name,
                    first.name
                ),
                "make a listener for each port",
            ),
            _ => owner = Some(port),
        }
    }
    if addresses.is_empty() {
        report.mend(&whole, "has no address", "write one, such as 10.0.0.1:80");
    }
    (owner.unwrap_or(0), addresses)
}

fn owner_of(ports: &[Port], address: SocketAddr) -> Option<usize> {
    ports.iter().position(|port| {
        port.addresses
            .iter()
            .any(|own| own.address() == address.ip())
    })
}

/// What could have been meant: the first addresses that ports have, with the wanted port number.
fn known_addresses(ports: &[Port], wanted: SocketAddr) -> Vec<String> {
    let all = ports.iter().flat_map(|port| &port.addresses);
    let same = all.filter(|own| own.address().is_ipv4() == wanted.is_ipv4());
    same.take(8)
        .map(|own| SocketAddr::new(own.address(), wanted.port()).to_string())
        .collect()
}
