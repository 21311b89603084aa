//! Frames on their way, and which of a port's queues they take.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::Faults;
use crate::key::FlowKey;
use crate::rng::Rng;
use crate::steering::Steering;
use crate::tap::Ends;
use crate::time::Instant;

/// The frames on their way to one port, in order of arrival.
pub(super) struct Lane {
    pub(super) frames: RefCell<VecDeque<(Instant, Vec<u8>)>>,
    pub(super) faults: Cell<Faults>,
    pub(super) rng: RefCell<Rng>,
    pub(super) bound: usize,
    /// When the wire has taken in what came, at its rate.
    pub(super) free_at: Cell<Instant>,
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
pub(super) struct Outbox {
    pub(super) lanes: Vec<Rc<Lane>>,
    pub(super) spread: Rc<RefCell<Spread>>,
}

impl Lane {
    /// How long a frame waits until it has gone into the wire.
    pub(super) fn waits(&self, len: usize, rate: Option<u64>, now: Instant) -> Duration {
        let Some(rate) = rate else {
            return Duration::ZERO;
        };
        let takes = len as u64 * 8 * 1_000_000_000 / rate.max(1);
        let free_at = self.free_at.get().max(now).plus_nanos(takes);
        self.free_at.set(free_at);
        free_at.since(now)
    }

    pub(super) fn put(&self, at: Instant, frame: Vec<u8>) -> Result<(), Vec<u8>> {
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
    pub(super) fn first(&self) -> &Lane {
        &self.lanes[0]
    }

    /// The lane that a frame takes.
    pub(super) fn lane(&self, frame: &[u8]) -> &Lane {
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
