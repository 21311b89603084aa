//! One TCP flow: smoltcp's socket alone in its own set, so that the cost of a packet does not grow
//! with the number of flows (smoltcp walks every socket of a set for every packet).

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::phy::{RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::wire::{
    HardwareAddress, IpAddress, IpEndpoint, IpListenEndpoint, IpProtocol, IpRepr, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber,
};

use crate::counters::Counters;
use crate::fate::StackEvent;
use crate::io::{L3, PacketIo, PortCaps, TxMeta};
use crate::isn::seed_for;
use crate::key::FlowKey;
use crate::link::{Link, meta};
use crate::meter::Meter;
use crate::neighbour::NeighbourRef;
use crate::time::Instant;

/// Bytes a connection may hold in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Received and not yet read; also the largest window offered.
    pub receive: usize,
    /// Written and not yet acknowledged.
    pub send: usize,
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers {
            receive: 64 * 1024,
            send: 64 * 1024,
        }
    }
}

/// The TCP side of a flow.
pub(crate) struct Tcp {
    set: SocketSet<'static>,
    handle: SocketHandle,
    meter: Meter,
}

impl Tcp {
    /// `next` is the first sequence number that the flow will send itself.
    fn new(buffers: Buffers, next: u32, now: Instant) -> Self {
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; buffers.receive]),
            SocketBuffer::new(vec![0; buffers.send]),
        );
        // A gateway forwards what it has: waiting for more (Nagle) only adds latency.
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(CongestionControl::Cubic);
        let mut set = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = set.add(socket);
        Tcp {
            set,
            handle,
            meter: Meter::new(next, now),
        }
    }

    #[inline]
    pub(crate) fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    /// What the flow has done so far.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    #[inline]
    pub(crate) fn meter_mut(&mut self) -> &mut Meter {
        &mut self.meter
    }

    #[inline]
    pub(crate) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// A socket in SYN-SENT whose initial sequence number is `isn`. The SYN leaves with the next
    /// `egress`.
    pub(crate) fn connect(
        key: &FlowKey,
        buffers: Buffers,
        isn: u32,
        caps: PortCaps,
        now: Instant,
    ) -> Option<Self> {
        let mut tcp = Tcp::new(buffers, isn, now);
        let mut interface = interface(caps, seed_for(isn), now);
        let (remote, local) = (endpoint(key.remote()), endpoint(key.local()));
        tcp.socket_mut()
            .connect(interface.context(), remote, local)
            .ok()?;
        Some(tcp)
    }

    /// The socket of a half-open flow whose ACK has come: brought to SYN-RECEIVED by letting it see
    /// the recorded SYN again under the same initial sequence number. Its own SYN-ACK went out long
    /// ago (see [`Syn::answer`]) and is discarded. The ACK itself has to be fed to it next.
    pub(crate) fn accept(
        key: &FlowKey,
        syn: &Syn,
        buffers: Buffers,
        caps: PortCaps,
        now: Instant,
    ) -> Option<Self> {
        let mut tcp = Tcp::new(buffers, syn.isn.wrapping_add(1), now);
        let mut interface = interface(caps, seed_for(syn.isn), now);
        let local = endpoint(key.local());
        let listen = IpListenEndpoint {
            addr: Some(local.addr),
            port: local.port,
        };
        tcp.socket_mut().listen(listen).ok()?;
        let packet = syn.packet(key);
        let mut device = Discard {
            caps: capabilities(caps),
            receive: Some(&packet),
        };
        interface.poll_ingress_single(now.to_smoltcp(), &mut device, &mut tcp.set);
        interface.poll_egress(now.to_smoltcp(), &mut device, &mut tcp.set);
        (tcp.socket().state() == State::SynReceived).then_some(tcp)
    }

    /// Hands an IP packet to the state machine, which may answer at once.
    #[inline]
    pub(crate) fn ingress<P: PacketIo>(
        &mut self,
        packet: &[u8],
        wire: &mut FlowWire<'_, P>,
        interface: &mut Interface,
    ) {
        let now = wire.now.to_smoltcp();
        let mut device = FlowDevice {
            wire,
            meter: &mut self.meter,
            receive: Some(packet),
        };
        interface.poll_ingress_single(now, &mut device, &mut self.set);
    }

    /// Sends at most `segments` segments that are due. Returns when there will be something to send
    /// next, which is not after `now` if the budget or the buffers ran out.
    #[inline]
    pub(crate) fn egress<P: PacketIo>(
        &mut self,
        segments: usize,
        wire: &mut FlowWire<'_, P>,
        interface: &mut Interface,
    ) -> Option<Instant> {
        let now = wire.now.to_smoltcp();
        for _ in 0..segments {
            match interface.poll_at(now, &self.set) {
                Some(at) if at <= now => {}
                later => return later.map(Instant::from_smoltcp),
            }
            let before = wire.sent;
            let mut device = FlowDevice {
                wire,
                meter: &mut self.meter,
                receive: None,
            };
            interface.poll_egress(now, &mut device, &mut self.set);
            if wire.sent == before {
                break;
            }
        }
        interface.poll_at(now, &self.set).map(Instant::from_smoltcp)
    }
}

fn endpoint(address: std::net::SocketAddr) -> IpEndpoint {
    IpEndpoint::from(address)
}

/// What a half-open record keeps of a SYN: enough to see it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syn {
    /// Our initial sequence number.
    pub(crate) isn: u32,
    pub(crate) seq: u32,
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack: bool,
}

impl Syn {
    /// Reads a SYN; `None` when its options are malformed.
    pub(crate) fn read(ip: &[u8], isn: u32) -> Option<Syn> {
        let header = match ip.first()? >> 4 {
            4 => usize::from(ip[0] & 0x0f) * 4,
            _ => 40,
        };
        let packet = TcpPacket::new_checked(ip.get(header..)?).ok()?;
        let any = IpAddress::v4(0, 0, 0, 0);
        let repr = TcpRepr::parse(&packet, &any, &any, &ChecksumCapabilities::ignored()).ok()?;
        Some(Syn {
            isn,
            seq: repr.seq_number.0 as u32,
            window: repr.window_len,
            mss: repr.max_seg_size,
            window_scale: repr.window_scale,
            sack: repr.sack_permitted,
        })
    }

    fn packet(&self, key: &FlowKey) -> Vec<u8> {
        let tcp = TcpRepr {
            seq_number: TcpSeqNumber(self.seq as i32),
            ack_number: None,
            control: TcpControl::Syn,
            window_len: self.window,
            max_seg_size: self.mss,
            window_scale: self.window_scale,
            sack_permitted: self.sack,
            ..plain(key.remote().port(), key.local().port())
        };
        let ip = header(key.remote().ip().into(), key.local().ip().into(), &tcp);
        let mut packet = vec![0; ip.buffer_len()];
        write_segment(&ip, &tcp, &ChecksumCapabilities::ignored(), &mut packet);
        packet
    }

    /// The SYN-ACK that the flow's socket would send, with the same window and options.
    pub(crate) fn answer(
        &self,
        key: &FlowKey,
        buffers: Buffers,
        mtu: u16,
    ) -> (IpRepr, TcpRepr<'static>) {
        let ip_header = if key.local().is_ipv4() { 20 } else { 40 };
        let scale = (usize::BITS - buffers.receive.leading_zeros()).saturating_sub(16) as u8;
        let tcp = TcpRepr {
            seq_number: TcpSeqNumber(self.isn as i32),
            ack_number: Some(TcpSeqNumber(self.seq.wrapping_add(1) as i32)),
            control: TcpControl::Syn,
            window_len: u16::try_from(buffers.receive).unwrap_or(u16::MAX),
            max_seg_size: Some(mtu.saturating_sub(ip_header + 20)),
            window_scale: self.window_scale.map(|_| scale),
            sack_permitted: self.sack,
            ..plain(key.local().port(), key.remote().port())
        };
        (
            header(key.local().ip().into(), key.remote().ip().into(), &tcp),
            tcp,
        )
    }
}

/// A bare segment of ours for a flow without a socket: RST, or the ACK of a TIME-WAIT record.
pub(crate) fn bare(
    key: &FlowKey,
    control: TcpControl,
    seq: u32,
    ack: Option<u32>,
) -> (IpRepr, TcpRepr<'static>) {
    let tcp = TcpRepr {
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|ack| TcpSeqNumber(ack as i32)),
        control,
        ..plain(key.local().port(), key.remote().port())
    };
    (
        header(key.local().ip().into(), key.remote().ip().into(), &tcp),
        tcp,
    )
}

/// An IP packet with a bare ACK as if it came from the peer.
pub(crate) fn received(key: &FlowKey, seq: u32, ack: u32) -> Vec<u8> {
    let tcp = TcpRepr {
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: Some(TcpSeqNumber(ack as i32)),
        ..plain(key.remote().port(), key.local().port())
    };
    let ip = header(key.remote().ip().into(), key.local().ip().into(), &tcp);
    let mut packet = vec![0; ip.buffer_len()];
    write_segment(&ip, &tcp, &ChecksumCapabilities::ignored(), &mut packet);
    packet
}

fn plain(src_port: u16, dst_port: u16) -> TcpRepr<'static> {
    TcpRepr {
        src_port,
        dst_port,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: None,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload: &[],
    }
}

fn header(from: IpAddress, to: IpAddress, tcp: &TcpRepr<'_>) -> IpRepr {
    IpRepr::new(from, to, IpProtocol::Tcp, tcp.buffer_len(), 64)
}

/// Writes IP and TCP header and payload into `packet`, which is exactly as long as they are.
pub(crate) fn write_segment(
    ip: &IpRepr,
    tcp: &TcpRepr<'_>,
    checksums: &ChecksumCapabilities,
    packet: &mut [u8],
) {
    ip.emit(&mut *packet, checksums);
    let mut segment = TcpPacket::new_unchecked(&mut packet[ip.header_len()..]);
    tcp.emit(&mut segment, &ip.src_addr(), &ip.dst_addr(), checksums);
}

/// An interface over a port: no addresses of its own (the link has filtered already), no neighbours.
pub(crate) fn interface(caps: PortCaps, seed: u64, now: Instant) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut device = Discard {
        caps: capabilities(caps),
        receive: None,
    };
    let mut interface = Interface::new(config, &mut device, now.to_smoltcp());
    interface.set_any_ip(true);
    interface
}

/// What smoltcp has to do about checksums: nothing on receive, where the link has verified them.
pub(crate) fn checksums(caps: PortCaps) -> ChecksumCapabilities {
    let transmit = |offloaded| {
        if offloaded {
            Checksum::None
        } else {
            Checksum::Tx
        }
    };
    let mut checksums = ChecksumCapabilities::ignored();
    checksums.ipv4 = transmit(caps.tx_ipv4_checksum);
    checksums.tcp = transmit(caps.tx_tcp_checksum);
    checksums
}

fn capabilities(caps: PortCaps) -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = usize::from(caps.mtu);
    capabilities.checksum = checksums(caps);
    capabilities
}

/// Where a flow's packets go: a port, and the neighbour behind it.
pub(crate) struct FlowWire<'a, P: PacketIo> {
    pub(crate) link: &'a mut Link<P>,
    pub(crate) neighbour: NeighbourRef,
    pub(crate) meta: TxMeta,
    pub(crate) now: Instant,
    pub(crate) events: &'a Counters<StackEvent>,
    /// Packets sent so far.
    pub(crate) sent: usize,
}

impl<'a, P: PacketIo> FlowWire<'a, P> {
    pub(crate) fn new(
        link: &'a mut Link<P>,
        neighbour: NeighbourRef,
        key: &FlowKey,
        now: Instant,
        events: &'a Counters<StackEvent>,
    ) -> Self {
        let (l3, l3_len) = if key.local().is_ipv4() {
            (L3::V4, 20)
        } else {
            (L3::V6, 40)
        };
        FlowWire {
            link,
            neighbour,
            meta: TxMeta {
                l2_len: crate::frame::ETHERNET as u8,
                l3_len,
                l3,
                tcp: true,
            },
            now,
            events,
            sent: 0,
        }
    }

    /// Sends a segment that no socket made.
    pub(crate) fn send(&mut self, (ip, tcp): (IpRepr, TcpRepr<'_>)) {
        if !self.link.reserve() {
            self.events.count(StackEvent::NoTxBuffer);
            return;
        }
        let checksums = checksums(self.link.caps);
        let _ = self.link.send_ip(
            self.neighbour,
            ip.buffer_len(),
            meta(&ip, true),
            self.now,
            self.events,
            |packet| write_segment(&ip, &tcp, &checksums, packet),
        );
        self.sent += 1;
    }
}

struct FlowDevice<'w, 'a, P: PacketIo> {
    wire: &'w mut FlowWire<'a, P>,
    meter: &'w mut Meter,
    receive: Option<&'w [u8]>,
}

impl<'a, P: PacketIo> Device for FlowDevice<'_, 'a, P> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Sending<'t, 'a, P>
    where
        Self: 't;

    #[inline]
    fn receive(
        &mut self,
        _: smoltcp::time::Instant,
    ) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let packet = self.receive.take()?;
        Some((Received(packet), Sending(self.wire, self.meter)))
    }

    #[inline]
    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Self::TxToken<'_>> {
        // Refused rather than lost: the socket keeps what it would have sent.
        if !self.wire.link.reserve() {
            self.wire.events.count(StackEvent::NoTxBuffer);
            return None;
        }
        Some(Sending(self.wire, self.meter))
    }

    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.wire.link.caps)
    }
}

struct Received<'t>(&'t [u8]);

impl RxToken for Received<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Sending<'t, 'a, P: PacketIo>(&'t mut FlowWire<'a, P>, &'t mut Meter);

impl<P: PacketIo> TxToken for Sending<'_, '_, P> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Sending(wire, meter) = self;
        wire.sent += 1;
        let (meta, now) = (wire.meta, wire.now);
        let f = |packet: &mut [u8]| {
            let result = f(packet);
            meter.sent(packet, usize::from(meta.l3_len), now);
            result
        };
        match wire
            .link
            .send_ip(wire.neighbour, len, meta, now, wire.events, f)
        {
            Ok(result) => result,
            // Only an immediate answer to a received segment comes here without a buffer in hand:
            // an ACK that the next segment will bring again.
            Err(f) => {
                wire.events.count(StackEvent::NoTxBuffer);
                f(&mut vec![0; len])
            }
        }
    }
}

/// A device that sees one packet at most and sends nothing.
struct Discard<'a> {
    caps: DeviceCapabilities,
    receive: Option<&'a [u8]>,
}

impl Device for Discard<'_> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Discarded
    where
        Self: 't;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received<'_>, Discarded)> {
        self.receive
            .take()
            .map(|packet| (Received(packet), Discarded))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Discarded> {
        Some(Discarded)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.caps.clone()
    }
}

struct Discarded;

impl TxToken for Discarded {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(&mut vec![0; len])
    }
}
