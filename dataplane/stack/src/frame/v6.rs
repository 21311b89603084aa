//! IPv6 (RFC 8200) and its ICMP (RFC 4443).

use std::net::IpAddr;

use smoltcp::wire::{Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Packet};

use crate::checksum;
use crate::fate::FrameFate;
use crate::neighbour::Mac;

use super::extensions;
use super::quoted::{packet_code, quoted_tcp, u32_at, u128_at};
use super::segment::{Ends, tcp};
use super::{Inbound, MARKED, Station, TCP};

/// The kind of an ICMPv6 message that asks who listens (RFC 2710 3, RFC 3810 5.1).
const LISTENER_QUERY: u8 = 130;

pub(super) fn ipv6<'a>(
    payload: &'a [u8],
    from_mac: Mac,
    verify: bool,
    unicast: bool,
    station: &Station<'_>,
) -> Result<Inbound<'a>, FrameFate> {
    let packet = Ipv6Packet::new_checked(payload).map_err(|_| FrameFate::BadIp)?;
    if packet.version() != 6 {
        return Err(FrameFate::BadIp);
    }
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    if from.is_multicast() || from.to_ipv4_mapped().is_some() || from.is_loopback() {
        return Err(FrameFate::BadSource);
    }
    let body = &payload[40..packet.total_len()];
    let ours = station.addresses.contains(&IpAddr::V6(to));
    if !ours && !to.is_multicast() {
        return Err(FrameFate::NotOurAddress);
    }
    let (protocol, body, router_alert) = match packet.next_header() {
        plain @ (IpProtocol::Tcp | IpProtocol::Icmpv6) => (plain, body, false),
        other => {
            let behind = extensions::pass(other.into(), body)?;
            (behind.protocol.into(), behind.body, behind.router_alert)
        }
    };
    match protocol {
        IpProtocol::Tcp if ours && unicast && !from.is_unspecified() => tcp(
            body,
            Ends {
                port: station.port,
                from: from.to_bits(),
                to: to.to_bits(),
                sum: checksum::address(from.to_bits()) + checksum::address(to.to_bits()),
            },
            packet.traffic_class() & 3 == MARKED,
            verify,
        ),
        IpProtocol::Tcp => Err(FrameFate::NotForUs),
        // From the link itself, and marked for routers to look at (RFC 3810 6.2).
        IpProtocol::Icmpv6 if body.first() == Some(&LISTENER_QUERY) => {
            if !Icmpv6Packet::new_unchecked(body).verify_checksum(&from, &to) {
                return Err(FrameFate::BadChecksum);
            }
            let genuine = from.is_unicast_link_local() && packet.hop_limit() == 1 && router_alert;
            match genuine && packet_code(body) == 0 {
                true => Ok(Inbound::ListenerQuery(body)),
                false => Err(FrameFate::BadNeighbour),
            }
        }
        IpProtocol::Icmpv6 => {
            let message = Icmpv6Packet::new_checked(body).map_err(|_| FrameFate::Truncated)?;
            if !message.verify_checksum(&from, &to) {
                return Err(FrameFate::BadChecksum);
            }
            match message.msg_type() {
                Icmpv6Message::EchoRequest if ours && unicast && !from.is_unspecified() => {
                    Ok(Inbound::Icmpv6Echo {
                        from,
                        to,
                        from_mac,
                        message: body,
                    })
                }
                Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert => {
                    // RFC 4861 7.1: anything that crossed a router is not a neighbour.
                    if packet.hop_limit() != 255 || message.msg_code() != 0 {
                        return Err(FrameFate::BadNeighbour);
                    }
                    Ok(Inbound::Ndp {
                        from,
                        from_mac,
                        message: body,
                    })
                }
                // RFC 4443 3.2.
                Icmpv6Message::PktTooBig if ours && unicast => {
                    let mtu = u32_at(body, 4).ok_or(FrameFate::Truncated)?;
                    let quoted = body.get(8..).unwrap_or(&[]);
                    if quoted.get(6) != Some(&TCP) || quoted.len() < 48 {
                        return Err(FrameFate::UnknownProtocol);
                    }
                    let [from, to] = [8, 24].map(|at| u128_at(quoted, at));
                    quoted_tcp(&quoted[40..], from, to, mtu, station.port)
                }
                _ => Err(FrameFate::UnknownProtocol),
            }
        }
        IpProtocol::Ipv6Frag => Err(FrameFate::Fragment),
        _ => Err(FrameFate::UnknownProtocol),
    }
}
