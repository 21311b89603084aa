//! What a received frame is: a total function from bytes to a typed view or to the fate of the frame.

mod found;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Icmpv4Message, Icmpv4Packet,
    Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Packet,
};

use crate::checksum;
use crate::fate::FrameFate;
use crate::io::RxChecksum;
use crate::key::{FlowKey, mapped_v4};
use crate::neighbour::Mac;
use crate::tcp::emit::{FIN, RST, SYN};

pub(crate) use found::Found;

pub(crate) const ETHERNET: usize = 14;
/// An 802.1Q tag: the type that says so, and priority and VLAN.
pub(crate) const TAG: usize = 4;
/// The type that says so.
pub(crate) const VLAN: u16 = 0x8100;
const TCP: u8 = 6;
/// Congestion experienced (RFC 3168 5).
const MARKED: u8 = 3;

/// A TCP segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// As in the header: `FIN` and its neighbours in `tcp::emit`.
    pub(crate) flags: u8,
    /// Not scaled.
    pub(crate) window: u16,
    /// A router marked it: congestion experienced (RFC 3168 5).
    pub(crate) marked: bool,
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl Segment<'_> {
    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence numbers it takes.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(SYN)) + u32::from(self.has(FIN))
    }
}

/// What a router said of a packet of ours that was too large for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooBig {
    pub(crate) key: FlowKey,
    /// The sequence number of the packet.
    pub(crate) seq: u32,
    /// Largest IP packet that passes.
    pub(crate) mtu: u32,
}

/// A frame for this port.
pub(crate) enum Inbound<'a> {
    Tcp {
        key: FlowKey,
        segment: Segment<'a>,
    },
    /// Checksum verified; whether it is genuine is the flow's to judge.
    TooBig(TooBig),
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
    pub(crate) vlan: Option<u16>,
    pub(crate) addresses: &'a [IpAddr],
}

/// The flow that a frame is of, if it is what most are. Nothing is checked: it only says what will be
/// needed. The packet begins behind `l2_len` bytes.
#[inline]
pub(crate) fn hint(frame: &[u8], l2_len: usize, port: u8) -> Option<FlowKey> {
    let (header, packet) = frame.split_at_checked(l2_len)?;
    let number = |at: &[u8; 2]| u16::from_be_bytes(*at);
    match header {
        [.., 0x08, 0x00] => {
            let packet = packet.first_chunk::<24>()?;
            if packet[0] != 0x45 || packet[9] != TCP {
                return None;
            }
            let [.., a, b, c, d, e, f, g, h, i, j, k, l] = *packet;
            let from = (mapped_v4(u32::from_be_bytes([a, b, c, d])), number(&[i, j]));
            let to = (mapped_v4(u32::from_be_bytes([e, f, g, h])), number(&[k, l]));
            Some(FlowKey::from_bits(port, to, from))
        }
        [.., 0x86, 0xdd] => {
            let (header, rest) = packet.split_first_chunk::<8>()?;
            let (from, rest) = rest.split_first_chunk::<16>()?;
            let (to, rest) = rest.split_first_chunk::<16>()?;
            let [a, b, c, d] = *rest.first_chunk::<4>()?;
            let from = (u128::from_be_bytes(*from), number(&[a, b]));
            let to = (u128::from_be_bytes(*to), number(&[c, d]));
            (header[6] == TCP).then(|| FlowKey::from_bits(port, to, from))
        }
        _ => None,
    }
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
    let (mut ethertype, mut payload) = (u16::from(ethernet.ethertype()), &frame[ETHERNET..]);
    if station.vlan.is_some() || is_tag(ethertype) {
        (ethertype, payload) = untag(ethertype, payload, station.vlan)?;
    }
    match EthernetProtocol::from(ethertype) {
        EthernetProtocol::Ipv4 if unicast => ipv4(payload, ethernet.src_addr().0, verify, station),
        EthernetProtocol::Ipv4 => Err(FrameFate::NotForUs),
        EthernetProtocol::Ipv6 => ipv6(payload, ethernet.src_addr().0, verify, unicast, station),
        EthernetProtocol::Arp => arp(payload),
        EthernetProtocol::Unknown(_) => Err(FrameFate::UnknownEtherType),
    }
}

/// Whether what follows is a tag: of 802.1Q, of a provider (802.1ad), or of a provider before that.
fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | 0x88a8 | 0x9100)
}

/// What is behind the tag that frames of the port's VLAN carry. On a port without one, a tag that gives a
/// priority alone (VLAN 0, IEEE 802.1Q 9.6) is as good as none.
fn untag(ethertype: u16, payload: &[u8], vlan: Option<u16>) -> Result<(u16, &[u8]), FrameFate> {
    if !is_tag(ethertype) {
        return Err(FrameFate::Untagged);
    }
    let (&[c0, c1, e0, e1], packet) = payload
        .split_first_chunk::<TAG>()
        .ok_or(FrameFate::Truncated)?;
    let inner = u16::from_be_bytes([e0, e1]);
    if ethertype != VLAN || is_tag(inner) {
        return Err(FrameFate::DoubleTagged);
    }
    match (u16::from_be_bytes([c0, c1]) & 0x0fff, vlan) {
        (0, None) => Ok((inner, packet)),
        (0, Some(_)) => Err(FrameFate::Untagged),
        (tagged, Some(own)) if tagged == own => Ok((inner, packet)),
        _ => Err(FrameFate::Vlan),
    }
}

fn ipv4<'a>(
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

fn quoted_tcp<'a>(
    tcp: &[u8],
    from: Option<u128>,
    to: Option<u128>,
    mtu: u32,
    port: u8,
) -> Result<Inbound<'a>, FrameFate> {
    let fate = FrameFate::UnknownProtocol;
    let local = (from.ok_or(fate)?, u16_at(tcp, 0).ok_or(fate)?);
    let remote = (to.ok_or(fate)?, u16_at(tcp, 2).ok_or(fate)?);
    Ok(Inbound::TooBig(TooBig {
        key: FlowKey::from_bits(port, local, remote),
        seq: u32_at(tcp, 4).ok_or(fate)?,
        mtu,
    }))
}

fn packet_code(icmp: &[u8]) -> u8 {
    icmp.get(1).copied().unwrap_or(0)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
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
    let body = &payload[40..packet.total_len()];
    let ours = station.addresses.contains(&IpAddr::V6(to));
    match packet.next_header() {
        _ if !ours && !to.is_multicast() => Err(FrameFate::NotOurAddress),
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

/// The two ends of a packet, addresses as in a key.
struct Ends {
    port: u8,
    from: u128,
    to: u128,
    /// Sum of the addresses' words.
    sum: u32,
}

#[inline]
fn tcp(body: &[u8], ends: Ends, marked: bool, verify: bool) -> Result<Inbound<'_>, FrameFate> {
    let header: &[u8; 20] = body.first_chunk().ok_or(FrameFate::BadTcp)?;
    let &[
        l0,
        l1,
        r0,
        r1,
        s0,
        s1,
        s2,
        s3,
        a0,
        a1,
        a2,
        a3,
        offset,
        flags,
        w0,
        w1,
        ..,
    ] = header;
    let length = usize::from(offset >> 4) * 4;
    let (Some(options), Some(payload)) = (body.get(20..length), body.get(length..)) else {
        return Err(FrameFate::BadTcp);
    };
    if verify {
        let pseudo = ends.sum + u32::from(TCP) + body.len() as u32;
        if !checksum::is_valid(pseudo + checksum::sum(body)) {
            return Err(FrameFate::BadChecksum);
        }
    }
    let (remote, local) = (u16::from_be_bytes([l0, l1]), u16::from_be_bytes([r0, r1]));
    if remote == 0 || local == 0 {
        return Err(FrameFate::BadTcp);
    }
    // No sender makes these; answering them differently only helps to tell stacks apart.
    if (flags & (SYN | FIN | RST)).count_ones() > 1 {
        return Err(FrameFate::BadTcp);
    }
    let segment = Segment {
        seq: u32::from_be_bytes([s0, s1, s2, s3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        flags,
        window: u16::from_be_bytes([w0, w1]),
        marked,
        options,
        payload,
    };
    let key = FlowKey::from_bits(ends.port, (ends.to, local), (ends.from, remote));
    Ok(Inbound::Tcp { key, segment })
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
