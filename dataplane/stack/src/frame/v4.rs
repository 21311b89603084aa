//! IPv4 (RFC 791), its ICMP (RFC 792) and ARP (RFC 826).

use std::net::{IpAddr, Ipv4Addr};

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, Icmpv4Message, Icmpv4Packet, IpProtocol};

use crate::checksum;
use crate::fate::FrameFate;
use crate::key::mapped_v4;
use crate::neighbour::Mac;

use super::quoted::{packet_code, quoted_tcp, u16_at, u32_at};
use super::segment::{Ends, tcp};
use super::{Inbound, MARKED, Station, TCP};

pub(super) fn ipv4<'a>(
    payload: &'a [u8],
    from_mac: Mac,
    verify: bool,
    station: &Station<'_>,
) -> Result<Inbound<'a>, FrameFate> {
    let fields: &[u8; 20] = payload.first_chunk().ok_or(FrameFate::BadIp)?;
    let &[
        version,
        traffic_class,
        t0,
        t1,
        _,
        _,
        f0,
        f1,
        _,
        protocol,
        _,
        _,
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
    ] = fields;
    let header = usize::from(version & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([t0, t1]));
    if version >> 4 != 4 || header < 20 {
        return Err(FrameFate::BadIp);
    }
    let body = payload.get(header..total).ok_or(FrameFate::BadIp)?;
    if verify && !checksum::is_valid(checksum::sum(&payload[..header])) {
        return Err(FrameFate::BadChecksum);
    }
    if header > 20 && has_source_route(&payload[20..header]) {
        return Err(FrameFate::BadIp);
    }
    const MORE_AND_OFFSET: u16 = 0x3fff;
    if u16::from_be_bytes([f0, f1]) & MORE_AND_OFFSET != 0 {
        return Err(FrameFate::Fragment);
    }
    let (from, to) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    if from.is_unspecified() || from.is_multicast() || from.is_broadcast() || from.is_loopback() {
        return Err(FrameFate::BadSource);
    }
    if !station.addresses.contains(&IpAddr::V4(to)) {
        return Err(FrameFate::NotOurAddress);
    }
    match IpProtocol::from(protocol) {
        IpProtocol::Tcp => tcp(
            body,
            Ends {
                port: station.port,
                from: mapped_v4(from.to_bits()),
                to: mapped_v4(to.to_bits()),
                sum: checksum::address_v4(from.to_bits()) + checksum::address_v4(to.to_bits()),
            },
            traffic_class & 3 == MARKED,
            verify,
        ),
        IpProtocol::Icmp => {
            let message = Icmpv4Packet::new_checked(body).map_err(|_| FrameFate::Truncated)?;
            if !message.verify_checksum() {
                return Err(FrameFate::BadChecksum);
            }
            match message.msg_type() {
                Icmpv4Message::EchoRequest => Ok(Inbound::Icmpv4Echo {
                    from,
                    to,
                    from_mac,
                    message: body,
                }),
                // Fragmentation needed, in the layout of RFC 1191 4.
                Icmpv4Message::DstUnreachable if packet_code(body) == 4 => {
                    let mtu = u32::from(u16_at(body, 6).ok_or(FrameFate::Truncated)?);
                    too_big_v4(body.get(8..).unwrap_or(&[]), mtu, station)
                }
                _ => Err(FrameFate::UnknownProtocol),
            }
        }
        _ => Err(FrameFate::UnknownProtocol),
    }
}

/// Whether these options of IPv4 say by which routers the packet is to go (RFC 7126 4.3, 4.4), or can't be read.
#[cold]
fn has_source_route(mut options: &[u8]) -> bool {
    const END: u8 = 0;
    const NONE: u8 = 1;
    const LOOSE: u8 = 0x83;
    const STRICT: u8 = 0x89;
    loop {
        options = match *options {
            [] | [END, ..] => return false,
            [NONE, ref rest @ ..] => rest,
            [LOOSE | STRICT, ..] => return true,
            [_, length @ (2..), ..] => match options.get(usize::from(length)..) {
                Some(rest) => rest,
                None => return true,
            },
            _ => return true,
        };
    }
}

/// The packet a router quotes, which was ours (RFC 792).
fn too_big_v4<'a>(
    quoted: &[u8],
    mtu: u32,
    station: &Station<'_>,
) -> Result<Inbound<'a>, FrameFate> {
    let fate = FrameFate::UnknownProtocol;
    let header = usize::from(quoted.first().ok_or(fate)? & 0x0f) * 4;
    if quoted.get(9) != Some(&TCP) || header < 20 {
        return Err(fate);
    }
    let [from, to] = [12, 16].map(|at| u32_at(quoted, at).map(mapped_v4));
    quoted_tcp(
        quoted.get(header..).ok_or(fate)?,
        from,
        to,
        mtu,
        station.port,
    )
}

pub(super) fn arp(payload: &[u8]) -> Result<Inbound<'_>, FrameFate> {
    let packet = ArpPacket::new_checked(payload).map_err(|_| FrameFate::Truncated)?;
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).map_err(|_| FrameFate::BadNeighbour)?
    else {
        return Err(FrameFate::BadNeighbour);
    };
    let request = match operation {
        ArpOperation::Request => true,
        ArpOperation::Reply => false,
        ArpOperation::Unknown(_) => return Err(FrameFate::BadNeighbour),
    };
    if !source_hardware_addr.is_unicast() || source_protocol_addr.is_multicast() {
        return Err(FrameFate::BadNeighbour);
    }
    Ok(Inbound::Arp {
        request,
        sender: source_protocol_addr,
        sender_mac: source_hardware_addr.0,
        target: target_protocol_addr,
    })
}
