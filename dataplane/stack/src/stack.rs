//! All flows of one worker: frames in, byte streams out, and back.

mod report;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use smoltcp::iface::Interface;
use smoltcp::socket::tcp::State;
use smoltcp::wire::TcpControl;

use crate::counters::{Counters, Gauge};
use crate::expiring::Expiring;
use crate::fate::{FrameFate, StackEvent};
use crate::flow::{Buffers, FlowWire, Syn, Tcp, bare, interface, received};
use crate::frame::{self, Inbound, Segment};
use crate::io::{BURST, PacketIo, RxBurst, RxFrame};
use crate::isn::IsnSource;
use crate::key::{FlowId, FlowKey};
use crate::link::{Link, PortSetup};
use crate::neighbour::NeighbourRef;
use crate::rng::Rng;
use crate::tap::{Tap, TapFilter, TapQueue};
use crate::time::Instant;
use crate::wheel::Wheel;

pub use report::FlowInfo;

/// How long a half-open flow is remembered (a client that got our SYN-ACK answers within this).
const HALF_OPEN_LIFETIME: Duration = Duration::from_secs(10);
/// How long a closed flow's record answers for it (TIME-WAIT, RFC 9293 3.6.1).
const TIME_WAIT_LIFETIME: Duration = Duration::from_secs(30);
/// How long a flow that its user has let go of may go without its peer taking any of what is queued,
/// and may then take to close.
const LINGER: Duration = Duration::from_secs(10);
/// Bursts taken from a port per poll: a queue that fills faster than it is looked at loses frames.
const BURSTS_PER_POLL: usize = 4;
/// Segments one flow may send per poll before the others get their turn.
const SEGMENTS_PER_POLL: usize = 64;
/// Source ports of outgoing connections (IANA's dynamic range plus Linux's default).
const EPHEMERAL: std::ops::Range<u16> = 32_768..60_999;
/// How many source ports are tried for one connection before it is refused.
const PORT_TRIES: u32 = 512;

/// Bounds of one worker's stack.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Flows, those that are still closing included.
    pub flows: usize,
    /// Half-open flows; beyond it the oldest is forgotten.
    pub half_open: usize,
    /// TIME-WAIT records; beyond it the oldest is forgotten.
    pub time_wait: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            flows: 131_072,
            half_open: 16_384,
            time_wait: 65_536,
        }
    }
}

/// Numbers that nobody outside may guess, drawn anew at every start.
#[derive(Debug, Clone, Copy)]
pub struct Secrets {
    /// Key of the initial sequence numbers.
    pub isn: (u64, u64),
    /// Key of the hash tables.
    pub tables: (u64, u64),
    /// Seed of the choice of source ports.
    pub ports: u64,
}

impl Secrets {
    /// Secrets that follow from a seed, for runs that must be repeatable.
    pub fn from_seed(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        Secrets {
            isn: (rng.next_u64(), rng.next_u64()),
            tables: (rng.next_u64(), rng.next_u64()),
            ports: rng.next_u64(),
        }
    }
}

/// Counters and levels of a stack, shared with whoever reports them.
#[derive(Debug, Default)]
pub struct StackStats {
    /// The fate of each received frame.
    pub frames: Counters<FrameFate>,
    /// Everything else.
    pub events: Counters<StackEvent>,
    /// Flows now, closing ones included.
    pub flows: Gauge,
    /// Half-open records now.
    pub half_open: Gauge,
    /// TIME-WAIT records now.
    pub time_wait: Gauge,
}

/// Whom a flow belongs to; the stack only keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Just accepted by this listener; nobody has taken it yet.
    Listener(u32),
    /// The user's own number for it.
    User(u32),
}

/// How far a flow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Our SYN has not been answered.
    Connecting,
    /// Data can flow (perhaps one way only).
    Open,
    /// Over: reset, refused, timed out or closed by both sides.
    Closed,
}

/// What a user needs to know to go on with a flow.
#[derive(Debug, Clone, Copy)]
pub struct FlowView {
    /// How far it is.
    pub phase: Phase,
    /// Bytes received and not consumed.
    pub readable: usize,
    /// Bytes that can be written now.
    pub writable: usize,
    /// Bytes written and not yet acknowledged by the peer.
    pub unacknowledged: usize,
    /// The peer has sent its FIN: beyond `readable` nothing more will come.
    pub finished: bool,
}

/// Why a connection can't be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No address prefix and no route of the port leads there.
    #[error("no route from this port to the address")]
    NoRoute,
    /// Every source port towards this destination is taken.
    #[error("all source ports towards the address are in use")]
    PortsExhausted,
    /// The table of flows is full.
    #[error("the limit of flows is reached")]
    FlowsFull,
    /// The neighbour table is full of neighbours in use.
    #[error("the neighbour table is full")]
    NeighboursFull,
}

struct Flow {
    key: FlowKey,
    owner: Owner,
    neighbour: NeighbourRef,
    tcp: Tcp,
    ready: bool,
    dirty: bool,
    /// When a flow without a user is cut off; `None` while it has one.
    linger: Option<Instant>,
    /// Bytes that were not acknowledged when it was last put off.
    lingering: usize,
    /// It was being opened, and the neighbour it leads to does not answer: over for its user,
    /// nothing more is sent.
    stranded: bool,
    /// Our next and the peer's next sequence number, once in TIME-WAIT.
    closed_at: Option<TimeWait>,
}

#[derive(Default)]
struct Slot {
    turn: u32,
    flow: Option<Flow>,
}

#[derive(Debug, Clone, Copy)]
struct TimeWait {
    our_next: u32,
    their_next: u32,
}

struct HalfOpen {
    syn: Syn,
    listener: Listener,
    /// When our SYN-ACK was sent; `None` once it was sent again.
    answered: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Listener {
    id: u32,
    buffers: Buffers,
}

struct Port<P: PacketIo> {
    link: Link<P>,
    interface: Interface,
}

/// The stack of one worker over its ports.
pub struct Stack<P: PacketIo> {
    ports: Vec<Port<P>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    by_key: HashMap<FlowKey, u32, ahash::RandomState>,
    listeners: HashMap<(u8, SocketAddr), Listener>,
    half_open: Expiring<HalfOpen>,
    time_wait: Expiring<TimeWait>,
    timers: Wheel,
    ready: VecDeque<u32>,
    dirty: Vec<u32>,
    settling: Vec<u32>,
    isn: IsnSource,
    rng: Rng,
    limits: Limits,
    stats: Arc<StackStats>,
}

impl<P: PacketIo> Stack<P> {
    /// A stack over the given ports, which are numbered in this order.
    pub fn new(
        ports: Vec<(P, PortSetup)>,
        limits: Limits,
        secrets: Secrets,
        stats: Arc<StackStats>,
    ) -> Self {
        let (a, b) = secrets.tables;
        let hasher = ahash::RandomState::with_seeds(a, b, a ^ b, a.wrapping_add(b));
        let ports = ports
            .into_iter()
            .enumerate()
            .map(|(index, (io, setup))| {
                let link = Link::new(index as u8, io, &setup);
                let interface = interface(link.caps, 0, Instant::ZERO);
                Port { link, interface }
            })
            .collect();
        Stack {
            ports,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::with_capacity_and_hasher(limits.flows, hasher.clone()),
            listeners: HashMap::new(),
            half_open: Expiring::new(HALF_OPEN_LIFETIME, limits.half_open, hasher.clone()),
            time_wait: Expiring::new(TIME_WAIT_LIFETIME, limits.time_wait, hasher),
            timers: Wheel::default(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            settling: Vec::new(),
            isn: IsnSource::new(secrets.isn),
            rng: Rng::new(secrets.ports),
            limits,
            stats,
        }
    }

    /// Tells every link which addresses are ours.
    pub fn announce(&mut self) {
        for port in &mut self.ports {
            port.link.announce();
            port.link.io.flush();
        }
    }

    /// Accepts connections to `address` on port number `port` from now on, for `listener`.
    pub fn listen(&mut self, port: u8, address: SocketAddr, listener: u32, buffers: Buffers) {
        self.listeners.insert(
            (port, address),
            Listener {
                id: listener,
                buffers,
            },
        );
    }

    /// Accepts nothing any more: new connections are reset, established ones stay.
    pub fn unlisten_all(&mut self) {
        self.listeners.clear();
    }

    /// The packet I/O of each port, for its statistics.
    pub fn ports(&self) -> impl Iterator<Item = &P> {
        self.ports.iter().map(|port| &port.link.io)
    }

    /// Copies the frames that `filter` chooses, of one port or of all, to `queue` from now on until
    /// that is closed. A capture under way is ended by it.
    pub fn tap(&mut self, port: Option<u8>, filter: TapFilter, queue: &Arc<TapQueue>) {
        for (index, Port { link, .. }) in (0..).zip(&mut self.ports) {
            let wanted = port.is_none_or(|port| port == index);
            link.tap = wanted.then(|| Tap::new(index, filter, queue.clone(), self.stats.clone()));
        }
    }

    // ---- frames in -----------------------------------------------------------------------------

    /// Takes what has come on each port, at most [`BURSTS_PER_POLL`] bursts; returns how many frames.
    pub fn receive(&mut self, now: Instant) -> usize {
        let mut frames = 0;
        for port in 0..self.ports.len() {
            for _ in 0..BURSTS_PER_POLL {
                let mut burst = RxBurst::<P::Rx>::new();
                let link = &mut self.ports[port].link;
                let came = link.io.rx_burst(&mut burst);
                link.tap_received(&burst, now);
                for frame in burst {
                    let fate = self.receive_frame(port, &frame, now);
                    self.stats.frames.count(fate);
                }
                frames += came;
                // One that is not full leaves nothing behind it.
                if came < BURST {
                    break;
                }
            }
        }
        frames
    }

    #[inline]
    fn receive_frame(&mut self, port: usize, frame: &P::Rx, now: Instant) -> FrameFate {
        let link = &mut self.ports[port].link;
        match frame::parse(frame.bytes(), frame.checksum(), &link.station()) {
            Ok(Inbound::Tcp { key, segment, ip }) => self.segment(port, key, segment, ip, now),
            Ok(other) => link.receive(other, now, &self.stats.events),
            Err(fate) => fate,
        }
    }

    #[inline]
    fn segment(
        &mut self,
        port: usize,
        key: FlowKey,
        segment: Segment,
        ip: &[u8],
        now: Instant,
    ) -> FrameFate {
        if let Some(&slot) = self.by_key.get(&key) {
            if segment.syn && !segment.has_ack && self.challenge(slot, &segment, now) {
                return FrameFate::Flow;
            }
            self.feed(slot, &segment, ip, now);
            return FrameFate::Flow;
        }
        if let Some(&record) = self.time_wait.get(&key) {
            let reuse = segment.syn
                && !segment.has_ack
                && (segment.seq.wrapping_sub(record.their_next) as i32) > 0;
            if !reuse {
                if !segment.rst {
                    let ack = bare(
                        &key,
                        TcpControl::None,
                        record.our_next,
                        Some(record.their_next),
                    );
                    self.send_bare(port, &key, ack, now);
                }
                return FrameFate::TimeWait;
            }
            self.time_wait.remove(&key);
        }
        if segment.syn && !segment.has_ack {
            return self.syn(port, key, segment, ip, now);
        }
        if !segment.rst && segment.has_ack && self.half_open.get(&key).is_some() {
            return self.handshake(port, key, segment, ip, now);
        }
        if segment.rst {
            // A client that gives up before its handshake is complete.
            let known = self.half_open.get(&key);
            if known.is_some_and(|half| half.syn.seq.wrapping_add(1) == segment.seq) {
                self.half_open.remove(&key);
                self.stats.events.count(StackEvent::HalfOpenExpired);
            }
            return FrameFate::NoFlowSilent;
        }
        self.refuse(port, key, segment, now)
    }

    /// Hands a segment to its flow.
    #[inline]
    fn feed(&mut self, slot: u32, segment: &Segment, ip: &[u8], now: Instant) {
        let Some(flow) = self
            .slots
            .get_mut(slot as usize)
            .and_then(|s| s.flow.as_mut())
        else {
            return;
        };
        let before = flow.tcp.socket().state();
        let Some(port) = self.ports.get_mut(usize::from(flow.key.port())) else {
            return;
        };
        flow.tcp.meter_mut().received(segment, now);
        let events = &self.stats.events;
        let mut wire = FlowWire::new(&mut port.link, flow.neighbour, &flow.key, now, events);
        flow.tcp.ingress(ip, &mut wire, &mut port.interface);
        let after = flow.tcp.socket().state();
        if after != before {
            match after {
                State::Closed if before == State::LastAck => events.count(StackEvent::FlowClosed),
                State::Closed | State::Listen => events.count(StackEvent::FlowReset),
                State::TimeWait => {
                    // Everything of ours is acknowledged and their FIN is the last thing that came.
                    flow.closed_at = Some(TimeWait {
                        our_next: segment.ack,
                        their_next: segment
                            .seq
                            .wrapping_add(segment.payload_len)
                            .wrapping_add(u32::from(segment.fin)),
                    });
                }
                _ => {}
            }
        }
        Self::mark(&mut self.ready, &mut flow.ready, slot);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
    }

    /// Answers a SYN for a flow that is open already with a challenge ACK (RFC 9293 3.10.7.4): a peer
    /// that has forgotten the flow resets it and can open a new one by the same port. The socket
    /// would drop the SYN without a word, so it is shown acknowledgements that can't be right in its
    /// place; whatever it sent so far, one of two that are half the sequence space apart is.
    /// False for a flow that is not open: its socket knows what to do.
    #[cold]
    fn challenge(&mut self, slot: u32, segment: &Segment, now: Instant) -> bool {
        let Some(flow) = self
            .slots
            .get_mut(slot as usize)
            .and_then(|s| s.flow.as_mut())
        else {
            return false;
        };
        let open = !matches!(
            flow.tcp.socket().state(),
            State::Closed | State::Listen | State::SynSent | State::TimeWait
        );
        let Some(port) = self.ports.get_mut(usize::from(flow.key.port())) else {
            return false;
        };
        if open {
            let events = &self.stats.events;
            let mut wire = FlowWire::new(&mut port.link, flow.neighbour, &flow.key, now, events);
            for ack in [0, 1 << 31] {
                let probe = received(&flow.key, segment.seq, ack);
                flow.tcp.ingress(&probe, &mut wire, &mut port.interface);
            }
        }
        open
    }

    fn syn(
        &mut self,
        port: usize,
        key: FlowKey,
        segment: Segment,
        ip: &[u8],
        now: Instant,
    ) -> FrameFate {
        let Some(&listener) = self.listeners.get(&(key.port(), key.local())) else {
            return self.refuse(port, key, segment, now);
        };
        if self.by_key.len() >= self.limits.flows {
            self.stats.events.count(StackEvent::FlowsFull);
            return FrameFate::Refused;
        }
        // A SYN that comes again gets the same answer again, and keeps its place in the queue.
        let known = self
            .half_open
            .get_mut(&key)
            .filter(|half| half.syn.seq == segment.seq);
        let syn = match known {
            Some(half) => {
                half.answered = None;
                half.syn
            }
            None => {
                let isn = self.isn.isn(&key, now);
                let Some(syn) = Syn::read(ip, isn) else {
                    return FrameFate::BadTcp;
                };
                let half = HalfOpen {
                    syn,
                    listener,
                    answered: Some(now),
                };
                if self.half_open.insert(key, half, now) {
                    self.stats.events.count(StackEvent::HalfOpenEvicted);
                }
                syn
            }
        };
        let Some(mtu) = self.ports.get(port).map(|port| port.link.caps.mtu) else {
            return FrameFate::Refused;
        };
        self.send_bare(port, &key, syn.answer(&key, listener.buffers, mtu), now);
        FrameFate::Syn
    }

    /// The ACK of our SYN-ACK: the record becomes a flow, and the segment its first input.
    fn handshake(
        &mut self,
        port: usize,
        key: FlowKey,
        segment: Segment,
        ip: &[u8],
        now: Instant,
    ) -> FrameFate {
        let Some(half) = self.half_open.get(&key) else {
            return FrameFate::BadHandshake;
        };
        let (syn, listener, answered) = (half.syn, half.listener, half.answered);
        // Data may come before the bare ACK, out of order, so the sequence is the socket's to judge.
        if segment.ack != syn.isn.wrapping_add(1) {
            return self.refuse(port, key, segment, now);
        }
        if self.by_key.len() >= self.limits.flows {
            self.stats.events.count(StackEvent::FlowsFull);
            return FrameFate::Refused;
        }
        let Some(caps) = self.ports.get(port).map(|port| port.link.caps) else {
            return FrameFate::Refused;
        };
        let Some(neighbour) = self.neighbour(port, &key) else {
            return FrameFate::Refused;
        };
        let Some(mut tcp) = Tcp::accept(&key, &syn, listener.buffers, caps, now) else {
            self.release_neighbour(port, neighbour);
            return FrameFate::BadHandshake;
        };
        if let Some(at) = answered {
            tcp.meter_mut().time_from(at);
        }
        self.half_open.remove(&key);
        let slot = self.insert(key, Owner::Listener(listener.id), neighbour, tcp);
        self.stats.events.count(StackEvent::FlowAccepted);
        self.feed(slot, &segment, ip, now);
        FrameFate::Accepted
    }

    /// Answers a segment nobody here knows with RST (RFC 9293 3.10.7.1), within a rate limit.
    fn refuse(&mut self, port: usize, key: FlowKey, segment: Segment, now: Instant) -> FrameFate {
        let allowed = self
            .ports
            .get_mut(port)
            .is_some_and(|p| p.link.may_answer_stranger(now));
        if !allowed {
            return FrameFate::NoFlowSilent;
        }
        let reset = if segment.has_ack {
            bare(&key, TcpControl::Rst, segment.ack, None)
        } else {
            let length = segment.payload_len + u32::from(segment.syn) + u32::from(segment.fin);
            bare(
                &key,
                TcpControl::Rst,
                0,
                Some(segment.seq.wrapping_add(length)),
            )
        };
        self.send_bare(port, &key, reset, now);
        FrameFate::NoFlow
    }

    fn send_bare(
        &mut self,
        port: usize,
        key: &FlowKey,
        segment: (smoltcp::wire::IpRepr, smoltcp::wire::TcpRepr<'static>),
        now: Instant,
    ) {
        let Some(neighbour) = self.neighbour(port, key) else {
            return;
        };
        if let Some(port) = self.ports.get_mut(port) {
            FlowWire::new(&mut port.link, neighbour, key, now, &self.stats.events).send(segment);
        }
        self.release_neighbour(port, neighbour);
    }

    fn neighbour(&mut self, port: usize, key: &FlowKey) -> Option<NeighbourRef> {
        let link = &mut self.ports.get_mut(port)?.link;
        let next_hop = link.next_hop(key.remote().ip())?;
        let found = link.neighbours.acquire(next_hop);
        if found.is_none() {
            self.stats.events.count(StackEvent::NeighbourFull);
        }
        found
    }

    fn release_neighbour(&mut self, port: usize, neighbour: NeighbourRef) {
        if let Some(port) = self.ports.get_mut(port) {
            port.link.neighbours.release(neighbour);
        }
    }

    // ---- opening -------------------------------------------------------------------------------

    /// Opens a connection from port number `port` to `remote`. The flow is `Connecting` until the
    /// peer answers; the user is told by [`Self::next_ready`].
    pub fn connect(
        &mut self,
        port: u8,
        remote: SocketAddr,
        user: u32,
        buffers: Buffers,
        now: Instant,
    ) -> Result<FlowId, ConnectError> {
        if self.by_key.len() >= self.limits.flows {
            self.stats.events.count(StackEvent::FlowsFull);
            return Err(ConnectError::FlowsFull);
        }
        let link = &self
            .ports
            .get(usize::from(port))
            .ok_or(ConnectError::NoRoute)?
            .link;
        let (caps, next_hop) = (link.caps, link.next_hop(remote.ip()));
        let source = next_hop
            .and_then(|hop| link.source_for(hop))
            .ok_or(ConnectError::NoRoute)?;
        let key = self.unused_key(port, source, remote).ok_or_else(|| {
            self.stats.events.count(StackEvent::PortsExhausted);
            ConnectError::PortsExhausted
        })?;
        let neighbour = self
            .neighbour(usize::from(port), &key)
            .ok_or(ConnectError::NeighboursFull)?;
        let isn = self.isn.isn(&key, now);
        let Some(tcp) = Tcp::connect(&key, buffers, isn, caps, now) else {
            self.release_neighbour(usize::from(port), neighbour);
            return Err(ConnectError::NoRoute);
        };
        let slot = self.insert(key, Owner::User(user), neighbour, tcp);
        self.stats.events.count(StackEvent::FlowConnecting);
        let entry = &mut self.slots[slot as usize];
        if let Some(flow) = &mut entry.flow {
            Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
        }
        let id = FlowId {
            slot,
            turn: entry.turn,
        };
        if let Some(port) = self.ports.get_mut(usize::from(port)) {
            port.link.neighbours.note_opening(neighbour, id, now);
        }
        Ok(id)
    }

    /// A source port that is free, starting from a random one (RFC 6056, algorithm 1).
    fn unused_key(
        &mut self,
        port: u8,
        source: std::net::IpAddr,
        remote: SocketAddr,
    ) -> Option<FlowKey> {
        let span = u32::from(EPHEMERAL.end - EPHEMERAL.start);
        let start = self.rng.below(u64::from(span)) as u32;
        (0..PORT_TRIES)
            .map(|i| EPHEMERAL.start + ((start + i) % span) as u16)
            .map(|local| FlowKey::new(port, SocketAddr::new(source, local), remote))
            .find(|key| !self.by_key.contains_key(key) && self.time_wait.get(key).is_none())
    }

    fn insert(&mut self, key: FlowKey, owner: Owner, neighbour: NeighbourRef, tcp: Tcp) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize].flow = Some(Flow {
            key,
            owner,
            neighbour,
            tcp,
            ready: false,
            dirty: false,
            linger: None,
            lingering: 0,
            stranded: false,
            closed_at: None,
        });
        self.by_key.insert(key, slot);
        slot
    }

    // ---- streams -------------------------------------------------------------------------------

    /// A flow that something happened to since it was last handed out, with its owner.
    #[inline]
    pub fn next_ready(&mut self) -> Option<(FlowId, Owner)> {
        loop {
            let slot = self.ready.pop_front()?;
            let entry = self.slots.get_mut(slot as usize)?;
            let Some(flow) = &mut entry.flow else {
                continue;
            };
            flow.ready = false;
            if flow.linger.is_none() {
                return Some((
                    FlowId {
                        slot,
                        turn: entry.turn,
                    },
                    flow.owner,
                ));
            }
        }
    }

    /// How many flows wait to be handed out.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Has the flow handed out again, as if something had happened to it.
    pub fn wake(&mut self, id: FlowId) {
        if let Some(flow) = flow_mut(&mut self.slots, id) {
            Self::mark(&mut self.ready, &mut flow.ready, id.slot);
        }
    }

    /// Makes `user` the owner of an accepted flow.
    pub fn adopt(&mut self, id: FlowId, user: u32) {
        if let Some(flow) = flow_mut(&mut self.slots, id) {
            flow.owner = Owner::User(user);
        }
    }

    /// The flow's two ends; `None` once it is gone.
    pub fn key(&self, id: FlowId) -> Option<FlowKey> {
        flow_ref(&self.slots, id).map(|flow| flow.key)
    }

    /// How the flow stands; a flow that is gone is `Closed`.
    #[inline]
    pub fn view(&self, id: FlowId) -> FlowView {
        let Some(flow) = flow_ref(&self.slots, id) else {
            return FlowView {
                phase: Phase::Closed,
                readable: 0,
                writable: 0,
                unacknowledged: 0,
                finished: true,
            };
        };
        let socket = flow.tcp.socket();
        let (phase, may_send) = match socket.state() {
            _ if flow.stranded => (Phase::Closed, false),
            State::Closed | State::Listen => (Phase::Closed, false),
            State::SynSent | State::SynReceived => (Phase::Connecting, false),
            State::Established | State::CloseWait => (Phase::Open, true),
            _ => (Phase::Open, false),
        };
        let finished = flow.stranded
            || !matches!(
                socket.state(),
                State::SynSent
                    | State::SynReceived
                    | State::Established
                    | State::FinWait1
                    | State::FinWait2
            );
        FlowView {
            phase,
            readable: socket.recv_queue(),
            writable: if may_send {
                socket.send_capacity() - socket.send_queue()
            } else {
                0
            },
            unacknowledged: socket.send_queue(),
            finished,
        }
    }

    /// The unread bytes up to the end of the receive ring: all of them, unless they straddle it.
    #[inline]
    pub fn peek(&mut self, id: FlowId) -> &[u8] {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return &[];
        };
        flow.tcp.socket_mut().peek(usize::MAX).unwrap_or(&[])
    }

    /// The first `limit` unread bytes (fewer if fewer are there) in one piece. Almost always in
    /// place; copied to `scratch` when they straddle the end of the receive ring.
    #[inline]
    pub fn front<'a>(&'a mut self, id: FlowId, limit: usize, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return &[];
        };
        let socket = flow.tcp.socket_mut();
        let wanted = socket.recv_queue().min(limit);
        let contiguous = socket.peek(wanted).map_or(0, |bytes| bytes.len());
        if contiguous < wanted {
            scratch.resize(wanted, 0);
            let copied = socket.peek_slice(scratch).unwrap_or(0);
            return &scratch[..copied.min(wanted)];
        }
        socket.peek(wanted).unwrap_or(&[])
    }

    /// Forgets the first `len` unread bytes.
    #[inline]
    pub fn consume(&mut self, id: FlowId, len: usize) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        let mut left = len;
        // Twice at most: the ring's end may lie in between.
        for _ in 0..2 {
            let took = flow.tcp.socket_mut().recv(|bytes| {
                let n = bytes.len().min(left);
                (n, n)
            });
            left -= took.unwrap_or(0);
            if left == 0 {
                break;
            }
        }
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    /// Queues bytes to be sent; returns how many there was room for.
    #[inline]
    pub fn write(&mut self, id: FlowId, bytes: &[u8]) -> usize {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return 0;
        };
        let written = flow.tcp.socket_mut().send_slice(bytes).unwrap_or(0);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
        written
    }

    /// Moves up to `len` received bytes of one flow to the send queue of another; returns how many.
    /// The one copy of a payload on its way through.
    #[inline]
    pub fn splice(&mut self, from: FlowId, to: FlowId, len: usize) -> usize {
        let pair = self
            .slots
            .get_disjoint_mut([from.slot as usize, to.slot as usize]);
        let Ok([source, sink]) = pair else { return 0 };
        let (Some(source), Some(sink)) = (of_turn(source, from.turn), of_turn(sink, to.turn))
        else {
            return 0;
        };
        let mut moved = 0;
        // Each turn stops at the end of one of the two rings: two ends, so three turns at most.
        for _ in 0..3 {
            let output = sink.tcp.socket_mut();
            let turn = source.tcp.socket_mut().recv(|bytes| {
                let piece = &bytes[..bytes.len().min(len - moved)];
                let n = output.send_slice(piece).unwrap_or(0);
                (n, n)
            });
            match turn {
                Ok(n) if n > 0 => moved += n,
                _ => break,
            }
            if moved == len {
                break;
            }
        }
        if moved > 0 {
            Self::mark_dirty(&mut self.dirty, &mut source.dirty, from.slot);
            Self::mark_dirty(&mut self.dirty, &mut sink.dirty, to.slot);
        }
        moved
    }

    /// Sends FIN behind what is queued; the flow stays its user's, who can go on reading.
    pub fn finish_sending(&mut self, id: FlowId) {
        if let Some(flow) = flow_mut(&mut self.slots, id) {
            flow.tcp.socket_mut().close();
            Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
        }
    }

    // ---- closing -------------------------------------------------------------------------------

    /// Gives a flow back: what is queued is delivered, then FIN; what still comes in is discarded,
    /// so that the peer can read an answer that was given before its request was complete. It is
    /// reset when the peer takes nothing for [`LINGER`].
    pub fn close(&mut self, id: FlowId, now: Instant) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        flow.tcp.socket_mut().close();
        flow.linger = Some(now + LINGER);
        flow.lingering = flow.tcp.socket().send_queue();
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    /// Gives a flow back with a RST.
    pub fn abort(&mut self, id: FlowId, now: Instant) {
        let Some(flow) = flow_mut(&mut self.slots, id) else {
            return;
        };
        if flow.tcp.socket().state() != State::Closed && !flow.stranded {
            self.stats.events.count(StackEvent::FlowAborted);
        }
        flow.tcp.socket_mut().abort();
        flow.linger = Some(now + LINGER);
        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
    }

    // ---- timers and frames out -----------------------------------------------------------------

    /// Lets timers fire and old records go. Bounded work per call.
    pub fn expire(&mut self, now: Instant) {
        let mut due = ArrayVec::<u32, 256>::new();
        self.timers.expire(now, &mut due);
        for slot in due {
            if let Some(flow) = self
                .slots
                .get_mut(slot as usize)
                .and_then(|s| s.flow.as_mut())
            {
                Self::mark(&mut self.ready, &mut flow.ready, slot);
                Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
            }
        }
        let expired = self.half_open.expire(now, 256);
        self.stats.events.add(StackEvent::HalfOpenExpired, expired);
        self.time_wait.expire(now, 256);
        for port in &mut self.ports {
            if port
                .link
                .neighbours
                .next_retry()
                .is_some_and(|at| at <= now)
            {
                let stranded = port.link.retry_neighbours(now, &self.stats.events);
                for id in stranded {
                    let Some(flow) = flow_mut(&mut self.slots, id) else {
                        continue;
                    };
                    if flow.tcp.socket().state() == State::SynSent {
                        flow.stranded = true;
                        Self::mark(&mut self.ready, &mut flow.ready, id.slot);
                        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
                    }
                }
            }
        }
    }

    /// Sends what is due on every flow that was touched, and hands all frames to the devices.
    pub fn flush(&mut self, now: Instant) {
        std::mem::swap(&mut self.dirty, &mut self.settling);
        let mut settling = std::mem::take(&mut self.settling);
        for slot in settling.drain(..) {
            self.settle(slot, now);
        }
        self.settling = settling;
        for port in &mut self.ports {
            port.link.io.flush();
        }
        self.stats.flows.set(self.by_key.len() as u64);
        self.stats.half_open.set(self.half_open.len() as u64);
        self.stats.time_wait.set(self.time_wait.len() as u64);
    }

    fn settle(&mut self, slot: u32, now: Instant) {
        let Some(flow) = self
            .slots
            .get_mut(slot as usize)
            .and_then(|s| s.flow.as_mut())
        else {
            return;
        };
        flow.dirty = false;
        if flow.stranded {
            if flow.linger.is_some() {
                self.remove(slot, now);
            }
            return;
        }
        if let Some(until) = &mut flow.linger {
            let left = flow.tcp.socket().send_queue();
            if left < flow.lingering {
                // A slow reader, but one that reads: what it was answered is still to reach it.
                flow.lingering = left;
                *until = now + LINGER;
            }
            while flow
                .tcp
                .socket_mut()
                .recv(|bytes| (bytes.len(), bytes.len()))
                .is_ok_and(|n| n > 0)
            {}
            if now >= *until && flow.tcp.socket().state() != State::Closed {
                self.stats.events.count(StackEvent::FlowAborted);
                flow.tcp.socket_mut().abort();
            }
        }
        let Some(port) = self.ports.get_mut(usize::from(flow.key.port())) else {
            return;
        };
        let before = flow.tcp.socket().state();
        let events = &self.stats.events;
        let mut wire = FlowWire::new(&mut port.link, flow.neighbour, &flow.key, now, events);
        let next = flow
            .tcp
            .egress(SEGMENTS_PER_POLL, &mut wire, &mut port.interface);
        let state = flow.tcp.socket().state();
        if state != before {
            // A timer ended it.
            Self::mark(&mut self.ready, &mut flow.ready, slot);
        }
        if let Some(until) = flow.linger {
            let reset_sent = flow.tcp.socket().remote_endpoint().is_none();
            let over = match state {
                State::Closed => reset_sent || now >= until + LINGER,
                State::TimeWait => true,
                _ => false,
            };
            if over {
                self.remove(slot, now);
                return;
            }
        }
        let deadline = match next {
            Some(at) if at <= now => {
                Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
                flow.linger
            }
            at => [at, flow.linger].into_iter().flatten().min(),
        };
        if let Some(deadline) = deadline {
            self.timers.set(slot, deadline);
        }
    }

    fn remove(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Some(flow) = entry.flow.take() else {
            return;
        };
        entry.turn = entry.turn.wrapping_add(1);
        self.timers.cancel(slot);
        self.by_key.remove(&flow.key);
        self.free.push(slot);
        self.release_neighbour(usize::from(flow.key.port()), flow.neighbour);
        if let Some(record) = flow.closed_at {
            self.stats.events.count(StackEvent::FlowClosed);
            self.time_wait.insert(flow.key, record, now);
        }
    }

    /// Whether peers have acknowledged everything that was sent to them, the end of each closed
    /// stream included. Looks at all flows: for the end of a worker, not for its polls.
    pub fn is_delivered(&self) -> bool {
        self.slots
            .iter()
            .filter_map(|slot| slot.flow.as_ref())
            .all(|flow| {
                let socket = flow.tcp.socket();
                let end_under_way = matches!(
                    socket.state(),
                    State::FinWait1 | State::Closing | State::LastAck
                );
                socket.send_queue() == 0 && !end_under_way
            })
    }

    /// When [`Self::expire`] or [`Self::flush`] has something to do, frames aside; `None` when
    /// nothing is under way. For idling and simulation.
    pub fn next_wake(&self) -> Option<Instant> {
        if !self.dirty.is_empty() || !self.ready.is_empty() {
            return Some(Instant::ZERO);
        }
        let asking = self
            .ports
            .iter()
            .filter_map(|p| p.link.neighbours.next_retry())
            .min();
        [
            self.timers.next_due(),
            self.half_open.next_expiry(),
            self.time_wait.next_expiry(),
            asking,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn mark(ready: &mut VecDeque<u32>, flag: &mut bool, slot: u32) {
        if !std::mem::replace(flag, true) {
            ready.push_back(slot);
        }
    }

    fn mark_dirty(dirty: &mut Vec<u32>, flag: &mut bool, slot: u32) {
        if !std::mem::replace(flag, true) {
            dirty.push(slot);
        }
    }
}

fn of_turn(slot: &mut Slot, turn: u32) -> Option<&mut Flow> {
    if slot.turn == turn {
        slot.flow.as_mut()
    } else {
        None
    }
}

fn flow_mut(slots: &mut [Slot], id: FlowId) -> Option<&mut Flow> {
    of_turn(slots.get_mut(id.slot as usize)?, id.turn)
}

fn flow_ref(slots: &[Slot], id: FlowId) -> Option<&Flow> {
    let slot = slots.get(id.slot as usize)?;
    if slot.turn == id.turn {
        slot.flow.as_ref()
    } else {
        None
    }
}
