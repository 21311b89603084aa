//! What a received frame is: a total function from bytes to a typed view or to the fate of the frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Icmpv4Message, Icmpv4Packet,
    Icmpv6Message, Icmpv6Packet, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

use crate::fate::FrameFate;
use crate::io::RxChecksum;
use crate::key::FlowKey;
use crate::neighbour::Mac;

pub(crate) const ETHERNET: usize = 14;

/// The part of a TCP segment that decides where it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) has_ack: bool,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    pub(crate) payload_len: u32,
}

/// A frame for this port.
pub(crate) enum Inbound<'a> {
    /// `ip` is the whole IP packet without Ethernet padding.
    Tcp {
        key: FlowKey,
        segment: Segment,
        ip: &'a [u8],
    },
    Arp {
        request: bool,
        sender: Ipv4Addr,
        sender_mac: Mac,
        target: Ipv4Addr,
    },
    /// The ICMP message in full, checksum verified.
    Icmpv4Echo {
        from: Ipv4Addr,
        to: Ipv4Addr,
        from_mac: Mac,
        message: &'a [u8],
    },
    Icmpv6Echo {
        from: Ipv6Addr,
        to: Ipv6Addr,
        from_mac: Mac,
        message: &'a [u8],
    },
    /// A neighbour solicitation or advertisement, hop limit and checksum verified.
    Ndp {
        from: Ipv6Addr,
        from_mac: Mac,
        message: &'a [u8],
    },
}

/// Who we are on this port.
pub(crate) struct Station<'a> {
    pub(crate) port: u8,
    pub(crate) mac: Mac,
    pub(crate) addresses: &'a [IpAddr],
}

/// Looks at a received frame.
#[inline]
pub(crate) fn parse<'a>(
    frame: &'a [u8],
    checksum: RxChecksum,
    station: &Station<'_>,
) -> Result<Inbound<'a>, FrameFate> {
    if checksum == RxChecksum::Bad {
        return Err(FrameFate::BadChecksum);
    }
    let verify = checksum == RxChecksum::Unknown;
    let ethernet = EthernetFrame::new_checked(frame).map_err(|_| FrameFate::Truncated)?;
    let destination = ethernet.dst_addr().0;
    if destination != station.mac && destination[0] & 1 == 0 {
        return Err(FrameFate::NotForUs);
    }
    let unicast = destination == station.mac;
    let payload = &frame[ETHERNET..];
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 if unicast => ipv4(payload, ethernet.src_addr().0, verify, station),
        EthernetProtocol::Ipv4 => Err(FrameFate::NotForUs),
        EthernetProtocol::Ipv6 => ipv6(payload, ethernet.src_addr().0, verify, unicast, station),
        EthernetProtocol::Arp => arp(payload),
        EthernetProtocol::Unknown(0x8100 | 0x88a8) => Err(FrameFate::Vlan),
        EthernetProtocol::Unknown(_) => Err(FrameFate::UnknownEtherType),
    }
}

fn ipv4<'a>(
    payload: &'a [u8],
    from_mac: Mac,
    verify: bool,
    station: &Station<'_>,
) -> Result<Inbound<'a>, FrameFate> {
    let packet = Ipv4Packet::new_checked(payload).map_err(|_| FrameFate::BadIp)?;
    if packet.version() != 4 {
        return Err(FrameFate::BadIp);
    }
    if verify && !packet.verify_checksum() {
        return Err(FrameFate::BadChecksum);
    }
    if packet.more_frags() || packet.frag_offset() != 0 {
        return Err(FrameFate::Fragment);
    }
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    if from.is_unspecified() || from.is_multicast() || from.is_broadcast() || from.is_loopback() {
        return Err(FrameFate::BadSource);
    }
    if !station.addresses.contains(&IpAddr::V4(to)) {
        return Err(FrameFate::NotOurAddress);
    }
    let ip = &payload[..usize::from(packet.total_len())];
    let body = &ip[usize::from(packet.header_len())..];
    match packet.next_header() {
        IpProtocol::Tcp => tcp(
            ip,
            body,
            IpAddr::V4(from),
            IpAddr::V4(to),
            verify,
            station.port,
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
                _ => Err(FrameFate::UnknownProtocol),
            }
        }
        _ => Err(FrameFate::UnknownProtocol),
    }
}

fn ipv6<'a>(
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
    let ip = &payload[..packet.total_len()];
    let body = &ip[40..];
    let ours = station.addresses.contains(&IpAddr::V6(to));
    match packet.next_header() {
        _ if !ours && !to.is_multicast() => Err(FrameFate::NotOurAddress),
        IpProtocol::Tcp if ours && unicast && !from.is_unspecified() => tcp(
            ip,
            body,
            IpAddr::V6(from),
            IpAddr::V6(to),
            verify,
            station.port,
        ),
        IpProtocol::Tcp => Err(FrameFate::NotForUs),
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
                _ => Err(FrameFate::UnknownProtocol),
            }
        }
        IpProtocol::Ipv6Frag => Err(FrameFate::Fragment),
        _ => Err(FrameFate::UnknownProtocol),
    }
}

#[inline]
fn tcp<'a>(
    ip: &'a [u8],
    body: &'a [u8],
    from: IpAddr,
    to: IpAddr,
    verify: bool,
    port: u8,
) -> Result<Inbound<'a>, FrameFate> {
    let packet = TcpPacket::new_checked(body).map_err(|_| FrameFate::BadTcp)?;
    if verify && !packet.verify_checksum(&IpAddress::from(from), &IpAddress::from(to)) {
        return Err(FrameFate::BadChecksum);
    }
    if packet.src_port() == 0 || packet.dst_port() == 0 {
        return Err(FrameFate::BadTcp);
    }
    let segment = Segment {
        seq: packet.seq_number().0 as u32,
        ack: packet.ack_number().0 as u32,
        has_ack: packet.ack(),
        syn: packet.syn(),
        fin: packet.fin(),
        rst: packet.rst(),
        payload_len: (body.len() - usize::from(packet.header_len())) as u32,
    };
    // No sender makes these; answering them differently only helps to tell stacks apart.
    if (segment.syn && (segment.fin || segment.rst)) || (segment.fin && segment.rst) {
        return Err(FrameFate::BadTcp);
    }
    let key = FlowKey::new(
        port,
        SocketAddr::new(to, packet.dst_port()),
        SocketAddr::new(from, packet.src_port()),
    );
    Ok(Inbound::Tcp { key, segment, ip })
}

fn arp(payload: &[u8]) -> Result<Inbound<'_>, FrameFate> {
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
