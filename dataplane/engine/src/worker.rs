//! One worker: everything a core needs to serve, and nothing that another core writes.

use std::hint::black_box;
use std::sync::Arc;

use arrayvec::ArrayVec;
use slab::Slab;
use sluice_stack::crew::Seat;
use sluice_stack::io::PacketIo;
use sluice_stack::rng::Rng;
use sluice_stack::time::Instant;
use sluice_stack::wheel::Wheel;
use sluice_stack::{Limits, Owner, PortSetup, Secrets, Stack};
use sluice_wire::http1::HeadIndex;

use crate::access::Recorder;
use crate::adopting::Adopting;
use crate::body::Spare;
use crate::clients::Clients;
use crate::contained::Work;
use crate::date::Date;
use crate::downstream::Downstream;
use crate::exchange::{Early, Exchange};
use crate::footprint;
use crate::generations::Generations;
use crate::handoff::Handoff;
use crate::inspection::Inspection;
use crate::pool::{Pools, Upstream};
use crate::rpc::Rpc;
use crate::stats::WorkerStats;

/// Flows served per poll before frames are looked at again.
const FLOWS_PER_POLL: usize = 256;

/// Records of connections are fetched so many at a time.
const LOOK_AHEAD: usize = 32;

/// What a worker is made of.
pub struct WorkerSetup<P: PacketIo> {
    /// The worker's queue pair of each port, in the order of the rules' ports.
    pub ports: Vec<(P, PortSetup)>,
    /// Bounds of its stack.
    pub limits: Limits,
    /// Fresh random numbers.
    pub secrets: Secrets,
    /// Where questions about its traffic come from.
    pub inspection: Arc<Inspection>,
    /// Its place among the workers of the same ports; `None` for the only one.
    pub seat: Option<Seat<P>>,
}

/// What one poll did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    /// Frames received, taken over from other workers, and sent for them.
    pub frames: usize,
    /// Flows served.
    pub flows: usize,
    /// The next one goes on with taking up new rules.
    pub is_adopting: bool,
}

impl Poll {
    /// Whether there was nothing to do.
    pub fn was_idle(&self) -> bool {
        self.frames == 0 && self.flows == 0 && !self.is_adopting
    }
}

/// A worker over ports of one kind.
pub struct Worker<P: PacketIo> {
    pub(crate) stack: Stack<P>,
    pub(crate) downs: Slab<Downstream>,
    pub(crate) ups: Slab<Upstream>,
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) down_timers: Wheel,
    pub(crate) up_timers: Wheel,
    pub(crate) pools: Pools,
    pub(crate) rpc: Rpc,
    pub(crate) generations: Generations,
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) inspection: Arc<Inspection>,
    /// The newest rules' number.
    pub(crate) generation: u64,
    pub(crate) adopting: Adopting,
    /// Connections by the worker's number of their listener.
    pub(crate) connections: Vec<u32>,
    pub(crate) clients: Clients,
    pub(crate) upstream_idle: u64,
    /// Copies of requests under way.
    pub(crate) copies: u32,
    /// Bytes kept for bodies of copies, under way or to be made.
    pub(crate) copied_bytes: usize,
    pub(crate) index: HeadIndex,
    pub(crate) spare: Spare,
    /// For the names of requests.
    pub(crate) rng: Rng,
    pub(crate) date: Date,
    pub(crate) draining: bool,
    /// Who is let go before its time.
    pub(crate) early: Early,
    /// Workers of the same ports, this one among them.
    workers: u32,
    pub(crate) recorder: Recorder,
    pub(crate) stats: Arc<WorkerStats>,
}

/// The owner numbers of flows: the role in the low bits.
pub(crate) enum Role {
    /// A client's connection.
    Down(u32),
    /// A connection to an endpoint.
    Up(u32),
    /// A client's connection that speaks RPC.
    Caller(u32),
    /// A connection to an endpoint that speaks RPC.
    Channel(u32),
}

impl Role {
    pub(crate) fn number(&self) -> u32 {
        match self {
            Role::Down(number) => number << 2,
            Role::Up(number) => number << 2 | 1,
            Role::Caller(number) => number << 2 | 2,
            Role::Channel(number) => number << 2 | 3,
        }
    }

    #[inline]
    pub(crate) fn of(number: u32) -> Role {
        match number & 3 {
            0 => Role::Down(number >> 2),
            1 => Role::Up(number >> 2),
            2 => Role::Caller(number >> 2),
            _ => Role::Channel(number >> 2),
        }
    }
}

impl<P: PacketIo> Worker<P> {
    /// A worker that serves by the rules on offer; it accepts connections from the first poll on.
    pub fn new(setup: WorkerSetup<P>, handoff: Arc<Handoff>, stats: Arc<WorkerStats>) -> Self {
        let mut first = handoff.begin(&stats.traffic);
        let generation = first.rules.0.generation;
        let steps = std::mem::take(&mut first.changes.steps);
        let (a, b) = setup.secrets.tables;
        let hasher = ahash::RandomState::with_seeds(b, a, !a, !b);
        let mut worker = Worker {
            stack: Stack::new(
                setup.ports,
                setup.limits,
                setup.secrets,
                stats.stack.clone(),
            ),
            downs: Slab::new(),
            ups: Slab::new(),
            exchanges: Slab::new(),
            down_timers: Wheel::default(),
            up_timers: Wheel::default(),
            pools: Pools::default(),
            rpc: Rpc::new(hasher.clone()),
            generations: Generations::new(first.rules, first.changes),
            handoff,
            inspection: setup.inspection,
            generation,
            adopting: Adopting::default(),
            connections: Vec::new(),
            clients: Clients::new(hasher),
            upstream_idle: 0,
            copies: 0,
            copied_bytes: 0,
            index: HeadIndex::new(),
            spare: Spare::default(),
            rng: Rng::new(setup.secrets.tables.0 ^ setup.secrets.ports.rotate_left(32)),
            date: Date::default(),
            draining: false,
            early: Early::default(),
            workers: 1,
            recorder: Recorder::new(setup.secrets.ports),
            stats,
        };
        if let Some(seat) = setup.seat {
            worker.workers = u32::from(seat.workers()).max(1);
            worker.stack.join(seat);
        }
        for step in steps.into_iter().rev() {
            worker.step(step);
        }
        worker.listen();
        worker.stack.announce();
        worker
    }

    /// Tells the wall clock's time in whole seconds after 1970-01-01 UTC, for `Date`. To be called
    /// about once a second; before the first call no date is told.
    pub fn set_wall_clock(&mut self, unix_seconds: u64) {
        self.date.set(unix_seconds);
    }

    /// One turn: new rules, then the way of the packets, at time `now`. Never blocks; the work done
    /// is bounded by the burst sizes.
    pub fn poll_once(&mut self, now: Instant) -> Poll {
        self.answer_question(now);
        self.adopt_rules(now);
        let received = self.stack.receive(now);
        self.stack.expire(now);
        self.expire(now);
        let mut flows = 0;
        self.each(now, |worker| {
            if flows == FLOWS_PER_POLL {
                return None;
            }
            if flows.is_multiple_of(LOOK_AHEAD) && worker.stack.is_crowded() {
                worker.look_ahead();
            }
            let (flow, owner) = worker.stack.next_ready()?;
            flows += 1;
            Some(Work::Flow(flow, owner))
        });
        let of_others = self.stack.flush(now);
        self.publish();
        Poll {
            frames: received + of_others,
            flows,
            is_adopting: self.adopting.is_under_way,
        }
    }

    #[inline]
    pub(crate) fn work(&mut self, work: Work, now: Instant) {
        match work {
            Work::Flow(flow, Owner::Listener(listener)) => self.accept(flow, listener, now),
            Work::Flow(_, Owner::User(number)) => match Role::of(number) {
                Role::Down(number) => self.drive_downstream(number, now),
                Role::Up(number) => self.drive_upstream(number, now),
                Role::Caller(number) => self.drive_caller(number, now),
                Role::Channel(number) => self.drive_channel(number, now),
            },
            Work::DownDue(number) => self.downstream_due(number, now),
            Work::UpDue(number) => self.upstream_due(number, now),
            Work::RpcDue(key) => self.rpc_due(key, now),
        }
    }

    /// Fetches the records of the connections that are served next, all at once: among many they are
    /// in no cache.
    #[inline(never)]
    fn look_ahead(&self) {
        let mut sum = 0;
        for owner in self.stack.next_owners() {
            let Owner::User(number) = owner else { continue };
            match Role::of(number) {
                Role::Down(number) => {
                    let down = self.downs.get(number as usize);
                    sum ^= down.map_or(0, Downstream::touch) ^ self.down_timers.touch(number);
                }
                Role::Up(number) => {
                    let up = self.ups.get(number as usize);
                    sum ^= up.map_or(0, Upstream::touch) ^ self.up_timers.touch(number);
                }
                Role::Caller(_) | Role::Channel(_) => {}
            }
        }
        black_box(sum);
    }

    /// Acts on deadlines that have come. A deadline that has moved meanwhile is set again.
    fn expire(&mut self, now: Instant) {
        let mut due = ArrayVec::<u32, 256>::new();
        self.down_timers.expire(now, &mut due);
        let mut numbers = due.drain(..);
        self.each(now, |_| numbers.next().map(Work::DownDue));
        drop(numbers);
        self.up_timers.expire(now, &mut due);
        let mut numbers = due.drain(..);
        self.each(now, |_| numbers.next().map(Work::UpDue));
        drop(numbers);
        self.rpc.timers.expire(now, &mut due);
        let mut keys = due.drain(..);
        self.each(now, |_| keys.next().map(Work::RpcDue));
    }

    /// Accepts nothing any more; connections close as soon as they have no request under way, and
    /// answers from now on say so.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.stack.unlisten_all();
        self.let_all_go(now);
        self.close_waiting(now);
        let idle: Vec<u32> = self
            .ups
            .iter()
            .filter(|(_, up)| up.exchange.is_none())
            .map(|(number, _)| number as u32)
            .collect();
        for number in idle {
            self.close_upstream(number, false, now);
        }
        self.close_idle_channels(now);
    }

    /// This worker's part of a limit that is meant for all of them together; at least 1.
    #[inline]
    pub(crate) fn share(&self, limit: u32) -> u32 {
        footprint::share(limit, self.workers)
    }

    /// Whether a connection of this listener is to take no further requests.
    #[inline]
    pub(crate) fn is_leaving(&self, listener: u32) -> bool {
        self.draining || self.generations.current().listener(listener).is_none()
    }

    /// Closes connections that are to take no further requests and have none under way.
    fn close_waiting(&mut self, now: Instant) {
        let waiting: Vec<u32> = self
            .downs
            .iter()
            .filter(|(_, down)| down.exchange.is_none() && self.is_leaving(down.listener))
            .map(|(number, _)| number as u32)
            .collect();
        for number in waiting {
            self.drive_downstream(number, now);
        }
        self.close_waiting_callers(now);
    }

    /// Whether every client has its answer, to the last byte and the end of the stream.
    pub fn is_drained(&self) -> bool {
        self.downs.is_empty() && self.rpc.callers.is_empty() && self.stack.is_delivered()
    }

    /// Cuts off whatever is still under way.
    pub fn abort_all(&mut self, now: Instant) {
        let downs: Vec<u32> = self.downs.iter().map(|(number, _)| number as u32).collect();
        for number in downs {
            self.abort_downstream(number, crate::stats::RequestFate::Drained, now);
        }
        let ups: Vec<u32> = self.ups.iter().map(|(number, _)| number as u32).collect();
        for number in ups {
            self.close_upstream(number, true, now);
        }
        self.abort_rpc(now);
        self.stack.flush(now);
        self.publish();
    }

    fn publish(&self) {
        let rpc = &self.rpc;
        let downstream = self.downs.len() + rpc.callers.len();
        self.stats.downstream.set(downstream as u64);
        let upstream = self.ups.len() + rpc.channels.len();
        self.stats.upstream.set(upstream as u64);
        self.stats.upstream_idle.set(self.upstream_idle);
        let exchanges = self.exchanges.len() + rpc.calls.len();
        self.stats.exchanges.set(exchanges as u64);
        self.stats.generation.set(self.generation);
    }

    /// Cycles spent inside the ports' drivers so far, in the unit of the ports.
    #[inline]
    pub fn driver_cycles(&self) -> u64 {
        self.stack
            .ports()
            .map(|port| port.stats().driver_cycles)
            .sum()
    }

    /// Makes the ports' totals readable for others; to be called now and then.
    pub fn publish_ports(&self) {
        self.stats
            .publish_ports(self.stack.ports().map(PacketIo::stats));
    }

    /// When there will be something to do, frames aside; `None` when nothing is under way. For
    /// idling and simulation.
    pub fn next_wake(&self) -> Option<Instant> {
        [
            self.adopting.is_under_way.then_some(Instant::default()),
            self.stack.next_wake(),
            self.down_timers.next_due(),
            self.up_timers.next_due(),
            self.rpc.timers.next_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
