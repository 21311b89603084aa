//! The load generator around a gateway in one thread, over links in memory and in virtual time: its client
//! on the gateway's one side, its backend on the other, both over one stack as on real ports.

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Handoff, Worker, WorkerStats};
use sluice_stack::sim::{Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, Secrets, Stack, StackStats};

use crate::load::plan::{Common, RequestFile};
use crate::load::run::Stage;
use crate::load::server::ServerSetup;
use crate::load::{ClientSetup, Generator, Plan, Reuse, Step};
use crate::memory::{Gateway, Setup, compiled, endpoints, far_ends, rules};

/// Length of the bodies of the backend's answers where no request says otherwise.
const BODY: u64 = 100;

/// The generator and a gateway, with their links and clock.
pub struct Rig {
    /// The links and the clock.
    pub net: Net,
    /// The load generator.
    pub generator: Generator<SimPort>,
    /// The gateway.
    pub worker: Worker<SimPort>,
    /// What the gateway counts.
    pub stats: Arc<WorkerStats>,
    /// How rules reach the gateway.
    pub handoff: Arc<Handoff>,
}

impl Rig {
    /// Builds all of it with the rules of [`rules`].
    ///
    /// # Errors
    /// The rules or the requests are not right: why, as text.
    pub fn new(setup: &Setup, file: &RequestFile, reuse: Reuse) -> Result<Rig, String> {
        let gateway = Gateway::new(setup, &compiled(&rules(setup), 1)?)?;
        let stats = Arc::new(StackStats::default());
        let [front, back] = far_ends(setup.v6, setup.connections);
        let stack = Stack::new(
            vec![(gateway.front, front), (gateway.back, back)],
            Limits::default(),
            Secrets::from_seed(setup.seed ^ 0x10ad),
            stats.clone(),
        );
        let buffers = Buffers {
            receive: setup.buffer,
            send: setup.buffer,
        };
        let common = Common {
            host: "sluice.test".into(),
            close: reuse == Reuse::Close,
            backend: Some(BODY),
            think: Duration::ZERO,
        };
        let plan = Plan::new(file, &common).map_err(|error| error.to_string())?;
        let client = ClientSetup {
            port: 0,
            target: gateway.target,
            connections: setup.connections as u32,
            reuse,
            buffers,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(5),
        };
        let server = ServerSetup {
            port: 1,
            addresses: endpoints(setup.v6).into(),
            body: BODY,
            buffers,
        };
        Ok(Rig {
            net: gateway.net,
            generator: Generator::new(
                stack,
                stats,
                Some((client, plan)),
                Some((&server, file)),
                setup.seed,
            ),
            worker: gateway.worker,
            stats: gateway.stats,
            handoff: gateway.handoff,
        })
    }

    /// Some turns of both at the present time, as long as frames move; in a closed loop they always do.
    /// `generator` runs the generator's polls.
    pub fn turn(&mut self, mut generator: impl FnMut(&mut Generator<SimPort>, Instant)) {
        let now = self.net.now();
        for _ in 0..8 {
            generator(&mut self.generator, now);
            self.worker.poll_once(now);
            if self.net.next_arrival().is_none_or(|at| at > now) {
                break;
            }
        }
    }

    /// Moves the clock to the next thing that happens.
    pub fn advance(&mut self) {
        let now = self.net.now();
        let next = [self.net.next_arrival(), self.worker.next_wake()];
        let next = next
            .into_iter()
            .flatten()
            .fold(self.generator.next_wake(now), Instant::min);
        self.net
            .advance_to(next.max(now + Duration::from_micros(10)));
    }

    /// A whole step. False where it has not ended by itself within `bound` of virtual time.
    pub fn run(&mut self, step: Step, bound: Duration) -> bool {
        let began = self.net.now();
        self.generator.begin(step, began);
        while self.generator.stage() != Stage::Done {
            if self.net.now().since(began) > bound {
                return false;
            }
            self.turn(|generator, now| {
                generator.poll_once(now);
            });
            self.advance();
        }
        true
    }
}
