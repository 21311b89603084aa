//! All flows of one worker: frames in, byte streams out, and back.

mod ahead;
mod arriving;
mod contained;
mod footprint;
mod held;
mod keys;
mod opening;
mod passing;
mod report;
mod sending;
mod streams;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cookie::Cookies;
use crate::counters::{Counters, Gauge};
use crate::crew::{Seat, Tried};
use crate::expiring::Expiring;
use crate::fate::{FrameFate, StackEvent};
use crate::half_open::Syn;
use crate::io::PacketIo;
use crate::isn::IsnSource;
use crate::key::{FlowId, FlowKey};
use crate::link::{Link, PortSetup};
use crate::neighbour::{NeighbourRef, Reason};
use crate::rate_limit::RateLimit;
use crate::rng::Rng;
use crate::steering::Order;
use crate::tap::{Tap, TapFilter, TapQueue};
use crate::tcp::pool::Pool;
use crate::tcp::{Algorithm, Patience, Tcp, TcpTimers, Terms};
use crate::time::Instant;
use crate::wheel::Wheel;

use contained::NOBODY;
use keys::Keys;

pub use report::FlowInfo;

/// How long a half-open flow is remembered (a client that got our SYN-ACK answers within this).
const HALF_OPEN_LIFETIME: Duration = Duration::from_secs(10);
/// How long a closed flow's record answers for it (TIME-WAIT, RFC 9293 3.6.1).
const TIME_WAIT_LIFETIME: Duration = Duration::from_secs(30);
/// How long it is remembered that a path takes smaller packets than its port (RFC 1191 6.3, RFC 8201 5.2:
/// ten minutes), and of how many paths.
const PATH_LIFETIME: Duration = Duration::from_secs(600);
const PATHS: usize = 16_384;
/// How long a flow that its user has let go of may go without its peer taking any of what is queued,
/// and may then take to close.
const LINGER: Duration = Duration::from_secs(10);
/// Bursts taken from a port per poll: a queue that fills faster than it is looked at loses frames.
const BURSTS_PER_POLL: usize = 4;
/// Segments one flow may send per poll before the others get their turn.
const SEGMENTS_PER_POLL: usize = 64;
/// Source ports of outgoing connections (IANA's dynamic range plus Linux's default).
pub const EPHEMERAL: std::ops::Range<u16> = 32_768..60_999;
/// How many source ports of each address are tried for one connection before the next address is, and
/// how many before it is refused.
const PORT_TRIES: [u32; 2] = [16, 512];

/// Challenge ACKs (RFC 5961 10) of all flows per second, about: the number differs from second to
/// second, so that nobody can tell from those that others got whether a flow is there.
const CHALLENGES_PER_SECOND: u32 = 1_000;

/// Bytes a connection may hold in each direction at first; [`Limits::window`] is what they may grow to.
/// It holds no memory while there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Received and not yet read. The largest window offered is a segment more, so that so much can
    /// always come together. At most 1 GiB.
    pub receive: usize,
    /// Written and not yet acknowledged. At most 1 GiB.
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

/// Bounds of one worker's stack.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Flows, those that are still closing included.
    pub flows: usize,
    /// Half-open flows recorded; beyond it SYNs are answered with cookies.
    pub half_open: usize,
    /// TIME-WAIT records; beyond it the oldest is forgotten.
    pub time_wait: usize,
    /// Bytes that a flow may hold in each direction where its path needs more than its [`Buffers`]: at
    /// most 64 MiB. What it is once the path was felt out: a client 20 ms away at 1 Gbit/s takes 2.5 MB.
    pub window: u32,
    /// Bytes that all flows may hold beyond their [`Buffers`] together.
    pub window_memory: usize,
    /// How patient flows are.
    pub tcp: TcpTimers,
    /// What decides how fast they send.
    pub congestion: Algorithm,
}

impl Limits {
    fn terms(&self) -> Terms {
        Terms {
            window: self.window.min(64 << 20),
            algorithm: self.congestion,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            flows: 131_072,
            half_open: 16_384,
            time_wait: 65_536,
            window: 4 << 20,
            window_memory: 256 << 20,
            tcp: TcpTimers::default(),
            congestion: Algorithm::default(),
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

/// Counters and levels of a stack, shared with whoever reports them; on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
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
    /// Orders about steering that were carried out.
    pub steering_orders: Gauge,
    /// Bytes that flows hold beyond their buffers now.
    pub window_memory: Gauge,
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
    /// A SYN was answered with an ACK: a RST may follow from whoever knows nothing of this connection.
    challenged: bool,
}

#[derive(Clone, Copy)]
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

/// The stack of one worker over its ports.
pub struct Stack<P: PacketIo> {
    ports: Vec<Link<P>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    keys: Keys,
    listeners: HashMap<(u8, SocketAddr), Listener>,
    half_open: Expiring<HalfOpen>,
    time_wait: Expiring<TimeWait>,
    /// The largest packets that pass, of paths that take less than their port.
    paths: Expiring<u16>,
    timers: Wheel,
    ready: VecDeque<u32>,
    dirty: Vec<u32>,
    settling: Vec<u32>,
    /// How many of those that settle have been looked at.
    settled: usize,
    /// The place of the flow that is being worked on.
    at: u32,
    isn: IsnSource,
    cookies: Cookies,
    rng: Rng,
    pool: Pool,
    challenges: RateLimit,
    patience: Patience,
    limits: Limits,
    /// Its place among the workers of the same ports, if there are others.
    seat: Option<Seat<P>>,
    /// Other workers that had the frame at hand before.
    tried: Tried,
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
            .map(|(index, (io, setup))| Link::new(index as u8, io, &setup))
            .collect();
        Stack {
            ports,
            slots: Vec::with_capacity(limits.flows),
            free: Vec::new(),
            keys: Keys::new(limits.flows, hasher.clone()),
            listeners: HashMap::new(),
            half_open: Expiring::new(HALF_OPEN_LIFETIME, limits.half_open, hasher.clone()),
            time_wait: Expiring::new(TIME_WAIT_LIFETIME, limits.time_wait, hasher.clone()),
            paths: Expiring::new(PATH_LIFETIME, PATHS, hasher),
            timers: Wheel::with_capacity(limits.flows),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            settling: Vec::new(),
            settled: 0,
            at: NOBODY,
            isn: IsnSource::new(secrets.isn),
            cookies: Cookies::new(secrets.isn),
            rng: Rng::new(secrets.ports),
            pool: Pool::growing_by(limits.window_memory),
            challenges: RateLimit::varying(CHALLENGES_PER_SECOND, Rng::new(a.rotate_left(32) ^ b)),
            patience: limits.tcp.into(),
            limits,
            seat: None,
            tried: Tried::NOBODY,
            stats,
        }
    }

    /// Makes it one of several over the same ports, before its first frame.
    pub fn join(&mut self, mut seat: Seat<P>) {
        for (link, line) in self.ports.iter_mut().zip(seat.lines.drain(..)) {
            link.line = line;
        }
        self.seat = Some(seat);
    }

    /// How many workers serve the ports together.
    pub fn workers(&self) -> u16 {
        self.seat.as_ref().map_or(1, Seat::workers)
    }

    /// Changes how flows of a port are found; counted in [`StackStats::steering_orders`].
    pub fn steer(&mut self, port: u8, order: Order) {
        if let Some(seat) = &mut self.seat {
            seat.carry_out(port, order);
        }
        let orders = &self.stats.steering_orders;
        orders.set(orders.get() + 1);
    }

    /// Tells every link which addresses are ours; of several workers, the first does.
    pub fn announce(&mut self) {
        if self.seat.as_ref().is_some_and(|seat| seat.number != 0) {
            return;
        }
        for port in &mut self.ports {
            port.announce();
            port.flush(&self.stats.events);
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
        self.ports.iter().map(|port| &port.io)
    }

    /// Copies the frames that `filter` chooses, of one port or of all, to `queue` from now on until
    /// that is closed. A capture under way is ended by it.
    pub fn tap(&mut self, port: Option<u8>, filter: TapFilter, queue: &Arc<TapQueue>) {
        for (index, link) in (0..).zip(&mut self.ports) {
            let wanted = port.is_none_or(|port| port == index);
            link.tap = wanted.then(|| Tap::new(index, filter, queue.clone(), self.stats.clone()));
        }
    }

    fn neighbour(
        &mut self,
        port: usize,
        key: &FlowKey,
        reason: Reason,
        now: Instant,
    ) -> Option<NeighbourRef> {
        let link = self.ports.get_mut(port)?;
        let next_hop = link.next_hop(key.remote().ip())?;
        let found = link.neighbours.acquire(next_hop, reason, now);
        if found.is_none() {
            self.stats.events.count(StackEvent::NeighbourFull);
        }
        found
    }

    fn release_neighbour(&mut self, port: usize, neighbour: NeighbourRef) {
        if let Some(link) = self.ports.get_mut(port) {
            link.neighbours.release(neighbour);
        }
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
        self.keys.insert(&self.slots, &key, slot);
        slot
    }

    /// Has a new flow begin with what others have learnt of its path.
    fn follow_path(&self, key: &FlowKey, tcp: &mut Tcp) {
        if self.paths.len() > 0
            && let Some(&mtu) = self.paths.get(&key.path())
        {
            tcp.keep_below(mtu, key.is_v4());
        }
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
