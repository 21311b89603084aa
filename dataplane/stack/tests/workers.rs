//! Several stacks over one port: whatever queue a frame comes in by, its flow is served, by the worker that
//! owns it; what finds a ring full is counted, and mended by what TCP sends again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_stack::crew::{PortCrew, RING, crew};
use sluice_stack::fate::{FrameFate, StackEvent};
use sluice_stack::io::PacketIo;
use sluice_stack::sim::{Faults, Net, SimPort, Spread};
use sluice_stack::steering::Steering;
use sluice_stack::time::Instant;
use sluice_stack::{Buffers, Limits, Phase, PortSetup, Secrets, Stack, StackStats};

struct Host {
    stack: Stack<SimPort>,
    stats: Arc<StackStats>,
}

impl Host {
    fn poll(&mut self, now: Instant) -> usize {
        let frames = self.stack.receive(now);
        self.stack.expire(now);
        while let Some((flow, _)) = self.stack.next_ready() {
            self.stack.adopt(flow, 1);
        }
        frames + self.stack.flush(now)
    }

    fn event(&self, event: StackEvent) -> u64 {
        self.stats.events.get(event)
    }

    /// Frames received or taken over, and their fates or handed over.
    fn books(&self) -> (u64, u64) {
        let port = self.stack.ports().next().map(|port| port.stats().rx_frames);
        (
            port.unwrap_or(0) + self.event(StackEvent::TakenOver),
            self.stats.frames.sum() + self.event(StackEvent::HandedOver),
        )
    }
}

fn host(port: SimPort, address: &str, seed: u64) -> Host {
    let stats = Arc::new(StackStats::default());
    let prefix = if address.contains(':') { 64 } else { 24 };
    let setup = PortSetup {
        addresses: vec![(address.parse().unwrap(), prefix)],
        routes: vec![],
    };
    let limits = Limits {
        flows: 4096,
        ..Limits::default()
    };
    let secrets = Secrets::from_seed(seed);
    let stack = Stack::new(vec![(port, setup)], limits, secrets, stats.clone());
    Host { stack, stats }
}

/// A peer, and two workers that listen on port 80 of one address.
struct World {
    net: Net,
    peer: Host,
    workers: [Host; 2],
    at: SocketAddr,
}

const KEY: [u8; 40] = [
    0x9b, 0x1c, 0x44, 0xd5, 0x27, 0x83, 0x6e, 0xf0, 0x5a, 0x31, 0xc8, 0x0d, 0x77, 0xe2, 0x96, 0x4b,
    0x12, 0xaf, 0x68, 0xd3, 0x39, 0x85, 0xfe, 0x50, 0xc1, 0x2a, 0x74, 0x9d, 0x0b, 0xe6, 0x53, 0xb8,
    0x47, 0x91, 0x2c, 0xda, 0x6f, 0x08, 0xe5, 0x3a,
];

fn world(queues: u16, spread: &Spread, v6: bool) -> World {
    let mut net = Net::new(5);
    let (near, far) = net.link_of_queues(1500, [Faults::default(); 2], 2, queues.into(), spread);
    let (peer, ours) = if v6 {
        ("fd00::1", "fd00::2")
    } else {
        ("10.0.0.1", "10.0.0.2")
    };
    let steering = Steering::in_software(&KEY, 2).unwrap();
    let mut seats = crew(2, &[PortCrew { steering, queues }]).into_iter();
    let at = SocketAddr::new(ours.parse().unwrap(), 80);
    let mut seed = 10;
    let workers = far.into_iter().map(|port| {
        seed += 1;
        let mut worker = host(port, ours, seed);
        worker.stack.join(seats.next().unwrap());
        worker.stack.listen(0, at, 7, Buffers::default());
        worker
    });
    let workers = <[Host; 2]>::try_from(workers.collect::<Vec<_>>());
    World {
        net,
        peer: host(near, peer, 1),
        workers: workers.unwrap_or_else(|_| panic!("two ports for two workers")),
        at,
    }
}

impl World {
    /// Polls the peer and those workers that are named, until nothing moves for `time`.
    fn run(&mut self, polling: &[usize], time: Duration) {
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

    fn connect(&mut self, flows: usize) {
        let now = self.net.now();
        for _ in 0..flows {
            let to = (0, self.at, 1, Buffers::default());
            self.peer
                .stack
                .connect(to.0, to.1, to.2, to.3, now)
                .unwrap();
        }
    }

    fn both(&self, event: StackEvent) -> [u64; 2] {
        [0, 1].map(|worker| self.workers[worker].event(event))
    }
}

#[test]
fn a_device_that_steers_right_costs_no_hand_over() {
    let steering = Steering::in_software(&KEY, 2).unwrap();
    for v6 in [false, true] {
        let mut world = world(2, &Spread::Flow(steering.clone()), v6);
        world.connect(200);
        world.run(&[0, 1], Duration::from_secs(2));
        let accepted = world.both(StackEvent::FlowAccepted);
        assert_eq!(accepted[0] + accepted[1], 200);
        assert!(accepted.iter().all(|n| *n > 60), "{accepted:?}");
        assert_eq!(world.both(StackEvent::HandedOver), [0, 0]);
        assert_eq!(world.both(StackEvent::FrameRelayed), [0, 0]);
    }
}

#[test]
fn frames_steered_at_random_are_served_by_the_worker_that_owns_their_flow() {
    for v6 in [false, true] {
        let mut world = world(2, &Spread::Random, v6);
        world.connect(200);
        world.run(&[0, 1], Duration::from_secs(2));
        let accepted = world.both(StackEvent::FlowAccepted);
        assert_eq!(accepted[0] + accepted[1], 200);
        let (over, taken) = (
            world.both(StackEvent::HandedOver),
            world.both(StackEvent::TakenOver),
        );
        // A SYN and the ACK of a handshake, of which about half come in at the wrong queue.
        assert_eq!((over[0], over[1]), (taken[1], taken[0]));
        assert!((150..250).contains(&(over[0] + over[1])), "{over:?}");
        for worker in &world.workers {
            let (came, went) = worker.books();
            assert_eq!(came, went);
            assert_eq!(worker.stats.frames.get(FrameFate::NoFlow), 0);
            assert_eq!(worker.event(StackEvent::SegmentRetransmitted), 0);
        }
    }
}

#[test]
fn what_a_full_hand_over_ring_drops_is_counted_and_mended() {
    // All comes in at the first worker's queue, and the second does not poll.
    let mut world = world(1, &Spread::Random, false);
    // The peer learns where they are.
    world.connect(1);
    world.run(&[0], Duration::from_millis(10));
    let flows = 3 * RING;
    world.connect(flows - 1);
    world.run(&[0], Duration::from_millis(500));
    let first = &world.workers[0];
    let (over, full) = (
        first.event(StackEvent::HandedOver),
        first.stats.frames.get(FrameFate::HandOverFull),
    );
    assert!(full > 0 && over <= RING as u64, "{over} {full}");
    let (came, went) = first.books();
    assert_eq!(came, went);
    // Now it does: every connection comes about, because SYNs are sent again.
    world.run(&[0, 1], Duration::from_secs(30));
    let accepted = world.both(StackEvent::FlowAccepted);
    assert_eq!(accepted[0] + accepted[1], flows as u64);
    assert_eq!(world.workers[1].event(StackEvent::RelayFull), 0);
}

#[test]
fn what_a_full_relay_ring_drops_is_counted_and_mended() {
    let mut world = world(1, &Spread::Random, false);
    // Both learn where the peer is.
    world.connect(8);
    world.run(&[0, 1], Duration::from_secs(1));
    // The second opens connections while the first, which has the queue, does not poll.
    let peer = SocketAddr::new("10.0.0.1".parse().unwrap(), 80);
    world.peer.stack.listen(0, peer, 9, Buffers::default());
    let now = world.net.now();
    let flows: Vec<_> = (0..RING + 100)
        .map(|_| {
            let second = &mut world.workers[1].stack;
            second.connect(0, peer, 2, Buffers::default(), now).unwrap()
        })
        .collect();
    world.run(&[1], Duration::from_millis(10));
    assert!(world.workers[1].event(StackEvent::RelayFull) >= 100);
    world.run(&[0, 1], Duration::from_secs(30));
    let second = &world.workers[1];
    let open = |flow| second.stack.view(flow).phase == Phase::Open;
    assert!(flows.into_iter().all(open), "{:?}", second.stats);
    // The answers came to it, by the queue of the first.
    assert_eq!(second.event(StackEvent::HandedOver), 0);
    assert_eq!(world.workers[0].stats.frames.get(FrameFate::NoFlow), 0);
}

#[test]
fn connections_of_ours_come_back_to_the_worker_that_opened_them() {
    let steering = Steering::in_software(&KEY, 2).unwrap();
    let mut world = world(2, &Spread::Flow(steering), false);
    let peer = SocketAddr::new("10.0.0.1".parse().unwrap(), 80);
    world.peer.stack.listen(0, peer, 9, Buffers::default());
    for worker in &mut world.workers {
        for _ in 0..100 {
            let flow = worker
                .stack
                .connect(0, peer, 2, Buffers::default(), Instant::ZERO);
            flow.unwrap();
        }
    }
    world.run(&[0, 1], Duration::from_secs(3));
    assert_eq!(world.peer.event(StackEvent::FlowAccepted), 200);
    assert_eq!(world.both(StackEvent::HandedOver), [0, 0]);
    // One of them heard from the neighbour, and the other was told.
    assert_eq!(world.both(StackEvent::NeighbourLost), [0, 0]);
    assert_eq!(world.both(StackEvent::LessonLost), [0, 0]);
}
