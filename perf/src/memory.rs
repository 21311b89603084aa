//! A gateway between a client and a backend in one thread, over links in memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Handoff, Inspection, Worker, WorkerSetup, WorkerStats};
use sluice_policy::{Snapshot, compile, parse};
use sluice_stack::sim::{Faults, Net, SimPort};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, PortSetup, Secrets, Stack, StackStats};

use crate::backend::Backend;
use crate::client::{Client, Workload};

/// What to build.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Everything random follows from it.
    pub seed: u64,
    /// IPv6 on both sides instead of IPv4.
    pub v6: bool,
    /// Largest IP packet of both links.
    pub mtu: u16,
    /// Faults of each direction of the client's link and of the backend's.
    pub faults: [[Faults; 2]; 2],
    /// Client connections.
    pub connections: usize,
    /// Buffers of the client, the gateway and the backend, per connection and direction.
    pub buffer: usize,
    /// Flows of the gateway at most.
    pub flows: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            seed: 1,
            v6: false,
            mtu: 1500,
            faults: [[Faults::default(); 2]; 2],
            connections: 64,
            buffer: 64 * 1024,
            flows: 16_384,
        }
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
    let [first, second] = endpoints(setup.v6);
    let (front, back, listen) = if setup.v6 {
        ("fd77:1::1/64", "fd77:2::1/64", "[fd77:1::1]:80")
    } else {
        ("10.77.1.1/24", "10.77.2.1/24", "10.77.1.1:80")
    };
    format!(
        r#"
ports:
  front: {{ device: "net_memory0", addresses: ["{front}"], mtu: {mtu} }}
  back: {{ device: "net_memory1", addresses: ["{back}"], mtu: {mtu} }}
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
        mtu = setup.mtu,
        buffer = setup.buffer,
    )
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
}

impl Gateway {
    pub(crate) fn new(setup: &Setup, text: &str) -> Result<Gateway, String> {
        let mut net = Net::new(setup.seed);
        let (client_port, front) = net.link(setup.mtu, setup.faults[0]);
        let (backend_port, back) = net.link(setup.mtu, setup.faults[1]);
        let snapshot = compiled(text, 1)?;
        let target = snapshot.listeners[0].addresses[0];
        let handoff = Arc::new(Handoff::new(snapshot.clone()));
        let stats = Arc::new(WorkerStats::new(2));
        let inspection = Arc::new(Inspection::default());
        let limits = Limits {
            flows: setup.flows,
            ..Limits::default()
        };
        // The rules keep ports in the order of their names: back, front.
        let mut ports = [(1, front), (0, back)];
        ports.sort_by_key(|(place, _)| *place);
        let setups = port_setups(&snapshot);
        let worker = Worker::new(
            WorkerSetup {
                ports: ports.into_iter().map(|(_, io)| io).zip(setups).collect(),
                limits,
                secrets: Secrets::from_seed(setup.seed),
                inspection: inspection.clone(),
            },
            handoff.clone(),
            stats.clone(),
        );
        Ok(Gateway {
            net,
            front: client_port,
            back: backend_port,
            target,
            worker,
            stats,
            handoff,
            inspection,
        })
    }
}

/// Connections from one address at most, some source ports left over.
const PER_ADDRESS: usize = 25_000;

/// The addresses at the far ends: the client's, as many as its connections need, and the backend's.
pub(crate) fn far_ends(v6: bool, connections: usize) -> [PortSetup; 2] {
    let prefix = if v6 { 64 } else { 24 };
    let clients = (2..255).take(connections.div_ceil(PER_ADDRESS).max(1));
    let client = clients.map(|host: u8| -> (IpAddr, u8) {
        let address = if v6 {
            [0xfd77, 1, 0, 0, 0, 0, 0, u16::from(host)].into()
        } else {
            [10, 77, 1, host].into()
        };
        (address, prefix)
    });
    let backend = endpoints(v6).map(|endpoint| (endpoint.ip(), prefix));
    [client.collect(), backend.into()].map(|addresses| PortSetup {
        addresses,
        routes: vec![],
    })
}

impl Parts {
    pub(crate) fn new(setup: &Setup, text: &str) -> Result<Parts, String> {
        let gateway = Gateway::new(setup, text)?;
        let stack = |port: SimPort, link: PortSetup, seed: u64| {
            let stats = Arc::new(StackStats::default());
            let limits = Limits {
                flows: setup.flows.max(HOST_FLOWS),
                ..Limits::default()
            };
            Stack::new(vec![(port, link)], limits, Secrets::from_seed(seed), stats)
        };
        let [client, backend] = far_ends(setup.v6, setup.connections);
        Ok(Parts {
            client: stack(gateway.front, client, setup.seed ^ 0xc11e),
            backend: stack(gateway.back, backend, setup.seed ^ 0xbacc),
            net: gateway.net,
            target: gateway.target,
            worker: gateway.worker,
            stats: gateway.stats,
            handoff: gateway.handoff,
            inspection: gateway.inspection,
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
        let parts = Parts::new(setup, text)?;
        let buffers = Buffers {
            receive: setup.buffer,
            send: setup.buffer,
        };
        let endpoints = endpoints(setup.v6);
        Ok(Memory {
            net: parts.net,
            client: Client::new(parts.client, parts.target, setup.connections, buffers),
            worker: parts.worker,
            stats: parts.stats,
            handoff: parts.handoff,
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
            gateway(&mut self.worker, now);
            let frames = frames + self.backend.poll_once(now);
            gateway(&mut self.worker, now);
            let arrived = self.net.next_arrival().is_some_and(|at| at <= now);
            if frames == 0 && !arrived {
                break;
            }
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
        let next = next.into_iter().flatten().min().unwrap_or(Instant::NEVER);
        let earliest = now + Duration::from_micros(10);
        self.net.advance_to(next.max(earliest).min(now + step));
    }
}
