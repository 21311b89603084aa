//! A gateway between a client and a backend in one thread, over links in memory.

mod parts;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Handoff, Inspection, Worker, WorkerStats};
use sluice_policy::Snapshot;
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits};

pub use parts::Colleague;
#[cfg(feature = "lab")]
pub(crate) use parts::{Gateway, far_ends};
pub(crate) use parts::{Parts, colleague, hosts};
pub(crate) use rules::endpoints;
pub use rules::{compiled, port_setups, rpc_rules, rules};

use crate::backend::Backend;
use crate::client::{Client, Workload};

/// What to build.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Everything random follows from it.
    pub seed: u64,
    /// What a connection's buffers may grow to, of all hosts.
    pub window: u32,
    /// IPv6 on both sides instead of IPv4.
    pub v6: bool,
    /// Largest IP packet of both links.
    pub mtu: u16,
    /// VLAN of both links.
    pub vlan: Option<u16>,
    /// The backend's side, where it is not like the client's.
    pub back: Option<Side>,
    /// Faults of each direction of the client's link and of the backend's.
    pub faults: [[Faults; 2]; 2],
    /// Client connections.
    pub connections: usize,
    /// Buffers of the client, the gateway and the backend, per connection and direction.
    pub buffer: usize,
    /// Flows of the gateway at most.
    pub flows: usize,
    /// Who serves in the gateway.
    pub workers: Workers,
}

/// What is spoken on one side of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Side {
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Largest IP packet.
    pub mtu: u16,
    /// VLAN, if frames are tagged.
    pub vlan: Option<u16>,
}

/// The workers of a gateway in memory, all on one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// How many.
    pub count: u16,
    /// Queue pairs of each of the gateway's ports, at most as many as workers.
    pub queues: u16,
    /// Frames come in at any queue, instead of that of the worker that owns their flow.
    pub at_random: bool,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            count: 1,
            queues: 1,
            at_random: false,
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            seed: 1,
            window: Limits::default().window,
            v6: false,
            mtu: 1500,
            vlan: None,
            back: None,
            faults: [[Faults::default(); 2]; 2],
            connections: 64,
            buffer: 64 * 1024,
            flows: 16_384,
            workers: Workers::default(),
        }
    }
}

impl Setup {
    /// The client's side, and the backend's.
    pub fn sides(&self) -> [Side; 2] {
        let front = Side {
            v6: self.v6,
            mtu: self.mtu,
            vlan: self.vlan,
        };
        [front, self.back.unwrap_or(front)]
    }
}

/// Client, gateway and backend with their links and clock.
pub struct Memory {
    /// The links and the clock.
    pub net: Net,
    /// The client.
    pub client: Client<SimPort>,
    /// The gateway.
    pub worker: Worker<SimPort>,
    /// What the gateway counts.
    pub stats: Arc<WorkerStats>,
    /// How rules reach the gateway.
    pub handoff: Arc<Handoff>,
    /// Where the gateway is asked about its traffic.
    pub inspection: Arc<Inspection>,
    /// The gateway's workers but the first.
    pub others: Vec<Colleague>,
    /// The backend.
    pub backend: Backend<SimPort>,
}

impl Memory {
    /// Builds all of it.
    ///
    /// # Errors
    /// The rules don't compile: the problems as text.
    pub fn new(setup: &Setup) -> Result<Memory, String> {
        Memory::with_rules(setup, &rules(setup))
    }

    /// Builds all of it with rules of the caller's own, which have the ports, listener and endpoints
    /// of [`rules`].
    ///
    /// # Errors
    /// The rules don't compile: the problems as text.
    pub fn with_rules(setup: &Setup, text: &str) -> Result<Memory, String> {
        Memory::with_snapshot(setup, &compiled(text, 1)?)
    }

    /// As [`Self::with_rules`], with compiled rules that others may use as well.
    ///
    /// # Errors
    /// The workers can't be had: why, as text.
    pub fn with_snapshot(setup: &Setup, snapshot: &Arc<Snapshot>) -> Result<Memory, String> {
        let parts = Parts::new(setup, snapshot)?;
        let buffers = Buffers {
            receive: setup.buffer,
            send: setup.buffer,
        };
        let endpoints = endpoints(setup.sides()[1].v6);
        Ok(Memory {
            net: parts.net,
            client: Client::new(parts.client, parts.target, setup.connections, buffers),
            worker: parts.worker,
            stats: parts.stats,
            handoff: parts.handoff,
            inspection: parts.inspection,
            others: parts.others,
            backend: Backend::new(parts.backend, &endpoints, buffers),
        })
    }

    /// One turn of everything at the present time, until no frame moves any more; `measure` runs
    /// the gateway's polls.
    pub fn turn<W: Workload>(
        &mut self,
        workload: &mut W,
        mut gateway: impl FnMut(&mut Worker<SimPort>, Instant),
    ) {
        let now = self.net.now();
        for _ in 0..1_000 {
            let frames = self.client.poll_once(workload, now);
            self.each_worker(&mut gateway, now);
            let frames = frames + self.backend.poll_once(now);
            self.each_worker(&mut gateway, now);
            let arrived = self.net.next_arrival().is_some_and(|at| at <= now);
            if frames == 0 && !arrived {
                break;
            }
        }
    }

    fn each_worker(&mut self, poll: &mut impl FnMut(&mut Worker<SimPort>, Instant), now: Instant) {
        poll(&mut self.worker, now);
        for other in &mut self.others {
            poll(&mut other.worker, now);
        }
    }

    /// What each of the gateway's workers counts.
    pub fn all_stats(&self) -> impl Iterator<Item = &Arc<WorkerStats>> {
        std::iter::once(&self.stats).chain(self.others.iter().map(|other| &other.stats))
    }

    /// Where each of the gateway's workers is asked about its traffic.
    pub fn inspections(&self) -> impl Iterator<Item = &Arc<Inspection>> {
        std::iter::once(&self.inspection).chain(self.others.iter().map(|other| &other.inspection))
    }

    /// Offers rules to every worker.
    pub fn offer(&self, snapshot: &Arc<Snapshot>) {
        self.handoff.offer(snapshot.clone());
        for other in &self.others {
            other.handoff.offer(snapshot.clone());
        }
    }

    /// Moves the clock to the next thing that happens, at most `step` ahead.
    pub fn advance(&mut self, step: Duration) {
        let now = self.net.now();
        let next = [
            self.net.next_arrival(),
            self.client.next_wake(),
            self.worker.next_wake(),
            self.backend.next_wake(),
        ];
        let others = self.others.iter().map(|other| other.worker.next_wake());
        let next = next
            .into_iter()
            .chain(others)
            .flatten()
            .min()
            .unwrap_or(Instant::NEVER);
        let earliest = now + Duration::from_micros(10);
        self.net.advance_to(next.max(earliest).min(now + step));
    }
}
