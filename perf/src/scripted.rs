//! A gateway between two hosts that a test drives byte by byte, in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Handoff, Inspection, Worker, WorkerStats};
use sluice_stack::Buffers;
use sluice_stack::sim::{Net, SimPort};
use sluice_stack::time::Instant;

use crate::memory::{Parts, Setup, compiled, endpoints};
use crate::raw::Host;

/// Turns after which frames that still move are taken for a loop.
const MAX_TURNS: usize = 100_000;

/// A client, the gateway and a backend.
pub struct Scripted {
    /// The links (0: client, 1: backend) and the clock.
    pub net: Net,
    /// The client.
    pub client: Host<SimPort>,
    /// The first address of the rules' first listener.
    pub target: SocketAddr,
    /// The gateway.
    pub worker: Worker<SimPort>,
    /// What the gateway counts.
    pub stats: Arc<WorkerStats>,
    /// How rules reach the gateway.
    pub handoff: Arc<Handoff>,
    /// How the gateway is asked about its traffic.
    pub inspection: Arc<Inspection>,
    /// The backend, which listens on both endpoints of [`crate::memory::rules`].
    pub backend: Host<SimPort>,
    /// Buffers of both hosts' connections.
    pub buffers: Buffers,
    generation: u64,
}

impl Scripted {
    /// Builds all of it with rules that have the ports and endpoints of [`crate::memory::rules`].
    ///
    /// # Errors
    /// The rules don't compile: the problems as text.
    pub fn new(setup: &Setup, text: &str) -> Result<Scripted, String> {
        let parts = Parts::new(setup, &compiled(text, 1)?)?;
        let buffers = Buffers {
            receive: setup.buffer,
            send: setup.buffer,
        };
        let mut backend = Host::new(parts.backend);
        for endpoint in endpoints(setup.sides()[1].v6) {
            backend.listen(endpoint, buffers);
        }
        Ok(Scripted {
            net: parts.net,
            client: Host::new(parts.client),
            target: parts.target,
            worker: parts.worker,
            stats: parts.stats,
            handoff: parts.handoff,
            inspection: parts.inspection,
            backend,
            buffers,
            generation: 1,
        })
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.net.now()
    }

    /// Offers new rules to the gateway.
    ///
    /// # Errors
    /// The rules don't compile: the problems as text.
    pub fn reload(&mut self, text: &str) -> Result<(), String> {
        self.generation += 1;
        self.handoff.offer(compiled(text, self.generation)?);
        Ok(())
    }

    /// Turns of all three at the present time, until no frame moves any more.
    pub fn settle(&mut self) {
        let now = self.net.now();
        for _ in 0..MAX_TURNS {
            let frames = self.client.poll_once(now);
            self.worker.poll_once(now);
            let frames = frames + self.backend.poll_once(now);
            let poll = self.worker.poll_once(now);
            let arrived = self.net.next_arrival().is_some_and(|at| at <= now);
            if frames == 0 && poll.was_idle() && !arrived {
                return;
            }
        }
        panic!("frames still move after {MAX_TURNS} turns");
    }

    /// Lets time pass, with everything that happens meanwhile.
    pub fn pass(&mut self, time: Duration) {
        let end = self.net.now() + time;
        self.settle();
        while self.net.now() < end {
            let next = [
                self.net.next_arrival(),
                self.client.next_wake(),
                self.worker.next_wake(),
                self.backend.next_wake(),
            ];
            let next = next.into_iter().flatten().min().unwrap_or(Instant::NEVER);
            let earliest = self.net.now() + Duration::from_micros(10);
            self.net.advance_to(next.max(earliest).min(end));
            self.settle();
        }
    }
}
