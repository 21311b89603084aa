//! The client's connections: which is free, what each is doing, and for how long it may.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_stack::fate::StackEvent;
use sluice_stack::io::PacketIo;
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, ConnectError, FlowId, Phase, Stack, StackStats};

use super::fault::Fault;
use super::http1::{Codec, Read, Reader};
use super::plan::Plan;
use super::stats::StepStats;

/// What the client does.
#[derive(Debug, Clone)]
pub struct ClientSetup {
    /// Number of the stack's port that leads to the target.
    pub port: u8,
    /// Whom it asks.
    pub target: SocketAddr,
    /// Connections at a time, at least 1.
    pub connections: u32,
    /// What becomes of a connection behind an answer.
    pub reuse: Reuse,
    /// Of each connection.
    pub buffers: Buffers,
    /// How long a connection attempt may take.
    pub connect_timeout: Duration,
    /// How long an answer may take, from the request's first byte.
    pub timeout: Duration,
}

/// What becomes of a connection behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It carries the next request.
    KeepAlive,
    /// It is closed: a new one for every request.
    Close,
}

/// Connections that are being opened at a time before the first request: the first frames to a new
/// neighbour wait in a queue that must not overflow.
const OPENING: usize = 128;

/// How long a connection rests behind a fault, so that a target that refuses is not flooded.
const AFTER_FAULT: Duration = Duration::from_millis(10);

/// How long the target may take to close a connection of which it knows that it is the last answer.
/// It closes first, so that the record of the closed connection is the target's, and our source port
/// is free at once.
const CLOSE_WITHIN: Duration = Duration::from_millis(250);

/// Connections per poll of which is seen whether their time is up.
const PATROLLED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the queue of those that are free, with a flow or without.
    Free,
    /// Being opened, for nothing yet.
    Opening,
    /// Being opened, for a request.
    Dialling,
    /// A request was sent, or a part of it.
    Busy,
    /// The answer was the last one; the target closes.
    Leaving,
    /// Out of use until it is woken.
    Resting,
}

#[derive(Debug)]
struct Connection {
    flow: Option<FlowId>,
    state: State,
    /// When the state is given up.
    deadline: Instant,
    request: u32,
    /// When the request was meant to be sent.
    intended: Instant,
    /// Whether it counts.
    counted: bool,
    sent: u64,
    reader: Reader,
}

/// All connections of the client.
#[derive(Debug)]
pub(crate) struct Client {
    setup: ClientSetup,
    plan: Plan,
    codec: Codec,
    connections: Vec<Connection>,
    free: VecDeque<u32>,
    resting: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Requests under way.
    busy: usize,
    /// Connections being opened ahead of requests, and the next to be.
    opening: usize,
    to_open: u32,
    /// The next whose time is looked at.
    patrol: usize,
    rng: Rng,
    stack_stats: Arc<StackStats>,
    /// Neighbours that did not answer, as counted before this poll, and whether another was in it.
    neighbours_failed: u64,
    unreachable: bool,
    /// Whether requests that are sent now count.
    counting: bool,
}

impl Client {
    pub(crate) fn new(
        setup: ClientSetup,
        plan: Plan,
        stack_stats: Arc<StackStats>,
        seed: u64,
    ) -> Self {
        let count = setup.connections as usize;
        let connection = || Connection {
            flow: None,
            state: State::Free,
            deadline: Instant::NEVER,
            request: 0,
            intended: Instant::ZERO,
            counted: false,
            sent: 0,
            reader: Reader::Head,
        };
        Client {
            codec: Codec::new(plan.len()),
            connections: (0..count).map(|_| connection()).collect(),
            free: (0..setup.connections).collect(),
            resting: BinaryHeap::with_capacity(count),
            busy: 0,
            opening: 0,
            to_open: match setup.reuse {
                Reuse::KeepAlive => 0,
                Reuse::Close => setup.connections,
            },
            patrol: 0,
            rng: Rng::new(seed),
            neighbours_failed: stack_stats.events.get(StackEvent::NeighbourFailed),
            unreachable: false,
            stack_stats,
            counting: false,
            setup,
            plan,
        }
    }

    /// From now on requests count, or do not.
    pub(crate) fn count(&mut self, counting: bool) {
        self.counting = counting;
    }

    /// Requests under way.
    #[inline]
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// Whether a connection is free for a request.
    #[inline]
    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    /// How long a request may take in all.
    pub(crate) fn patience(&self) -> Duration {
        self.setup.connect_timeout + self.setup.timeout + CLOSE_WITHIN
    }

    /// When the next connection has rested.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.resting.peek().map(|Reverse((at, _))| *at)
    }

    /// Opens connections ahead of the first request. True once each was tried.
    pub(crate) fn open_ahead<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) -> bool {
        while self.opening < OPENING && self.to_open < self.setup.connections {
            let slot = self.to_open;
            self.to_open += 1;
            let Some(position) = self.free.iter().position(|free| *free == slot) else {
                continue;
            };
            self.free.remove(position);
            if self.dial(slot, State::Opening, stack, stats, now).is_ok() {
                self.opening += 1;
            } else {
                self.free.push_back(slot);
            }
        }
        self.opening == 0 && self.to_open >= self.setup.connections
    }

    /// Sends a request on the connection that has been free for longest.
    pub(crate) fn start<P: PacketIo>(
        &mut self,
        intended: Instant,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        let Some(slot) = self.free.pop_front() else {
            return;
        };
        let request = self.plan.draw(&mut self.rng);
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.request = request;
        connection.intended = intended;
        connection.counted = self.counting;
        connection.sent = 0;
        connection.reader = Reader::Head;
        self.busy += 1;
        stats.requests += u64::from(self.counting);
        if connection.flow.is_some() {
            self.send(slot, stack, now);
        } else if let Err(fault) = self.dial(slot, State::Dialling, stack, stats, now) {
            self.fail(slot, fault, stack, stats, now);
        }
    }

    fn dial<P: PacketIo>(
        &mut self,
        slot: u32,
        state: State,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) -> Result<(), Fault> {
        let setup = &self.setup;
        let opened = stack.connect(setup.port, setup.target, slot, setup.buffers, now);
        let flow = opened.map_err(|error| match error {
            ConnectError::NoRoute
            | ConnectError::PortsExhausted
            | ConnectError::FlowsFull
            | ConnectError::NeighboursFull => Fault::NoConnection,
        })?;
        stats.connections += 1;
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.flow = Some(flow);
            connection.state = state;
            connection.deadline = now + setup.connect_timeout;
        }
        Ok(())
    }

    /// Something happened on a flow of the client's.
    pub(crate) fn drive<P: PacketIo>(
        &mut self,
        slot: u32,
        flow: FlowId,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        if connection.flow != Some(flow) {
            return;
        }
        match connection.state {
            State::Busy => self.exchange(slot, stack, stats, now),
            State::Opening | State::Dialling => self.dialled(slot, flow, stack, stats, now),
            State::Leaving => {
                if stack.view(flow).finished {
                    stack.close(flow, now);
                    connection.flow = None;
                    self.free_after(slot, Duration::ZERO, now);
                }
            }
            State::Free | State::Resting => {
                // Closed by the target, or bytes that nobody asked for: a new one next time.
                let view = stack.view(flow);
                if view.readable > 0 {
                    stats.failed(Fault::Unexpected);
                }
                if view.finished || view.readable > 0 {
                    stack.close(flow, now);
                    connection.flow = None;
                }
            }
        }
    }

    /// Once per poll, before flows are driven: notes neighbours that did not answer.
    #[inline]
    pub(crate) fn begin_poll(&mut self) {
        let failed = self.stack_stats.events.get(StackEvent::NeighbourFailed);
        self.unreachable = failed != self.neighbours_failed;
        self.neighbours_failed = failed;
    }

    /// Looks at the time of some connections; wakes those that have rested. Returns how many woke.
    pub(crate) fn patrol<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) -> usize {
        let mut woken = 0;
        while let Some(Reverse((at, slot))) = self.resting.peek().copied()
            && at <= now
        {
            self.resting.pop();
            if let Some(connection) = self.connections.get_mut(slot as usize) {
                connection.state = State::Free;
                self.free.push_back(slot);
                woken += 1;
            }
        }
        for _ in 0..PATROLLED.min(self.connections.len()) {
            self.patrol = (self.patrol + 1) % self.connections.len();
            let slot = self.patrol as u32;
            let Some(connection) = self.connections.get(self.patrol) else {
                break;
            };
            if now < connection.deadline {
                continue;
            }
            match connection.state {
                State::Opening | State::Dialling => {
                    self.fail(slot, Fault::ConnectTimeout, stack, stats, now);
                }
                State::Busy => self.fail(slot, Fault::Timeout, stack, stats, now),
                State::Leaving => {
                    self.give_up_flow(slot, stack, now);
                    self.free_after(slot, Duration::ZERO, now);
                }
                State::Free | State::Resting => {}
            }
        }
        woken
    }

    /// Gives up what is under way: the time for it is over.
    pub(crate) fn give_up<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        for slot in 0..self.setup.connections {
            let state = self.connections.get(slot as usize).map(|c| c.state);
            match state {
                Some(State::Busy) => self.fail(slot, Fault::Timeout, stack, stats, now),
                Some(State::Dialling) => self.fail(slot, Fault::ConnectTimeout, stack, stats, now),
                _ => {}
            }
        }
    }

    /// Closes every connection.
    pub(crate) fn close_all<P: PacketIo>(&mut self, stack: &mut Stack<P>, now: Instant) {
        for connection in &mut self.connections {
            if let Some(flow) = connection.flow.take() {
                stack.abort(flow, now);
            }
        }
    }

    fn dialled<P: PacketIo>(
        &mut self,
        slot: u32,
        flow: FlowId,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        match stack.view(flow).phase {
            Phase::Connecting => {}
            Phase::Closed if self.unreachable => {
                self.fail(slot, Fault::Unreachable, stack, stats, now);
            }
            Phase::Closed => self.fail(slot, Fault::Refused, stack, stats, now),
            Phase::Open if connection.state == State::Dialling => self.send(slot, stack, now),
            Phase::Open => {
                self.opening = self.opening.saturating_sub(1);
                self.free_after(slot, Duration::ZERO, now);
            }
        }
    }

    /// Sends the request on an open connection.
    #[inline]
    fn send<P: PacketIo>(&mut self, slot: u32, stack: &mut Stack<P>, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.state = State::Busy;
        connection.deadline = now + self.setup.timeout;
        if let (Some(flow), Some(planned)) = (connection.flow, self.plan.get(connection.request)) {
            let sent = &mut connection.sent;
            planned.message.write(sent, &self.plan.pattern, stack, flow);
        }
    }

    /// Sends what is left of the request, and reads what has come of its answer.
    #[inline]
    fn exchange<P: PacketIo>(
        &mut self,
        slot: u32,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        let number = connection.request;
        let (Some(flow), Some(planned)) = (connection.flow, self.plan.get(number)) else {
            return;
        };
        let pattern = &self.plan.pattern;
        let sent = &mut connection.sent;
        let all_sent =
            *sent == planned.message.len() || planned.message.write(sent, pattern, stack, flow);
        let reader = &mut connection.reader;
        match self
            .codec
            .read(reader, (number, planned), pattern, stack, flow)
        {
            Read::More => {}
            Read::Broken(fault) => self.fail(slot, fault, stack, stats, now),
            Read::Answer {
                bytes,
                wrong_status,
                keep_alive,
                fault,
            } => {
                // One request at a time, so nothing can follow its answer.
                let more = stack.view(flow).readable > 0;
                let fault = fault.or(more.then_some(Fault::Unexpected));
                if connection.counted {
                    stats.bytes_in += bytes;
                    stats.bytes_out += *sent;
                    match fault {
                        None => stats.answered(now.since(connection.intended)),
                        Some(fault) => stats.failed(fault),
                    }
                    if let Some(status) = wrong_status {
                        stats.wrong_status(status);
                    }
                }
                self.busy -= 1;
                let think = planned.think;
                if keep_alive && all_sent && !more && self.setup.reuse == Reuse::KeepAlive {
                    self.free_after(slot, think, now);
                } else if more || stack.view(flow).finished {
                    stack.close(flow, now);
                    connection.flow = None;
                    self.free_after(slot, think, now);
                } else {
                    connection.state = State::Leaving;
                    connection.deadline = now + CLOSE_WITHIN;
                }
            }
        }
    }

    /// A request, or an attempt to connect, is over without an answer, and the connection with it.
    fn fail<P: PacketIo>(
        &mut self,
        slot: u32,
        fault: Fault,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) {
        self.give_up_flow(slot, stack, now);
        let Some(connection) = self.connections.get(slot as usize) else {
            return;
        };
        if connection.state == State::Opening {
            self.opening = self.opening.saturating_sub(1);
        } else {
            self.busy = self.busy.saturating_sub(1);
            // What fails while it is measured counts, however long ago it was sent: a target that answers
            // nothing would keep every connection busy with what was sent before.
            if self.counting {
                stats.requests += u64::from(!connection.counted);
                stats.bytes_out += connection.sent;
                stats.failed(fault);
            }
        }
        self.free_after(slot, AFTER_FAULT, now);
    }

    fn give_up_flow<P: PacketIo>(&mut self, slot: u32, stack: &mut Stack<P>, now: Instant) {
        let connection = self.connections.get_mut(slot as usize);
        if let Some(flow) = connection.and_then(|connection| connection.flow.take()) {
            stack.abort(flow, now);
        }
    }

    /// The connection can be used again after some time.
    #[inline]
    fn free_after(&mut self, slot: u32, rest: Duration, now: Instant) {
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        connection.deadline = Instant::NEVER;
        if rest.is_zero() {
            connection.state = State::Free;
            self.free.push_back(slot);
        } else {
            connection.state = State::Resting;
            self.resting.push(Reverse((now + rest, slot)));
        }
    }
}
