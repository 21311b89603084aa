//! One port seen from the stack: its addresses, routes and neighbours, and the frames that are
//! answered below TCP (ARP, neighbour discovery, listener discovery, echo).

mod discovery;
mod echo;
mod listening;

use std::net::{IpAddr, Ipv6Addr};

use smoltcp::wire::{IpCidr, IpRepr};

use crate::counters::Counters;
use crate::crew::{Lesson, Line, PASSED_PER_POLL};
use crate::fate::{FrameFate, StackEvent};
use crate::frame::{ETHERNET, Inbound, Station, TAG, VLAN};
use crate::io::{L3, PacketIo, PortCaps, RxBurst, RxFrame, TxFrame, TxMeta};
use crate::neighbour::{Held, Lookup, Mac, NeighbourRef, Neighbours};
use crate::rate_limit::RateLimit;
use crate::tap::{Direction, Tap};
use crate::time::Instant;

const BROADCAST: Mac = [0xff; 6];
/// Answers to strangers (echo, RST, MLD) per port and second; more are dropped and counted, so that a
/// flood can't make us a reflector.
const STRANGER_ANSWERS_PER_SECOND: u32 = 1_000;

/// What a port is configured to be.
#[derive(Debug, Clone, Default)]
pub struct PortSetup {
    /// Our addresses with the length of their on-link prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Destination prefix and the on-link router that leads there.
    pub routes: Vec<((IpAddr, u8), IpAddr)>,
    /// The VLAN whose tag every frame of the port carries (802.1Q), 1 to 4094; `None`: none does.
    pub vlan: Option<u16>,
}

/// A port and everything between its frames and TCP.
pub(crate) struct Link<P: PacketIo> {
    pub(crate) io: P,
    pub(crate) caps: PortCaps,
    pub(crate) neighbours: Neighbours,
    /// Sees every frame that enters or leaves, while somebody watches.
    pub(crate) tap: Option<Tap>,
    index: u8,
    vlan: Option<u16>,
    addresses: Vec<IpAddr>,
    /// What neighbours ask for our addresses of IPv6 by.
    groups: Vec<Ipv6Addr>,
    on_link: Vec<IpCidr>,
    routes: Vec<(IpCidr, IpAddr)>,
    /// A transmit buffer in hand, so that asking whether one is to be had costs nothing.
    spare: Option<P::Tx>,
    /// The same for a frame that the device is to cut into segments.
    spare_large: Option<P::Tx>,
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
            vlan: setup.vlan,
            addresses: setup
                .addresses
                .iter()
                .map(|(address, _)| *address)
                .collect(),
            groups: listening::groups(setup.addresses.iter().map(|(address, _)| *address)),
            on_link: setup
                .addresses
                .iter()
                .map(|&(address, length)| IpCidr::new(address.into(), length))
                .collect(),
            routes,
            spare: None,
            spare_large: None,
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
        for ring in 0..self.line.others.len() {
            for _ in 0..PASSED_PER_POLL {
                let ring = self.line.others.get_mut(ring);
                let Some((frame, meta)) = ring.and_then(|ring| ring.pop().ok()) else {
                    break;
                };
                // By a third where this one's queue is not there.
                self.transmit(frame, meta);
                of_others += 1;
            }
        }
        if self.line.out.is_some() {
            let (relayed, lost) = std::mem::take(&mut self.relayed);
            events.add(StackEvent::FrameRelayed, relayed);
            events.add(StackEvent::RelayFull, lost);
        }
        self.io.flush();
        of_others
    }

    /// Queues a frame for the device, or for the worker that sends for this one.
    #[inline]
    fn transmit(&mut self, frame: P::Tx, meta: TxMeta) {
        match &mut self.line.out {
            None => self.io.send(frame, meta),
            Some(_) if self.line.own && self.io.sends() => self.io.send(frame, meta),
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
            vlan: self.vlan,
            addresses: &self.addresses,
        }
    }

    /// Bytes in front of the packet in every frame that is sent.
    #[inline]
    pub(crate) fn l2_len(&self) -> usize {
        match self.vlan {
            None => ETHERNET,
            Some(_) => ETHERNET + TAG,
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

    /// Whether an address is one of this port's own.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// Why nothing can be sent to an address, if so: it is no host's, as the first and the last of a subnet
    /// and those of class E are, or no route leads there.
    pub(crate) fn unanswerable(&self, remote: IpAddr) -> Option<FrameFate> {
        if let IpAddr::V4(remote) = remote {
            let of_subnet = |prefix: &IpCidr| match prefix {
                IpCidr::Ipv4(prefix) if prefix.prefix_len() < 31 => {
                    let hosts = u32::MAX >> prefix.prefix_len();
                    let host = remote.to_bits() & hosts;
                    prefix.contains_addr(&remote) && (host == 0 || host == hosts)
                }
                _ => false,
            };
            if remote.octets()[0] >= 240 || self.on_link.iter().any(of_subnet) {
                return Some(FrameFate::BadSource);
            }
        }
        match self.next_hop(remote) {
            Some(_) => None,
            None => Some(FrameFate::NoRoute),
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

    /// Whether a frame to be cut into segments can be sent to a neighbour now. One that is still asked for is to
    /// be sent ordinary ones, which can wait.
    pub(crate) fn reserve_large(&mut self, to: NeighbourRef) -> bool {
        if self.spare_large.is_none() && self.neighbours.is_known(to) {
            self.spare_large = self.io.alloc_large();
        }
        self.spare_large.is_some() && self.neighbours.is_known(to)
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
                let mut packet = vec![0; len];
                let result = write(&mut packet);
                let held = self.neighbours.hold(to, Held { packet, meta });
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

    /// Asks for a neighbour that may be elsewhere by now.
    #[cold]
    pub(crate) fn suspect(&mut self, neighbour: NeighbourRef, now: Instant) {
        if self.neighbours.suspect(neighbour, now) {
            self.ask(self.neighbours.address(neighbour));
        }
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
        let buffer = if meta.segment > 0 {
            self.spare_large.take()
        } else {
            self.reserve();
            self.spare.take()
        };
        let Some(mut frame) = buffer else {
            return Err(write);
        };
        let l2_len = self.l2_len();
        let bytes = frame.fill(l2_len + len);
        let (header, packet) = bytes.split_at_mut(l2_len);
        let first = self.vlan.map_or(ethertype, |_| VLAN);
        // Parts of known lengths: each is one move.
        if let Some(untagged) = header.first_chunk_mut::<ETHERNET>() {
            untagged[..6].copy_from_slice(&mac);
            untagged[6..12].copy_from_slice(&self.caps.mac);
            untagged[12..].copy_from_slice(&first.to_be_bytes());
        }
        if let Some(vlan) = self.vlan {
            let ([v0, v1], [e0, e1]) = (vlan.to_be_bytes(), ethertype.to_be_bytes());
            // Of no priority.
            header[ETHERNET..].copy_from_slice(&[v0, v1, e0, e1]);
        }
        let result = write(packet);
        if let Some(tap) = &self.tap {
            tap.offer(Direction::Out, bytes);
        }
        let l2_len = l2_len as u8;
        self.transmit(frame, TxMeta { l2_len, ..meta });
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
            Inbound::ListenerQuery(message) => self.listener_query(message, now, events),
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
}

const NO_IP: TxMeta = TxMeta {
    l2_len: 0, // `Link::send_to` says
    l3_len: 0,
    l3: L3::None,
    tcp: false,
    segment: 0,
};

/// What a device is told of a packet with this IP header.
fn meta(ip: &IpRepr, tcp: bool) -> TxMeta {
    let l3 = match ip {
        IpRepr::Ipv4(_) => L3::V4,
        IpRepr::Ipv6(_) => L3::V6,
    };
    TxMeta {
        l2_len: 0, // `Link::send_to` says
        l3_len: ip.header_len() as u8,
        l3,
        tcp,
        segment: 0,
    }
}

fn ethertype(l3: L3) -> u16 {
    match l3 {
        L3::V4 => 0x0800,
        L3::V6 => 0x86dd,
        L3::None => 0x0806,
    }
}
