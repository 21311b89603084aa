//! Simulated links: frames between two ports in virtual time, with the faults of real networks,
//! all following from one seed. Without faults it doubles as the fastest wire there is, for benches.

mod lane;
mod port;
mod segmentation;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::io::{IoStats, PortCaps};
use crate::rng::Rng;
use crate::time::Instant;

use lane::{Lane, Outbox};

pub use lane::Spread;
pub use port::{SimFrame, SimPort};

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
