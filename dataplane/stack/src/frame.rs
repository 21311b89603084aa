//! What a received frame is: a total function from bytes to a typed view or to the fate of the frame.

pub(crate) mod extensions;
mod found;
mod quoted;
mod segment;
mod v4;
mod v6;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{EthernetFrame, EthernetProtocol};

use crate::fate::FrameFate;
use crate::io::RxChecksum;
use crate::key::{FlowKey, mapped_v4};
use crate::neighbour::Mac;

use v4::{arp, ipv4};
use v6::ipv6;

pub(crate) use found::Found;
pub(crate) use quoted::TooBig;
pub(crate) use segment::Segment;

pub(crate) const ETHERNET: usize = 14;
/// An 802.1Q tag: the type that says so, and priority and VLAN.
pub(crate) const TAG: usize = 4;
/// The type that says so.
pub(crate) const VLAN: u16 = 0x8100;
pub(crate) const TCP: u8 = 6;
/// Congestion experienced (RFC 3168 5).
const MARKED: u8 = 3;

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
    /// A router or a switch asks which multicast groups are listened to (MLD), checksum and origin verified.
    ListenerQuery(&'a [u8]),
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
