//! A peer, and two workers over one port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_stack::crew::{Firsts, PortCrew, crew};
use sluice_stack::fate::StackEvent;
use sluice_stack::io::PacketIo;
use sluice_stack::sim::{Faults, Net, SimPort, Spread};
use sluice_stack::steering::{Order, Steering};
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, FlowId, Limits, PortSetup, Secrets, Stack, StackStats};

pub(crate) struct Host {
    pub(crate) stack: Stack<SimPort>,
    pub(crate) stats: Arc<StackStats>,
    /// Closes what its peer has closed.
    pub(crate) closes: bool,
}

impl Host {
    pub(crate) fn poll(&mut self, now: Instant) -> usize {
        let frames = self.stack.receive(now);
        self.stack.expire(now);
        while let Some((flow, _)) = self.stack.next_ready() {
            self.stack.adopt(flow, 1);
            if self.closes && self.stack.view(flow).finished {
                self.stack.close(flow, now);
            }
        }
        frames + self.stack.flush(now)
    }

    pub(crate) fn event(&self, event: StackEvent) -> u64 {
        self.stats.events.get(event)
    }

    /// Frames received or taken over, and their fates or handed over.
    pub(crate) fn books(&self) -> (u64, u64) {
        let port = self.stack.ports().next().map(|port| port.stats().rx_frames);
        (
            port.unwrap_or(0) + self.event(StackEvent::TakenOver),
            self.stats.frames.sum() + self.event(StackEvent::HandedOver),
        )
    }
}

pub(crate) fn host(port: SimPort, address: &str, seed: u64, half_open: usize) -> Host {
    let stats = Arc::new(StackStats::default());
    let prefix = if address.contains(':') { 64 } else { 24 };
    let setup = PortSetup {
        addresses: vec![(address.parse().unwrap(), prefix)],
        ..PortSetup::default()
    };
    let limits = Limits {
        flows: 4096,
        half_open,
        ..Limits::default()
    };
    let secrets = Secrets::from_seed(seed);
    let stack = Stack::new(vec![(port, setup)], limits, secrets, stats.clone());
    Host {
        stack,
        stats,
        closes: false,
    }
}

/// A peer, and two workers that listen on port 80 of one address.
pub(crate) struct World {
    pub(crate) net: Net,
    pub(crate) peer: Host,
    pub(crate) workers: [Host; 2],
    /// First frames of connections, by worker.
    pub(crate) firsts: Vec<Firsts>,
    /// The peer's.
    pub(crate) flows: Vec<FlowId>,
    pub(crate) at: SocketAddr,
}

pub(crate) const KEY: [u8; 40] = [
    0x9b, 0x1c, 0x44, 0xd5, 0x27, 0x83, 0x6e, 0xf0, 0x5a, 0x31, 0xc8, 0x0d, 0x77, 0xe2, 0x96, 0x4b,
    0x12, 0xaf, 0x68, 0xd3, 0x39, 0x85, 0xfe, 0x50, 0xc1, 0x2a, 0x74, 0x9d, 0x0b, 0xe6, 0x53, 0xb8,
    0x47, 0x91, 0x2c, 0xda, 0x6f, 0x08, 0xe5, 0x3a,
];

pub(crate) fn world(queues: u16, spread: &Spread, v6: bool) -> World {
    world_of(queues, spread, v6, 4096)
}

pub(crate) fn world_of(queues: u16, spread: &Spread, v6: bool, half_open: usize) -> World {
    let mut net = Net::new(5);
    let (near, far) = net.link_of_queues(1500, [Faults::default(); 2], 2, queues.into(), spread);
    let (peer, ours) = if v6 {
        ("fd00::1", "fd00::2")
    } else {
        ("10.0.0.1", "10.0.0.2")
    };
    let steering = Steering::in_software(&KEY, 2).unwrap();
    let port = PortCrew {
        steering,
        queues,
        certain_queues: queues,
    };
    let mut seats = crew(2, &[port]).into_iter();
    let at = SocketAddr::new(ours.parse().unwrap(), 80);
    let (mut seed, mut firsts) = (10, Vec::new());
    let workers = far.into_iter().map(|port| {
        seed += 1;
        let mut worker = host(port, ours, seed, half_open);
        let mut seat = seats.next().unwrap();
        firsts.push(seat.watch());
        worker.stack.join(seat);
        worker.stack.listen(0, at, 7, Buffers::default());
        worker
    });
    let workers = <[Host; 2]>::try_from(workers.collect::<Vec<_>>());
    World {
        net,
        peer: host(near, peer, 1, 4096),
        firsts,
        flows: Vec::new(),
        workers: workers.unwrap_or_else(|_| panic!("two ports for two workers")),
        at,
    }
}

impl World {
    /// Polls the peer and those workers that are named, until nothing moves for `time`.
    pub(crate) fn run(&mut self, polling: &[usize], time: Duration) {
        let end = self.net.now() + time;
        while self.net.now() < end {
            let now = self.net.now();
            let mut moved = self.peer.poll(now);
            for &worker in polling {
                moved += self.workers[worker].poll(now);
            }
            if moved == 0 {
                self.net.advance_to(now + Duration::from_millis(1));
            }
        }
    }

    pub(crate) fn connect(&mut self, flows: usize) {
        let now = self.net.now();
        for _ in 0..flows {
            let to = (0, self.at, 1, Buffers::default());
            let flow = self.peer.stack.connect(to.0, to.1, to.2, to.3, now);
            self.flows.push(flow.unwrap());
        }
    }

    /// Has one worker change how flows are found.
    pub(crate) fn order(&mut self, worker: usize, order: &Order) {
        self.workers[worker].stack.steer(0, order.clone());
    }

    /// Connects so many times from the peer; all are accepted, and none lost a segment.
    pub(crate) fn connect_all(&mut self, flows: u64) {
        let before = self.both(StackEvent::FlowAccepted);
        self.connect(flows as usize);
        self.run(&[0, 1], Duration::from_secs(1));
        let accepted = self.both(StackEvent::FlowAccepted);
        assert_eq!(accepted[0] + accepted[1] - before[0] - before[1], flows);
        assert_eq!(self.peer.event(StackEvent::SegmentRetransmitted), 0);
    }

    pub(crate) fn both(&self, event: StackEvent) -> [u64; 2] {
        [0, 1].map(|worker| self.workers[worker].event(event))
    }
}
