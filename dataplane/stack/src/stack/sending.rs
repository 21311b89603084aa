//! What goes out: timers, the segments that are due, and the end of flows.

use arrayvec::ArrayVec;

use super::{LINGER, NOBODY, SEGMENTS_PER_POLL, Stack, flow_mut};
use crate::fate::StackEvent;
use crate::io::PacketIo;
use crate::tcp::State;
use crate::tcp::wire::FlowWire;
use crate::time::Instant;

impl<P: PacketIo> Stack<P> {
    /// Lets timers fire and old records go. Bounded work per call.
    pub fn expire(&mut self, now: Instant) {
        self.contained(now, |stack| stack.expire_all(now));
        self.pool.trim(now);
    }

    #[inline]
    fn expire_all(&mut self, now: Instant) {
        let mut due = ArrayVec::<u32, 256>::new();
        self.timers.expire(now, &mut due);
        if self.is_crowded() {
            self.fetch_places(&due);
        }
        for slot in due {
            if let Some(flow) = self
                .slots
                .get_mut(slot as usize)
                .and_then(|s| s.flow.as_mut())
            {
                Self::mark_dirty(&mut self.dirty, &mut flow.dirty, slot);
            }
        }
        let expired = self.half_open.expire(now, 256);
        self.stats.events.add(StackEvent::HalfOpenExpired, expired);
        self.time_wait.expire(now, 256);
        self.paths.expire(now, 256);
        for port in &mut self.ports {
            if port.neighbours.next_retry().is_some_and(|at| at <= now) {
                let stranded = port.retry_neighbours(now, &self.stats.events);
                for id in stranded {
                    let Some(flow) = flow_mut(&mut self.slots, id) else {
                        continue;
                    };
                    if flow.tcp.state() == State::SynSent {
                        flow.stranded = true;
                        Self::mark(&mut self.ready, &mut flow.ready, id.slot);
                        Self::mark_dirty(&mut self.dirty, &mut flow.dirty, id.slot);
                    }
                }
            }
        }
    }

    /// Sends what is due on every flow that was touched, and hands all frames to the devices. Returns
    /// how many of them were other workers'.
    pub fn flush(&mut self, now: Instant) -> usize {
        std::mem::swap(&mut self.dirty, &mut self.settling);
        self.settled = 0;
        while !self.contained(now, |stack| {
            while let Some(&slot) = stack.settling.get(stack.settled) {
                stack.settled += 1;
                stack.at = slot;
                stack.settle(slot, now);
                stack.at = NOBODY;
            }
        }) {}
        self.settling.clear();
        let mut of_others = 0;
        for port in &mut self.ports {
            of_others += port.flush(&self.stats.events);
        }
        self.stats.flows.set(self.keys.len() as u64);
        self.stats.half_open.set(self.half_open.len() as u64);
        self.stats.time_wait.set(self.time_wait.len() as u64);
        self.stats.window_memory.set(self.pool.grown() as u64);
        of_others
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
            let left = flow.tcp.send.queued();
            if left < flow.lingering {
                // A slow reader, but one that reads: what it was answered is still to reach it.
                flow.lingering = left;
                *until = now + LINGER;
            }
            flow.tcp.consume(usize::MAX);
            if now >= *until && flow.tcp.state() != State::Closed {
                self.stats.events.count(StackEvent::FlowAborted);
                flow.tcp.abort();
            }
        }
        let Some(link) = self.ports.get_mut(usize::from(flow.key.port())) else {
            return;
        };
        let before = flow.tcp.state();
        let mut wire = FlowWire {
            link,
            neighbour: flow.neighbour,
            key: flow.key,
            now,
            events: &self.stats.events,
        };
        let timers = &self.patience;
        let next = flow
            .tcp
            .egress(SEGMENTS_PER_POLL, &mut wire, timers, &mut self.pool);
        #[cfg(debug_assertions)]
        flow.tcp.check();
        let state = flow.tcp.state();
        if state != before {
            // A timer ended it.
            Self::mark(&mut self.ready, &mut flow.ready, slot);
        }
        if let Some(until) = flow.linger {
            let over = match state {
                State::Closed => !flow.tcp.is_reset_due() || now >= until + LINGER,
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
            at => match flow.linger {
                Some(until) => Some(at.map_or(until, |at| at.min(until))),
                None => at,
            },
        };
        if let Some(deadline) = deadline {
            self.timers.set(slot, deadline);
        }
    }

    fn remove(&mut self, slot: u32, now: Instant) {
        let Some(entry) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let Some(mut flow) = entry.flow.take() else {
            return;
        };
        flow.tcp.release(&mut self.pool);
        entry.turn = entry.turn.wrapping_add(1);
        self.timers.cancel(slot);
        self.keys.remove(&flow.key, slot);
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
            .all(|flow| !flow.tcp.is_delivering())
    }

    /// Whether other workers have something for this one.
    fn others_wait(&self) -> bool {
        let Some(seat) = &self.seat else {
            return false;
        };
        let mut lines = self.ports.iter().flat_map(|port| &port.line.others);
        seat.from.iter().any(|ring| !ring.is_empty()) || lines.any(|ring| !ring.is_empty())
    }

    /// When [`Self::expire`] or [`Self::flush`] has something to do, frames aside; `None` when
    /// nothing is under way. For idling and simulation.
    pub fn next_wake(&self) -> Option<Instant> {
        if !self.dirty.is_empty() || !self.ready.is_empty() || self.others_wait() {
            return Some(Instant::ZERO);
        }
        let asking = self
            .ports
            .iter()
            .filter_map(|p| p.neighbours.next_retry())
            .min();
        [
            self.timers.next_due(),
            self.half_open.next_expiry(),
            self.time_wait.next_expiry(),
            self.paths.next_expiry(),
            asking,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
