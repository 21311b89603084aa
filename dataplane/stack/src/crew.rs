//! Workers that serve the same ports together: which of them a flow belongs to, and the rings by which
//! a frame gets there from the worker whose queue it came in by, and out by the queue of another.
//!
//! Between each two workers there is a ring each way, bounded, of one producer and one consumer; nothing
//! else of the data path is shared. What finds a ring full is lost and counted: TCP sends it again.

use std::net::IpAddr;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use crate::io::{PacketIo, TxMeta};
use crate::key::FlowKey;
use crate::neighbour::Mac;
use crate::steering::Steering;

/// Frames that may wait from one worker to another. A worker that is behind by so many is behind by
/// more than its device queues hold.
pub const RING: usize = 512;

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
}

/// From the worker that received something to the one that it belongs to.
pub(crate) enum Passed<Rx> {
    /// A frame, checksums verified.
    Frame { port: u8, frame: Rx },
    /// Where a neighbour is.
    Neighbour { port: u8, lesson: Lesson },
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
    steering: Vec<Steering>,
    /// By worker; `None` for this one.
    to: Vec<Option<Producer<Passed<P::Rx>>>>,
    pub(crate) from: Vec<Consumer<Passed<P::Rx>>>,
    /// By port.
    pub(crate) lines: Vec<Line<P>>,
}

/// How a worker's frames leave by a port.
pub(crate) struct Line<P: PacketIo> {
    /// To the worker that sends for this one, where this one has no queue.
    pub(crate) out: Option<Producer<Outgoing<P>>>,
    /// From those that this one sends for.
    pub(crate) others: Vec<Consumer<Outgoing<P>>>,
}

impl<P: PacketIo> Default for Line<P> {
    fn default() -> Self {
        Line {
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
            steering: ports.iter().map(|port| port.steering.clone()).collect(),
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
        for worker in queues..usize::from(workers) {
            let (producer, consumer) = RingBuffer::new(RING);
            seats[worker].lines[port].out = Some(producer);
            seats[worker % queues].lines[port].others.push(consumer);
        }
    }
    seats
}

impl<P: PacketIo> Seat<P> {
    /// Workers of the crew.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// The worker that a flow belongs to, if it is another one.
    #[inline]
    pub(crate) fn elsewhere(&self, key: &FlowKey) -> Option<u16> {
        let owner = self.steering.get(usize::from(key.port()))?.owner(key);
        (owner != self.number).then_some(owner)
    }

    /// Hands a frame to another worker; false where too many wait for it.
    #[inline]
    pub(crate) fn pass(&mut self, to: u16, port: u8, frame: P::Rx) -> bool {
        match self.to.get_mut(usize::from(to)) {
            Some(Some(ring)) => match ring.push(Passed::Frame { port, frame }) {
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
