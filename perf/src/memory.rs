//! A gateway between a client and a backend in one thread, over links in memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Handoff, Inspection, Worker, WorkerSetup, WorkerStats};
use sluice_policy::{Snapshot, compile, parse};
use sluice_stack::crew::{PortCrew, Seat, crew};
use sluice_stack::rng::Rng;
use sluice_stack::sim::{Faults, Net, SimPort, Spread};
use sluice_stack::steering::Steering;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, PortSetup, Secrets, Stack, StackStats};

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

/// One more worker of a gateway.
pub struct Colleague {
    /// The worker.
    pub worker: Worker<SimPort>,
    /// What it counts.
    pub stats: Arc<WorkerStats>,
    /// How rules reach it.
    pub handoff: Arc<Handoff>,
    /// Where it is asked about its traffic.
    pub inspection: Arc<Inspection>,
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

/// The two endpoints of the backend.
pub(crate) fn endpoints(v6: bool) -> [SocketAddr; 2] {
    ["2", "3"].map(|host| {
        let text = if v6 {
            format!("[fd77:2::{host}]:8080")
        } else {
            format!("10.77.2.{host}:8080")
        };
        text.parse()
            .unwrap_or_else(|_| SocketAddr::from(([10, 77, 2, 2], 8080)))
    })
}

/// The rules of the gateway, as text.
pub fn rules(setup: &Setup) -> String {
    let [first, second] = endpoints(setup.sides()[1].v6);
    let (ports, listen) = ports(setup);
    format!(
        r#"
{ports}
listeners:
  web: {{ address: "{listen}", buffer: {buffer}B, max_connections: 1000000 }}
services:
  hello:
    endpoints: ["{first}", "{second}"]
    max_connections: 1000000
    max_idle: 100000
    response_timeout: 20s
routes:
  - {{ host: sluice.test, path: /, service: hello, request_headers: {{ set: {{ x-edge: "1" }} }} }}
"#,
        buffer = setup.buffer,
    )
}

/// As [`rules`], for calls: a service that multiplexes in this way over so many connections to its one
/// endpoint.
pub fn rpc_rules(setup: &Setup, multiplex: &str, shared_connections: u32) -> String {
    let [endpoint, _] = endpoints(setup.sides()[1].v6);
    let (ports, listen) = ports(setup);
    format!(
        r#"
{ports}
listeners:
  rpc: {{ address: "{listen}", buffer: {buffer}B, max_connections: 100000 }}
services:
  bench:
    endpoints: ["{endpoint}"]
    protocol: ttheader
    multiplex: {multiplex}
    shared_connections: {shared_connections}
    max_connections: 100000
    max_idle: 100000
    response_timeout: 20s
routes:
  - {{ rpc: {{}}, service: bench }}
"#,
        buffer = setup.buffer,
    )
}

/// The gateway's ports as rules, and the address of its listener.
fn ports(setup: &Setup) -> (String, &'static str) {
    let [front, back] = setup.sides();
    let port = |side: Side, number: u8| {
        let address = match side.v6 {
            true => format!("fd77:{}::1/64", number + 1),
            false => format!("10.77.{}.1/24", number + 1),
        };
        let vlan = side
            .vlan
            .map_or(String::new(), |vlan| format!(", vlan: {vlan}"));
        format!(
            "{{ device: \"net_memory{number}\", addresses: [\"{address}\"], mtu: {}{vlan} }}",
            side.mtu
        )
    };
    let text = format!(
        "ports:\n  front: {}\n  back: {}",
        port(front, 0),
        port(back, 1)
    );
    let listen = if front.v6 {
        "[fd77:1::1]:80"
    } else {
        "10.77.1.1:80"
    };
    (text, listen)
}

/// Compiles the rules of [`rules`], or of a test of its own.
///
/// # Errors
/// Every problem, a line each.
pub fn compiled(text: &str, generation: u64) -> Result<Arc<Snapshot>, String> {
    let lines = |problems: Vec<sluice_policy::Problem>| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let rules = parse(text, "memory.yaml").map_err(lines)?;
    let mut snapshot = compile(&rules).map_err(lines)?;
    snapshot.generation = generation;
    Ok(Arc::new(snapshot))
}

/// The port setup of each port of compiled rules, in their order.
pub fn port_setups(snapshot: &Snapshot) -> Vec<PortSetup> {
    snapshot
        .ports
        .iter()
        .map(|port| PortSetup {
            addresses: port
                .addresses
                .iter()
                .map(|a| (a.address(), a.prefix()))
                .collect(),
            routes: port
                .routes
                .iter()
                .map(|route| ((route.to.network(), route.to.prefix()), route.via))
                .collect(),
            vlan: port.vlan,
        })
        .collect()
}

/// Flows that client and backend have room for, however few the gateway has.
const HOST_FLOWS: usize = 1024;

/// A gateway, and a stack on each side of it.
pub(crate) struct Parts {
    pub(crate) net: Net,
    /// The client's stack, link 0.
    pub(crate) client: Stack<SimPort>,
    /// The first address of the rules' first listener.
    pub(crate) target: SocketAddr,
    pub(crate) worker: Worker<SimPort>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) inspection: Arc<Inspection>,
    pub(crate) others: Vec<Colleague>,
    /// The backend's stack, link 1. Nothing listens on it yet.
    pub(crate) backend: Stack<SimPort>,
}

/// A gateway, and the far ends of its two links.
pub(crate) struct Gateway {
    pub(crate) net: Net,
    /// Of link 0: where clients are.
    pub(crate) front: SimPort,
    /// Of link 1: where backends are.
    pub(crate) back: SimPort,
    pub(crate) target: SocketAddr,
    pub(crate) worker: Worker<SimPort>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) inspection: Arc<Inspection>,
    /// The workers but the first.
    pub(crate) others: Vec<Colleague>,
}

impl Gateway {
    pub(crate) fn new(setup: &Setup, snapshot: &Arc<Snapshot>) -> Result<Gateway, String> {
        let mut net = Net::new(setup.seed);
        let steering = steering(setup)?;
        let Workers {
            count,
            queues,
            at_random,
        } = setup.workers;
        let spread = if at_random {
            Spread::Random
        } else {
            Spread::Flow(steering.clone())
        };
        let [front, back] = setup.sides();
        let mut link = |side: Side, faults| {
            net.link_of_queues(side.mtu, faults, count.into(), queues.into(), &spread)
        };
        let (client_port, front) = link(front, setup.faults[0]);
        let (backend_port, back) = link(back, setup.faults[1]);
        let target = snapshot.listeners[0].addresses[0];
        let seats: Vec<Option<Seat<SimPort>>> = match count {
            1 => vec![None],
            _ => {
                let port = PortCrew {
                    steering,
                    queues,
                    certain_queues: queues,
                };
                crew(count, &[port.clone(), port])
                    .into_iter()
                    .map(Some)
                    .collect()
            }
        };
        let places = front.into_iter().zip(back).zip(seats).enumerate();
        let mut workers = places.map(|(number, ((front, back), seat))| {
            colleague(setup, number as u64, snapshot, [front, back], seat)
        });
        let Some(first) = workers.next() else {
            return Err("a gateway needs a worker".into());
        };
        let others = workers.collect();
        let Colleague {
            worker,
            stats,
            handoff,
            inspection,
        } = first;
        Ok(Gateway {
            net,
            front: client_port,
            back: backend_port,
            target,
            worker,
            stats,
            handoff,
            inspection,
            others,
        })
    }
}

/// A worker over a front and a back port.
pub(crate) fn colleague(
    setup: &Setup,
    number: u64,
    snapshot: &Arc<Snapshot>,
    [front, back]: [SimPort; 2],
    seat: Option<Seat<SimPort>>,
) -> Colleague {
    let handoff = Arc::new(Handoff::new(snapshot.clone()));
    let stats = Arc::new(WorkerStats::new(2));
    let inspection = Arc::new(Inspection::default());
    // The rules keep ports in the order of their names: back, front.
    let ports = [back, front].into_iter().zip(port_setups(snapshot));
    let setup = WorkerSetup {
        ports: ports.collect(),
        limits: Limits {
            flows: setup.flows,
            window: setup.window,
            ..Limits::default()
        },
        secrets: Secrets::from_seed(setup.seed + number * 0x9e37_79b9),
        inspection: inspection.clone(),
        seat,
    };
    Colleague {
        worker: Worker::new(setup, handoff.clone(), stats.clone()),
        stats,
        handoff,
        inspection,
    }
}

/// Which worker owns a flow, by a key that follows from the seed.
fn steering(setup: &Setup) -> Result<Steering, String> {
    let mut rng = Rng::new(setup.seed ^ 0x7065_706c);
    let key: [u8; 40] = std::array::from_fn(|_| rng.next_u64() as u8);
    Steering::in_software(&key, setup.workers.count).map_err(|error| error.to_string())
}

/// Connections from one address at most, some source ports left over.
const PER_ADDRESS: usize = 25_000;

/// The addresses at the far ends: the client's, as many as its connections need, and the backend's.
pub(crate) fn far_ends(setup: &Setup) -> [PortSetup; 2] {
    let [front, back] = setup.sides();
    let prefix = |side: Side| if side.v6 { 64 } else { 24 };
    let clients = (2..255).take(setup.connections.div_ceil(PER_ADDRESS).max(1));
    let client = clients.map(|host: u8| -> (IpAddr, u8) {
        let address = if front.v6 {
            [0xfd77, 1, 0, 0, 0, 0, 0, u16::from(host)].into()
        } else {
            [10, 77, 1, host].into()
        };
        (address, prefix(front))
    });
    let backend = endpoints(back.v6).map(|endpoint| (endpoint.ip(), prefix(back)));
    let port = |addresses, side: Side| PortSetup {
        addresses,
        routes: vec![],
        vlan: side.vlan,
    };
    [port(client.collect(), front), port(backend.into(), back)]
}

/// The client's stack, and the backend's.
pub(crate) fn hosts(setup: &Setup, [front, back]: [SimPort; 2]) -> [Stack<SimPort>; 2] {
    let stack = |port: SimPort, link: PortSetup, seed: u64| {
        let stats = Arc::new(StackStats::default());
        let limits = Limits {
            flows: setup.flows.max(HOST_FLOWS),
            window: setup.window,
            ..Limits::default()
        };
        Stack::new(vec![(port, link)], limits, Secrets::from_seed(seed), stats)
    };
    let [client, backend] = far_ends(setup);
    [
        stack(front, client, setup.seed ^ 0xc11e),
        stack(back, backend, setup.seed ^ 0xbacc),
    ]
}

impl Parts {
    pub(crate) fn new(setup: &Setup, snapshot: &Arc<Snapshot>) -> Result<Parts, String> {
        let gateway = Gateway::new(setup, snapshot)?;
        let [client, backend] = hosts(setup, [gateway.front, gateway.back]);
        Ok(Parts {
            client,
            backend,
            net: gateway.net,
            target: gateway.target,
            worker: gateway.worker,
            stats: gateway.stats,
            handoff: gateway.handoff,
            inspection: gateway.inspection,
            others: gateway.others,
        })
    }
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
