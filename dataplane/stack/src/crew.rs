//! Workers that serve the same ports together: which of them a flow belongs to, and the rings by which
//! a frame gets there from the worker whose queue it came in by, and out by the queue of another.
//!
//! Between each two workers there is a ring each way, bounded, of one producer and one consumer; nothing
//! else of the data path is shared. What finds a ring full is lost and counted: TCP sends it again.

use std::net::IpAddr;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::frame::Found;
use crate::io::{PacketIo, TxMeta};
use crate::key::FlowKey;
use crate::neighbour::Mac;
use crate::steering::{First, Order, Steering, Ways};

/// Frames that may wait from one worker to another. A worker that is behind by so many is behind by
/// more than its device queues hold.
pub const RING: usize = 512;

/// First frames of connections that may wait to be looked at; more are not needed.
const FIRSTS: usize = 1_024;

/// Frames taken from each other worker per poll.
pub(crate) const PASSED_PER_POLL: usize = 128;

/// What a port has for its workers.
#[derive(Debug, Clone)]
pub struct PortCrew {
    /// Which worker a flow of the port belongs to.
    pub steering: Steering,
    /// Queue pairs of the device, at least one: the first workers have one each, and each of the others
    /// sends by one of theirs.
    pub queues: u16,
    /// Those of them that are always there, at least one. Whoever has another sends by one of these while it is
    /// not ([`PacketIo::sends`]).
    pub certain_queues: u16,
}

/// From the worker that received something to the one that it belongs to.
pub(crate) enum Passed<Rx> {
    /// A frame, checksums verified, the segment that was found in it, and the workers that it was no business
    /// of.
    Frame {
        port: u8,
        frame: Rx,
        found: Option<Found>,
        tried: Tried,
    },
    /// Where a neighbour is.
    Neighbour { port: u8, lesson: Lesson },
}

/// Workers that have looked at a frame and passed it on, by the bits of their numbers, of which there are
/// 64 at most: none gets it twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tried(u64);

impl Tried {
    /// Nobody has: it has just been received.
    pub(crate) const NOBODY: Tried = Tried(0);

    #[inline]
    pub(crate) fn has(self, worker: u16) -> bool {
        self.0.checked_shr(worker.into()).unwrap_or(1) & 1 != 0
    }

    #[inline]
    #[must_use]
    pub(crate) fn and(self, worker: u16) -> Tried {
        Tried(self.0 | 1u64.checked_shl(worker.into()).unwrap_or(0))
    }
}

/// Where a neighbour was found to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lesson {
    pub(crate) address: IpAddr,
    pub(crate) mac: Mac,
    /// Whether it is to be remembered by those who did not ask for it.
    pub(crate) create: bool,
}

/// A frame to be sent by the queue of another worker.
pub(crate) type Outgoing<P> = (<P as PacketIo>::Tx, TxMeta);

/// One worker's place among those that serve the same ports; for its [`Stack`](crate::Stack).
pub struct Seat<P: PacketIo> {
    pub(crate) number: u16,
    workers: u16,
    /// By port.
    ways: Vec<Ways>,
    /// By port: whether each worker has a queue, so that where frames land says how the device steers.
    steered: Vec<bool>,
    firsts: Option<Producer<First>>,
    /// By worker; `None` for this one.
    to: Vec<Option<Producer<Passed<P::Rx>>>>,
    pub(crate) from: Vec<Consumer<Passed<P::Rx>>>,
    /// By port.
    pub(crate) lines: Vec<Line<P>>,
}

/// How a worker's frames leave by a port.
pub(crate) struct Line<P: PacketIo> {
    /// This worker has a queue, which need not be there at all times.
    pub(crate) own: bool,
    /// To the worker that sends for this one, where and while this one has no queue.
    pub(crate) out: Option<Producer<Outgoing<P>>>,
    /// From those that this one sends for.
    pub(crate) others: Vec<Consumer<Outgoing<P>>>,
}

impl<P: PacketIo> Default for Line<P> {
    fn default() -> Self {
        Line {
            own: false,
            out: None,
            others: Vec::new(),
        }
    }
}

/// Seats for `workers` workers over these ports, in the order of their numbers.
pub fn crew<P: PacketIo>(workers: u16, ports: &[PortCrew]) -> Vec<Seat<P>> {
    let mut seats: Vec<Seat<P>> = (0..workers)
        .map(|number| Seat {
            number,
            workers,
            ways: ports
                .iter()
                .map(|port| Ways::new(port.steering.clone()))
                .collect(),
            steered: ports.iter().map(|port| port.queues >= workers).collect(),
            firsts: None,
            to: (0..workers).map(|_| None).collect(),
            from: Vec::new(),
            lines: ports.iter().map(|_| Line::default()).collect(),
        })
        .collect();
    for from in 0..usize::from(workers) {
        for to in (0..usize::from(workers)).filter(|to| *to != from) {
            let (producer, consumer) = RingBuffer::new(RING);
            seats[from].to[to] = Some(producer);
            seats[to].from.push(consumer);
        }
    }
    for (port, crew) in ports.iter().enumerate() {
        let queues = usize::from(crew.queues.max(1));
        let certain = usize::from(crew.certain_queues.max(1)).min(queues);
        for worker in certain..usize::from(workers) {
            let own = worker < queues;
            let sender = worker % if own { certain } else { queues };
            let (producer, consumer) = RingBuffer::new(RING);
            seats[worker].lines[port].own = own;
            seats[worker].lines[port].out = Some(producer);
            seats[sender].lines[port].others.push(consumer);
        }
    }
    seats
}

/// First frames of connections that a worker received, for whoever judges how devices steer.
#[derive(Debug)]
pub struct Firsts(Consumer<First>);

impl Firsts {
    /// The oldest that nobody has taken yet.
    pub fn take(&mut self) -> Option<First> {
        self.0.pop().ok()
    }
}

impl<P: PacketIo> Seat<P> {
    /// Workers of the crew.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// From now on first frames of connections are told; see [`Firsts`].
    pub fn watch(&mut self) -> Firsts {
        let (producer, consumer) = RingBuffer::new(FIRSTS);
        self.firsts = Some(producer);
        Firsts(consumer)
    }

    /// By which steerings a port's flows are found.
    #[inline]
    pub(crate) fn ways(&self, port: u8) -> Option<&Ways> {
        self.ways.get(usize::from(port))
    }

    /// Changes how flows of a port are found.
    pub(crate) fn carry_out(&mut self, port: u8, order: Order) {
        if let Some(ways) = self.ways.get_mut(usize::from(port)) {
            ways.carry_out(order);
        }
    }

    /// The worker that a new flow belongs to, if it is another one.
    #[inline]
    pub(crate) fn elsewhere(&self, key: &FlowKey) -> Option<u16> {
        let owner = self.ways(key.port())?.newest(key);
        (owner != self.number).then_some(owner)
    }

    /// Tells of the first frame of a connection, which came in by this worker's queue.
    #[cold]
    pub(crate) fn note_first(&mut self, key: &FlowKey) {
        let worker = self.number;
        if self.steered.get(usize::from(key.port())) == Some(&true)
            && let Some(firsts) = &mut self.firsts
        {
            // Where nobody has looked for long, there are enough.
            let _ = firsts.push(First { key: *key, worker });
        }
    }

    /// Hands a frame to another worker; false where too many wait for it.
    #[inline]
    pub(crate) fn pass(
        &mut self,
        to: u16,
        (port, frame): (u8, P::Rx),
        found: Option<Found>,
        tried: Tried,
    ) -> bool {
        let passed = Passed::Frame {
            port,
            frame,
            found,
            tried: tried.and(self.number),
        };
        match self.to.get_mut(usize::from(to)) {
            Some(Some(ring)) => match ring.push(passed) {
                Ok(()) => true,
                Err(PushError::Full(_)) => false,
            },
            _ => false,
        }
    }

    /// Tells the other workers of a neighbour; returns how many could not be told.
    #[cold]
    pub(crate) fn tell(&mut self, port: u8, lesson: Lesson) -> u64 {
        let mut missed = 0;
        for ring in self.to.iter_mut().flatten() {
            let told = ring.push(Passed::Neighbour { port, lesson });
            missed += u64::from(told.is_err());
        }
        missed
    }
}
