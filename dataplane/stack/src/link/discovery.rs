//! Who has which address: ARP (RFC 826, RFC 5227) and neighbour discovery (RFC 4861), asked and answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv6Packet, Icmpv6Repr, IpProtocol,
    IpRepr, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use super::listening::{group_mac, solicited_node};
use super::{BROADCAST, Link, NO_IP, ethertype, meta};
use crate::counters::Counters;
use crate::crew::Lesson;
use crate::fate::{FrameFate, StackEvent};
use crate::io::PacketIo;
use crate::key::FlowId;
use crate::neighbour::{Held, Mac};
use crate::time::Instant;

impl<P: PacketIo> Link<P> {
    pub(super) fn arp(
        &mut self,
        request: bool,
        sender: Ipv4Addr,
        sender_mac: Mac,
        target: Ipv4Addr,
        now: Instant,
    ) -> FrameFate {
        let for_us = self.addresses.contains(&IpAddr::V4(target));
        let gratuitous = sender == target;
        if sender.is_unspecified() && for_us && request {
            // A probe (RFC 5227): answered, nothing learned.
            self.send_arp(ArpOperation::Reply, target, sender_mac, sender);
            return FrameFate::Arp;
        }
        if !(for_us || gratuitous) || self.next_hop(IpAddr::V4(sender)) != Some(sender.into()) {
            return FrameFate::BadNeighbour;
        }
        if self.addresses.contains(&IpAddr::V4(sender)) {
            // Somebody else claims one of our addresses; keep ours and don't learn.
            return FrameFate::BadNeighbour;
        }
        self.learned(IpAddr::V4(sender), sender_mac, for_us, now);
        if request && for_us {
            self.send_arp(ArpOperation::Reply, target, sender_mac, sender);
        }
        FrameFate::Arp
    }

    fn send_arp(&mut self, operation: ArpOperation, from: Ipv4Addr, to_mac: Mac, to: Ipv4Addr) {
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(self.caps.mac),
            source_protocol_addr: from,
            target_hardware_addr: EthernetAddress(match operation {
                ArpOperation::Request => [0; 6],
                _ => to_mac,
            }),
            target_protocol_addr: to,
        };
        // Without a buffer it is lost like any frame; the neighbour asks again, and so do we.
        let _ = self.send_to(to_mac, 0x0806, repr.buffer_len(), NO_IP, |packet| {
            repr.emit(&mut ArpPacket::new_unchecked(packet));
        });
    }

    pub(super) fn ndp(
        &mut self,
        from: Ipv6Addr,
        from_mac: Mac,
        message: &[u8],
        now: Instant,
    ) -> FrameFate {
        let packet = Icmpv6Packet::new_unchecked(message);
        match NdiscRepr::parse(&packet) {
            Ok(NdiscRepr::NeighborSolicit {
                target_addr,
                lladdr,
            }) => {
                if !self.addresses.contains(&IpAddr::V6(target_addr)) {
                    return FrameFate::BadNeighbour;
                }
                // Duplicate address detection comes from :: and is answered to all nodes.
                let detection = from.is_unspecified();
                let mac = match lladdr.map(|raw| raw.as_bytes().try_into()) {
                    Some(Ok(mac)) if !detection => mac,
                    None => from_mac,
                    _ => return FrameFate::BadNeighbour,
                };
                if !detection {
                    self.learned(IpAddr::V6(from), mac, true, now);
                }
                let (to, to_mac) = if detection {
                    (
                        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                        [0x33, 0x33, 0, 0, 0, 1],
                    )
                } else {
                    (from, mac)
                };
                self.advertise(target_addr, to, to_mac, !detection);
                FrameFate::Ndp
            }
            Ok(NdiscRepr::NeighborAdvert {
                target_addr,
                lladdr,
                ..
            }) => {
                if self.addresses.contains(&IpAddr::V6(target_addr)) {
                    return FrameFate::BadNeighbour;
                }
                let Some(Ok(mac)) = lladdr.map(|raw| raw.as_bytes().try_into()) else {
                    return FrameFate::BadNeighbour;
                };
                self.learned(IpAddr::V6(target_addr), mac, false, now);
                FrameFate::Ndp
            }
            _ => FrameFate::BadNeighbour,
        }
    }

    fn advertise(&mut self, ours: Ipv6Addr, to: Ipv6Addr, to_mac: Mac, solicited: bool) {
        let mut flags = NdiscNeighborFlags::OVERRIDE;
        flags.set(NdiscNeighborFlags::SOLICITED, solicited);
        self.send_ndp(
            NdiscRepr::NeighborAdvert {
                flags,
                target_addr: ours,
                lladdr: Some(EthernetAddress(self.caps.mac).into()),
            },
            ours,
            to,
            to_mac,
        );
    }

    fn send_ndp(&mut self, repr: NdiscRepr<'_>, from: Ipv6Addr, to: Ipv6Addr, to_mac: Mac) {
        let icmp = Icmpv6Repr::Ndisc(repr);
        self.send_icmpv6(&icmp, from, to, to_mac, 255);
    }

    pub(super) fn send_icmpv6(
        &mut self,
        icmp: &Icmpv6Repr<'_>,
        from: Ipv6Addr,
        to: Ipv6Addr,
        to_mac: Mac,
        hop_limit: u8,
    ) -> bool {
        let ip = Ipv6Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Icmpv6,
            payload_len: icmp.buffer_len(),
            hop_limit,
        };
        let len = ip.buffer_len() + icmp.buffer_len();
        let repr = IpRepr::Ipv6(ip);
        self.send_to(to_mac, 0x86dd, len, meta(&repr, false), |packet| {
            let all = ChecksumCapabilities::default();
            repr.emit(&mut *packet, &all);
            let mut body = Icmpv6Packet::new_unchecked(&mut packet[ip.buffer_len()..]);
            icmp.emit(&from, &to, &mut body, &all);
        })
        .is_ok()
    }

    /// Remembers a neighbour and sends what waited for it.
    fn learned(&mut self, address: IpAddr, mac: Mac, create: bool, now: Instant) {
        let lesson = Lesson {
            address,
            mac,
            create,
        };
        self.lesson = Some(lesson);
        self.take_lesson(lesson, now);
    }

    /// As if a neighbour had told this worker what it told another.
    pub(crate) fn take_lesson(&mut self, lesson: Lesson, now: Instant) {
        let Lesson {
            address,
            mac,
            create,
        } = lesson;
        for Held { packet, meta } in self.neighbours.learn(address, mac, create, now) {
            let ethertype = ethertype(meta.l3);
            let _ = self.send_to(mac, ethertype, packet.len(), meta, |place| {
                place.copy_from_slice(&packet);
            });
        }
    }

    /// Asks who has `address`.
    pub(super) fn ask(&mut self, address: IpAddr) {
        match (address, self.source_for(address)) {
            (IpAddr::V4(to), Some(IpAddr::V4(from))) => {
                self.send_arp(ArpOperation::Request, from, BROADCAST, to);
            }
            (IpAddr::V6(to), Some(IpAddr::V6(from))) => {
                let group = solicited_node(to);
                let lladdr = Some(EthernetAddress(self.caps.mac).into());
                let solicit = NdiscRepr::NeighborSolicit {
                    target_addr: to,
                    lladdr,
                };
                self.send_ndp(solicit, from, group, group_mac(group));
            }
            _ => {}
        }
    }

    /// Asks again where answers are overdue.
    /// Returns the flows that can't be opened because a neighbour never answered.
    pub(crate) fn retry_neighbours(
        &mut self,
        now: Instant,
        events: &Counters<StackEvent>,
    ) -> Vec<FlowId> {
        let retry = self.neighbours.retry(now);
        events.add(StackEvent::NeighbourFailed, retry.failed as u64);
        events.add(StackEvent::NeighbourLost, retry.lost as u64);
        for address in retry.ask {
            self.ask(address);
        }
        retry.stranded
    }

    /// Tells the link that our addresses are here: gratuitous ARP (RFC 5227 3) and unsolicited
    /// advertisements (RFC 4861 7.2.6), so that switches and peers of a predecessor learn the new
    /// place at once. Switches are told before who listens here.
    pub(crate) fn announce(&mut self) {
        self.announce_groups();
        for address in self.addresses.clone() {
            match address {
                IpAddr::V4(ours) => self.send_arp(ArpOperation::Request, ours, BROADCAST, ours),
                IpAddr::V6(ours) => {
                    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
                    self.advertise(ours, all, [0x33, 0x33, 0, 0, 0, 1], false);
                }
            }
        }
    }
}
