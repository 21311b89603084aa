//! The client's connections: which has a free place for a request, what each is doing, and for how long it
//! may. What happens on an open one is in [`exchange`].

mod exchange;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use sluice_stack::io::PacketIo;
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, ConnectError, FlowId, Phase, Stack};

use super::calls::{Call, Calls};
use super::codec::{Codec, Reader};
use super::fault::Fault;
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
    /// Calls at a time on each, at least 1; more than 1 where the protocol has a way to tell their answers.
    pub calls: u16,
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

/// Attempts to open connections ahead that may fail before it is left: then as many places are taken by attempts
/// of which each takes the whole of its time.
const VAIN: usize = OPENING;

/// How long a connection rests behind a fault, so that a target that refuses is not flooded.
const AFTER_FAULT: Duration = Duration::from_millis(10);

/// How long the target may take to close a connection of which it knows that it is the last answer.
/// It closes first, so that the record of the closed connection is the target's, and our source port
/// is free at once.
pub(crate) const CLOSE_WITHIN: Duration = Duration::from_millis(250);

/// Connections per poll of which is seen whether their time is up.
const PATROLLED: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No flow.
    Down,
    /// Being opened ahead of requests, for which one of its places is set aside.
    Opening,
    /// Being opened, for a request.
    Dialling,
    /// Open.
    Up,
    /// It carries no more requests; once it has its answers the target closes.
    Leaving,
}

#[derive(Debug)]
struct Connection {
    flow: Option<FlowId>,
    state: State,
    /// When the state, or the oldest call, is to be looked at.
    deadline: Instant,
    calls: Calls,
    /// Places that are free again once the connection is gone.
    withheld: u16,
    reader: Reader,
}

/// All connections of the client.
#[derive(Debug)]
pub(crate) struct Client {
    setup: ClientSetup,
    plan: Plan,
    codec: Codec,
    connections: Vec<Connection>,
    /// A connection for each of its places that is free.
    free: VecDeque<u32>,
    /// A connection for each of its places that rests, and until when.
    resting: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Requests under way.
    busy: usize,
    /// Connections being opened ahead of requests, and the next to be.
    opening: usize,
    to_open: u32,
    /// Of those that were tried, how many could not be opened.
    vain: usize,
    /// The next whose time is looked at.
    patrol: usize,
    rng: Rng,
    /// Whether requests that are sent now count.
    counting: bool,
    scratch: Vec<u8>,
}

impl Client {
    pub(crate) fn new(setup: ClientSetup, plan: Plan, seed: u64) -> Self {
        let count = setup.connections as usize;
        let calls = match setup.reuse {
            Reuse::KeepAlive => setup.calls.max(1),
            Reuse::Close => 1,
        };
        let connection = || Connection {
            flow: None,
            state: State::Down,
            deadline: Instant::NEVER,
            calls: Calls::new(calls),
            withheld: 0,
            reader: Reader::Head,
        };
        let places = count * usize::from(calls);
        Client {
            codec: Codec::new(&plan),
            connections: (0..count).map(|_| connection()).collect(),
            // Every connection has a call before one has two.
            free: (0..calls).flat_map(|_| 0..setup.connections).collect(),
            resting: BinaryHeap::with_capacity(places),
            busy: 0,
            opening: 0,
            to_open: match setup.reuse {
                Reuse::KeepAlive => 0,
                Reuse::Close => setup.connections,
            },
            vain: 0,
            patrol: 0,
            rng: Rng::new(seed),
            counting: false,
            scratch: Vec::new(),
            setup,
            plan,
        }
    }

    /// From now on requests count, or do not.
    pub(crate) fn count(&mut self, counting: bool) {
        self.counting = counting;
    }

    /// Gives the exceptions that were counted their names.
    pub(crate) fn name_exceptions(&self, stats: &mut StepStats) {
        if let Some(exceptions) = self.codec.exceptions() {
            stats.name_exceptions(exceptions);
        }
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

    /// How long it may take to open a connection.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.setup.connect_timeout
    }

    /// When the next connection has rested.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.resting.peek().map(|Reverse((at, _))| *at)
    }

    /// Opens connections ahead of the first request. True once each was tried, or too many in vain: the others
    /// are opened when a request is due on them.
    pub(crate) fn open_ahead<P: PacketIo>(
        &mut self,
        stack: &mut Stack<P>,
        stats: &mut StepStats,
        now: Instant,
    ) -> bool {
        let goes_on =
            |client: &Self| client.to_open < client.setup.connections && client.vain < VAIN;
        while self.opening < OPENING && goes_on(self) {
            let slot = self.to_open;
            self.to_open += 1;
            let Some(position) = self.free.iter().position(|free| *free == slot) else {
                continue;
            };
            self.free.remove(position);
            match self.dial(slot, State::Opening, stack, now) {
                Ok(()) => self.opening += 1,
                Err(fault) => {
                    stats.unopened.count(fault);
                    self.vain += 1;
                    // One search for a port that is not to be had is enough for a poll.
                    self.free.push_back(slot);
                    break;
                }
            }
        }
        self.opening == 0 && !goes_on(self)
    }

    /// Sends a request by the place that has been free for longest.
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
        let Some(connection) = self.connections.get_mut(slot as usize) else {
            return;
        };
        let deadline = now + self.setup.timeout;
        connection.calls.begin(Call {
            request: self.plan.draw(&mut self.rng),
            intended,
            counted: self.counting,
            deadline,
            sent: 0,
            all_sent: false,
            over: false,
            answered: false,
            sequence: 0,
        });
        self.busy += 1;
        stats.requests += u64::from(self.counting);
        match connection.state {
            State::Up => {
                // Every call may take as long, so none is due before those that were there.
                if connection.calls.len() == 1 {
                    connection.deadline = deadline;
                }
                self.send(slot, stack, stats, now);
            }
            State::Down => {
                if let Err(fault) = self.dial(slot, State::Dialling, stack, now) {
                    self.fail(slot, fault, stack, stats, now);
                }
            }
            // It is sent when the connection is open; one that is leaving has no free places.
            State::Opening | State::Dialling | State::Leaving => {}
        }
    }

    fn dial<P: PacketIo>(
        &mut self,
        slot: u32,
        state: State,
        stack: &mut Stack<P>,
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
        if let Some(connection) = self.connections.get_mut(slot as usize) {
            connection.flow = Some(flow);
            connection.state = state;
            connection.deadline = now + setup.connect_timeout;
            connection.reader = Reader::Head;
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
            State::Down => {}
            State::Opening | State::Dialling => self.dialled(slot, flow, stack, stats, now),
            State::Up | State::Leaving if !connection.calls.is_empty() => {
                self.send(slot, stack, stats, now);
                self.receive(slot, flow, stack, stats, now);
            }
            State::Up => {
                // Closed by the target, or bytes that nobody asked for: a new one next time.
                let view = stack.view(flow);
                if view.readable > 0 && self.counting {
                    stats.failed(Fault::Unexpected);
                }
                if view.finished || view.readable > 0 {
                    self.close(slot, stack, now);
                }
            }
            State::Leaving => {
                if stack.view(flow).finished {
                    self.close(slot, stack, now);
                }
            }
        }
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
            woken += 1;
            match self.connections.get_mut(slot as usize) {
                Some(connection) if connection.state == State::Leaving => connection.withheld += 1,
                _ => self.free.push_back(slot),
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
                State::Down => {}
                State::Opening | State::Dialling => {
                    self.fail(slot, Fault::ConnectTimeout, stack, stats, now);
                }
                State::Leaving if connection.calls.is_empty() => {
                    stats.unclosed += u64::from(self.counting);
                    self.hang_up(slot, stack, now);
                }
                State::Up | State::Leaving => self.time_out(slot, stack, stats, now),
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
            let Some(connection) = self.connections.get(slot as usize) else {
                break;
            };
            if connection.calls.is_empty() {
                continue;
            }
            let fault = match connection.state {
                State::Opening | State::Dialling => Fault::ConnectTimeout,
                State::Down | State::Up | State::Leaving => Fault::Timeout,
            };
            self.fail(slot, fault, stack, stats, now);
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
            Phase::Closed if stack.is_stranded(flow) => {
                self.fail(slot, Fault::Unreachable, stack, stats, now);
            }
            Phase::Closed => self.fail(slot, Fault::Refused, stack, stats, now),
            Phase::Open => {
                stats.connections += 1;
                let ahead = connection.state == State::Opening;
                connection.state = State::Up;
                connection.deadline = now + self.setup.timeout;
                for call in connection.calls.iter_mut() {
                    call.deadline = connection.deadline;
                }
                if ahead {
                    self.opening = self.opening.saturating_sub(1);
                    self.free_after(slot, Duration::ZERO, now);
                }
                self.send(slot, stack, stats, now);
            }
        }
    }

    /// A place can be used again after some time.
    #[inline]
    fn free_after(&mut self, slot: u32, rest: Duration, now: Instant) {
        if rest.is_zero() {
            self.free.push_back(slot);
        } else {
            self.resting.push(Reverse((now + rest, slot)));
        }
    }
}
