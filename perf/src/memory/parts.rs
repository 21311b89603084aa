//! What a gateway in memory is put together of: its workers, the links, and the stacks of the hosts on them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sluice_engine::{Handoff, Inspection, Worker, WorkerSetup, WorkerStats};
use sluice_policy::Snapshot;
use sluice_stack::crew::{PortCrew, Seat, crew};
use sluice_stack::rng::Rng;
use sluice_stack::sim::{Net, SimPort, Spread};
use sluice_stack::steering::Steering;
use sluice_stack::{Limits, PortSetup, Secrets, Stack, StackStats};

use super::rules::{endpoints, port_setups};
use super::{Setup, Side, Workers};

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
