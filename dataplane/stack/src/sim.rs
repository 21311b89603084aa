//! Simulated links: frames between two ports in virtual time, with the faults of real networks,
//! all following from one seed. Without faults it doubles as the fastest wire there is, for benches.

mod segmentation;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::io::{
    IoStats, L2_MAX, PacketIo, PortCaps, RxBurst, RxChecksum, RxFrame, TxFrame, TxMeta,
};
use crate::key::FlowKey;
use crate::rng::Rng;
use crate::steering::Steering;
use crate::tap::Ends;
use crate::time::Instant;

/// What one direction of a link does to frames. Probabilities from 0.0 to 1.0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// A frame vanishes.
    pub loss: f64,
    /// A frame arrives twice.
    pub duplicate: f64,
    /// A frame is held up long enough for later ones to overtake it.
    pub reorder: f64,
    /// One bit of a frame is flipped.
    pub corrupt: f64,
    /// No transmit buffer is to be had when one is asked for.
    pub no_buffer: f64,
    /// Every frame takes at least this long.
    pub delay: Duration,
    /// And up to this much longer.
    pub jitter: Duration,
    /// Bits that go through per second, counted with Ethernet's header; `None` for as many as come. What
    /// waits for its turn is as bounded as all that is on its way.
    pub rate: Option<u64>,
}

struct Shared {
    now: Cell<Instant>,
    /// Buffers of frames that were consumed, for the next ones.
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Frames that somebody has in hand, received ones and those to be sent.
    in_hand: Cell<usize>,
    faults_done: Cell<u64>,
    checksums_good: Cell<bool>,
}

/// The frames on their way to one port, in order of arrival.
struct Lane {
    frames: RefCell<VecDeque<(Instant, Vec<u8>)>>,
    faults: Cell<Faults>,
    rng: RefCell<Rng>,
    bound: usize,
    /// When the wire has taken in what came, at its rate.
    free_at: Cell<Instant>,
}

/// How a device spreads what it receives over its queues.
#[derive(Debug, Clone)]
pub enum Spread {
    /// As chance will have it, frame by frame.
    Random,
    /// By flow, as the queue of the worker that owns it; what is no TCP goes to the first.
    Flow(Steering),
}

/// Where a port's frames go: one lane for each queue of the other side.
struct Outbox {
    lanes: Vec<Rc<Lane>>,
    spread: Rc<RefCell<Spread>>,
}

/// A simulated network: a clock, and links between pairs of ports.
pub struct Net {
    shared: Rc<Shared>,
    /// Two for each link; a direction has a lane for each queue at its end.
    lanes: Vec<Vec<Rc<Lane>>>,
    /// One for each link.
    spreads: Vec<Rc<RefCell<Spread>>>,
    rng: Rng,
}

/// Frames on their way to one port; more are lost, as in a switch's queue.
const LANE_BOUND: usize = 4096;

impl Net {
    /// An empty network at [`Instant::ZERO`].
    pub fn new(seed: u64) -> Self {
        Net {
            shared: Rc::new(Shared {
                now: Cell::new(Instant::ZERO),
                buffers: RefCell::new(Vec::new()),
                in_hand: Cell::new(0),
                faults_done: Cell::new(0),
                checksums_good: Cell::new(false),
            }),
            lanes: Vec::new(),
            spreads: Vec::new(),
            rng: Rng::new(seed),
        }
    }

    /// Two ports with a wire between them, of an MTU, with the faults of each direction: from the
    /// first to the second, and back.
    pub fn link(&mut self, mtu: u16, faults: [Faults; 2]) -> (SimPort, SimPort) {
        let (first, mut second) = self.link_of_queues(mtu, faults, 1, 1, &Spread::Random);
        (first, second.remove(0))
    }

    /// As [`Self::link`], with a second port for so many workers: the first of them have one of its
    /// queues each, over which it spreads what comes. By the others nothing comes, and nothing is to be
    /// sent.
    pub fn link_of_queues(
        &mut self,
        mtu: u16,
        faults: [Faults; 2],
        workers: usize,
        queues: usize,
        spread: &Spread,
    ) -> (SimPort, Vec<SimPort>) {
        let [to_second, to_first] = [(faults[0], workers.max(1)), (faults[1], 1)].map(
            |(faults, queues)| -> Vec<Rc<Lane>> {
                let lane = |_| Lane {
                    frames: RefCell::new(VecDeque::new()),
                    faults: Cell::new(faults),
                    rng: RefCell::new(Rng::new(self.rng.next_u64())),
                    bound: LANE_BOUND,
                    free_at: Cell::new(Instant::ZERO),
                };
                (0..queues).map(lane).map(Rc::new).collect()
            },
        );
        let number = self.lanes.len() as u8;
        let spread = Rc::new(RefCell::new(spread.clone()));
        let port = |inbox: &Rc<Lane>, outbox: &[Rc<Lane>], side: u8| SimPort {
            shared: self.shared.clone(),
            inbox: inbox.clone(),
            outbox: Outbox {
                lanes: outbox.into(),
                spread: spread.clone(),
            },
            caps: PortCaps {
                mac: [2, 0, 0, 0, number, side],
                mtu,
                tx_ipv4_checksum: false,
                tx_tcp_checksum: false,
                tx_segmentation: 0,
            },
            stats: IoStats::default(),
        };
        let first = port(
            &to_first[0],
            &to_second[..queues.clamp(1, workers.max(1))],
            1,
        );
        let second = to_second.iter().map(|queue| port(queue, &to_first, 2));
        let second = second.collect();
        self.lanes.extend([to_second, to_first]);
        self.spreads.push(spread);
        (first, second)
    }

    /// Has the device at the second end of the link made `number`-th (from 0) spread what it receives in
    /// another way from now on.
    pub fn set_spread(&mut self, number: usize, spread: Spread) {
        if let Some(place) = self.spreads.get(number) {
            place.replace(spread);
        }
    }

    /// Changes the faults of the link made `number`-th (from 0), both directions.
    pub fn set_faults(&mut self, number: usize, faults: [Faults; 2]) {
        for (lanes, faults) in self.lanes.iter().skip(number * 2).zip(faults) {
            lanes.iter().for_each(|lane| lane.faults.set(faults));
        }
    }

    /// Has every port vouch for the checksums of what it receives, as devices do that verify them:
    /// damaged frames then go all the way in.
    pub fn vouch_for_checksums(&self) {
        self.shared.checksums_good.set(true);
    }

    /// The time on this network.
    pub fn now(&self) -> Instant {
        self.shared.now.get()
    }

    /// Moves the clock, never backwards.
    pub fn advance_to(&self, at: Instant) {
        self.shared.now.set(self.now().max(at));
    }

    /// Puts a frame of a third station onto the link made `number`-th (from 0), on its way to the second
    /// port, or to the first of its queues; the destination becomes that port's MAC.
    pub fn inject(&self, number: usize, frame: &[u8]) {
        let Some([lane, ..]) = self.lanes.get(number * 2).map(Vec::as_slice) else {
            return;
        };
        let mut bytes = self.shared.copy(frame);
        if let Some(destination) = bytes.first_chunk_mut() {
            *destination = [2, 0, 0, 0, 2 * number as u8, 2];
        }
        if let Err(bytes) = lane.put(self.now(), bytes) {
            self.shared.buffers.borrow_mut().push(bytes);
        }
    }

    /// When the next frame arrives somewhere; `None` when none is on its way.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.lanes
            .iter()
            .flatten()
            .filter_map(|l| l.frames.borrow().front().map(|f| f.0))
            .min()
    }

    /// How many frames those at the ports have in hand: received ones that they keep, and buffers to send
    /// from.
    pub fn in_hand(&self) -> usize {
        self.shared.in_hand.get()
    }

    /// Whether no queue has more frames than it may.
    pub fn is_bounded(&self) -> bool {
        let mut lanes = self.lanes.iter().flatten();
        lanes.all(|lane| lane.frames.borrow().len() <= lane.bound)
    }

    /// How many frames were lost, doubled, held up, damaged or refused a buffer so far.
    pub fn faults_done(&self) -> u64 {
        self.shared.faults_done.get()
    }
}

impl Shared {
    fn fault(&self, happens: bool) -> bool {
        if happens {
            self.faults_done.set(self.faults_done.get() + 1);
        }
        happens
    }

    fn copy(&self, frame: &[u8]) -> Vec<u8> {
        let mut copy = self.buffers.borrow_mut().pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(frame);
        copy
    }
}

impl Lane {
    /// How long a frame waits until it has gone into the wire.
    fn waits(&self, len: usize, rate: Option<u64>, now: Instant) -> Duration {
        let Some(rate) = rate else {
            return Duration::ZERO;
        };
        let takes = len as u64 * 8 * 1_000_000_000 / rate.max(1);
        let free_at = self.free_at.get().max(now).plus_nanos(takes);
        self.free_at.set(free_at);
        free_at.since(now)
    }

    fn put(&self, at: Instant, frame: Vec<u8>) -> Result<(), Vec<u8>> {
        let mut frames = self.frames.borrow_mut();
        if frames.len() >= self.bound {
            return Err(frame);
        }
        // Almost always the end: only jitter and reordering insert before others.
        let place = match frames.back() {
            Some((last, _)) if *last > at => frames.partition_point(|(t, _)| *t <= at),
            _ => frames.len(),
        };
        frames.insert(place, (at, frame));
        Ok(())
    }
}

impl Outbox {
    /// The lane whose faults and whose chance count for all.
    fn first(&self) -> &Lane {
        &self.lanes[0]
    }

    /// The lane that a frame takes.
    fn lane(&self, frame: &[u8]) -> &Lane {
        let queues = self.lanes.len();
        if queues == 1 {
            return self.first();
        }
        let queue = match &*self.spread.borrow() {
            Spread::Random => self.first().rng.borrow_mut().below(queues as u64) as usize,
            Spread::Flow(steering) => {
                flow(frame).map_or(0, |flow| usize::from(steering.owner(&flow)) % queues)
            }
        };
        &self.lanes[queue]
    }
}

/// The flow of a frame as its receiver sees it.
fn flow(frame: &[u8]) -> Option<FlowKey> {
    let Ends {
        addresses: [source, destination],
        tcp_ports,
    } = Ends::of(frame)?;
    let [from, to] = tcp_ports?;
    let (local, remote) = (
        SocketAddr::new(destination, to),
        SocketAddr::new(source, from),
    );
    Some(FlowKey::new(0, local, remote))
}

/// One end of a simulated link.
pub struct SimPort {
    shared: Rc<Shared>,
    inbox: Rc<Lane>,
    outbox: Outbox,
    caps: PortCaps,
    stats: IoStats,
}

impl PacketIo for SimPort {
    type Rx = SimFrame;
    type Tx = SimFrame;

    fn caps(&self) -> PortCaps {
        self.caps
    }

    fn rx_burst(&mut self, into: &mut RxBurst<SimFrame>) -> usize {
        let now = self.shared.now.get();
        let mut frames = self.inbox.frames.borrow_mut();
        let before = into.len();
        while !into.is_full() && frames.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, bytes)) = frames.pop_front() else {
                break;
            };
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += bytes.len() as u64;
            into.push(SimFrame::new(bytes, &self.shared));
        }
        into.len() - before
    }

    fn alloc(&mut self) -> Option<SimFrame> {
        let refuse = self.outbox.first().faults.get().no_buffer;
        if refuse > 0.0
            && self
                .shared
                .fault(self.outbox.first().rng.borrow_mut().chance(refuse))
        {
            self.stats.tx_no_buffer += 1;
            return None;
        }
        let bytes = self.shared.buffers.borrow_mut().pop().unwrap_or_default();
        Some(SimFrame::new(bytes, &self.shared))
    }

    fn alloc_large(&mut self) -> Option<SimFrame> {
        self.alloc()
    }

    fn send(&mut self, mut frame: SimFrame, meta: TxMeta) {
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.bytes.len() as u64;
        if self.caps.tx_segmentation == 0 {
            return self.carry(frame);
        }
        self.stats.tx_large += u64::from(meta.segment > 0);
        for packet in segmentation::cut(&mut frame.bytes, meta) {
            let packet = SimFrame::new(packet, &self.shared);
            self.carry(packet);
        }
    }

    fn flush(&mut self) {}

    fn stats(&self) -> IoStats {
        self.stats
    }
}

impl SimPort {
    /// Has the port's device fill in checksums and cut packets of up to `largest` bytes into segments.
    #[must_use]
    pub fn with_segmentation(mut self, largest: u16) -> Self {
        self.caps = PortCaps {
            tx_ipv4_checksum: true,
            tx_tcp_checksum: true,
            tx_segmentation: largest,
            ..self.caps
        };
        self
    }

    /// Puts a frame on the link.
    fn carry(&mut self, mut frame: SimFrame) {
        let bytes = std::mem::take(&mut frame.bytes);
        debug_assert!(bytes.len() <= usize::from(self.caps.mtu) + L2_MAX);
        let (faults, shared) = (self.outbox.first().faults.get(), &self.shared);
        let mut at = shared.now.get() + faults.delay;
        if faults != Faults::default() {
            match self.disturb(bytes, at, &faults) {
                Some((bytes, when)) => {
                    frame.bytes = bytes;
                    at = when;
                }
                None => return,
            }
        } else {
            frame.bytes = bytes;
        }
        let bytes = std::mem::take(&mut frame.bytes);
        if let Err(bytes) = self.outbox.lane(&bytes).put(at, bytes) {
            self.stats.tx_full += 1;
            frame.bytes = bytes;
        }
    }

    /// Applies the link's faults; the frame to deliver and when, unless it is lost.
    fn disturb(
        &self,
        mut bytes: Vec<u8>,
        mut at: Instant,
        faults: &Faults,
    ) -> Option<(Vec<u8>, Instant)> {
        let shared = &self.shared;
        let lane = self.outbox.lane(&bytes);
        let mut rng = self.outbox.first().rng.borrow_mut();
        if shared.fault(rng.chance(faults.loss)) {
            shared.buffers.borrow_mut().push(bytes);
            return None;
        }
        at = at + Duration::from_nanos(rng.below(faults.jitter.as_nanos() as u64 + 1));
        at = at
            + self
                .outbox
                .first()
                .waits(bytes.len(), faults.rate, shared.now.get());
        if shared.fault(rng.chance(faults.duplicate)) {
            let again = at + Duration::from_micros(rng.below(500));
            let _ = lane.put(again, shared.copy(&bytes));
        }
        if shared.fault(rng.chance(faults.reorder)) {
            at = at + Duration::from_micros(100 + rng.below(3_000));
        }
        if shared.fault(rng.chance(faults.corrupt)) {
            // Behind the Ethernet header: damage there is for the frame check sequence to find,
            // which is not simulated.
            let bit = 14 * 8 + rng.below((bytes.len() as u64 - 14) * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Some((bytes, at))
    }
}

/// A frame on a simulated link; its buffer is used again.
pub struct SimFrame {
    bytes: Vec<u8>,
    shared: Rc<Shared>,
}

impl SimFrame {
    fn new(bytes: Vec<u8>, shared: &Rc<Shared>) -> Self {
        shared.in_hand.set(shared.in_hand.get() + 1);
        SimFrame {
            bytes,
            shared: shared.clone(),
        }
    }
}

impl RxFrame for SimFrame {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn checksum(&self) -> RxChecksum {
        if self.shared.checksums_good.get() {
            RxChecksum::Good
        } else {
            RxChecksum::Unknown
        }
    }
}

impl TxFrame for SimFrame {
    fn fill(&mut self, len: usize) -> &mut [u8] {
        self.bytes.resize(len, 0);
        &mut self.bytes
    }
}

impl Drop for SimFrame {
    fn drop(&mut self) {
        self.shared.in_hand.set(self.shared.in_hand.get() - 1);
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() > 0 {
            self.shared.buffers.borrow_mut().push(bytes);
        }
    }
}
