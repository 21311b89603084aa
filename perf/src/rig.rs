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
use crate::load::{ClientSetup, Encoding, Generator, Plan, Protocol, Replies, Reuse, Step};
use crate::memory::{Gateway, Setup, compiled, endpoints, far_ends, rpc_rules, rules};

/// Length of the bodies of the backend's answers where no request says otherwise.
const BODY: u64 = 100;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

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

/// How calls are made and answered.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// At a time on each connection of the client.
    pub at_a_time: u16,
    /// Of their messages.
    pub encoding: Encoding,
    /// How the backend replies.
    pub replies: Replies,
    /// How the gateway multiplexes towards it, in the words of the rules.
    pub multiplex: &'static str,
    /// Over how many connections.
    pub shared_connections: u32,
}

impl Rig {
    /// Builds all of it with the rules of [`rules`].
    ///
    /// # Errors
    /// The rules or the requests are not right: why, as text.
    pub fn new(setup: &Setup, file: &RequestFile, reuse: Reuse) -> Result<Rig, String> {
        let speaks = (Protocol::Http1, 1, Replies::default());
        Rig::build(setup, &rules(setup), file, reuse, speaks)
    }

    /// Builds all of it with the rules of [`rpc_rules`], for TTHeader.
    ///
    /// # Errors
    /// The rules or the requests are not right: why, as text.
    pub fn rpc(
        setup: &Setup,
        calls: &Calls,
        file: &RequestFile,
        reuse: Reuse,
    ) -> Result<Rig, String> {
        let rules = rpc_rules(setup, calls.multiplex, calls.shared_connections);
        let protocol = Protocol::TtHeader(calls.encoding);
        let speaks = (protocol, calls.at_a_time, calls.replies);
        Rig::build(setup, &rules, file, reuse, speaks)
    }

    fn build(
        setup: &Setup,
        rules: &str,
        file: &RequestFile,
        reuse: Reuse,
        (protocol, calls, replies): (Protocol, u16, Replies),
    ) -> Result<Rig, String> {
        let gateway = Gateway::new(setup, &compiled(rules, 1)?)?;
        let [front, back] = far_ends(setup);
        let stack = Stack::new(
            vec![(gateway.front, front), (gateway.back, back)],
            Limits::default(),
            Secrets::from_seed(setup.seed ^ 0x10ad),
            Arc::new(StackStats::default()),
        );
        let buffers = Buffers {
            receive: setup.buffer,
            send: setup.buffer,
        };
        let common = Common {
            protocol,
            calls,
            timeout: TIMEOUT,
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
            calls,
            reuse,
            buffers,
            connect_timeout: Duration::from_secs(3),
            timeout: TIMEOUT,
        };
        let server = ServerSetup {
            protocol,
            replies,
            port: 1,
            addresses: endpoints(setup.sides()[1].v6).into(),
            body: BODY,
            buffers,
        };
        Ok(Rig {
            net: gateway.net,
            generator: Generator::new(
                stack,
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
    pub fn turn(&mut self, generator: impl FnMut(&mut Generator<SimPort>, Instant)) {
        self.turn_both(generator, |worker, now| {
            worker.poll_once(now);
        });
    }

    /// The same, where `gateway` runs the gateway's polls.
    pub fn turn_both(
        &mut self,
        mut generator: impl FnMut(&mut Generator<SimPort>, Instant),
        mut gateway: impl FnMut(&mut Worker<SimPort>, Instant),
    ) {
        let now = self.net.now();
        for _ in 0..8 {
            generator(&mut self.generator, now);
            gateway(&mut self.worker, now);
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
