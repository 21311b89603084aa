//! One port seen from the stack: its addresses, routes and neighbours, and the frames that are
//! answered below TCP (ARP, neighbour discovery, echo).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpCidr, IpProtocol, IpRepr, Ipv4Repr,
    Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use crate::counters::Counters;
use crate::crew::{Lesson, Line, PASSED_PER_POLL};
use crate::fate::{FrameFate, StackEvent};
use crate::frame::{ETHERNET, Inbound, Station};
use crate::io::{L3, PacketIo, PortCaps, RxBurst, RxFrame, TxFrame, TxMeta};
use crate::key::FlowId;
use crate::neighbour::{Held, Lookup, Mac, NeighbourRef, Neighbours};
use crate::rng::Rng;
use crate::tap::{Direction, Tap};
use crate::time::Instant;

const BROADCAST: Mac = [0xff; 6];
/// Answers to strangers (echo, RST) per port and second; more are dropped and counted, so that a
/// flood can't make us a reflector.
const STRANGER_ANSWERS_PER_SECOND: u32 = 1_000;

/// What a port is configured to be.
#[derive(Debug, Clone, Default)]
pub struct PortSetup {
    /// Our addresses with the length of their on-link prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Destination prefix and the on-link router that leads there.
    pub routes: Vec<((IpAddr, u8), IpAddr)>,
}

/// A port and everything between its frames and TCP.
pub(crate) struct Link<P: PacketIo> {
    pub(crate) io: P,
    pub(crate) caps: PortCaps,
    pub(crate) neighbours: Neighbours,
    /// Sees every frame that enters or leaves, while somebody watches.
    pub(crate) tap: Option<Tap>,
    index: u8,
    addresses: Vec<IpAddr>,
    on_link: Vec<IpCidr>,
    routes: Vec<(IpCidr, IpAddr)>,
    /// A transmit buffer in hand, so that asking whether one is to be had costs nothing.
    spare: Option<P::Tx>,
    answers: RateLimit,
    /// By which frames leave where this worker has no queue, or others have none.
    pub(crate) line: Line<P>,
    /// What was last learned, for the other workers.
    pub(crate) lesson: Option<Lesson>,
    /// Frames given to the worker that sends for this one, and those it had no room for, since they
    /// were last counted.
    relayed: (u64, u64),
}

impl<P: PacketIo> Link<P> {
    pub(crate) fn new(index: u8, io: P, setup: &PortSetup) -> Self {
        let caps = io.caps();
        let mut routes: Vec<(IpCidr, IpAddr)> = setup
            .routes
            .iter()
            .map(|&((to, length), via)| (IpCidr::new(to.into(), length), via))
            .collect();
        routes.sort_by_key(|(to, _)| std::cmp::Reverse(to.prefix_len()));
        Link {
            io,
            caps,
            neighbours: Neighbours::default(),
            tap: None,
            index,
            addresses: setup
                .addresses
                .iter()
                .map(|(address, _)| *address)
                .collect(),
            on_link: setup
                .addresses
                .iter()
                .map(|&(address, length)| IpCidr::new(address.into(), length))
                .collect(),
            routes,
            spare: None,
            answers: RateLimit::new(STRANGER_ANSWERS_PER_SECOND),
            line: Line::default(),
            lesson: None,
            relayed: (0, 0),
        }
    }

    /// Sends what other workers have for this one's queue, and has the device take all of it; returns
    /// how many frames of others there were.
    #[inline]
    pub(crate) fn flush(&mut self, events: &Counters<StackEvent>) -> usize {
        let mut of_others = 0;
        for ring in &mut self.line.others {
            for _ in 0..PASSED_PER_POLL {
                let Ok((frame, meta)) = ring.pop() else {
                    break;
                };
                self.io.send(frame, meta);
                of_others += 1;
            }
        }
        if self.line.out.is_some() {
            let (relayed, lost) = std::mem::take(&mut self.relayed);
            events.add(StackEvent::FrameRelayed, relayed);
            events.add(StackEvent::RelayFull, lost);
        } else {
            self.io.flush();
        }
        of_others
    }

    /// Queues a frame for the device, or for the worker that sends for this one.
    #[inline]
    fn transmit(&mut self, frame: P::Tx, meta: TxMeta) {
        match &mut self.line.out {
            None => self.io.send(frame, meta),
            Some(out) => match out.push((frame, meta)) {
                Ok(()) => self.relayed.0 += 1,
                Err(_) => self.relayed.1 += 1,
            },
        }
    }

    pub(crate) fn station(&self) -> Station<'_> {
        Station {
            port: self.index,
            mac: self.caps.mac,
            addresses: &self.addresses,
        }
    }

    /// Shows what was received in this poll to the tap, if there is one.
    #[inline]
    pub(crate) fn tap_received(&mut self, burst: &RxBurst<P::Rx>, now: Instant) {
        if self.tap.as_mut().is_some_and(|tap| !tap.begin_poll(now)) {
            self.tap = None;
        }
        if let Some(tap) = &self.tap {
            for frame in burst {
                tap.offer(Direction::In, frame.bytes());
            }
        }
    }

    /// The on-link address that leads to `remote`.
    pub(crate) fn next_hop(&self, remote: IpAddr) -> Option<IpAddr> {
        if self
            .on_link
            .iter()
            .any(|prefix| prefix.contains_addr(&remote.into()))
        {
            return Some(remote);
        }
        let (_, via) = self
            .routes
            .iter()
            .find(|(to, _)| to.contains_addr(&remote.into()))?;
        Some(*via)
    }

    /// Our address towards an on-link peer: the first whose prefix holds it, else any of its family.
    pub(crate) fn source_for(&self, next_hop: IpAddr) -> Option<IpAddr> {
        self.sources_for(next_hop).next()
    }

    /// Our addresses towards an on-link peer, in their order: those whose prefix holds it, else all
    /// of its family.
    pub(crate) fn sources_for(&self, next_hop: IpAddr) -> impl Iterator<Item = IpAddr> + '_ {
        let ours = || self.on_link.iter().zip(&self.addresses);
        let holds = move |prefix: &IpCidr| prefix.contains_addr(&next_hop.into());
        let beside = ours().any(|(prefix, _)| holds(prefix));
        ours()
            .filter(move |(prefix, address)| {
                address.is_ipv4() == next_hop.is_ipv4() && (holds(prefix) || !beside)
            })
            .map(|(_, address)| *address)
    }

    /// Whether a frame can be sent now.
    #[inline]
    pub(crate) fn reserve(&mut self) -> bool {
        if self.spare.is_none() {
            self.spare = self.io.alloc();
        }
        self.spare.is_some()
    }

    /// Whether one more answer to a stranger is allowed.
    pub(crate) fn may_answer_stranger(&mut self, now: Instant) -> bool {
        self.answers.take(now)
    }

    /// Sends an IP packet of `len` bytes, written by `write`, to a neighbour; while its MAC is not
    /// known the packet waits. The writer comes back when no buffer is to be had.
    #[inline]
    pub(crate) fn send_ip<R, F: FnOnce(&mut [u8]) -> R>(
        &mut self,
        to: NeighbourRef,
        len: usize,
        meta: TxMeta,
        now: Instant,
        events: &Counters<StackEvent>,
        write: F,
    ) -> Result<R, F> {
        let (lookup, ask) = self.neighbours.lookup(to, now);
        let result = match lookup {
            Lookup::Mac(mac) => self.send_to(mac, ethertype(meta.l3), len, meta, write),
            Lookup::Unknown => {
                let mut frame = vec![0; ETHERNET + len];
                let header = EthernetProtocol::from(ethertype(meta.l3));
                let mut ethernet = EthernetFrame::new_unchecked(&mut frame[..]);
                ethernet.set_src_addr(EthernetAddress(self.caps.mac));
                ethernet.set_ethertype(header);
                let result = write(&mut frame[ETHERNET..]);
                let held = self.neighbours.hold(to, Held { frame, meta });
                events.count(if held {
                    StackEvent::NeighbourHeld
                } else {
                    StackEvent::NeighbourLost
                });
                Ok(result)
            }
        };
        if ask {
            self.ask(self.neighbours.address(to));
        }
        result
    }

    #[inline]
    fn send_to<R, F: FnOnce(&mut [u8]) -> R>(
        &mut self,
        mac: Mac,
        ethertype: u16,
        len: usize,
        meta: TxMeta,
        write: F,
    ) -> Result<R, F> {
        self.reserve();
        let Some(mut frame) = self.spare.take() else {
            return Err(write);
        };
        let bytes = frame.fill(ETHERNET + len);
        let (header, packet) = bytes.split_at_mut(ETHERNET);
        header[0..6].copy_from_slice(&mac);
        header[6..12].copy_from_slice(&self.caps.mac);
        header[12..14].copy_from_slice(&ethertype.to_be_bytes());
        let result = write(packet);
        if let Some(tap) = &self.tap {
            tap.offer(Direction::Out, bytes);
        }
        self.transmit(frame, meta);
        Ok(result)
    }

    /// Acts on everything that is not TCP.
    pub(crate) fn receive(
        &mut self,
        inbound: Inbound<'_>,
        now: Instant,
        events: &Counters<StackEvent>,
    ) -> FrameFate {
        match inbound {
            Inbound::Arp {
                request,
                sender,
                sender_mac,
                target,
            } => self.arp(request, sender, sender_mac, target, now),
            Inbound::Ndp {
                from,
                from_mac,
                message,
            } => self.ndp(from, from_mac, message, now),
            Inbound::Icmpv4Echo {
                from,
                to,
                from_mac,
                message,
            } => {
                if !self.may_answer_stranger(now) {
                    return FrameFate::NoFlowSilent;
                }
                self.echo_v4(from, to, from_mac, message, events)
            }
            Inbound::Icmpv6Echo {
                from,
                to,
                from_mac,
                message,
            } => {
                if !self.may_answer_stranger(now) {
                    return FrameFate::NoFlowSilent;
                }
                self.echo_v6(from, to, from_mac, message, events)
            }
            Inbound::Tcp { .. } | Inbound::TooBig(_) => FrameFate::NoFlowSilent,
        }
    }

    fn arp(
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

    fn ndp(&mut self, from: Ipv6Addr, from_mac: Mac, message: &[u8], now: Instant) -> FrameFate {
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

    fn send_icmpv6(
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
        for Held { frame, meta } in self.neighbours.learn(address, mac, create, now) {
            let len = frame.len().saturating_sub(ETHERNET);
            let _ = self.send_to(mac, ethertype(meta.l3), len, meta, |packet| {
                packet.copy_from_slice(&frame[ETHERNET..]);
            });
        }
    }

    /// Asks who has `address`.
    fn ask(&mut self, address: IpAddr) {
        match (address, self.source_for(address)) {
            (IpAddr::V4(to), Some(IpAddr::V4(from))) => {
                self.send_arp(ArpOperation::Request, from, BROADCAST, to);
            }
            (IpAddr::V6(to), Some(IpAddr::V6(from))) => {
                let octets = to.octets();
                let group = Ipv6Addr::new(
                    0xff02,
                    0,
                    0,
                    0,
                    0,
                    1,
                    0xff00 | u16::from(octets[13]),
                    u16::from(octets[14]) << 8 | u16::from(octets[15]),
                );
                let mac = [0x33, 0x33, 0xff, octets[13], octets[14], octets[15]];
                let lladdr = Some(EthernetAddress(self.caps.mac).into());
                let solicit = NdiscRepr::NeighborSolicit {
                    target_addr: to,
                    lladdr,
                };
                self.send_ndp(solicit, from, group, mac);
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
    /// place at once.
    pub(crate) fn announce(&mut self) {
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

    fn echo_v4(
        &mut self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        from_mac: Mac,
        message: &[u8],
        events: &Counters<StackEvent>,
    ) -> FrameFate {
        let ignored = ChecksumCapabilities::ignored();
        let Ok(Icmpv4Repr::EchoRequest {
            ident,
            seq_no,
            data,
        }) = Icmpv4Repr::parse(&Icmpv4Packet::new_unchecked(message), &ignored)
        else {
            return FrameFate::UnknownProtocol;
        };
        let icmp = Icmpv4Repr::EchoReply {
            ident,
            seq_no,
            data,
        };
        let ip = Ipv4Repr {
            src_addr: to,
            dst_addr: from,
            next_header: IpProtocol::Icmp,
            payload_len: icmp.buffer_len(),
            hop_limit: 64,
        };
        let repr = IpRepr::Ipv4(ip);
        let len = ip.buffer_len() + icmp.buffer_len();
        if len > usize::from(self.caps.mtu) {
            return FrameFate::Truncated;
        }
        let sent = self.send_to(from_mac, 0x0800, len, meta(&repr, false), |packet| {
            let all = ChecksumCapabilities::default();
            repr.emit(&mut *packet, &all);
            icmp.emit(
                &mut Icmpv4Packet::new_unchecked(&mut packet[ip.buffer_len()..]),
                &all,
            );
        });
        if sent.is_err() {
            events.count(StackEvent::NoTxBuffer);
        }
        FrameFate::Echo
    }

    fn echo_v6(
        &mut self,
        from: Ipv6Addr,
        to: Ipv6Addr,
        from_mac: Mac,
        message: &[u8],
        events: &Counters<StackEvent>,
    ) -> FrameFate {
        let ignored = ChecksumCapabilities::ignored();
        let packet = Icmpv6Packet::new_unchecked(message);
        let Ok(Icmpv6Repr::EchoRequest {
            ident,
            seq_no,
            data,
        }) = Icmpv6Repr::parse(&from, &to, &packet, &ignored)
        else {
            return FrameFate::UnknownProtocol;
        };
        let icmp = Icmpv6Repr::EchoReply {
            ident,
            seq_no,
            data,
        };
        if icmp.buffer_len() + 40 > usize::from(self.caps.mtu) {
            return FrameFate::Truncated;
        }
        if !self.send_icmpv6(&icmp, to, from, from_mac, 64) {
            events.count(StackEvent::NoTxBuffer);
        }
        FrameFate::Echo
    }
}

const NO_IP: TxMeta = TxMeta {
    l2_len: ETHERNET as u8,
    l3_len: 0,
    l3: L3::None,
    tcp: false,
};

/// What a device is told of a packet with this IP header.
fn meta(ip: &IpRepr, tcp: bool) -> TxMeta {
    let l3 = match ip {
        IpRepr::Ipv4(_) => L3::V4,
        IpRepr::Ipv6(_) => L3::V6,
    };
    TxMeta {
        l2_len: ETHERNET as u8,
        l3_len: ip.header_len() as u8,
        l3,
        tcp,
    }
}

fn ethertype(l3: L3) -> u16 {
    match l3 {
        L3::V4 => 0x0800,
        L3::V6 => 0x86dd,
        L3::None => 0x0806,
    }
}

/// So many per second, counted in whole seconds.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    left: u32,
    since: Instant,
    /// Makes the number differ from second to second.
    vary: Option<Rng>,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32) -> Self {
        RateLimit {
            per_second,
            left: per_second,
            since: Instant::ZERO,
            vary: None,
        }
    }

    /// Half as many to half as many again, as chance will have it.
    pub(crate) fn varying(per_second: u32, rng: Rng) -> Self {
        RateLimit {
            vary: Some(rng),
            ..RateLimit::new(per_second)
        }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now.since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = match &mut self.vary {
                Some(rng) => self.per_second / 2 + rng.below(u64::from(self.per_second)) as u32,
                None => self.per_second,
            };
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}
