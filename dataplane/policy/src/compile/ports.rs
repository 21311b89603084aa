//! Ports: devices, addresses and the way out to an address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::report::Report;
use crate::rules;
use crate::snapshot::{Attachment, Port, StaticRoute};
use crate::yaml::Path;

/// Smallest MTU: what every IPv4 host can take (RFC 791, 3.1).
const MTU_V4: u16 = 576;
/// Smallest MTU with IPv6 (RFC 8200, 5).
const MTU_V6: u16 = 1280;
/// Largest MTU: the usual jumbo frame.
const MTU_MAX: u16 = 9216;
/// What a VLAN can be called (IEEE 802.1Q 9.6: 0 is none, 4095 reserved).
const VLANS: RangeInclusive<u16> = 1..=4094;
/// Longest name of a Linux interface (IFNAMSIZ without the end).
const MAX_INTERFACE: usize = 15;

pub(super) fn compile(
    ports: &BTreeMap<String, rules::Port>,
    workers: u16,
    report: &mut Report<'_>,
) -> Vec<Port> {
    let section = Path::section("ports");
    if ports.is_empty() {
        report.mend(
            &section,
            "there is no port",
            "add one, such as front: { interface: eth1, ... }",
        );
    }
    let compiled = ports
        .iter()
        .map(|(name, port)| compile_port(&section.key(name), name, port, workers, report));
    let compiled: Vec<Port> = compiled.collect();
    check_shared(&section, &compiled, report);
    compiled
}

fn compile_port(
    path: &Path,
    name: &str,
    port: &rules::Port,
    workers: u16,
    report: &mut Report<'_>,
) -> Port {
    report.key_name(path, name);
    let attachment = attachment(path, port, report);
    check_addresses(path, port, report);
    let mtu_path = path.key("mtu");
    let least = if port.addresses.iter().any(|a| a.address().is_ipv6()) {
        MTU_V6
    } else {
        MTU_V4
    };
    if port.mtu > MTU_MAX || port.mtu < MTU_V4 {
        report.wrong(
            &mtu_path,
            format!("{} is outside {MTU_V4} to {MTU_MAX}", port.mtu),
        );
    } else if port.mtu < least {
        report.wrong(
            &mtu_path,
            format!("{} is too small for IPv6, which needs {MTU_V6}", port.mtu),
        );
    }
    if port.vlan.is_some_and(|vlan| !VLANS.contains(&vlan)) {
        let path = path.key("vlan");
        report.mend(
            &path,
            "no VLAN has this number",
            "write 1 to 4094, or leave it out for frames without a tag",
        );
    }
    let queues = port.queues.unwrap_or(u16::MAX);
    if queues == 0 {
        report.wrong(&path.key("queues"), "a port needs one");
    }
    Port {
        name: name.into(),
        attachment,
        addresses: port.addresses.clone(),
        routes: static_routes(path, port, report),
        mtu: port.mtu,
        vlan: port.vlan,
        queues: queues.min(workers.max(1)),
        offload: port.offload == rules::Offload::Auto,
    }
}

/// Which device. Without a valid one some other value stands in; the report then has a problem.
fn attachment(path: &Path, port: &rules::Port, report: &mut Report<'_>) -> Attachment {
    match (&port.interface, &port.device) {
        (Some(interface), None) => {
            let legal = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b',';
            let fits = (1..=MAX_INTERFACE).contains(&interface.len());
            if !fits || !interface.bytes().all(legal) {
                let message = format!("{interface:?} is no name of a Linux interface");
                report.suggest(&path.key("interface"), message, device_hint(interface));
            }
            Attachment::Interface(interface.as_str().into())
        }
        (None, Some(device)) if is_pci(device) => {
            Attachment::Pci(device.to_ascii_lowercase().into())
        }
        (None, Some(device)) => {
            if !is_vdev(device) {
                report.mend(
                    &path.key("device"),
                    format!("{device:?} is neither a PCI address nor a DPDK virtual device"),
                    device_hint(device).unwrap_or_else(|| {
                        "write 0000:01:00.0 or net_memif0,role=client; a Linux interface goes \
                         under `interface`"
                            .into()
                    }),
                );
            }
            Attachment::Vdev(device.as_str().into())
        }
        (Some(_), Some(_)) => {
            report.mend(
                path,
                "has both `interface` and `device`",
                "keep one of them",
            );
            Attachment::Interface("".into())
        }
        (None, None) => {
            report.mend(path, "has no device", "add `interface` or `device`");
            Attachment::Interface("".into())
        }
    }
}

/// What was probably meant by text that is not what it should be.
fn device_hint(text: &str) -> Option<String> {
    if is_pci(text) || is_vdev(text) {
        return Some(format!("write device: \"{text}\""));
    }
    let full = format!("0000:{text}");
    is_pci(&full).then(|| format!("write device: \"{full}\""))
}

/// `domain:bus:device.function` in hexadecimal, as `lspci -D` shows it.
fn is_pci(text: &str) -> bool {
    let pattern = "hhhh:hh:hh.o";
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, expected)| match expected {
                b'h' => byte.is_ascii_hexdigit(),
                b'o' => (b'0'..=b'7').contains(&byte),
                separator => byte == separator,
            })
}

/// `net_<driver><number>` with arguments after a comma.
fn is_vdev(text: &str) -> bool {
    let name = text.split(',').next().unwrap_or_default();
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.strip_prefix("net_")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(legal))
        && text.bytes().all(|b| b.is_ascii_graphic())
}

fn check_addresses(path: &Path, port: &rules::Port, report: &mut Report<'_>) {
    let path = path.key("addresses");
    if port.addresses.is_empty() {
        report.mend(&path, "has no address", "add one, such as [10.0.0.1/24]");
    }
    for (index, cidr) in port.addresses.iter().enumerate() {
        let path = path.index(index);
        let address = cidr.address();
        if !is_unicast(address) {
            report.wrong(
                &path,
                format!("{address} is not an address that a port can have"),
            );
        } else if cidr.prefix() == 0 {
            report.wrong(
                &path,
                format!("{cidr} puts every address on this port's own network"),
            );
        } else if Some(address) == cidr.broadcast() {
            report.wrong(
                &path,
                format!("{address} is its network's broadcast address"),
            );
        } else if cidr.broadcast().is_some() && address == cidr.network() {
            report.wrong(&path, format!("{address} is its network's own address"));
        }
    }
}

/// Whether a host on a network can have this address.
pub(super) fn is_unicast(address: IpAddr) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !special && !matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

fn static_routes(path: &Path, port: &rules::Port, report: &mut Report<'_>) -> Vec<StaticRoute> {
    let path = path.key("routes");
    let mut routes: Vec<StaticRoute> = Vec::with_capacity(port.routes.len());
    for (index, route) in port.routes.iter().enumerate() {
        let (path, to, via) = (path.index(index), route.to, route.via.0);
        if to.address() != to.network() {
            let mend = format!("write {}/{}", to.network(), to.prefix());
            report.mend(
                &path.key("to"),
                format!("{to} has bits set after its prefix"),
                mend,
            );
        }
        if routes.iter().any(|other| other.to == to) {
            report.mend(
                &path.key("to"),
                format!("{to} is routed above as well"),
                "keep one",
            );
        }
        if port.addresses.iter().any(|own| own.address() == via) {
            report.wrong(
                &path.key("via"),
                format!("{via} is this port's own address"),
            );
        } else if !port.addresses.iter().any(|own| own.contains(via)) {
            report.mend(
                &path.key("via"),
                format!("{via} is on none of this port's networks"),
                "give a router that the port can reach directly",
            );
        } else if to.address().is_ipv4() != via.is_ipv4() {
            report.wrong(
                &path.key("via"),
                format!("{via} cannot be the router of {to}"),
            );
        }
        routes.push(StaticRoute { to, via });
    }
    // Stable: what is equally long stays in the order of the rules.
    routes.sort_by_key(|route| std::cmp::Reverse(route.to.prefix()));
    routes
}

/// An address or a device belongs to one port.
fn check_shared(section: &Path, ports: &[Port], report: &mut Report<'_>) {
    let mut owners: BTreeMap<IpAddr, (&str, Path)> = BTreeMap::new();
    let mut devices: BTreeMap<&str, &str> = BTreeMap::new();
    for port in ports {
        let path = section.key(&port.name);
        for (index, cidr) in port.addresses.iter().enumerate() {
            let path = path.key("addresses").index(index);
            match owners.get(&cidr.address()) {
                Some((owner, first)) => {
                    let line = report.line(first);
                    let message = format!(
                        "{} is already an address of port \"{owner}\"{line}",
                        cidr.address()
                    );
                    report.mend(&path, message, "give each port addresses of its own");
                }
                None => {
                    owners.insert(cidr.address(), (&port.name, path));
                }
            }
        }
        let (key, device) = match &port.attachment {
            Attachment::Interface(name) => ("interface", name),
            Attachment::Pci(address) => ("device", address),
            Attachment::Vdev(text) => ("device", text),
        };
        let device = device.split(',').next().unwrap_or_default();
        if device.is_empty() {
            continue;
        }
        match devices.get(device) {
            Some(owner) => {
                let message = format!("{device} is already the device of port \"{owner}\"");
                report.mend(
                    &path.key(key),
                    message,
                    "give each port a device of its own",
                );
            }
            None => {
                devices.insert(device, &port.name);
            }
        }
    }
}

/// Why there is no way to an address.
pub(super) enum NoWay {
    /// It is an address of that port.
    Own(usize),
    /// No port has a network or route for it.
    Unreachable,
    /// Two ports have an equally long prefix for it.
    Ambiguous(usize, usize),
}

/// The port to leave by: the longest prefix over networks on link and static routes.
pub(super) fn way_out(ports: &[Port], address: IpAddr) -> Result<usize, NoWay> {
    let mut best: Option<(u8, usize)> = None;
    let mut tie = None;
    for (index, port) in ports.iter().enumerate() {
        if port.addresses.iter().any(|own| own.address() == address) {
            return Err(NoWay::Own(index));
        }
        let networks = port
            .addresses
            .iter()
            .chain(port.routes.iter().map(|route| &route.to));
        let longest = networks
            .filter(|n| n.contains(address))
            .map(|n| n.prefix())
            .max();
        let Some(prefix) = longest else { continue };
        match best {
            Some((other, _)) if other > prefix => {}
            Some((other, first)) if other == prefix => tie = Some(NoWay::Ambiguous(first, index)),
            _ => {
                best = Some((prefix, index));
                tie = None;
            }
        }
    }
    match (tie, best) {
        (Some(tie), _) => Err(tie),
        (None, Some((_, index))) => Ok(index),
        (None, None) => Err(NoWay::Unreachable),
    }
}
